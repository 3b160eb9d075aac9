"""What a guest printed, made fit to be read: the guest chooses every byte of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_torque_vm.consoletext import LINE_LENGTH, last_words, lines_of, panic

PANIC = "[    0.7] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)"


@pytest.mark.parametrize(
    ("printed", "lines"),
    [
        (b"", []),
        (b"one\r\n\r\n  two \r\n", ["one", "two"]),
        (b"\x1b[31;1mred\x1b[0m \x1b[?25lcursor\x1b[2J", ["red cursor"]),
        (b"\x1b]0;title\x07shell\n\x1b]2;t\x1b\\prompt", ["shell", "prompt"]),
        (b"\x1b]0;never ends\nnext", ["next"]),
        (b"\x1bP$qm\x1b\\a\x1bcb\x1b(Bc\x1b", ["abc"]),
        (b"progress 1\rprogress 2", ["progress 1", "progress 2"]),
        (b"a\tb\x07\x08\x7f", ["a b"]),
        ("späte\u202eNachricht\u2028 \u009b31m".encode(), ["späteNachricht 31m"]),
        (b"\xff\xfe", ["\ufffd\ufffd"]),
        (b"x" * 1000, ["x" * LINE_LENGTH]),
    ],
)
def test_lines_are_what_there_is_to_read(printed: bytes, lines: list[str]) -> None:
    """No blank lines, no terminal escapes, no control characters, no endless lines."""
    assert lines_of(printed) == lines


@given(st.binary() | st.text(alphabet="\x1b[]0;m\x07\\a\n\x9b").map(str.encode))
def test_nothing_a_terminal_would_act_on_is_left(printed: bytes) -> None:
    """Whatever the bytes are."""
    for line in lines_of(printed):
        assert line.isprintable()
        assert line == line.strip() != ""


def test_the_last_words_are_the_reason_or_else_the_end() -> None:
    """A panic is followed by registers, an emergency shell by a prompt."""
    assert last_words(["a", "b", "c", "d"]) == ["b", "c", "d"]
    assert last_words(["a", PANIC, "c", "d", "e"]) == [PANIC]
    assert last_words(["a", "You are in emergency mode.", "#"]) == ["You are in emergency mode."]
    full = "[   12.5] I/O error, dev vda, sector 34816 op 0x1:(WRITE) flags 0x104000 phys_seg 254"
    assert last_words(["a", full, "c", "d", "e"]) == [full], "is the disk of its node full?"
    assert last_words([]) == []


def test_a_panic_is_the_kernels_own_word() -> None:
    """Other people's panics are none."""
    assert panic(["booting", PANIC, "---[ end"]) == PANIC
    assert panic(["panic: no such file", "Kernel command line: panic=5", ""]) == ""
