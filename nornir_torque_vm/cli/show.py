"""How commands show what they found: a table for people, JSON for programs."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from nornir_torque_vm.report import Report


def table(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Left-aligned columns, two blanks apart, for a terminal or a pipe."""
    cells = [list(titles), *[[str(cell) for cell in row] for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(titles))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells)
    return "\n".join(line.rstrip() for line in lines)


def as_json(value: Any) -> str:
    """JSON of dataclasses and plain values, indented."""
    return json.dumps(value, indent=2, default=_plain)


def show_report(
    report: Report, *, json_wanted: bool, titles: Sequence[str], rows: Iterable[Sequence[object]]
) -> None:
    """Print what went well as a table and what did not as sentences on stderr; or all of it as JSON."""
    if json_wanted:
        print(as_json(report.to_dict(data=True)))
        return
    found = list(rows)
    if found:
        print(table(titles, found))
    for sentence in report.sentences():
        print(f"torque-vm: {sentence}", file=sys.stderr)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return str(value)
