"""What the words of a shell script are made of, read without executing anything.

Quotes, arrays, and the two expansions that depend on nothing but the file itself (``$NAME`` and
``${NAME:-default}`` with its sisters) are read as bash reads them. All other expansions are recognized,
so that what follows them is read rightly, and become a :class:`Dynamic` part.
"""

from __future__ import annotations

import bisect
import dataclasses
import re

from nornir_torque_vm.errors import SettingsError

_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_ARRAY = re.compile(r"[A-Za-z_]\w*\+?=\(", re.ASCII)
_DEFAULT = re.compile(r":?[-=]")
_SPECIAL = frozenset("@*#?-$!0123456789")


@dataclasses.dataclass(frozen=True, slots=True)
class Variable:
    """``$name``, or ``${name<operator>default}`` with one of ``-``, ``:-``, ``=``, ``:=``."""

    name: str
    operator: str = ""
    default: tuple[Part, ...] = ()
    quoted: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Dynamic:
    """Something only a running shell can know, by its source text."""

    text: str


Part = str | Variable | Dynamic


@dataclasses.dataclass(frozen=True, slots=True)
class Word:
    """One word: its line, its source text, and what it is made of; of an array, its elements."""

    line: int
    text: str
    parts: tuple[Part, ...] = ()
    elements: tuple[Word, ...] | None = None

    @property
    def literal(self) -> str:
        """The word without its quotes; its source text when it has expansions."""
        return "".join(map(str, self.parts)) if all(isinstance(p, str) for p in self.parts) else self.text


@dataclasses.dataclass(frozen=True, slots=True)
class Operator:
    """A control operator, a redirection (its target follows as a word) or a line end."""

    line: int
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class _Mode:
    """Where a run of parts ends and what its characters mean."""

    ends: frozenset[str]
    quoted: bool = False
    element: bool = False


_WORD = _Mode(frozenset(" \t\n;&|<>()"))
_ELEMENT = _Mode(_WORD.ends, element=True)
_DOUBLE = _Mode(frozenset('"'), quoted=True)
_IN_BRACES = {False: _Mode(frozenset("}")), True: _Mode(frozenset("}"), quoted=True)}


class WordReader:
    """A position in a script, and how words are read from there.

    Commands may stand inside a word, so it needs a subclass that reads :meth:`token` by token.
    """

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self._line_ends = [match.start() for match in re.finditer("\n", text)]

    def token(self) -> Word | Operator | None:
        """Return the next token of the script, None at its end."""
        raise NotImplementedError

    def word(self) -> Word:
        """Read the word that begins here."""
        begin = self.at
        array = _ARRAY.match(self.text, begin)
        if array is None:
            return self.word_from(begin, self._parts(_WORD))
        self.at = array.end()
        return self.word_from(begin, (), self._elements(begin))

    def word_from(
        self, begin: int, parts: tuple[Part, ...], elements: tuple[Word, ...] | None = None
    ) -> Word:
        """Return the word whose source text goes from ``begin`` to here."""
        return Word(self.line(begin), self.text[begin : self.at].replace("\\\n", ""), parts, elements)

    def line(self, at: int) -> int:
        """Number of the line that position is on, from 1."""
        return bisect.bisect_left(self._line_ends, at) + 1

    def char(self) -> str:
        """The character at this position, empty at the end."""
        return self.text[self.at : self.at + 1]

    def sees(self, prefix: str) -> bool:
        """Whether the text goes on with ``prefix``."""
        return self.text.startswith(prefix, self.at)

    def substitution(self) -> bool:
        """Whether a process substitution begins here."""
        return self.sees("<(") or self.sees(">(")

    def _endless(self, begin: int) -> SettingsError:
        start = self.text[begin : begin + 12].partition("\n")[0]
        return SettingsError(f"line {self.line(begin)}: what begins with {start} never ends")

    def skip_blanks(self) -> None:
        """Go to what comes next on this line, over blanks, continued lines and a comment."""
        while char := self.char():
            if char in " \t":
                self.at += 1
            elif self.sees("\\\n"):
                self.at += 2
            elif char == "#":
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            else:
                return

    def _elements(self, begin: int) -> tuple[Word, ...]:
        """The words of an array up to its closing bracket."""
        found: list[Word] = []
        while True:
            self.skip_blanks()
            char, at = self.char(), self.at
            if not char:
                raise self._endless(begin)
            if char in _WORD.ends and not self.substitution():
                self.at += 1
                if char == ")":
                    return tuple(found)
                if char != "\n":
                    raise SettingsError(f"line {self.line(at)}: {char} inside an array")
            else:
                found.append(self.word_from(at, self._parts(_ELEMENT)))

    def _parts(self, mode: _Mode) -> tuple[Part, ...]:
        """What a word is made of, up to a character that ends it in this mode."""
        found: list[Part] = []
        begin = self.at
        inside = mode.ends is _WORD.ends
        while (char := self.char()) and (char not in mode.ends or (inside and self.substitution())):
            for part in self._part(char, mode, begin):
                if isinstance(part, str) and found and isinstance(found[-1], str):
                    found[-1] += part
                else:
                    found.append(part)
        return tuple(found)

    def _part(self, char: str, mode: _Mode, begin: int) -> tuple[Part, ...]:
        """Read on by one part, which begins with ``char``; the run of parts began at ``begin``."""
        at = self.at
        if char == "$":
            return self._expansion(quoted=mode.quoted)
        if char == "\\":
            return self._escaped(mode)
        if char in {'"', "'"} and mode is not _DOUBLE:
            parts = self._double() if char == '"' else (self._single(),)
            # In "${…}" quotes hide a bracket, and yet are text, or change what a backslash means.
            return (Dynamic(self.text[at : self.at]),) if mode.quoted else parts
        self.at += 1
        if char == "`":
            self._skip_to("`", at)
        elif char in "<>" and mode.ends is _WORD.ends:
            self.at += 1
            self._skip_commands(at)
        elif mode.quoted or not self._expands(char, mode, at == begin):
            return (char,)
        return (Dynamic(self.text[at : self.at]),)

    def _expands(self, char: str, mode: _Mode, first: bool) -> bool:
        """Whether an unquoted character stands for a home directory, or in an array for file names."""
        if char == "~":
            return first or self.text[self.at - 2] in "=:"
        return mode.element and char in "*?[{"

    def _escaped(self, mode: _Mode) -> tuple[Part, ...]:
        """A backslash and what follows it."""
        self.at += 2
        pair = self.text[self.at - 2 : self.at]
        if pair == "\\\n":
            return ()
        if mode.quoted and pair[1:] not in {*mode.ends, "$", "`", '"', "\\"}:
            return (pair,)
        return (pair[1:] or "\\",)

    def _single(self) -> str:
        begin = self.at
        end = self.text.find("'", begin + 1)
        if end < 0:
            raise self._endless(begin)
        self.at = end + 1
        return self.text[begin + 1 : end]

    def _double(self) -> tuple[Part, ...]:
        begin, self.at = self.at, self.at + 1
        parts = self._parts(_DOUBLE)
        self._close(begin)
        return ("", *parts)

    def _close(self, begin: int) -> None:
        """Go over the character that ended a run of parts."""
        if not self.char():
            raise self._endless(begin)
        self.at += 1

    # Expansions

    def _expansion(self, *, quoted: bool) -> tuple[Part, ...]:
        begin = self.at
        self.at += 1
        char = self.char()
        name = _NAME.match(self.text, self.at)
        if name is not None:
            self.at = name.end()
            if not self.sees("\\\n"):  # the name goes on in the next line
                return (Variable(name[0], quoted=quoted),)
        elif char == "{":
            return (self._braced(begin, quoted=quoted),)
        elif char == '"' and not quoted:
            return ()  # $"…" is "…" in the user's language
        elif self.sees("((") or char == "[":
            self.skip_balanced(char, {"(": ")", "[": "]"}[char], begin)
        elif char == "(":
            self.at += 1
            self._skip_commands(begin)
        elif char == "'" and not quoted:
            self.at += 1
            self._skip_to("'", begin)
        elif char in _SPECIAL and char:
            self.at += 1
        elif not self.sees("\\\n"):
            return ("$",)
        return (Dynamic(self.text[begin : self.at]),)

    def _braced(self, begin: int, *, quoted: bool) -> Part:
        """What stands in ``${…}``."""
        name = _NAME.match(self.text, self.at + 1)
        operator = _DEFAULT.match(self.text, name.end()) if name else None
        if name and (operator or self.text.startswith("}", name.end())):
            self.at = (operator or name).end()
            default = self._parts(_IN_BRACES[quoted])
            self._close(begin)
            return Variable(name[0], operator[0] if operator else "", default, quoted)
        self.skip_balanced("{", "}", begin)
        return Dynamic(self.text[begin : self.at])

    def _skip_to(self, end: str, begin: int) -> None:
        """Go over the next ``end`` that has no backslash before it."""
        while (char := self.char()) and char != end:
            self.at += 2 if char == "\\" else 1
        self._close(begin)

    def skip_balanced(self, opening: str, closing: str, begin: int) -> None:
        """Go over a bracket, which is here, and all up to the one that closes it."""
        depth = 0
        while char := self.char():
            if char == "'":
                self._single()
            elif char == '"':
                self._double()
            else:
                self.at += 2 if char == "\\" else 1
                depth += (char == opening) - (char == closing)
                if not depth:
                    return
        raise self._endless(begin)

    def _skip_commands(self, begin: int) -> None:
        """Go over commands up to the bracket that closes them."""
        depth = 1
        while depth:
            token = self.token()
            if token is None:
                raise self._endless(begin)
            if isinstance(token, Word) and token.text == "case":
                raise SettingsError(f"line {token.line}: a case inside brackets cannot be read")
            depth += (token.text == "(") - (token.text == ")") if isinstance(token, Operator) else 0
