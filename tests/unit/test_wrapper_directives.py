"""Directives: which lines are some, and what their words are, by the rules of qsub."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from words_kit import EXAMPLES, header_of, options, scripts

from nornir_torque_vm.errors import RequestError
from nornir_torque_vm.wrapper.argv import split_words
from nornir_torque_vm.wrapper.directives import Header, neutralise, read_header

LINES = 32767
"""Bytes qsub reads at a time."""

READ_BY_TORQUE = [
    # what is a directive, and where the header ends
    ("#PBS -N x\n", [["-N", "x"]]),
    (" \t#PBS -N x\n", [["-N", "x"]]),
    ("#PBS-N x", [["-N", "x"]]),
    ("#PBS\n", [[]]),
    ("# PBS -N x\n##PBS -N x\n#pbs -N x\n", []),
    ("#!/bin/sh\n\n  \n# say\n#PBS -N x\n", [["-N", "x"]]),
    (": say\n#PBS -N x\n", [["-N", "x"]]),
    (" : say\n#PBS -N x\n", []),
    (" #!/bin/sh\n#PBS -N x\n", [["-N", "x"]]),
    ("echo\n#PBS -N x\n", []),
    ("#PBS -z\necho\n#PBS -N x\n", [["-z"]]),
    ("\0echo\n#PBS -N x\n", [["-N", "x"]]),
    # words
    ("#PBS -N 'a b' -v \"c='d'\"\n", [["-N", "a b", "-v", "c='d'"]]),
    ("#PBS -v a=' '\"'\"\\ b ''\n", [["-v", "a= ' b", ""]]),
    ('#PBS -v "a\\" b\n', [["-v", "a\\", "b"]]),
    ("#PBS -N x # don\\'t\n", [["-N", "x", "#", "don't"]]),
    ("#PBS\v-N\fx\r-z\n", [["-N", "x", "-z"]]),
    ("#PBS -N x\0 -z\n#PBS -E\n", [["-N", "x"], ["-E"]]),
    # joined lines
    ("#PBS -N \\\nx -z\n", [["-N", "x", "-z"]]),
    ("#PBS -N x\\\ny\\\n z\n", [["-N", "xy", "z"]]),
    ("#PBS -N x \\\n#PBS -z\n", [["-N", "x", "#PBS", "-z"]]),
    ("#PBS\\\n-N x\n", [["-N", "x"]]),
    ("# say \\\n#PBS -N x\n", [["-N", "x"]]),
    ("#PBS -N x\\\\\ny\n", [["-N", "xy"]]),  # \y in the joined line
    ("#PBS -N x\\\\\n\ny\n", [["-N", "xy"]]),  # the empty line joins too
    ("#PBS -N x\\\n\n#PBS -z\n", [["-N", "x"], ["-z"]]),
    # -C in a directive does nothing
    ("#PBS -C #X\n#X -N x\n#PBS -z\n", [["-C", "#X"], ["-z"]]),
    # long lines are read in pieces
    ("#" * LINES + "#PBS -N x\n", [["-N", "x"]]),
    ("#" * (LINES - 1) + "\n#PBS -N x\n", [["-N", "x"]]),
    ("#" + "x" * LINES + "\n#PBS -N x\n", []),
    ("#PBS -N" + " " * (LINES - 9) + "xy\n", [["-N", "xy"]]),
    ("#PBS -N" + " " * (LINES - 8) + "xy\n", [["-N", "x"]]),
    ("#PBS -N" + " " * (LINES - 9) + "\\\nxyz\n", [["-N", "xy"]]),
]
"""Scripts, and the words qsub's own code gave to getopt for each of their directives."""


def words(header: Header) -> list[list[str]]:
    """Return the words of all directives."""
    return [list(one.words) for one in header.directives]


@pytest.mark.parametrize("number", range(len(READ_BY_TORQUE)))
def test_directives_are_read_as_qsub_reads_them(number: int) -> None:
    """Recorded from ``get_script`` and ``make_argv`` of TORQUE 6.1.3."""
    script, expected = READ_BY_TORQUE[number]
    header = read_header(script.encode(), from_stdin=True)
    assert (words(header), header.fault) == (expected, "")


@pytest.mark.parametrize(
    ("script", "prefix", "expected"),
    [
        (b"#X -N x\n#PBS -z\n", "#X", [["-N", "x"]]),
        (b"X -N x\n#PBS -z\necho\n", "X", [["-N", "x"]]),
        (b"#PBS -N x\n#PB\n", "#PBS ", [["-N", "x"]]),
        (b"#PBS -N x\n", "", []),
        (b"#!-z\n#! -N x\n", "#!", [["-z"], ["-N", "x"]]),
        (b" #PBS -N x\n", " #PBS", []),
        (b"\xff -N x\n", "\udcff", [["-N", "x"]]),
    ],
)
def test_another_prefix(script: bytes, prefix: str, expected: list[list[str]]) -> None:
    """Whatever ``-C`` says, to the byte; an empty one turns directives off."""
    assert words(read_header(script, prefix, from_stdin=True)) == expected


@pytest.mark.parametrize(
    ("script", "fault", "expected"),
    [
        (b"#PBS -z\n#PBS -N 'x\n#PBS -E\n", "script line 2: unmatched ' in the directive", [["-z"]]),
        (
            b"#PBS -z\n\n#PBS -N x \\\n",
            "script line 3: the directive ends in a backslash, and the script ends there too",
            [["-z"]],
        ),
        (
            b"#PBS -z\n#PBS -vm img=a\\",
            "script line 2: the directive ends in a backslash that has nothing behind it",
            [["-z"], ["-vm", "img=a"]],
        ),
        (
            b"#PBS -N x\\\0y\n",
            "script line 1: the directive ends in a backslash that has nothing behind it",
            [["-N", "x"]],
        ),
        (b"#PBS" + b" x" * 129, "script line 1: the directive has more than 128 words", [["x"] * 129]),
        (b"#PBS" + b" x" * 128, "", [["x"] * 128]),
    ],
)
def test_what_makes_qsub_give_up(script: bytes, fault: str, expected: list[list[str]]) -> None:
    """It refuses the first two; what it makes of the others nobody can say: they run over its memory."""
    header = read_header(script, from_stdin=True)
    assert (header.fault, words(header)) == (fault, expected)


def test_what_getopt_objects_to_is_the_directive_s() -> None:
    """It is said by qsub itself when that reads the directive."""
    header = read_header(b"#PBS -Q\n#PBS -l\n")
    assert [one.command.fault for one in header.directives] == [
        "qsub has no option -Q",
        "option -l has no value",
    ]
    assert header.fault == ""


DOS = "qsub refuses a script with lines that end in carriage return and newline"
NOT_TEXT = "qsub refuses a script with other bytes than ASCII text among its first 50"


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        (b"#PBS -N x\r\n", DOS),
        (b"#PBS -N x\n\r\n", DOS),
        (b"\r\n#PBS -N x\n", DOS),
        (b"#PBS -N x\n" + b"echo\n" * 99 + b"echo\r\n", DOS),
        (b"#PBS -N x\necho a\rb\n", ""),
        (b"#PBS -N x\necho \rb", DOS),
        (b"#PBS -N x\n" + b" " * 2045 + b"\rbc\n", DOS),  # it reads 2047 bytes at a time
        (b"#PBS -N x\n" + b" " * 2046 + b"\rbc\n", ""),
        (b"#PBS -N x\n#" + b" " * 39 + "\u00e9".encode(), ""),
        (b"#PBS -N x\n#" + b" " * 38 + "\u00e9".encode(), NOT_TEXT),
        (b"#PBS -N x\n\0", NOT_TEXT),
        (b"#PBS -N x\n\t\v\f\r \x7e\n", ""),
        (b"#PBS -N x\n\x7f\n", NOT_TEXT),
    ],
)
def test_files_that_qsub_refuses(script: bytes, fault: str) -> None:
    """Only a file is looked at in this way; there are no directives in what is refused."""
    header = read_header(script)
    assert (header.fault, words(header)) == (fault, [] if fault else [["-N", "x"]])
    assert read_header(script, from_stdin=True).fault == ""
    assert neutralise(script, header) == script


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (b"#PBS -N x\r\n", [["-N", "x"]]),
        (b"#PBS -N x \\\r\n-z\r\n", [["-N", "x", "-z"]]),
        (b"#PBS -N x \\\r\n-z \\\r\n-E\r\n#PBS -X\r\n", [["-N", "x", "-z", "\r"]]),
        (b"\r\n#PBS -N x\r\n\r\necho\r\n", [["-N", "x"]]),
    ],
)
def test_carriage_returns_from_standard_input(script: bytes, expected: list[list[str]]) -> None:
    """Recorded from TORQUE 6.1.3: dropped, but in a joined line a backslash makes a word of one."""
    assert words(read_header(script, from_stdin=True)) == expected


def test_requests_with_the_lines_they_begin_in() -> None:
    """The first line of a directive, from 1; its other options are there in order."""
    header = read_header(
        b"#!/bin/sh\n#PBS -N x -vm img=a.qcow2,\\\nram=2G -l nodes=2 -vm vcpus=1\n\n#PBS -vm arch=x\necho\n"
    )
    assert header.requests == [(2, "img=a.qcow2,ram=2G"), (2, "vcpus=1"), (5, "arch=x")]
    assert header.has_request
    assert [one.is_request for one in header.directives] == [False, True]
    assert options(header) == [("N", "x"), ("l", "nodes=2")]


def test_a_script_without_requests() -> None:
    """It stays what it is."""
    script = b"#PBS # say\n#PBS -N x -vmx\n#PBS -v -vm\n#PBS -- -vm x\necho -vm\n#PBS -vm a=1\n"
    header = read_header(script)
    assert (header.has_request, header.requests, neutralise(script, header)) == (False, [], script)
    assert not any(one.is_request for one in header.directives)


@pytest.mark.parametrize("word", [b"-vm", b'"-vm"', b"'-vm'", b"''-vm"])
def test_a_request_is_written_in_one_piece(word: bytes) -> None:
    """With or without quotes around; the three bytes can be searched for."""
    assert read_header(b"#PBS " + word + b" a=1\n").requests == [(1, "a=1")]


@pytest.mark.parametrize("word", [b'-v"m"', b"-\\vm", b"-v\\\nm"])
def test_other_spellings_are_qsub_s_own(word: bytes) -> None:
    """It reads ``-v m``, and gets them as they are."""
    script = b"#PBS " + word + b" a=1\n#PBS -vm b=2\n"
    header = read_header(script)
    assert (header.requests[0][1], options(header)) == ("b=2", [("v", "m")])
    assert neutralise(script, header) == script.replace(b"#PBS -vm b", b"##PBS -vm b")


def test_a_request_without_a_value_names_its_line() -> None:
    """It ends with its directive."""
    with pytest.raises(RequestError) as caught:
        read_header(b"#!/bin/sh\n#PBS -N x -vm\n#PBS a=1\n")
    assert str(caught.value) == (
        "script line 2: -vm has no value; write -vm key=value,key=value without blanks"
    )


def test_options_behind_a_comment_count_unless_posix_says_otherwise() -> None:
    """Then the ``#`` ends the options, as their first operand."""
    script = b"#PBS -N x # or -vm a=1\n"
    assert read_header(script).requests == [(1, "a=1")]
    assert not read_header(script, posixly_correct=True).has_request


@settings(max_examples=EXAMPLES)
@given(scripts)
def test_every_word_is_where_its_parts_say(script: bytes) -> None:
    """The script's bytes at a word's parts, read alone, are that word."""
    for one in header_of(script).directives:
        for word, parts in zip(one.words, one.spans, strict=True):
            written = b"".join(script[first:last] for first, last in parts)
            found, _open = split_words(written)
            assert [each.value.decode("utf-8", "surrogateescape") for each in found] == [word]


def test_the_module_loads_little() -> None:
    """A submission waits for it: neither ``re`` of its own nor anything outside the standard library."""
    code = (
        "import sys, dataclasses, enum, os; before = set(sys.modules)\n"
        "import nornir_torque_vm.wrapper.directives\n"
        "print(*sorted(set(sys.modules) - before - {'__future__'}))"
    )
    loaded = subprocess.run([sys.executable, "-I", "-c", code], check=True, capture_output=True, text=True)
    assert loaded.stdout.split() == [
        "nornir_torque_vm",
        "nornir_torque_vm.errors",
        "nornir_torque_vm.wrapper",
        "nornir_torque_vm.wrapper.argv",
        "nornir_torque_vm.wrapper.directives",
        "nornir_torque_vm.wrapper.getopt",
    ]
