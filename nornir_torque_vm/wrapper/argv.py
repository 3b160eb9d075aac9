"""The words of a directive: where they begin and end, and how to write one so that qsub reads it.

TORQUE 6.1.3, src/cmds/qsub_functions.c: ``make_argv``. It looks like a shell's splitting and is not:
in quotes of either kind nothing is special but the closing quote; there are no comments or variables.
"""

from __future__ import annotations

import dataclasses

BLANKS = b" \t\n\v\f\r"
"""What C's ``isspace`` is true for (qsub never leaves the C locale)."""

QUOTES = b"'\""
BACKSLASH = b"\\"[0]


@dataclasses.dataclass(frozen=True, slots=True)
class Word:
    """A word; it is written in ``line[start:stop]``, quotes and backslashes included."""

    value: bytes
    start: int
    stop: int


class Unmatched(ValueError):
    """A quote is not closed: qsub ends here."""


def split_words(line: bytes, start: int = 0) -> tuple[list[Word], bool]:
    """Return the words of ``line`` from ``start`` on, and whether the text ends in an open backslash.

    qsub reads on behind the end of the text then, so nobody can say what it makes of the last word.

    :raises Unmatched: a quote is not closed.
    """
    words: list[Word] = []
    at = _skip(line, start)
    while at < len(line):
        value, stop = _read_word(line, at)
        words.append(Word(value, at, min(stop, len(line))))
        at = _skip(line, stop)
    return words, at > len(line)


def _read_word(line: bytes, at: int) -> tuple[bytes, int]:
    """Return the value of the word at ``at`` and where it stops; past the end with an open backslash."""
    value = bytearray()
    while at < len(line) and line[at] not in BLANKS:
        if line[at] in QUOTES:
            close = line.find(line[at], at + 1)
            if close < 0:
                raise Unmatched(chr(line[at]))
            value += line[at + 1 : close]
            at = close + 1
        else:
            at += line[at] == BACKSLASH
            value += line[at : at + 1]
            at += 1
    return bytes(value), at


def _skip(line: bytes, at: int) -> int:
    """Return the first index from ``at`` on that holds no blank."""
    while at < len(line) and line[at] in BLANKS:
        at += 1
    return at


def quote(word: bytes) -> bytes:
    """Return ``word`` as it must be written in a directive; nothing but blanks need to follow.

    The result never ends in a backslash, which could join two lines.

    :raises ValueError: a newline or NUL, which no directive can hold.
    """
    if b"\n" in word or b"\0" in word:
        raise ValueError("must not hold a newline or NUL")
    if word and not set(word) & {*BLANKS, *QUOTES, BACKSLASH}:
        return word
    return b"'" + word.replace(b"'", b"'\"'\"'") + b"'"
