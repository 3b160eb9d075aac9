"""Prose to man(7): the little of roff that our manual page needs, with everything escaped.

Texts mark literal words with backquotes (bold) and placeholders with asterisks (italic), as in
```-vm` *key*=*value*``.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable

WIDTH = 78
"""Columns of the source; roff fills paragraphs anew."""

_SPECIAL = {
    "\\": r"\e",
    "-": r"\-",
    "'": r"\(aq",
    "`": r"\(ga",
    "^": r"\(ha",
    "~": r"\(ti",
    '"': r"\(dq",
}
"""Characters that roff would interpret, or that print as something one cannot copy back."""
_MARKED = re.compile(r"`(?P<literal>[^`]+)`|\*(?P<placeholder>[^*\s]+)\*")

_FIRST_PARAGRAPH = re.compile(r"^(\.SH .*\n)\.PP\n", re.MULTILINE)
"""A heading begins a paragraph already."""


def escape(text: str) -> str:
    """Return ``text`` so that roff prints exactly it; whether a line may begin with it is for its user."""
    return "".join(
        _SPECIAL.get(char) or (char if char.isascii() else rf"\[u{ord(char):04X}]") for char in text
    )


def inline(text: str) -> str:
    """Return marked-up ``text`` escaped, with fonts."""
    parts, end = [], 0
    for match in _MARKED.finditer(text):
        parts.append(escape(text[end : match.start()]))
        font = "B" if match["literal"] else "I"
        parts.append(rf"\f{font}{escape(match['literal'] or match['placeholder'])}\fR")
        end = match.end()
    return "".join([*parts, escape(text[end:])])


def page(parts: Iterable[str]) -> str:
    """Return the parts of a page as one text."""
    return _FIRST_PARAGRAPH.sub(r"\1", "".join(parts))


def heading(name: str, source: str) -> str:
    """Return the first lines of a page of section 1.

    It has no date: it is as old as ``source``, the program's version. Words are not hyphenated,
    so that names can be copied.
    """
    return f'.TH {name} 1 "" "{escape(source)}" "User Commands"\n.nh\n.ad l\n'


def paragraph(text: str) -> str:
    """Return a paragraph."""
    return f".PP\n{_filled(text)}"


def section(title: str) -> str:
    """Return a section's heading."""
    return f".SH {escape(title)}\n"


def item(tag: str, text: str) -> str:
    """Return one entry of a list: what it is about, and below it, indented, the text."""
    return f".TP\n{_protected(inline(tag))}\n{_filled(text)}"


def example(lines: Iterable[str]) -> str:
    """Return lines to be shown as they are."""
    shown = "".join(f"{_protected(escape(line))}\n" for line in lines)
    return f".PP\n.in +4n\n.EX\n{shown}.EE\n.in\n"


def _filled(text: str) -> str:
    wrapped = textwrap.wrap(inline(text), WIDTH, break_long_words=False, break_on_hyphens=False)
    return "".join(f"{_protected(line)}\n" for line in wrapped)


def _protected(line: str) -> str:
    """``line``, which roff does not take for a request even if it begins like one."""
    return rf"\&{line}" if line.startswith((".", "'")) else line
