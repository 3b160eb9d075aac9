"""How long the phases of a job's start took, from the events that are kept of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from nornir_torque_vm.monitoring.metrics import Start
from nornir_torque_vm.phases import PHASES, is_after, is_step
from nornir_torque_vm.processors.base import Event, Kind
from nornir_torque_vm.processors.replay import read_events
from nornir_torque_vm.render.metadata import GuestRecord
from nornir_torque_vm.report import Status
from nornir_torque_vm.runstate.history import EVENTS, History
from nornir_torque_vm.runstate.rootdir import RootDir
from nornir_torque_vm.timeline import Span, Timeline


def start_phases(events: Iterable[Event]) -> dict[str, float]:
    """Seconds by phase, each from its first begin to its last end over all guests and nodes. Pure.

    ``total`` is from the first begin of all to the last end. What comes after the job is left out.
    """
    spans = [
        Span(event.host, event.phase, event.started, event.seconds or 0.0, event.status or Status.OK)
        for event in events
        if event.kind in {Kind.STEP_END, Kind.HOST_END}
        and event.started is not None
        and (event.task in PHASES or is_step(event.task))
        and not is_after(event.phase)
    ]
    wall = Timeline(tuple(spans)).wall()
    return {**wall.phases, "total": wall.total} if spans else {}


def starts_of(records: Collection[GuestRecord], history_dir: str, node: str) -> Iterator[Start]:
    """Yield the start of each job that has guests here, if this node has its record: as mother superior.

    :raises StateError: the history cannot be trusted or read.
    """
    attempts = sorted({(one.job_id, one.attempt, one.owner) for one in records})
    if not attempts or not Path(history_dir).is_dir():
        return
    with RootDir.at(history_dir) as root:
        there = set(root.names())
        for job_id, attempt, owner in attempts:
            name = History(history_dir, job_id, attempt).path.name
            if name not in there:
                continue
            with root.sub(name) as record:
                content = record.read(EVENTS) or b""
            if phases := start_phases(read_events(content.splitlines())):
                yield Start(job_id, attempt, owner, node, phases)
