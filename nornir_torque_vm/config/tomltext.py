"""TOML as text: values and comments as they are written, and the lines on which names stand."""

from __future__ import annotations

import dataclasses
import json
import textwrap
import tomllib
from collections.abc import Iterator
from typing import Any

LONGEST = 50
"""Lines of one statement at most, where statements are looked at one by one."""
WIDTH = 100
"""Characters of a comment line at most, without its ``# ``."""


@dataclasses.dataclass(frozen=True, slots=True)
class Statement:
    """A line, or several, of a TOML file: where it begins, its first line, what it states or the mistake."""

    line: int
    text: str
    stated: dict[str, Any]
    problem: str = ""

    @property
    def table(self) -> bool:
        """Whether it begins a table."""
        return self.text.lstrip().startswith("[")


def toml_value(value: object) -> str:
    """Return a number, a text, a truth value or a list of texts as TOML writes it, on one line."""
    # JSON's escapes are TOML's too; but JSON leaves DEL as it is, and writes other planes as two halves.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def toml_comment(text: str) -> str:
    """Return ``text`` as comment lines; what a comment cannot hold, or a terminal cannot show, is escaped."""
    words = " ".join(text.split())
    legible = "".join(char if char.isprintable() else repr(char)[1:-1] for char in words)
    return "\n".join(f"# {line}" for line in textwrap.wrap(legible, WIDTH, break_on_hyphens=False) or [""])


def statements(text: str) -> Iterator[Statement]:
    """Yield what a TOML file states, one after the other; after a mistake go on with the next line.

    Tables are not followed: their names come as if they stood outside.
    """
    lines = text.split("\n")
    begin = 0
    while begin < len(lines):
        problem = ""
        for end in range(begin + 1, min(begin + LONGEST, len(lines)) + 1):
            try:
                stated = tomllib.loads("\n".join(lines[begin:end]))
            except ValueError as error:
                problem = problem or str(error).partition(" (at ")[0]
                continue  # perhaps in the middle of a value of several lines
            yield Statement(begin + 1, lines[begin], stated)
            begin = end
            break
        else:
            yield Statement(begin + 1, lines[begin], {}, problem)
            begin += 1


def key_lines(text: str) -> dict[str, int]:
    """Return the line on which each name of a valid TOML file begins to be set, outside of tables.

    Names are as they are written, quotes aside.
    """
    found: dict[str, int] = {}
    for statement in statements(text):
        if statement.table:
            break
        for name in statement.stated:
            found.setdefault(name, statement.line)
    return found
