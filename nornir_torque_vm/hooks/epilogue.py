"""The mother superior's root epilogue: every guest and file of the job goes, on every node.

Runs after failed starts too, so it asks libvirt what exists and takes nothing for granted. Its exit
code means nothing to TORQUE.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence

from nornir_torque_vm.addresses.release import given_back
from nornir_torque_vm.config import settings as settings_module
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.engine import Engine
from nornir_torque_vm.hooks.arguments import HookCall, parse_epilogue
from nornir_torque_vm.hooks.datadisk import put_away
from nornir_torque_vm.hooks.figures import keep_figures
from nornir_torque_vm.hooks.frame import cancel_on_signal, log, run_hook
from nornir_torque_vm.hooks.guestscripts import run_epilogues
from nornir_torque_vm.hooks.osvoutput import give_output
from nornir_torque_vm.inventory.torque import read_nodefile
from nornir_torque_vm.model import Node
from nornir_torque_vm.processors.events import JsonLinesEvents
from nornir_torque_vm.report import Report
from nornir_torque_vm.runstate.joblock import job_lock
from nornir_torque_vm.runstate.jobstate import History, JobState

HOOK = "epilogue"


class Epilogue:
    """One run of the epilogue."""

    def __init__(self, call: HookCall, settings: Settings, deadline: Deadline) -> None:
        self.call, self.settings, self.deadline = call, settings, deadline

    def run(self) -> Report:
        """Destroy the job's guests, then forget the job and keep its history.

        A prologue that is still at work has to leave: its job is over.
        """
        run_dir, job_id = self.settings.run_dir, self.call.job_id
        with job_lock(run_dir, job_id, deadline=self.deadline, take_over=True):
            return self.tear_down(self.call.job_id)

    def tear_down(self, job_id: str) -> Report:
        """Do the work of :meth:`run`, which nobody else does meanwhile."""
        state = JobState.find(self.settings.run_dir, job_id)
        nodes = self.nodes(state)
        history = History.latest(self.settings.history_dir, job_id)
        failed = run_epilogues(self.settings, self.deadline, state, history)
        used = keep_figures(self.settings, self.deadline, nodes, history)
        failed += give_output(self.call, self.settings, self.deadline, state, history)
        failed += put_away(self.settings, self.deadline, state, history)
        with history.events() as events:
            engine = Engine(self.settings, self.deadline, [JsonLinesEvents(events, job_id)])
            report = engine.destroy(nodes, job_id)
        history.write("teardown", report)
        said = [f"not cleaned up: {sentence}" for sentence in report.sentences()]
        if report.ok:
            said = [f"guests removed from {len(nodes)} nodes"]
            said += given_back(state, self.settings, self.deadline)
            said += self.forget(nodes)
        log(HOOK, job_id, "; ".join((*said, *failed, *engine.warnings, *used)))
        History.prune(self.settings.history_dir, self.settings.history_days)
        return report

    def forget(self, nodes: Sequence[Node]) -> list[str]:
        """Remove the job's run state here, and what it left on sisters whose epilogue never ran.

        Returns what could not be removed there, in words.
        """
        sisters, left = nodes[1:], []
        if sisters:
            removed = Engine(self.settings, self.deadline).forget(sisters, self.call.job_id)
            left = [f"not forgotten: {sentence}" for sentence in removed.sentences()]
        JobState.forget(self.settings.run_dir, self.call.job_id)
        return left

    def nodes(self, state: JobState | None) -> tuple[Node, ...]:
        """The job's nodes: those of its plan, and those of the nodefile when it got no plan."""
        plan = state.plan() if state is not None else None
        return read_nodefile(self.call.nodefile) if plan is None else plan.nodes


def main() -> None:
    """Entry of ``python -I -m nornir_torque_vm.hooks.epilogue``; argv as a MOM gives it."""
    began = time.monotonic()
    arguments = sys.argv[1:]

    def body() -> Report | None:
        call = parse_epilogue(arguments, os.environ)
        settings = settings_module.load()
        deadline = Deadline(began + settings.prologue_seconds())
        cancel_on_signal(deadline)
        return Epilogue(call, settings, deadline).run()

    run_hook(HOOK, arguments[0] if arguments else "?", body)


if __name__ == "__main__":
    main()
