"""Read JSON-lines events back: to show a hook's progress elsewhere, and for timelines of past jobs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from nornir_torque_vm.errors import Blame
from nornir_torque_vm.model import Plan
from nornir_torque_vm.phases import PHASES, is_after, is_step
from nornir_torque_vm.processors.base import Event, Kind
from nornir_torque_vm.report import Failure, Status
from nornir_torque_vm.timeline import Span, Timeline


def read_events(lines: Iterable[bytes]) -> Iterator[Event]:
    """The events of a file that :class:`~.events.JsonLinesEvents` wrote; damaged lines are passed over."""
    for line in lines:
        try:
            found = json.loads(line)
            yield from_dict(found)
        except (ValueError, KeyError, TypeError):
            continue


def from_dict(found: Mapping[str, Any]) -> Event:
    """One event from its JSON form; the inverse of ``events.as_dict`` but for blame, which it does not tell.

    :raises KeyError, ValueError: not such an event.
    """
    error = found["error"]
    return Event(
        t=found["t"],
        run=found["run"],
        kind=Kind(found["event"]),
        task=found["task"],
        host=found["host"] or "",
        status=Status(found["status"]) if found["status"] else None,
        started=found["started"],
        seconds=found["seconds"],
        changed=found["changed"],
        failure=Failure(error["type"], error["message"], error["message"], Blame.SITE, error["code"])
        if error
        else None,
    )


def job_timeline(events: Sequence[Event], plan: Plan) -> Timeline:
    """Where a job's time went, guest by guest, from the events of its prologue and its epilogue.

    A guest runs the job from the end of the last prologue event to the first thing that the epilogue did to
    any of them; destruction and what is done with components is done node by node, so all guests of a node
    share its seconds.
    """
    names = {guest.name for guest in plan.guests}
    spans = [_span(event, event.host) for event in events if event.host in names and _ends_phase(event)]
    ended = (event for event in events if event.kind is Kind.HOST_END and event.started)
    for event in (event for event in ended if is_step(event.task)):
        spans.extend(_span(event, guest.name) for guest in plan.on(event.host))
    ready = max((span.start + span.seconds for span in spans if not is_after(span.phase)), default=None)
    gone = [
        event
        for event in events
        if event.kind is Kind.HOST_END and event.phase == "destroy" and event.started
    ]
    for event in gone:
        spans.extend(_span(event, guest.name) for guest in plan.on(event.host))
    began = min((span.start for span in spans if is_after(span.phase)), default=None)
    if ready is not None and began is not None and gone:
        spans.extend(Span(name, "run", ready, max(0.0, began - ready)) for name in sorted(names))
    return Timeline(tuple(spans))


def _ends_phase(event: Event) -> bool:
    """Whether the event ends a phase of its host; a task made of steps is told by its steps."""
    return event.kind in {Kind.STEP_END, Kind.HOST_END} and event.task in PHASES and event.started is not None


def _span(event: Event, host: str) -> Span:
    return Span(host, event.phase, event.started or event.t, event.seconds or 0.0, event.status or Status.OK)
