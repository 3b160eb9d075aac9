"""The keys as a table of Markdown, kept current inside a page.

``python -m nornir_torque_vm.wrapper.keytable docs/submitting.md`` renews it there.
"""

from __future__ import annotations

import sys
from pathlib import Path

from nornir_torque_vm.errors import StateError
from nornir_torque_vm.keys import KEYS

BEGIN, END = "<!-- keys: begin -->\n", "<!-- keys: end -->\n"
"""The lines between which the table stands."""


def table() -> str:
    """Return the table: a row for each key."""
    rows = ["| key | value | meaning | default |", "| --- | --- | --- | --- |"]
    for key in KEYS:
        default = f"setting `{key.default_from}`" if key.default_from else "none"
        rows.append(f"| `{key.name}` | {key.kind.words} | {key.help} | {default} |")
    return "\n".join(rows) + "\n"


def renewed(page: str) -> str:
    """Return the text of a page with the table as it is now.

    :raises StateError: the page has no place for it.
    """
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise StateError(f"the page has no lines {BEGIN.strip()} and {END.strip()}")
    return f"{head}{BEGIN}{table()}{END}{tail}"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(renewed(path.read_text(encoding="utf-8")), encoding="utf-8")
