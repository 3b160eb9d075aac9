"""Scripts rewritten: requests taken out in place, options put in where they win."""

from __future__ import annotations

import pytest
from hypothesis import assume, example, given, settings
from words_kit import EXAMPLES, header_of, options, prefixes, scripts

from nornir_torque_vm.errors import RequestError
from nornir_torque_vm.wrapper.directives import Header, add_options, neutralise, read_header

LINES = 32767
"""Bytes qsub reads at a time."""


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        # only requests: a comment
        (b"#PBS -vm a=1\n", b"##PBS -vm a=1\n"),
        (b" \t#PBS -vm a=1 # say\necho\n", b" \t##PBS -vm a=1 # say\necho\n"),
        (b"#PBS-vm a=1", b"##PBS-vm a=1"),
        (b"#PBS -vm a=1,\\\n  b=2\n", b"##PBS -vm a=1,\\\n  #b=2\n"),
        (b"#PBS -vm a=1\\\\\n\n\n", b"##PBS -vm a=1\\\\\n\n\n"),
        (b"#PBS -vm a=1 -- -N x\n", b"##PBS -vm a=1 -- -N x\n"),
        # with other options: blanks
        (b"#PBS -N x -vm a=1 -z\n", b"#PBS -N x         -z\n"),
        (b"#PBS -vm 'a=1 b' -z\n", b"#PBS             -z\n"),
        (b"#PBS-vm a=1 -z\n", b"#PBS        -z\n"),
        (b"#PBS -vm \\\na=1,\\\nb=2 -z\n", b"#PBS     \\\n    \\\n    -z\n"),
        (b"#PBS -vm a=1 -Q\n", b"#PBS         -Q\n"),
        # where a comment would be a directive, or too long
        (b"#PBS -vm a=1 \\\nPBS -- -N y\n", b"#PBS         \\\nPBS -- -N y\n"),
        (b"#" * LINES + b"#PBS -vm a=1\n", b"#" * LINES + b"#PBS        \n"),
        (b"#PBS -vm a=1" + b" " * 2033 + b"\n", b"##PBS -vm a=1" + b" " * 2033 + b"\n"),
        (b"#PBS -vm a=1" + b" " * 2034 + b"\n", b"#PBS" + b" " * 2042 + b"\n"),
        (b"#PBS -vm a=1" + b" " * LINES + b"b\n", b"#PBS" + b" " * (LINES + 8) + b"b\n"),
    ],
)
def test_requests_are_taken_out_in_place(script: bytes, expected: bytes) -> None:
    """Every line stays where it is; qsub and the shell see nothing they did not see before."""
    assert neutralise(script, read_header(script)) == expected


@pytest.mark.parametrize(
    ("prefix", "script", "expected"),
    [
        ("#", b"# -vm a=1\n", b"#        \n"),
        ("##", b"## -vm a=1\n", b"##        \n"),
        ("#X", b"#X -vm a=1\n", b"##X -vm a=1\n"),
        ("X", b"X -vm a=1\n", b"X        \n"),
    ],
)
def test_requests_behind_another_prefix(prefix: str, script: bytes, expected: bytes) -> None:
    """A comment with the prefix ``#`` would be a directive; a line that is none keeps its first word."""
    assert neutralise(script, read_header(script, prefix)) == expected


def test_a_directive_that_is_cut_within_a_line_is_no_comment() -> None:
    """Joined lines end where qsub's buffer is full; the rest of that line would be hidden with it."""
    script = b"#PBS -vm a=1" + (b"\\\n" + b" " * 2000) * 17 + b"\necho\n"
    assert neutralise(script, read_header(script)) == script.replace(b"-vm a=1", b" " * 7)


def test_a_file_does_not_become_one_that_qsub_refuses() -> None:
    """A carriage return within a long line is where it was when qsub looks for it in pieces of 2047 bytes."""
    script = b"#PBS -vm a=1 -- " + b"x" * 2028 + b"\r" + b"x\n"
    header = read_header(script)
    assert (header.has_request, read_header(neutralise(script, header)).fault) == (True, "")


def test_line_ends_of_standard_input_stay() -> None:
    """Carriage returns are neither added nor lost."""
    script = b"#PBS -vm a=1\r\n#PBS -N x -vm b=2\r\necho\r\n"
    header = read_header(script, from_stdin=True)
    assert neutralise(script, header) == b"##PBS -vm a=1\r\n#PBS -N x        \r\necho\r\n"


OURS = ("-T", "vm", "-l", "other=vm1:vcpus=2,nodes=1")


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (
            b"#PBS -vm a=1\n",
            b"#PBS -T vm -l other=vm1:vcpus=2,nodes=1         \n",
        ),
        (
            b"#PBS -vm a=1\n#PBS -l nodes=2 # say\necho\n",
            b"##PBS -vm a=1\n#PBS -l nodes=2 -T vm -l other=vm1:vcpus=2,nodes=1 # say\necho\n",
        ),
        (
            b"#PBS -l nodes=2\n#PBS -z -vm \\\na=1 -N x -- -E",
            b"#PBS -l nodes=2\n#PBS -z     \\\n    -N x -T vm -l other=vm1:vcpus=2,nodes=1 -- -E",
        ),
        (
            b"#PBS -vm a=1\n#PBSsay\n",
            b"##PBS -vm a=1\n#PBS -T vm -l other=vm1:vcpus=2,nodes=1 say\n",
        ),
        (
            b"#PBS -N x\\\n -vm a=1\n",
            b"#PBS -N x -T vm -l other=vm1:vcpus=2,nodes=1\\\n        \n",
        ),
    ],
)
def test_options_go_into_the_last_directive(script: bytes, expected: bytes) -> None:
    """Behind its own options, before ``--`` and comments; there are as many lines as before."""
    assert add_options(script, read_header(script), OURS) == expected


def test_added_words_are_quoted() -> None:
    """What qsub reads is what was meant."""
    script = add_options(b"#PBS\n", read_header(b"#PBS\n"), ["-v", 'a=\' "b"\\', "-N", ""])
    assert read_header(script).directives[0].words == ("-v", 'a=\' "b"\\', "-N", "")


@pytest.mark.parametrize(
    ("script", "prefix"),
    [
        (b"#PBS -vm a=1" + b" " * (LINES - 40) + b"\n", "#PBS"),
        (b"#PBS -vm a=1" + b" " * LINES + b"\n", "#PBS"),
        (b"#PBS -vm a=1" + b" x" * 123 + b"\n", "#PBS"),
        (b"#\\ -vm a=1\n", "#\\"),
        (b"#X\n", "#X\n"),
    ],
)
def test_no_room_for_options(script: bytes, prefix: str) -> None:
    """Only a part of them would be read."""
    header = read_header(script, prefix)
    with pytest.raises(RequestError, match=r"^script line 1: no room for the options the guests need; write"):
        add_options(script, header, OURS)


def test_room_to_the_last_byte() -> None:
    """A line that just fits is read as a whole; one byte more does not fit."""
    blanks = b" " * (LINES - len(b"#PBS -vm a=1\n") - len(b" -T vm -l other=vm1:vcpus=2,nodes=1 "))
    script = b"#PBS -z\n#PBS -vm a=1" + blanks + b"\n"
    more = add_options(script, read_header(script), OURS)
    assert len(more) == len(b"#PBS -z\n") + LINES
    assert options(read_header(more)) == [("z", None), ("T", "vm"), ("l", OURS[3])]
    longer = script.replace(b"a=1", b"a=12")
    with pytest.raises(RequestError, match="no room"):
        add_options(longer, read_header(longer), OURS)


def test_room_to_the_last_word() -> None:
    """A directive of 128 words is read as a whole."""
    script = b"#PBS -vm a=1" + b" x" * 122 + b"\n"
    more = read_header(add_options(script, read_header(script), OURS))
    assert (options(more), more.fault) == ([("T", "vm"), ("l", OURS[3])], "")


def test_options_need_a_directive_and_words_that_fit_in_a_line() -> None:
    """Neither can be asked for by a user."""
    with pytest.raises(ValueError, match="must have a directive"):
        add_options(b"echo\n", read_header(b"echo\n"), OURS)
    for word in ("a\nb", "a\0b"):
        with pytest.raises(ValueError, match="must not hold a newline or NUL"):
            add_options(b"#PBS\n", read_header(b"#PBS\n"), ["-N", word])


def outside(script: bytes, header: Header) -> list[bytes]:
    """Return what is between the directives that hold requests."""
    holding = [one for one in header.directives if one.command.requests]
    starts, stops = [one.start for one in holding], [one.stop for one in holding]
    return [script[a:b] for a, b in zip([0, *stops], [*starts, len(script)], strict=True)]


@settings(max_examples=EXAMPLES)
@given(scripts, prefixes)
@example(b"#PBS -vm a=1\\\\\n\nb -z\n", "#PBS")
@example(b"#PBS -vm a\\\r\n", "#PBS")
def test_a_neutralised_script_has_no_request_and_nothing_else_missing(script: bytes, prefix: str) -> None:
    """Same number of lines, same other options, same bytes elsewhere; a second time changes nothing."""
    header = header_of(script, prefix)
    result = neutralise(script, header)
    again = read_header(result, prefix, from_stdin=True)
    assert not again.has_request
    assert options(again) == options(header)
    assert again.fault == header.fault or header.fault.endswith("nothing behind it")
    assert result.count(b"\n") == script.count(b"\n")
    at = 0
    for part in outside(script, header):
        at = result.index(part, at) + len(part)
    assert header.has_request or result == script
    assert neutralise(result, again) == result


@settings(max_examples=EXAMPLES)
@given(scripts, prefixes)
@example(b"#PBS -z \\\n-vm a=1\n", "#PBS")
@example(b"#PBSa -l\n", "#PBS")
@example(b"#PBS -zl\n", "#PBS")
def test_added_options_win(script: bytes, prefix: str) -> None:
    """They come after all options there are, none of which is lost; ``-CX`` may follow."""
    header = header_of(script, prefix)
    assume(header.directives and not header.fault)
    result = add_options(script, header, OURS)
    again = read_header(result, prefix, from_stdin=True)
    assert not again.has_request
    assert result.count(b"\n") == script.count(b"\n")
    found = options(again)
    at = found.index(("T", "vm"))
    assert found[at + 1] == ("l", OURS[3])
    assert found[:at] + found[at + 2 :] == options(header)
    assert {letter for letter, _value in found[at + 2 :]} <= {"C"} or header.directives[-1].command.fault
