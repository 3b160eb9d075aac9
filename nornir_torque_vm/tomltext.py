"""TOML as text: values and comments as they are written, and the lines on which names stand."""

from __future__ import annotations

import json
import textwrap
import tomllib

WIDTH = 100
"""Characters of a comment line at most, without its ``# ``."""


def toml_value(value: object) -> str:
    """Return a number, a text, a truth value or a list of texts as TOML writes it, on one line."""
    # JSON's escapes are TOML's too; but JSON leaves DEL as it is, and writes other planes as two halves.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def toml_comment(text: str) -> str:
    """Return ``text`` as comment lines; what a comment cannot hold, or a terminal cannot show, is escaped."""
    words = " ".join(text.split())
    legible = "".join(char if char.isprintable() else repr(char)[1:-1] for char in words)
    return "\n".join(f"# {line}" for line in textwrap.wrap(legible, WIDTH, break_on_hyphens=False) or [""])


def key_lines(text: str) -> dict[str, int]:
    """Return the line on which each name of a TOML file begins to be set, outside of tables.

    Names are as they are written, quotes aside. Nothing is returned of what follows a syntax error.
    """
    lines = text.split("\n")
    found: dict[str, int] = {}
    begin = 0
    for end in range(1, len(lines) + 1):
        try:
            stated = tomllib.loads("\n".join(lines[begin:end]))
        except ValueError:
            continue  # in the middle of a value of several lines
        if lines[begin].lstrip().startswith("["):
            break  # the names of a table are not settings
        for name in stated:
            found.setdefault(name, begin + 1)
        begin = end
    return found
