"""The live display of a terminal. Imports rich, so it is imported for terminals only."""

from __future__ import annotations

from typing import TextIO

from nornir.core.inventory import Host
from nornir.core.task import Task
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Task as Row
from rich.text import Text

from nornir_torque_vm.phases import phase_of
from nornir_torque_vm.processors.base import Event, EventProcessor, Kind
from nornir_torque_vm.processors.tally import Tally

MAX_ROWS = 16
"""Hosts shown with a row of their own while they run."""
REFRESH_PER_SECOND = 5


class _Bar(ProgressColumn):
    """A bar for the run; nothing for its hosts, of which nobody knows how far they are."""

    def __init__(self) -> None:
        super().__init__()
        self._bar = BarColumn(bar_width=24)

    def render(self, task: Row) -> RenderableType:
        return Text() if task.total is None else self._bar.render(task)


class RichProgress(EventProcessor):
    """A bar per run, a row per running host that names its phase, a line per verdict above them."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False)
        self._progress: Progress | None = None
        self._bar = TaskID(0)
        self._rows: dict[str, TaskID] = {}
        self._started = 0
        self._total: int | None = None
        self._tally = Tally()

    def hosts_selected(self, _task: Task, hosts: list[Host]) -> None:
        """How many hosts the run is about; only the deadline runner says so, others are counted."""
        self._total = len(hosts)
        if self._progress is not None:
            self._show_count(self._progress)

    def handle(self, event: Event) -> None:
        """Update the display."""
        self._tally.note(event)
        if event.kind is Kind.RUN_START:
            self._start(event)
        elif self._progress is not None:
            self._update(self._progress, event)

    def close(self) -> None:
        """Give the terminal back, cursor and all."""
        super().close()
        self._stop()

    def _start(self, event: Event) -> None:
        self._rows.clear()
        self._started, self._total = 0, None
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            _Bar(),
            TextColumn("{task.fields[count]}", markup=False),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            refresh_per_second=REFRESH_PER_SECOND,
        )
        self._bar = self._progress.add_task(phase_of(event.task), total=1, count="")
        self._progress.start()

    def _update(self, shown: Progress, event: Event) -> None:
        if event.kind is Kind.HOST_START:
            self._started += 1
            self._show_count(shown)
            if len(self._rows) < MAX_ROWS:
                self._rows[event.host] = shown.add_task(f"  {event.host}", total=None, count="")
        elif event.kind is Kind.STEP_START and event.host in self._rows:
            shown.update(self._rows[event.host], description=f"  {event.host}  {event.phase}")
        elif event.kind is Kind.HOST_END:
            if event.host in self._rows:
                shown.remove_task(self._rows.pop(event.host))
            self._show_count(shown)
            self._console.print(self._tally.verdict(event))
        elif event.kind is Kind.RUN_END:
            self._stop()
            self._console.print(self._tally.summary(event))

    def _show_count(self, shown: Progress) -> None:
        ended, total = self._tally.ended, self._total or self._started
        shown.update(self._bar, completed=ended, total=total, count=f"{ended}/{total}")

    def _stop(self) -> None:
        shown, self._progress = self._progress, None
        if shown is not None:
            shown.stop()
