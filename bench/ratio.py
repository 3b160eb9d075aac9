"""What pairs of measurements say: their ratios, the middle of them, how far they spread. Pure."""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

LEAST = 7
"""Fewer measurements get no verdict. With seven, the median of what they are drawn from lies between the
lowest and the highest of them with a probability of 98 % (:meth:`Measured.confidence`)."""

HEADINGS = ("what", "n", "ours", "floor", "result", "lowest, highest", "limit", "verdict")


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """One line of the table: what was measured how often, and what it may be.

    ``ours`` and ``floor`` are measurements in the order they were taken, in ``unit``, the n-th of one
    next to the n-th of the other. Without floor the limit is one of ``ours`` itself; without limit they are
    only shown.

    :raises ValueError: nothing was measured, not in pairs, or a floor of nothing.
    """

    bench: str
    case: str
    limit: float | None
    ours: Sequence[float]
    floor: Sequence[float] = ()
    unit: str = "s"
    notes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """What else is worth keeping; only in the JSON."""

    def __post_init__(self) -> None:
        """Refuse what has no ratio."""
        if not self.ours or (self.floor and len(self.floor) != len(self.ours)):
            raise ValueError(f"{len(self.ours)} measurements and {len(self.floor)} of the floor are no pairs")
        if any(value <= 0.0 for value in self.floor):
            raise ValueError("a floor of nothing has no ratio")

    @property
    def values(self) -> tuple[float, ...]:
        """What the limit is about: the ratio of each pair, or our own measurements."""
        if not self.floor:
            return tuple(self.ours)
        return tuple(ours / floor for ours, floor in zip(self.ours, self.floor, strict=True))

    @property
    def middle(self) -> float:
        """Median of :attr:`values`."""
        return statistics.median(self.values)

    @property
    def lowest(self) -> float:
        """The best of :attr:`values`."""
        return min(self.values)

    @property
    def highest(self) -> float:
        """The worst of :attr:`values`."""
        return max(self.values)

    @property
    def confidence(self) -> float:
        """How likely the true median is between lowest and highest, whatever the distribution."""
        return 1.0 - 2.0 * 0.5 ** len(self.values)

    @property
    def verdict(self) -> str:
        """``ok``, ``over`` (the limit), ``too few`` measurements to say, or ``-`` where there is no limit."""
        if self.limit is None:
            return "-"
        if len(self.values) < LEAST:
            return "too few"
        return "ok" if self.middle <= self.limit else "over"

    def to_json(self, **facts: Any) -> str:
        """Return one line of JSON; ``facts`` about the machine come last."""
        line = {
            "bench": self.bench, "case": self.case, "unit": self.unit, "limit": self.limit,
            "verdict": self.verdict, "median": _short(self.middle), "lowest": _short(self.lowest),
            "highest": _short(self.highest), "ours": [*map(_short, self.ours)],
            "floor": [*map(_short, self.floor)], **self.notes, **facts,
        }  # fmt: skip
        return json.dumps(line, ensure_ascii=False)

    def row(self) -> tuple[str, ...]:
        """The cells of the table's line, as :data:`HEADINGS`."""
        sign = "x" if self.floor else f" {self.unit}"
        floor = f"{statistics.median(self.floor):.2f} {self.unit}" if self.floor else "-"
        return (
            f"{self.bench}: {self.case}", str(len(self.ours)),
            f"{statistics.median(self.ours):.2f} {self.unit}", floor, f"{self.middle:.2f}{sign}",
            f"{self.lowest:.2f}, {self.highest:.2f}",
            "-" if self.limit is None else f"{self.limit:g}{sign}", self.verdict,
        )  # fmt: skip


def table(measured: Iterable[Measured]) -> str:
    """Return the measurements as a table that people can read and Markdown understands."""
    rows = [HEADINGS, *(entry.row() for entry in measured)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = tuple("-" * width for width in widths)
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |"
        for row in (rows[0], rule, *rows[1:])
    )


def _short(value: float) -> float:
    return round(value, 4)
