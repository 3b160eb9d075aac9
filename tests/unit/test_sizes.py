"""Sizes: binary units, exact both ways, and a sentence for everything else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_torque_vm.sizes import LARGEST, UNITS, format_size, parse_size, power_of_two


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1K", 1024),
        ("512K", 524_288),
        ("192M", 201_326_592),
        ("2G", 2_147_483_648),
        ("1T", 1_099_511_627_776),
        ("2g", 2_147_483_648),
        ("007m", 7_340_032),
    ],
)
def test_units_are_binary(text: str, size: int) -> None:
    """K, M, G and T are powers of 1024, in either case."""
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("2048", "must have a unit, K, M, G or T: 512M or 2G, for example"),
        ("0", "must be more than 0"),
        ("0G", "must be more than 0"),
        ("", "must be a whole number followed by K, M, G or T, such as 512M or 2G"),
        ("G", "must be a whole number followed by K, M, G or T, such as 512M or 2G"),
        ("1.5G", "must be a whole number followed by K, M, G or T, such as 512M or 2G"),
        ("-1G", "must be a whole number followed by K, M, G or T, such as 512M or 2G"),
        ("2GB", "must be a whole number followed by K, M, G or T, such as 512M or 2G"),
        ("2 G", "must be a whole number followed by K, M, G or T, such as 512M or 2G"),
        ("2G\n", "must be a whole number followed by K, M, G or T, such as 512M or 2G"),
        ("٢G", "must be a whole number followed by K, M, G or T, such as 512M or 2G"),
        ("9" * 21 + "K", "must be a whole number followed by K, M, G or T, such as 512M or 2G"),
        ("9" * 20 + "K", "must be at most 1048576T"),
        ("1048577T", "must be at most 1048576T"),
    ],
)
def test_what_is_no_size_is_refused_with_the_reason(text: str, sentence: str) -> None:
    """The sentence begins with "must" and says what to write."""
    with pytest.raises(ValueError, match="must") as caught:
        parse_size(text)
    assert str(caught.value) == sentence


def test_the_largest_size_itself_is_accepted() -> None:
    """The limit is inclusive."""
    assert parse_size("1048576T") == LARGEST == 1_152_921_504_606_846_976


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (1024, "1K"),
        (1 << 20, "1M"),
        (1 << 30, "1G"),
        (1 << 40, "1T"),
        (1536 << 20, "1536M"),
        (1 << 50, "1024T"),
        (0, "0 bytes"),
        (1000, "1000 bytes"),
        (1025, "1025 bytes"),
    ],
)
def test_sizes_are_written_with_the_largest_unit_that_is_exact(size: int, text: str) -> None:
    """No rounding: what does not fit a unit is written with a smaller one."""
    assert format_size(size) == text


@given(st.integers(1, LARGEST // 1024))
def test_a_written_size_reads_as_itself(kibibytes: int) -> None:
    """format_size and parse_size are inverse for every size with a unit."""
    assert parse_size(format_size(kibibytes * 1024)) == kibibytes * 1024


@given(st.text(max_size=12) | st.from_regex(r"[0-9]{1,22}[KMGTkmgt]?", fullmatch=True))
def test_any_text_is_a_size_or_a_sentence(text: str) -> None:
    """Hostile text gives a multiple of 1024 within the limits or a ValueError, nothing else."""
    try:
        size = parse_size(text)
    except ValueError as error:
        said = str(error)
        assert said.startswith("must ")
    else:
        assert UNITS["K"] <= size <= LARGEST
        assert size % 1024 == 0


@pytest.mark.parametrize(
    ("size", "power"), [(1, 1), (1 << 20, 1 << 20), ((1 << 20) + 1, 2 << 20), (3 << 30, 4 << 30)]
)
def test_sizes_are_rounded_up_to_a_power_of_two(size: int, power: int) -> None:
    """Never down."""
    assert power_of_two(size) == power
