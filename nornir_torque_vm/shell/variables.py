"""The variables of a shell script and what they expand to, as far as that is sure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from nornir_torque_vm.shell.words import Dynamic, Part, Variable, Word

T = TypeVar("T")
Value = str | tuple[str, ...]

_BASH_SETS = re.compile(
    r"BASH.*|COMP_.*|COPROC|DIRSTACK|EPOCH.*|EUID|FUNCNAME|GROUPS|HISTCMD|HOSTNAME|HOSTTYPE|IFS|LINENO|MACHTYPE|"
    r"MAPFILE|OLDPWD|OPT(ARG|IND|ERR)|OSTYPE|PATH|PIPESTATUS|POSIXLY_CORRECT|PPID|PS[0-9]|PWD|RANDOM|REPLY|"
    r"SECONDS|SHELL(OPTS)?|SHLVL|SRANDOM|TERM|TIMEFORMAT|UID|_"
)


class NotReadableError(Exception):
    """A value depends on more than the script; the message goes on after the variable's name."""


class Variables:
    """What is known of each variable; ``None`` is the value of one that is set to nobody knows what."""

    def __init__(self, known: Mapping[str, str]) -> None:
        self._values: dict[str, Value | None] = dict(known)
        self.spoilt: dict[str, str] = {}
        """Variables of which nothing can be said any more, whatever is assigned, and why."""
        self.defaulted: list[tuple[str, Value | None]] = []
        """Variables that an expansion has set (``${NAME:=default}``) since this list was emptied."""

    def __setitem__(self, name: str, value: Value | None) -> None:
        """Set a variable; nothing becomes known of a spoilt one, or one that bash itself sets."""
        self._values[name] = None if bash_sets(name) or name in self.spoilt else value

    def spoil(self, name: str, why: str) -> None:
        """From now on nothing can be said of a variable."""
        self.spoilt.setdefault(name, why)
        self[name] = None

    def append(self, name: str, value: Value) -> Value:
        """Return what ``NAME+=value`` sets.

        :raises NotReadableError: the value so far is not known, or no text.
        """
        old = self._values.get(name, "")
        if not isinstance(old, str) or not isinstance(value, str):
            raise NotReadableError("is appended to something that cannot be read")
        return old + value

    def value(self, parts: tuple[Part, ...], elements: tuple[Word, ...] | None) -> Value:
        """Return what an assignment's right side means.

        :raises NotReadableError: it depends on more than the script.
        """
        if elements is None:
            return self.expand(parts)
        return tuple(self._all(self._element, elements))

    def _element(self, element: Word) -> str:
        text = self.expand(element.parts)
        if any(isinstance(part, Variable) and not part.quoted for part in element.parts):
            raise NotReadableError(f"has {element.text} without quotes, which may become several words")
        return text

    def expand(self, parts: Iterable[Part]) -> str:
        """Return the text that parts of a word stand for.

        :raises NotReadableError: one depends on more than the script.
        """
        return "".join(self._all(self._text, parts))

    def _all(self, read: Callable[[T], str], things: Iterable[T]) -> list[str]:
        """Read all of ``things`` in any case: each may set a variable. Then raise the first refusal."""
        texts: list[str] = []
        refusals: list[NotReadableError] = []
        for thing in things:
            try:
                texts.append(read(thing))
            except NotReadableError as error:
                refusals.append(error)
        for refusal in refusals:
            raise refusal
        return texts

    def _text(self, part: Part) -> str:
        if isinstance(part, str):
            return part
        if isinstance(part, Dynamic):
            raise NotReadableError(f"has {part.text}, which only a running shell can tell")
        known = part.name in self._values or bash_sets(part.name)
        value = self._values.get(part.name)
        if known and not isinstance(value, str):
            if part.operator.endswith("="):
                self._default(part, None)
            raise NotReadableError(f"has ${part.name}, whose value is not known")
        if isinstance(value, str) and (value or not part.operator.startswith(":")):
            return value
        if not part.operator:
            raise NotReadableError(f"has ${part.name}, which is not set here")
        try:
            text = self.expand(part.default)
        except NotReadableError:
            self._default(part, None)
            raise
        self._default(part, text)
        return text

    def _default(self, part: Variable, value: str | None) -> None:
        if part.operator.endswith("="):
            self[part.name] = value
            self.defaulted.append((part.name, value))


def bash_sets(name: str) -> bool:
    """Whether a shell gives the variable a value, or a meaning, of its own."""
    return _BASH_SETS.fullmatch(name) is not None
