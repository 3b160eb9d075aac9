r"""The ``#PBS`` directives of a job script, read as qsub reads them; ``-vm`` taken out, options put in.

TORQUE 6.1.3, src/cmds/qsub_functions.c: ``get_script`` with ``istext``, ``isWindowsFormat``,
``ispbsdir``, ``isexecutable``. All functions are pure and take scripts as bytes; offsets are into them.

How qsub reads, where it surprises:

* It reads pieces of at most 32767 bytes (``fgets``); a longer line's rest is a line of its own, and
  what follows a NUL in a piece is lost.
* A directive is a piece that begins, after blanks, with the prefix; an option may be glued to it.
* Reading ends at the first other piece that has something but a blank and is no comment: it begins
  with neither ``#`` after blanks nor ``:`` without any.
* Backslash-newline joins the next piece to a directive, whatever it begins with. After two backslashes
  an empty line joins its next one too.
* A carriage return before the newline is dropped, but not in lines that are joined to a directive: a
  backslash before it does not join the next one there.
* ``-C`` in a directive has no effect.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence

from nornir_torque_vm.errors import RequestError
from nornir_torque_vm.wrapper.argv import BLANKS, Unmatched, quote, split_words
from nornir_torque_vm.wrapper.getopt import REQUEST, CommandLine, Option, read_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    Parts = tuple[tuple[int, int], ...]

MAX_LINE = 32768
"""TORQUE's MAX_LINE_LEN: one more than the bytes a piece can have."""

MAX_WORDS = 128
"""TORQUE's MAX_ARGV_LEN: words a directive can have; more of them overwrite qsub's memory."""

_DOS_PIECE = 2048  # ``isWindowsFormat`` reads a file with this buffer, before anything else does
_TEXT = bytes(range(0x20, 0x7F)) + BLANKS
_TEXT_LOOKED_AT = 50


@dataclasses.dataclass(frozen=True, slots=True)
class Directive:
    """A directive: ``script[start:stop]``, joined lines and the last newline included.

    ``line`` is its first line's number, from 1. ``body`` is where its prefix ends. ``spans`` has for each
    word the parts of the script it is written in, several where lines are joined within the word.
    """

    line: int
    start: int
    body: int
    stop: int
    spans: tuple[Parts, ...]
    command: CommandLine

    @property
    def words(self) -> tuple[str, ...]:
        """The words behind the prefix, as qsub gives them to ``getopt``."""
        return self.command.words

    @property
    def is_request(self) -> bool:
        """Whether it holds ``-vm`` and no other option, nor anything qsub objects to."""
        return bool(self.command.requests) and not self.command.options and not self.command.fault


@dataclasses.dataclass(frozen=True, slots=True)
class Header:
    """All directives of a script.

    ``fault`` says in one sentence why qsub refuses the script or what makes its reading of it
    undefined; empty when nothing does. A job with guests is not to be submitted with such a script.
    What ``getopt`` objects to in a directive is in the directive's ``command.fault``.
    """

    directives: tuple[Directive, ...]
    prefix: bytes
    fault: str = ""
    refused: bool = False
    """Whether qsub refuses the script for its ``fault``, and says so itself."""

    @property
    def requests(self) -> list[tuple[int, str]]:
        """The values of all ``-vm``, each with the number of the line its directive begins in."""
        return [(one.line, asked.value) for one in self.directives for asked in one.command.requests]

    @property
    def has_request(self) -> bool:
        """Whether there is any ``-vm``."""
        return any(one.command.requests for one in self.directives)

    @property
    def options(self) -> list[Option]:
        """What qsub itself is asked for by all directives, in order; indexes count each one's words."""
        return [option for one in self.directives for option in one.command.options]


def read_header(
    script: bytes, prefix: str = "#PBS", *, from_stdin: bool = False, posixly_correct: bool = False
) -> Header:
    """Return the directives that qsub would process.

    A word is a request when it reads ``-vm`` and the script has these three bytes in one piece; otherwise
    (``-v"m"``) it is qsub's own ``-v m``.

    :param prefix: from ``-C`` or qsub's default (see ``getopt.scan_words``); "" turns directives off.
    :param from_stdin: qsub reads the script from its standard input: carriage returns and other bytes
        are fine then.
    :param posixly_correct: whether POSIXLY_CORRECT is set; it holds for directives too.
    :raises RequestError: a ``-vm`` without a value.
    """
    marker = os.fsencode(prefix)
    fault = "" if from_stdin else _refusal(script)
    refused = bool(fault)
    directives: list[Directive] = []
    at, line = 0, 1
    while marker and at < len(script) and not fault:
        text, stop = _read_piece(script, at, MAX_LINE)
        if text.endswith(b"\r\n"):
            text = text[:-2] + b"\n"
        body = _after_prefix(text, marker)
        if body:
            joined = _Joined(text, at, stop)
            directive, fault = _read_directive(script, joined, line, body, posixly_correct)
            directives += [directive] if directive else []
            stop = joined.stop
        elif _is_executable(text):
            break
        line += script.count(b"\n", at, stop)
        at = stop
    return Header(tuple(directives), marker, fault, refused)


def _read_directive(
    script: bytes, joined: _Joined, line: int, body: int, posixly_correct: bool
) -> tuple[Directive | None, str]:
    """Return the directive whose first piece is ``joined``, unless qsub ends before, and what is wrong."""
    where = f"script line {line}"
    if not joined.read_on(script):
        return None, f"{where}: the directive ends in a backslash, and the script ends there too"
    try:
        found, open_backslash = split_words(joined.text, body)
    except Unmatched as error:
        return None, f"{where}: unmatched {error} in the directive"
    spans = tuple(joined.spans(word.start, word.stop) for word in found)
    words = tuple(os.fsdecode(word.value) for word in found)
    unwritten = (
        index
        for index, word in enumerate(words)
        if word == REQUEST and not any(os.fsencode(REQUEST) in script[a:b] for a, b in spans[index])
    )
    try:
        command = read_words(words, posixly_correct=posixly_correct, opaque=frozenset(unwritten))
    except RequestError as error:
        raise RequestError(f"{where}: {error.what}", hint=error.hint) from None
    fault = ""
    if open_backslash:
        fault = f"{where}: the directive ends in a backslash that has nothing behind it"
    elif len(words) > MAX_WORDS:
        fault = f"{where}: the directive has more than {MAX_WORDS} words"
    start = joined.start
    return Directive(line, start, start + body, joined.stop, spans, command), fault


class _Joined:
    """The text of a directive, its lines joined, and where in the script its bytes are."""

    def __init__(self, text: bytes, start: int, stop: int) -> None:
        self.text, self.start, self.stop = text, start, stop
        self._origins = [(0, start)]  # for each piece: where it begins in text and in the script

    def read_on(self, script: bytes) -> bool:
        """Read as many more pieces as backslashes join; False: one joins the end of the script."""
        while self.text.endswith(b"\\\n"):
            self.text = self.text[:-2]
            if self.stop == len(script):
                return False
            piece, stop = _read_piece(script, self.stop, MAX_LINE - len(self.text))
            kept = [origin for origin in self._origins if origin[0] < len(self.text)]
            self._origins = [*kept, (len(self.text), self.stop)]
            self.text, self.stop = self.text + piece, stop
        return True

    def spans(self, first: int, last: int) -> Parts:
        """Return the parts of the script that ``text[first:last]`` was read from."""
        parts = []
        ends = [offset for offset, _origin in self._origins[1:]] + [len(self.text)]
        for (offset, origin), end in zip(self._origins, ends, strict=True):
            low, high = max(first, offset), min(last, end)
            if low < high:
                parts.append((origin + low - offset, origin + high - offset))
        return tuple(parts)


def _refusal(script: bytes) -> str:
    """Return why qsub does not even look for directives in a script that is a file."""
    if script[:_TEXT_LOOKED_AT].translate(None, _TEXT):
        return f"qsub refuses a script with other bytes than ASCII text among its first {_TEXT_LOOKED_AT}"
    at = 0 if b"\r" in script else len(script)
    while at < len(script):
        text, at = _read_piece(script, at, _DOS_PIECE)
        if text[-2:-1] == b"\r":
            return "qsub refuses a script with lines that end in carriage return and newline"
    return ""


def _read_piece(script: bytes, at: int, room: int) -> tuple[bytes, int]:
    """Return what ``fgets`` with a buffer of ``room`` bytes reads at ``at`` as a C string; where it stops."""
    stop = script.find(b"\n", at, at + room - 1) + 1 or min(at + room - 1, len(script))
    return script[at:stop].partition(b"\0")[0], stop


def _after_prefix(text: bytes, marker: bytes) -> int:
    """Return where in ``text`` the prefix ends, 0 when it is no directive."""
    blanks = len(text) - len(text.lstrip(BLANKS))
    return blanks + len(marker) if text.startswith(marker, blanks) else 0


def _is_executable(text: bytes) -> bool:
    """Whether reading directives ends at ``text``."""
    return not text.startswith(b":") and text.lstrip(BLANKS)[:1] not in {b"", b"#"}


def neutralise(script: bytes, header: Header) -> bytes:
    """Return ``script`` without its requests; it has as many lines, and its other options stay.

    A directive that only holds requests becomes a comment (``##PBS -vm …``). In any other, and where
    a comment would not be safe, blanks overwrite the words, so that all else stays where it was.
    """
    result = script
    for one in reversed(header.directives):
        if one.command.requests:
            comment = _comment(script, one, header.prefix) if one.is_request else b""
            result = result[: one.start] + (comment or _blanked(script, one)) + result[one.stop :]
    return result


def add_options(script: bytes, header: Header, words: Sequence[str]) -> bytes:
    """Return ``script`` without its requests and with ``words`` as options that win over all it has.

    They go into the last directive, behind its options; there are as many lines as before. The result is
    what a submit filter hands back, which qsub reads as if it came from standard input.

    :param header: of this script, before :func:`neutralise`; it has a directive and no fault.
    :raises RequestError: the directive would become longer than qsub reads, or its prefix is odd.
    :raises ValueError: no directive, or a word that no directive can hold (newline, NUL).
    """
    if not header.directives:
        raise ValueError("must have a directive")
    last = header.directives[-1]
    behind = [option.last for option in last.command.options if option.last < last.command.end]
    place = last.spans[behind[-1]][-1][1] if behind else last.body
    text = b" " + b" ".join(quote(os.fsencode(word)) for word in words)
    text += b"" if behind else b" "  # a word may be glued to the prefix
    too_long = last.stop - last.start + len(text) >= MAX_LINE or len(last.words) + len(words) > MAX_WORDS
    if too_long or header.prefix.endswith((b"\\", b"\n")):  # such a prefix takes part in joining lines
        raise RequestError(
            f"script line {last.line}: no room for the options the guests need",
            hint="write -vm into a directive of its own, the last one",
        )
    blanked = _blanked(script, last)
    place -= last.start
    head = neutralise(script[: last.start], dataclasses.replace(header, directives=header.directives[:-1]))
    return head + blanked[:place] + text + blanked[place:] + script[last.stop :]


def _blanked(script: bytes, directive: Directive) -> bytes:
    """Return the directive's bytes with blanks in place of its requests."""
    result = bytearray(script[directive.start : directive.stop])
    for request in directive.command.requests:
        for first, last in (*directive.spans[request.first], *directive.spans[request.last]):
            result[first - directive.start : last - directive.start] = b" " * (last - first)
    return bytes(result)


def _comment(script: bytes, directive: Directive, marker: bytes) -> bytes:
    """Return the directive's lines as comments; "" where qsub or a shell might read them otherwise."""
    lines = []
    for line in script[directive.start : directive.stop].split(b"\n"):
        bare = line.lstrip(BLANKS)
        commented = line[: len(line) - len(bare)] + b"#" + bare if bare else line
        if _after_prefix(commented, marker) or len(commented) + 1 >= _DOS_PIECE:
            return b""  # the byte more must not bring a carriage return to the end of a piece
        lines.append(commented)
    from_line_start = script[: directive.start][-1:] in {b"", b"\n"}
    to_line_end = not lines[-1] or directive.stop == len(script)
    return b"\n".join(lines) if marker.startswith(b"#") and from_line_start and to_line_end else b""
