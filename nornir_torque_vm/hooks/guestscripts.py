"""The scripts in a job's guests, as hooks see them: what they said is kept, those after the job are run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.engine import Engine
from nornir_torque_vm.guestscripts.script import in_order
from nornir_torque_vm.hooks.frame import log_unforeseen
from nornir_torque_vm.inventory.build import build_inventory
from nornir_torque_vm.processors.events import JsonLinesEvents
from nornir_torque_vm.report import Report
from nornir_torque_vm.runstate.history import History
from nornir_torque_vm.runstate.jobstate import JobState
from nornir_torque_vm.tasks.run_guest_script import ScriptRun

HOOK = "guest scripts"
SHARE = 0.5
"""Part of an epilogue's time that is kept for removing the guests, if ``teardown_margin`` is more."""


def keep_said(history: History, runs: Iterable[tuple[str, ScriptRun]]) -> None:
    """Keep in the history what scripts printed in which guest; nothing of those that printed nothing."""
    for guest, run in runs:
        if run.output:
            history.write_script(run.kind, guest, run.output.encode())


def run_epilogues(
    settings: Settings, deadline: Deadline, state: JobState | None, history: History
) -> list[str]:
    """Run the scripts of a job's end in its guests; return what went wrong, in words.

    Never an error: the guests have to go. Nothing is run in guests that were never handed over, nor a second
    time when the epilogue runs again.

    :param deadline: the hook's, of which the scripts leave what removing the guests needs.
    """
    try:
        return _run(settings, deadline, state, history)
    except Exception as error:  # noqa: BLE001 - nothing here may keep guests alive
        log_unforeseen(HOOK, history.job_id, error)
        return [f"scripts in its guests were not run: {error}"]


def _run(settings: Settings, deadline: Deadline, state: JobState | None, history: History) -> list[str]:
    scripts = in_order(state.scripts(), before=False) if state is not None else ()
    if state is None or not scripts:
        return []
    plan, keys, addresses = state.plan(), state.keys(), state.addresses()
    state.drop_scripts()
    if plan is None or keys is None or not addresses:
        return []
    left = deadline.remaining()
    own = Deadline.after(left - min(settings.teardown_margin, left * SHARE))
    with history.events() as events:
        engine = Engine(settings, own, [JsonLinesEvents(events, history.job_id)])
        inventory = build_inventory(plan, settings, keys=keys, addresses=addresses)
        ran = engine.run_scripts(inventory, scripts, go_on=True)
    keep_said(history, [run for _, found in ran for run in found])
    entries = [entry for report, _ in ran for entry in report.hosts]
    history.write("scripts", Report(tuple(dataclasses.replace(entry, data={}) for entry in entries)))
    return [sentence for report, _ in ran for sentence in report.sentences()]
