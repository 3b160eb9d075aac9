"""Puts the user's disk away at a job's end, so that all that was written is on it before the guests go."""

from __future__ import annotations

import dataclasses

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.engine import Engine
from nornir_torque_vm.hooks.frame import log_unforeseen
from nornir_torque_vm.inventory.build import build_inventory
from nornir_torque_vm.model import Plan
from nornir_torque_vm.processors.events import JsonLinesEvents
from nornir_torque_vm.report import Report
from nornir_torque_vm.runstate.history import History
from nornir_torque_vm.runstate.jobstate import JobState
from nornir_torque_vm.tasks.unmount_disk import unmount_disk

HOOK = "disk"
SHARE = 0.5
"""Part of what is left of an epilogue's time that the disk may take; the rest is for removing guests."""


def put_away(settings: Settings, deadline: Deadline, state: JobState | None, history: History) -> list[str]:
    """Unmount the job's disk and shut its guest down; return what went wrong, in words.

    Never an error: the guests have to go. The guest is gone afterwards, whether it obeyed or not.

    :param deadline: the hook's.
    """
    try:
        plan = state.plan() if state is not None else None
        if state is None or plan is None or plan.disk is None or not state.addresses():
            return []
        return _put_away(settings, deadline, plan, state, history)
    except Exception as error:  # noqa: BLE001 - nothing here may keep guests alive
        log_unforeseen(HOOK, history.job_id, error)
        return [f"its disk was not put away: {error}"]


def _put_away(
    settings: Settings, deadline: Deadline, plan: Plan, state: JobState, history: History
) -> list[str]:
    first = plan.guests[0]
    (node,) = (node for node in plan.nodes if node.name == first.node)
    own = Deadline.after(min(settings.shutdown_timeout, deadline.remaining() * SHARE))
    alone = dataclasses.replace(plan, guests=(first,), nodes=(node,))
    with history.events() as events:
        engine = Engine(settings, own, [JsonLinesEvents(events, history.job_id)])
        inventory = build_inventory(alone, settings, keys=state.keys(), addresses=state.addresses())
        half = own.remaining() * SHARE
        let_go = Report.from_results(engine.run(inventory, unmount_disk, role="guest", seconds=half))
        engine = Engine(settings, deadline, [JsonLinesEvents(events, history.job_id)])
        # Even when it was unmounted: a site's own services may have something to save there.
        engine.destroy((node,), plan.job.id, domains=[first.domain], graceful=own.remaining())
    return list(let_go.sentences())
