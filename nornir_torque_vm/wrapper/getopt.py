"""The words of a ``qsub`` command line, or of one directive, read as ``qsub`` reads them; plus ``-vm``.

TORQUE 6.1.3, src/cmds/qsub_functions.c: ``process_opts`` gives the words to glibc's ``getopt``;
``find_job_script_index`` has looked for the script before, by a scan of its own that sees other
things in some words (:func:`scan_words`). All functions are pure. Words are ``str`` as in ``sys.argv``.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

from nornir_torque_vm.errors import RequestError

LETTERS = "a:A:b:c:C:d:D:e:EfF:hi:Ij:J:k:K:l:L:m:M:nN:o:p:P:q:r:S:t:T:u:v:Vw:W:Xxz-:"
"""qsub's options in ``getopt``'s notation; ``-`` is one of them, so ``--dry-run`` is ``-`` with a value."""

TAKES_VALUE = frozenset(letter for letter, after in itertools.pairwise(LETTERS) if after == ":")
"""Options that take the rest of their word, or the next word whatever it is, as their value."""

FLAGS = frozenset(LETTERS) - TAKES_VALUE - {":"}
"""Options without a value; several share one word."""

REQUEST = "-vm"
"""The word that asks for guests; the next word says which. qsub itself would read ``-v m``."""


@dataclasses.dataclass(frozen=True, slots=True)
class Option:
    """One of qsub's options; it used the words ``first`` to ``last``. ``value`` is None for a flag."""

    letter: str
    value: str | None
    first: int
    last: int


@dataclasses.dataclass(frozen=True, slots=True)
class VMOption:
    """A ``-vm`` (word ``first``) with its value (word ``last``)."""

    value: str
    first: int
    last: int


@dataclasses.dataclass(frozen=True, slots=True)
class CommandLine:
    """Words, and what they are; every number is an index into ``words``.

    ``operands`` are the words that are neither options nor values nor the first ``--``.
    ``end`` is where more options can be put so that they count and come after all there are.
    ``fault`` is what ``getopt`` objects to first, empty when nothing; qsub then refuses the words itself.
    ``opaque`` and ``posixly_correct`` are how the words were read.
    """

    words: tuple[str, ...]
    options: tuple[Option, ...]
    requests: tuple[VMOption, ...]
    operands: tuple[int, ...]
    end: int
    fault: str = ""
    opaque: frozenset[int] = frozenset()
    posixly_correct: bool = False

    def values(self, letter: str) -> list[str]:
        """Return the values of an option in the order given."""
        given = (option.value for option in self.options if option.letter == letter)
        return [value for value in given if value is not None]

    def has(self, letter: str) -> bool:
        """Whether an option is given."""
        return any(option.letter == letter for option in self.options)

    def without_requests(self) -> CommandLine:
        """Return the words without all ``-vm`` and their values, read again."""
        gone = {index for request in self.requests for index in (request.first, request.last)}
        kept = [index for index in range(len(self.words)) if index not in gone]
        return read_words(
            [self.words[index] for index in kept],
            posixly_correct=self.posixly_correct,
            opaque=frozenset(place for place, index in enumerate(kept) if index in self.opaque),
        )


def read_words(
    words: Sequence[str], *, posixly_correct: bool = False, opaque: frozenset[int] = frozenset()
) -> CommandLine:
    """Return what the words mean to qsub, ``-vm`` pairs aside.

    Options count wherever they stand before ``--`` (``getopt`` permutes).

    :param words: without the program's name.
    :param posixly_correct: whether POSIXLY_CORRECT is set (to anything): the first operand ends the
        options.
    :param opaque: indexes of words that are ``-v m`` to qsub and no request although they read ``-vm``.
    :raises RequestError: a ``-vm`` without a value.
    """
    words = tuple(words)
    options: list[Option] = []
    requests: list[VMOption] = []
    operands: list[int] = []
    faults: list[str] = []
    end = at = 0
    while at < len(words):
        word = words[at]
        if word == "--":
            operands += range(at + 1, len(words))
            break
        if word[:1] != "-" or word == "-":
            operands += range(at, len(words)) if posixly_correct else (at,)
            if posixly_correct:
                break
            at += 1
        elif word == REQUEST and at not in opaque:
            requests.append(_read_request(words, at))
            at = end = at + 2
        else:
            found, fault = _read_cluster(words, at)
            options += found
            faults += [fault] if fault else []
            if fault and at + 1 == len(words):
                break  # a value may be missing: what were put behind this word would become it
            at = end = found[-1].last + 1 if found else at + 1
    end = _before_joined_prefix(words, options, end)
    fault = faults[0] if faults else ""
    return CommandLine(
        words, tuple(options), tuple(requests), tuple(operands), end, fault, opaque, posixly_correct
    )


def _read_request(words: tuple[str, ...], at: int) -> VMOption:
    """Return the request whose ``-vm`` is word ``at``."""
    if at + 1 == len(words):
        raise RequestError("-vm has no value", hint="write -vm key=value,key=value without blanks")
    return VMOption(words[at + 1], at, at + 1)


def _read_cluster(words: tuple[str, ...], at: int) -> tuple[list[Option], str]:
    """Return the options in word ``at``, the last perhaps with the next word, and a fault or nothing."""
    word, found, fault = words[at], list[Option](), ""
    for place, letter in enumerate(word[1:], start=2):
        if letter in TAKES_VALUE:
            if place < len(word):
                found.append(Option(letter, word[place:], at, at))
            elif at + 1 < len(words):
                found.append(Option(letter, words[at + 1], at, at + 1))
            else:
                fault = fault or f"option -{letter} has no value"
            break
        if letter in FLAGS:
            found.append(Option(letter, None, at, at))
        else:
            fault = fault or f"qsub has no option -{letter}"
    return found, fault


def _before_joined_prefix(words: tuple[str, ...], options: list[Option], end: int) -> int:
    """Return ``end``, or the index of a last word ``-Cxyz``: nothing may come between it and its next.

    ``find_job_script_index`` takes the word after ``-Cxyz`` for the prefix (:func:`scan_words`).
    """
    for option in reversed(options):
        if option.last + 1 != end or option.first != option.last or words[option.first][:2] != "-C":
            break
        end = option.first
    return end


@dataclasses.dataclass(frozen=True, slots=True)
class WordScan:
    """What ``find_job_script_index`` sees.

    ``script`` is the index of the word whose file is the script, None: standard input, if at all.
    ``prefix`` is the directive prefix, None when it is not given and so ``#PBS``; "" turns directives off.
    ``interactive``: standard input is not read for a script.
    """

    script: int | None
    prefix: str | None
    interactive: bool


def scan_words(words: Sequence[str]) -> WordScan:
    """Return what qsub takes for its script and its directive prefix, among words without requests.

    Its scan ends at the script, so a ``-C`` behind it does not count. It looks at the first letter of
    each word only: ``-zl nodes=2`` has it load a script ``nodes=2``. It skips the word after ``-`` and
    after ``--`` as if they were options with a value. ``-CX`` in one word makes the *next* word
    the prefix, or turns directives off when there is none.
    """
    prefix: str | None = None
    interactive = skip = False
    for index, word in enumerate(words):
        if skip:
            skip = False
        elif word[:1] != "-":
            return WordScan(index, prefix, interactive)
        elif word[1:2] == "I":
            interactive = True
        elif word[1:2] in {"", *TAKES_VALUE}:
            skip = len(word) <= 2
            if word[1:2] == "C":
                prefix = words[index + 1] if index + 1 < len(words) else ""
    return WordScan(None, prefix, interactive)
