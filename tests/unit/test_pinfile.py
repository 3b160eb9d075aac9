"""The user's own mapping: what it may say, and that any other text is refused with its line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_torque_vm.errors import RequestError
from nornir_torque_vm.pinning.pinfile import EMULATOR, HINT, PinMap, check_pins, parse_pins

LINES = st.dictionaries(
    st.tuples(st.integers(0, 9), st.integers(0, 9) | st.just(EMULATOR)),
    st.sets(st.integers(0, 30), min_size=1),
    min_size=1,
)


def test_a_mapping_is_read() -> None:
    """Blank lines, comments, several blanks, ranges, the emulator."""
    text = b"# guest vcpu processors\n\n0 0 0\n 0\t1  1,3-4,3 # two\n1 emulator 2\r\n"
    assert parse_pins(text) == {(0, 0): (0,), (0, 1): (1, 3, 4), (1, EMULATOR): (2,)}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"0 0 0\n0 0\n", "line 2 of the pinning file has 2 words, not 3"),
        (b"0 0 0 0", "line 1 of the pinning file has 4 words, not 3"),
        (b"a 0 0", "line 1 of the pinning file has 'a' for a number"),
        (b"-1 0 0", "line 1 of the pinning file has '-1' for a number"),
        (b"0 Emulator 0", "line 1 of the pinning file has 'Emulator' for a number"),
        (b"4096 0 0", "line 1 of the pinning file has '4096' for a number"),
        (b"0 0 0,", "line 1 of the pinning file has '' for processors"),
        (b"0 0 3-1", "line 1 of the pinning file has '3-1' for processors"),
        (b"0 0 0-4096", "line 1 of the pinning file has '0-4096' for processors"),
        (b"0 0 0-99999999", "line 1 of the pinning file has '0-99999999' for processors"),
        (b"\n# nothing\n", "the pinning file maps nothing"),
        (b"0 0 \xb2", "the pinning file is not plain ASCII text"),
        (b"\x00", "line 1 of the pinning file has 1 words, not 3"),
    ],
)
def test_what_is_no_mapping_is_refused(text: bytes, why: str) -> None:
    """With the line and the form."""
    with pytest.raises(RequestError) as caught:
        parse_pins(text)
    assert str(caught.value) == f"{why}; {HINT}"


def test_a_virtual_processor_has_one_line() -> None:
    """Else the order of the lines would mean something."""
    with pytest.raises(RequestError, match="line 2 of the pinning file maps 0 of guest 1 again; once is"):
        parse_pins(b"1 0 0\n1 0 1\n")


@given(LINES)
def test_a_mapping_is_read_as_it_was_written(pins: dict[tuple[int, str | int], set[int]]) -> None:
    """Every one that can be written."""
    lines = (f"{guest} {vcpu} {','.join(map(str, at))}" for (guest, vcpu), at in pins.items())
    assert parse_pins("\n".join(lines).encode()) == {key: tuple(sorted(at)) for key, at in pins.items()}


@given(st.binary(max_size=60) | st.text(alphabet="0123 -,#\nemulator", max_size=40).map(str.encode))
def test_any_bytes_are_a_mapping_or_a_request_error(content: bytes) -> None:
    """One line, printable, whatever is in the file."""
    try:
        pins = parse_pins(content)
    except RequestError as error:
        said = str(error)
        assert said.isprintable()
    else:
        assert pins
        assert all(at and at == tuple(sorted(at)) for at in pins.values())


@given(LINES, st.integers(1, 10), st.integers(1, 10), st.integers(1, 31))
def test_a_mapping_that_passes_names_only_what_the_job_has(
    lines: dict[tuple[int, str | int], set[int]], guests: int, vcpus: int, share: int
) -> None:
    """And one that names only that passes."""
    pins: PinMap = {key: tuple(sorted(at)) for key, at in lines.items()}
    own = all(
        guest < guests and (vcpu == EMULATOR or int(vcpu) < vcpus) and max(at) < share
        for (guest, vcpu), at in pins.items()
    )
    try:
        check_pins(pins, guests, vcpus, share)
    except RequestError:
        assert not own
    else:
        assert own
