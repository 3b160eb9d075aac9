"""qsub's words: glibc's getopt is asked what they mean, and ``-vm`` is taken out without a trace."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from words_kit import EXAMPLES, words

from nornir_torque_vm.errors import RequestError
from nornir_torque_vm.wrapper.getopt import (
    FLAGS,
    LETTERS,
    TAKES_VALUE,
    CommandLine,
    Option,
    VMOption,
    read_words,
    scan_words,
)

OURS = ("-T", "vm", "-l", "other=vm1")


@contextlib.contextmanager
def posixly(correct: bool) -> Iterator[None]:
    """Set or unset POSIXLY_CORRECT; an empty value counts too."""
    before = os.environ.pop("POSIXLY_CORRECT", None)
    try:
        if correct:
            os.environ["POSIXLY_CORRECT"] = ""
        yield
    finally:
        os.environ.pop("POSIXLY_CORRECT", None)
        if before is not None:
            os.environ["POSIXLY_CORRECT"] = before


def ask_glibc(
    given: Sequence[str], *, posixly_correct: bool = False
) -> tuple[list[tuple[str, str | None]], list[str], bool]:
    """Return options, operands, and whether there is anything to object to, by glibc's ``getopt``."""
    libc = ctypes.CDLL(None)
    optind, opterr = (ctypes.c_int.in_dll(libc, name) for name in ("optind", "opterr"))
    optarg = ctypes.c_char_p.in_dll(libc, "optarg")
    argv = (ctypes.c_char_p * (len(given) + 2))(b"qsub", *map(os.fsencode, given), None)
    options: list[tuple[str, str | None]] = []
    objected = False
    optind.value = opterr.value = 0
    with posixly(posixly_correct):
        while (code := libc.getopt(len(given) + 1, argv, LETTERS.encode())) != -1:
            if chr(code) == "?":
                objected = True
            else:
                options.append((chr(code), None if optarg.value is None else os.fsdecode(optarg.value)))
    rest = [os.fsdecode(word or b"") for word in argv[optind.value : len(given) + 1]]
    return options, rest, objected


def meaning(line: CommandLine) -> tuple[list[tuple[str, str | None]], list[str], bool]:
    """Return what :func:`ask_glibc` returns, by our own reading."""
    options = [(option.letter, option.value) for option in line.options]
    return options, [line.words[index] for index in line.operands], bool(line.fault)


def read_or_not(given: Sequence[str], *, posixly_correct: bool = False) -> CommandLine | None:
    """Return the words read; None when the last of them is a ``-vm`` without a value."""
    try:
        return read_words(given, posixly_correct=posixly_correct)
    except RequestError:
        assert given[-1] == "-vm"
        return None


def test_letters_of_both_kinds() -> None:
    """Each of qsub's letters is of one kind, as the man page has them, and ``-`` is one of them."""
    assert "".join(sorted(FLAGS)) == "EIVXfhnxz"
    assert "".join(sorted(TAKES_VALUE)) == "-ACDFJKLMNPSTWabcdeijklmopqrtuvw"


@settings(max_examples=EXAMPLES)
@given(words, st.booleans())
@example(["-zl", "-vm", "--", "-", "x"], False)
@example(["x", "-vm", "a", "-N", "y"], True)
def test_qsub_s_own_options_are_what_glibc_reads(given: list[str], posixly_correct: bool) -> None:
    """With the requests taken out, options, operands and objections are glibc's, and nothing else is lost."""
    line = read_or_not(given, posixly_correct=posixly_correct)
    if line is None:
        return
    bare = line.without_requests()
    assert bare.requests == ()
    assert meaning(bare) == meaning(line) == ask_glibc(bare.words, posixly_correct=posixly_correct)


@settings(max_examples=EXAMPLES)
@given(words, st.booleans())
def test_words_and_requests_together_are_what_was_given(given: list[str], posixly_correct: bool) -> None:
    """Putting each ``-vm`` and its value back where it was gives the same words, each of them untouched."""
    line = read_or_not(given, posixly_correct=posixly_correct)
    if line is None:
        return
    rest = list(line.without_requests().words)
    for request in line.requests:
        rest[request.first : request.first] = ["-vm", request.value]
    assert rest == given


@settings(max_examples=EXAMPLES)
@given(words, st.booleans())
def test_what_is_put_at_the_end_counts_and_comes_last(given: list[str], posixly_correct: bool) -> None:
    """``end`` is behind all options, before ``--``; only a joined ``-CX`` may follow, which is about else."""
    line = read_or_not(given, posixly_correct=posixly_correct)
    if line is None or line.without_requests().fault:
        return
    bare = line.without_requests()
    more = read_words(
        (*bare.words[: bare.end], *OURS, *bare.words[bare.end :]), posixly_correct=posixly_correct
    )
    options, operands, objected = meaning(more)
    assert (operands, objected) == meaning(bare)[1:]
    at = options.index(("T", "vm"))
    assert options[at : at + 2] == [("T", "vm"), ("l", "other=vm1")]
    assert options[:at] + options[at + 2 :] == meaning(bare)[0]
    assert {letter for letter, _value in options[at + 2 :]} <= {"C"}


@pytest.mark.parametrize(
    ("given", "requests"),
    [
        ("-vm a=1 job.sh", [VMOption("a=1", 0, 1)]),
        ("job.sh -vm a=1", [VMOption("a=1", 1, 2)]),
        ("-N x -vm a=1 -z -vm b=2", [VMOption("a=1", 2, 3), VMOption("b=2", 5, 6)]),
        ("-vm -vm", [VMOption("-vm", 0, 1)]),
        ("-vm -- job.sh", [VMOption("--", 0, 1)]),
        ("-vmyvar=3 job.sh", []),
        ("-v m job.sh", []),
        ("-zvm job.sh", []),
        ("-N -vm job.sh", []),
        ("-zN -vm job.sh", []),
        ("-- -vm a=1", []),
    ],
)
def test_a_request_is_the_word_where_an_option_can_be(given: str, requests: list[VMOption]) -> None:
    """Neither another option's value nor anything behind ``--``; ``-vmyvar=3`` is the option v's."""
    assert list(read_words(given.split()).requests) == requests


def test_a_request_behind_the_first_operand_is_none_to_posix() -> None:
    """It is an argument of the script then, for qsub and so for us."""
    line = read_words(["-z", "job.sh", "-vm", "a=1"], posixly_correct=True)
    assert (line.requests, line.operands, line.end) == ((), (1, 2, 3), 1)
    assert line.without_requests() == line


def test_a_request_without_a_value_is_refused() -> None:
    """The message shows the form."""
    with pytest.raises(RequestError) as caught:
        read_words(["job.sh", "-vm"])
    assert str(caught.value) == "-vm has no value; write -vm key=value,key=value without blanks"


def test_opaque_words_are_qsub_s_own() -> None:
    """A word that reads -vm but was not written so stays ``-v m``, also when the words are read again."""
    line = read_words(["-vm", "a=1", "-vm", "b=2"], opaque=frozenset({2}))
    assert line.requests == (VMOption("a=1", 0, 1),)
    assert line.options == (Option("v", "m", 2, 2),)
    assert line.without_requests() == read_words(["-vm", "b=2"], opaque=frozenset({0}))
    assert line.without_requests().operands == (1,)


def test_options_know_their_words() -> None:
    """Several flags in a word, a value in the same word or the next one."""
    line = read_words(["-zEl", "nodes=2", "job.sh", "-Nx", "--dry-run"])
    assert line.options == (
        Option("z", None, 0, 0),
        Option("E", None, 0, 0),
        Option("l", "nodes=2", 0, 1),
        Option("N", "x", 3, 3),
        Option("-", "dry-run", 4, 4),
    )
    assert line.operands == (2,)
    assert (line.values("l"), line.values("z"), line.has("z"), line.has("x")) == (
        ["nodes=2"],
        [],
        True,
        False,
    )


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ("-l", "option -l has no value"),
        ("-zN", "option -N has no value"),
        ("-Q -l", "qsub has no option -Q"),
        ("-: x", "qsub has no option -:"),
        ("-zQz job.sh", "qsub has no option -Q"),
        ("-QR", "qsub has no option -Q"),
        ("-Ql", "qsub has no option -Q"),
        ("-z job.sh", ""),
    ],
)
def test_what_getopt_objects_to(given: str, fault: str) -> None:
    """The first thing; qsub says it itself when it gets the words."""
    assert read_words(given.split()).fault == fault


@pytest.mark.parametrize(
    ("given", "end"),
    [
        ("", 0),
        ("job.sh", 0),
        ("-N x job.sh", 2),
        ("job.sh -N x", 3),
        ("job.sh -N x arg", 3),
        ("-z -- job.sh -N", 1),
        ("-vm a=1 job.sh", 2),
        ("-N x -CX job.sh", 2),  # the word behind -CX is qsub's prefix
        ("-CX -CY job.sh", 0),
        ("-CX -vm a=1 job.sh", 3),
        ("-C X job.sh", 2),
        ("-N -CX job.sh", 2),
        ("-N x -l", 2),  # would swallow what is put behind it
        ("-N x -zl", 2),
    ],
)
def test_where_more_options_can_be_put(given: str, end: int) -> None:
    """Behind the last option, before ``--``, and not where they would become something else."""
    assert read_words(given.split()).end == end


@pytest.mark.parametrize(
    ("given", "script", "prefix"),
    [
        ("", None, None),
        ("job.sh", 0, None),
        ("-N x job.sh arg", 2, None),
        ("-Nx job.sh", 1, None),
        ("-C #X job.sh", 2, "#X"),
        ("job.sh -C #X", 0, None),  # too late
        ("-C #X -C #Y job.sh", 4, "#Y"),
        ("-CX job.sh", 1, "job.sh"),  # the next word, whatever it is
        ("-CX -z job.sh", 2, "-z"),
        ("-z -CX", None, ""),
        ("-zl nodes=2 job.sh", 1, None),  # only a word's first letter is looked at
        ("-zCX job.sh", 1, None),
        ("- job.sh", None, None),
        ("- -l nodes=2", 2, None),
        ("-- job.sh", None, None),
        ("-- -l job.sh", 2, None),
        ("--dry-run job.sh", 1, None),
        ("-I -l nodes=2", None, None),
        ("-Q job.sh", 1, None),
    ],
)
def test_what_qsub_takes_for_its_script_and_prefix(
    given: str, script: int | None, prefix: str | None
) -> None:
    """Recorded from ``find_job_script_index`` of TORQUE 6.1.3, oddities included."""
    found = scan_words(given.split())
    assert (found.script, found.prefix) == (script, prefix)


@pytest.mark.parametrize(
    ("given", "interactive"),
    [
        ("-I", True),
        ("-Ix", True),
        ("-z -I job.sh", True),
        ("-zI", False),
        ("-N -I", False),
        ("job.sh -I", False),
    ],
)
def test_when_qsub_reads_no_script_from_standard_input(given: str, interactive: bool) -> None:
    """Only ``-I`` at the beginning of a word before the script keeps it from that."""
    assert scan_words(given.split()).interactive is interactive


def test_an_empty_word_is_a_script_without_a_name() -> None:
    """The script is what standard input holds then."""
    assert scan_words(["-z", ""]).script == 1
