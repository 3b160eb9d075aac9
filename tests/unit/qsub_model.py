"""What TORQUE's qsub makes of words and of a script, read apart from the wrapper's own readers.

Options are what glibc's ``getopt`` says they are, as in qsub itself; the rest follows, statement by
statement, what TORQUE 6.1.3 does (src/cmds/qsub_functions.c: find_job_script_index, get_script,
make_argv). What is undefined there is :class:`Undefined` here. Everything is bytes.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
from collections.abc import Iterator, Sequence

TABLE = b"a:A:b:c:C:d:D:e:EfF:hi:Ij:J:k:K:l:L:m:M:nN:o:p:P:q:r:S:t:T:u:v:Vw:W:Xxz-:"
BLANKS = b" \t\n\v\f\r"
BUFFER, DOS_BUFFER, LOOKED_AT = 32768, 2048, 50

Words = Sequence[bytes]
Option = tuple[str, bytes | None]
LIBC = ctypes.CDLL(None)


class Refused(Exception):
    """qsub ends and says why."""


class Undefined(Exception):
    """qsub reads beyond its buffer, so nobody knows what it does."""


class NoValue(Exception):
    """A ``-vm`` is the last word."""


@contextlib.contextmanager
def posixly(correct: bool) -> Iterator[None]:
    """Set or unset POSIXLY_CORRECT for this process and its ``getopt``."""
    before = os.environ.pop("POSIXLY_CORRECT", None)
    try:
        if correct:
            os.environ["POSIXLY_CORRECT"] = "1"
        yield
    finally:
        os.environ.pop("POSIXLY_CORRECT", None)
        if before is not None:
            os.environ["POSIXLY_CORRECT"] = before


@dataclasses.dataclass(frozen=True)
class Meaning:
    """Options in order, operands, and how often ``getopt`` objected."""

    options: list[Option]
    operands: list[bytes]
    objections: int


def getopt(words: Words) -> Meaning:
    """Ask glibc."""
    optind, opterr = (ctypes.c_int.in_dll(LIBC, name) for name in ("optind", "opterr"))
    optarg = ctypes.c_char_p.in_dll(LIBC, "optarg")
    argv = (ctypes.c_char_p * (len(words) + 2))(b"qsub", *words, None)
    options: list[Option] = []
    objections = optind.value = opterr.value = 0
    while (code := LIBC.getopt(len(words) + 1, argv, TABLE)) != -1:
        if chr(code) == "?":
            objections += 1
        else:
            options.append((chr(code), optarg.value))
    return Meaning(options, [word or b"" for word in argv[optind.value : len(words) + 1]], objections)


def without_requests(words: Words, written: Sequence[bool] | None = None) -> tuple[list[bytes], list[bytes]]:
    """Return the words without ``-vm`` and its values, and the values.

    A ``-vm`` is one where ``getopt`` finds a mark in its place to be an option.

    :param written: for each word whether it can be a request at all.
    :raises NoValue: there is nothing behind one.
    """
    left, may, values, at = list(words), list(written or [True] * len(words)), list[bytes](), 0
    while at < len(left):
        marked = [*left[:at], b"-v\1mark", *left[at + 1 :]]
        if left[at] == b"-vm" and may[at] and ("v", b"\1mark") in getopt(marked).options:
            if at + 1 == len(left):
                raise NoValue
            values.append(left[at + 1])
            del left[at : at + 2], may[at : at + 2]
        else:
            at += 1
    return left, values


@dataclasses.dataclass(frozen=True)
class Scan:
    """The script's place among the words (None: standard input), the prefix, and whether ``-I`` was seen."""

    place: int | None
    prefix: bytes
    interactive: bool


def scan(words: Words) -> Scan:
    """Look for the script as qsub does before it reads any option."""
    prefix, interactive, ignore_next = b"#PBS", False, False
    for place, word in enumerate(words):
        if ignore_next:
            ignore_next = False
        elif word[:1] != b"-":
            return Scan(place, prefix, interactive)
        elif word[1:2] == b"I":
            interactive = True
        elif word == b"-" or word[1:2] + b":" in TABLE:
            ignore_next = len(word) <= 2
            if word[1:2] == b"C":
                prefix = words[place + 1] if place + 1 < len(words) else b""
    return Scan(None, prefix, interactive)


@dataclasses.dataclass(frozen=True)
class Directive:
    """``script[start:stop]``, its words, and for each whether it reads ``-vm`` in one piece of the script."""

    start: int
    stop: int
    words: list[bytes]
    written: list[bool]


@dataclasses.dataclass(frozen=True)
class Header:
    """The directives qsub obeys until it refuses the script; ``end`` is what it says then, if it does."""

    directives: list[Directive]
    end: str = ""


def read_header(script: bytes, prefix: bytes, *, from_file: bool) -> Header:
    """Return the directives of a script.

    :raises Undefined: there is an open backslash at the end of one.
    """
    found: list[Directive] = []
    try:
        if from_file:
            _check_text(script)
        for directive in _directives(script, prefix):
            found.append(directive)  # noqa: PERF402 - those before the end count
    except Refused as error:
        return Header(found, str(error))
    return Header(found)


def _directives(script: bytes, prefix: bytes) -> Iterator[Directive]:
    at = 0
    while at < len(script) and prefix:
        text, stop = _fgets(script, at, BUFFER)
        if _bytes(text[-2:]) == b"\r\n":
            del text[-2]
        line = _bytes(text)
        bare = line.lstrip(BLANKS)
        if bare.startswith(prefix):
            body = len(line) - len(bare) + len(prefix)
            while _bytes(text[-2:]) == b"\\\n":
                del text[-2:]
                if stop == len(script):
                    raise Refused("unexpected end")
                more, stop = _fgets(script, stop, BUFFER - len(text))
                text += more
            words = list(_make_argv(text[body:]))
            whole = [_bytes(word) for word in words]
            yield Directive(at, stop, whole, [_in_one_piece(word) for word in words])
        elif bare and not bare.startswith(b"#") and not line.startswith(b":"):
            return
        at = stop


Text = list[tuple[int, int]]
"""Bytes, each with its place in the script."""


def _bytes(text: Text) -> bytes:
    return bytes(byte for byte, _place in text)


def _in_one_piece(word: Text) -> bool:
    return _bytes(word) == b"-vm" and word[-1][1] - word[0][1] == 2


def _fgets(script: bytes, at: int, size: int) -> tuple[Text, int]:
    newline = script.find(b"\n", at)
    stop = min(at + size - 1, len(script), newline + 1 if newline >= 0 else len(script))
    nul = script.find(b"\0", at, stop)
    return [(script[place], place) for place in range(at, stop if nul < 0 else nul)], stop


def _check_text(script: bytes) -> None:
    for byte in script[:LOOKED_AT]:
        if not 32 <= byte < 127 and byte not in BLANKS:
            raise Refused("no text")
    at = 0
    while at < len(script):
        text, at = _fgets(script, at, DOS_BUFFER)
        if _bytes(text[-2:-1]) == b"\r":
            raise Refused("no text: DOS")


def _make_argv(text: Text) -> Iterator[Text]:
    """Split at blanks; quotes of both kinds and backslashes protect."""
    word: Text | None = None
    at = 0
    while at < len(text):
        byte = text[at][0]
        if byte in b"'\"":
            close = next((place for place in range(at + 1, len(text)) if text[place][0] == byte), None)
            if close is None:
                raise Refused("unmatched")
            word = (word or []) + text[at + 1 : close]
            at = close
        elif byte == 92:
            at += 1
            if at == len(text):
                raise Undefined
            word = (word or []) + text[at : at + 1]
        elif byte not in BLANKS:
            word = (word or []) + text[at : at + 1]
        elif word is not None:
            yield word
            word = None
        at += 1
    if word is not None:
        yield word
