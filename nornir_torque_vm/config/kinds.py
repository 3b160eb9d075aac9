"""Kinds of values a setting or a ``-vm`` key can have: what they are read from and written as.

A kind reads a value from text (command line) or from what TOML and JSON hold. Its :meth:`Kind.parse`
raises :class:`ValueError` with a sentence that begins with "must" and goes on after the field's name;
the field's table turns it into the error class of its users.
"""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections.abc import Iterable, Mapping

from nornir_torque_vm.sizes import format_size, parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BLANKS = " \t"
"""What may stand around a value; Python's own idea of blanks includes control characters."""


class Kind:
    """What values a field takes.

    ``words`` describes them for people and follows the word "must be"; ``choices`` is for
    completion, empty where the values cannot be listed.
    """

    words = ""
    choices: tuple[str, ...] = ()

    def parse(self, raw: object) -> object:
        """Return the value ``raw`` stands for.

        :raises ValueError: a sentence that begins with "must".
        """
        raise NotImplementedError

    def dump(self, value: Any) -> object:
        """Return ``value`` as TOML and JSON hold it; :meth:`parse` gives the same value back."""
        return value

    def text(self, value: Any) -> str:
        """Return ``value`` as one writes it on a command line; :meth:`parse` reads that too."""
        return str(self.dump(value))

    def encode(self, value: Any) -> str:
        """Return ``value`` in the form it has inside a job; :meth:`decode` gives the same value back."""
        return self.text(value)

    def decode(self, text: str) -> object:
        """Return the value that :meth:`encode` had written.

        :raises ValueError: a sentence that begins with "must".
        """
        return self.parse(text)

    def refuse(self) -> ValueError:
        """Return the error that says what the value must be."""
        return ValueError(f"must be {self.words}")


_TRUTH = {
    "true": True, "yes": True, "on": True, "enabled": True,
    "false": False, "no": False, "off": False, "disabled": False,
}  # fmt: skip


class Bool(Kind):
    """true or false; ``yes``, ``on``, ``enabled`` and their opposites read the same."""

    words = "true or false"
    choices = ("true", "false")

    def parse(self, raw: object) -> bool:
        """Read a boolean; refuse 0 and 1, whose meaning the earlier system inverted."""
        if isinstance(raw, bool):
            return raw
        word = str(raw).strip(BLANKS).lower()
        if word in {"0", "1"}:
            raise ValueError(
                "must be true or false; 0 and 1 are refused because their meaning was inverted "
                "in the earlier system (0 was on, 1 was off)"
            )
        if not isinstance(raw, str) or word not in _TRUTH:
            raise self.refuse()
        return _TRUTH[word]

    def text(self, value: bool) -> str:
        """Return ``true`` or ``false``."""
        return "true" if value else "false"


class Int(Kind):
    """A whole number from ``least`` to ``most``."""

    def __init__(self, least: int, most: int) -> None:
        self.least, self.most = least, most
        self.words = f"a whole number from {least} to {most}"

    def parse(self, raw: object) -> int:
        """Read a decimal whole number within the limits."""
        if isinstance(raw, str) and re.fullmatch(r"-?[0-9]{1,18}", raw.strip(BLANKS)):
            raw = int(raw)
        if not isinstance(raw, int) or isinstance(raw, bool) or not self.least <= raw <= self.most:
            raise self.refuse()
        return raw


class Seconds(Kind):
    """A length of time from ``least`` to ``most`` seconds, fractions allowed."""

    def __init__(self, least: float, most: float) -> None:
        self.least, self.most = least, most
        self.words = f"a number of seconds from {least:g} to {most:g}"

    def parse(self, raw: object) -> float:
        """Read a decimal number of seconds within the limits."""
        if isinstance(raw, str) and re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,20})?", raw.strip(BLANKS)):
            raw = float(raw)
        if not isinstance(raw, int | float) or isinstance(raw, bool):
            raise self.refuse()
        if not self.least <= raw <= self.most:  # nan is not within any limits either
            raise self.refuse()
        return float(raw)

    def dump(self, value: float) -> float | int:
        """Return a whole number of seconds without a decimal point."""
        return int(value) if float(value).is_integer() else value


class Size(Kind):
    """A size in bytes, written ``512M`` or ``2G``, from ``least`` bytes up."""

    def __init__(self, least: int) -> None:
        self.least = least
        self.words = f"a size such as 512M or 2G, at least {format_size(least)}"

    def parse(self, raw: object) -> int:
        """Read a size; bytes come back."""
        if isinstance(raw, bool) or not isinstance(raw, int | str):
            raise self.refuse()
        size = parse_size(str(raw).strip(BLANKS))
        if size < self.least:
            raise ValueError(f"must be at least {format_size(self.least)}")
        return size

    def dump(self, value: int) -> str:
        """Return the size with its unit."""
        return format_size(value)


class Text(Kind):
    """One line of text that matches ``pattern`` as a whole; ``""`` too where ``empty``."""

    def __init__(self, pattern: str, words: str, *, empty: bool = False) -> None:
        self.pattern, self.empty = re.compile(pattern), empty
        self.words = f"{words}, or empty" if empty else words

    def parse(self, raw: object) -> str:
        """Read a text; blanks around it do not count."""
        if not isinstance(raw, str):
            raise self.refuse()
        text = raw.strip(BLANKS)
        if not (self.pattern.fullmatch(text) or (self.empty and not text)):
            raise self.refuse()
        return text


class AbsPath(Text):
    """An absolute path other than ``/``, without ``.``, ``..`` or control characters."""

    def __init__(self, *, empty: bool = False) -> None:
        super().__init__(r"/[^\0-\x1f\x7f]*", "an absolute path without '..'", empty=empty)

    def parse(self, raw: object) -> str:
        """Read a path; doubled and trailing slashes go."""
        text = super().parse(raw)
        parts = [part for part in text.split("/") if part]
        if text and (not parts or "." in parts or ".." in parts):
            raise self.refuse()
        return "/" + "/".join(parts) if parts else ""


class Choice(Kind):
    """One of some words, in any case; ``meaning`` maps each word to its value.

    The first word of a value is the one it is written with: others are synonyms.
    """

    def __init__(self, meaning: Mapping[str, str]) -> None:
        self.meaning = meaning
        self.choices = tuple(meaning)
        self.words = _one_of(self.choices)

    def parse(self, raw: object) -> str:
        """Read one of the words."""
        word = raw.strip(BLANKS).lower() if isinstance(raw, str) else ""
        if word not in self.meaning:
            raise self.refuse()
        return self.meaning[word]

    def dump(self, value: str) -> str:
        """Return the first word that has this meaning."""
        return next(word for word, meant in self.meaning.items() if meant == value)


class Words(Kind):
    """A list of different words out of ``meaning``, at least one, in the order given."""

    def __init__(self, meaning: Mapping[str, str]) -> None:
        self._word = Choice(meaning)
        self.choices = self._word.choices
        self.words = f"a list of different words, each {_one_of(self.choices)}"

    def parse(self, raw: object) -> tuple[str, ...]:
        """Read a list, or a text of words with blanks or commas between."""
        if isinstance(raw, str):
            raw = raw.replace(",", " ").split()
        if not isinstance(raw, list | tuple) or not raw:
            raise self.refuse()
        try:
            values = tuple(self._word.parse(word) for word in raw)
        except ValueError:
            raise self.refuse() from None
        if len(set(values)) < len(values):
            raise self.refuse()
        return values

    def dump(self, value: tuple[str, ...]) -> list[str]:
        """Return the words as a list."""
        return [self._word.dump(word) for word in value]

    def text(self, value: tuple[str, ...]) -> str:
        """Return the words with blanks between: a comma separates ``-vm`` keys."""
        return " ".join(self.dump(value))


@dataclasses.dataclass(frozen=True, slots=True)
class Hosts:
    """A set of hosts by pattern: ``""`` none, ``*`` all, else a regular expression.

    The expression has to match the whole host name, either the full or the short one.
    """

    pattern: str

    def matches(self, host: str) -> bool:
        """Whether ``host`` (short or fully qualified) belongs to the set."""
        if self.pattern in {"", "*"}:
            return self.pattern == "*"
        names = (host, host.partition(".")[0])
        return any(re.fullmatch(self.pattern, name, re.IGNORECASE) for name in names)


class HostRegex(Kind):
    """A set of hosts; an expression that cannot be compiled is an error when it is read."""

    words = "'*' for all hosts, empty for none, or a regular expression for whole host names"

    def parse(self, raw: object) -> Hosts:
        """Read a pattern and compile it once, so that a bad one shows now."""
        if not isinstance(raw, str):
            raise self.refuse()
        hosts = Hosts(raw.strip(BLANKS))
        try:
            with warnings.catch_warnings():
                # [[:digit:]], which a shell knows and Python reads as something else, only warns
                warnings.simplefilter("error", FutureWarning)
                re.compile("" if hosts.pattern == "*" else hosts.pattern)
        except (re.error, FutureWarning, OverflowError, RecursionError) as error:
            raise ValueError(f"must be {self.words} ({error})") from None
        return hosts

    def dump(self, value: Hosts) -> str:
        """Return the pattern."""
        return value.pattern


def _one_of(words: Iterable[str]) -> str:
    """Return ``a, b or c``."""
    *head, last = words
    return f"{', '.join(head)} or {last}" if head else last
