"""Collects which host spent how long in which phase, for :class:`~nornir_torque_vm.timeline.Timeline`."""

from __future__ import annotations

from nornir_torque_vm.phases import PHASES
from nornir_torque_vm.processors.base import Event, EventProcessor, Kind
from nornir_torque_vm.timeline import Span, Timeline


class TimelineProcessor(EventProcessor):
    """Keep one span per host and phase, over any number of runs.

    A span starts at wall-clock seconds since the epoch, so that spans of several processes can be put
    together; its length is measured on the monotonic clock. Phases are what :mod:`..phases` lists,
    at any depth; a task that did nothing of that kind is a phase of its own.
    """

    def __init__(self) -> None:
        super().__init__()
        self.spans: list[Span] = []
        self._has_phases: set[str] = set()

    def timeline(self) -> Timeline:
        """What was collected so far."""
        return Timeline(tuple(self.spans))

    def handle(self, event: Event) -> None:
        """Keep the event if it ends a phase."""
        if event.kind is Kind.HOST_START:
            self._has_phases.discard(event.host)
        elif event.kind is Kind.STEP_END and event.task in PHASES:
            self._has_phases.add(event.host)
            self._keep(event)
        elif event.kind is Kind.HOST_END and event.host not in self._has_phases:
            self._keep(event)

    def _keep(self, event: Event) -> None:
        if event.started is None or event.seconds is None or event.status is None:
            return  # it never began
        self.spans.append(Span(event.host, event.phase, event.started, event.seconds, event.status))
