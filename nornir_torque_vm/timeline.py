"""Where a job's time went: guest by phase, as a table for people and as JSON."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping

from nornir_torque_vm.report import Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COLUMNS = ("image", "start", "address", "health", "run", "destroy")
"""The phases every timeline shows, in the order a guest goes through them."""
VERSION = 1
"""Of the JSON form."""


@dataclasses.dataclass(frozen=True, slots=True)
class Span:
    """One phase of one host. ``start`` is seconds on any clock that all spans of a timeline share."""

    host: str
    phase: str
    start: float
    seconds: float
    status: Status = Status.OK


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One guest: seconds by phase (a phase it did not reach is missing) and their sum."""

    guest: str
    phases: Mapping[str, float]
    total: float
    trouble: str = ""
    """``late in health`` for the first phase that did not end well, else empty."""


@dataclasses.dataclass(frozen=True, slots=True)
class Timeline:
    """The spans of one job, in any order."""

    spans: tuple[Span, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """:data:`COLUMNS`; other phases by when they first began, before ``run`` or behind all."""
        order = dict.fromkeys(span.phase for span in _by_start(self.spans))
        before = list(order)[: list(order).index("run")] if "run" in order else []
        early = [phase for phase in before if phase not in COLUMNS]
        late = [phase for phase in order if phase not in COLUMNS and phase not in early]
        run = COLUMNS.index("run")
        return (*COLUMNS[:run], *early, *COLUMNS[run:], *late)

    def rows(self) -> tuple[Row, ...]:
        """A row per guest, numbers in names in numerical order; a phase done twice counts both times."""
        guests: dict[str, list[Span]] = {}
        for span in _by_start(self.spans):
            guests.setdefault(span.host, []).append(span)
        return tuple(_row(guest, guests[guest]) for guest in sorted(guests, key=_natural))

    def wall(self) -> Row:
        """Elapsed time: per phase and in total from the first begin to the last end over all guests."""
        phases: dict[str, list[Span]] = {}
        for span in self.spans:
            phases.setdefault(span.phase, []).append(span)
        return Row("wall", {phase: _elapsed(spans) for phase, spans in phases.items()}, _elapsed(self.spans))

    def to_text(self) -> str:
        """The table: seconds with two decimals, ``-`` where a guest never came; ends with a newline."""
        columns = self.columns
        cells = [["seconds", *columns, "total", ""]]
        for row in (*self.rows(), self.wall()):
            times = [f"{row.phases[name]:.2f}" if name in row.phases else "-" for name in columns]
            cells.append([row.guest, *times, f"{row.total:.2f}", row.trouble])
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        return "".join(_line(line, widths) for line in cells)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able form; seconds with three decimals."""
        wall = _row_dict(self.wall())
        return {
            "version": VERSION,
            "unit": "s",
            "guests": [{"guest": row.guest, **_row_dict(row)} for row in self.rows()],
            "wall": {"phases": wall["phases"], "total": wall["total"]},
        }

    def to_json(self) -> str:
        """Return :meth:`to_dict` as indented JSON that ends with a newline."""
        return json.dumps(self.to_dict(), indent=1) + "\n"


def _row(guest: str, spans: Iterable[Span]) -> Row:
    phases: dict[str, float] = {}
    trouble = ""
    for span in spans:
        phases[span.phase] = phases.get(span.phase, 0.0) + span.seconds
        if not span.status.good and not trouble:
            trouble = f"{span.status.replace('_', ' ')} in {span.phase}"
    return Row(guest, phases, sum(phases.values()), trouble)


def _row_dict(row: Row) -> dict[str, Any]:
    phases = {name: round(seconds, 3) for name, seconds in row.phases.items()}
    return {"phases": phases, "total": round(row.total, 3), "trouble": row.trouble}


def _by_start(spans: Iterable[Span]) -> list[Span]:
    return sorted(spans, key=lambda span: span.start)


def _elapsed(spans: Iterable[Span]) -> float:
    spans = tuple(spans)
    if not spans:
        return 0.0
    return max(span.start + span.seconds for span in spans) - min(span.start for span in spans)


def _line(cells: list[str], widths: list[int]) -> str:
    """First column to the left, numbers to the right, the remark behind them."""
    name, *numbers, remark = cells
    padded = [
        name.ljust(widths[0]),
        *(n.rjust(w) for n, w in zip(numbers, widths[1:-1], strict=True)),
        remark,
    ]
    return "  ".join(padded).rstrip() + "\n"


def _natural(name: str) -> list[str | int]:
    """Sort key: runs of digits compare as numbers, so r2 comes before r10.

    Text and digits alternate, so at each place two names have the same kind of part.
    """
    return [int(part) if place % 2 else part for place, part in enumerate(re.split(r"([0-9]+)", name))]
