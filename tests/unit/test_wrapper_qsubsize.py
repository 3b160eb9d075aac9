"""Sizes of ``qsub -l``: what TORQUE takes, what it makes of them, and how they are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_torque_vm.wrapper.qsubsize import read_size, write_size

K, M, G = 1 << 10, 1 << 20, 1 << 30


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4096", 4096),
        ("4096b", 4096),
        ("100kb", 100 * K),
        ("2g", 2 * G),
        ("2G", 2 * G),
        ("2gb", 2 * G),
        ("2GB", 2 * G),
        ("2gB", 2 * G),
        ("1tb", 1024 * G),
        ("1p", 1 << 50),
        ("1eb", 1 << 60),
        ("3w", 12),
        ("2kw", 8 * K),
        ("2GW", 8 * G),
        ("1mw", 4 * M),
        (" 2gb", 2 * G),
        ("+2gb", 2 * G),
        ("2gb ", 2 * G),
        ("2gbyte", 2 * G),
        ("010kb", 8 * K),
        ("2gb\nx", 2 * G),
        ("0x10mb", 16 * M),
        ("0X1Fkb", 31 * K),
        ("0x1b", 27),
        ("0x8eb", 0x8EB),
        ("0", 0),
        ("-1", (1 << 64) - 1),
        ("99999999999999999999", (1 << 63) - 1),
        ("-99999999999999999999", 1 << 63),
        ("1" * 5000 + "kb", ((1 << 63) - 1) * K),
    ],
)
def test_a_size_is_what_torque_makes_of_it(text: str, size: int) -> None:
    """Units are binary, a word has 4 bytes, numbers are C's with base 0, and tails are ignored."""
    assert read_size(text) == size


@pytest.mark.parametrize(
    "text",
    ["", " ", "gb", "2.5gb", "2 gb", "2x", "2bb", "2b ", "2w1", "2g ", "2gib", "08gb", "0xg", "0x8eb\n",
     "٢gb", "2\N{KELVIN SIGN}b"],
)  # fmt: skip
def test_what_torque_refuses_is_no_size(text: str) -> None:
    """None leaves it to qsub to say so; a half-read number must not pass for a size."""
    assert read_size(text) is None


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0kb"),
        (1, "1kb"),
        (K, "1kb"),
        (K + 1, "2kb"),
        (4608 * M, "4608mb"),
        (2 * G, "2gb"),
        (1 << 40, "1tb"),
        (1 << 50, "1024tb"),
    ],
)
def test_a_size_is_written_in_the_largest_exact_unit(size: int, text: str) -> None:
    """Short and exact; less than a kilobyte more, because every reader knows kb."""
    assert write_size(size) == text


@given(st.integers(0, 1 << 60))
def test_a_written_size_is_never_too_small(size: int) -> None:
    """What is written reads back as the size, rounded up by less than 1024 bytes."""
    read = read_size(write_size(size))
    assert read is not None
    assert size <= read < size + 1024
