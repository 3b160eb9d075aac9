"""What programs in guests of OSv print goes to the guests' consoles: it is left beside the job's output.

With the owner's rights, as the consoles of guests that failed are; before the guests are removed.
"""

from __future__ import annotations

import os

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.consolefile.leave import leave
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.engine import Engine
from nornir_torque_vm.errors import TorqueVMError
from nornir_torque_vm.hooks.arguments import HookCall
from nornir_torque_vm.inventory.build import build_inventory
from nornir_torque_vm.model import Distro, Plan
from nornir_torque_vm.runstate.history import TAIL, History
from nornir_torque_vm.runstate.jobstate import JobState
from nornir_torque_vm.tasks.read_console import read_console

PATIENCE = 10.0
"""Seconds all guests together get to be heard."""
SHARE = 0.2
"""Part of the epilogue's time which they get at most: removing guests needs the rest."""


def give_output(
    call: HookCall, settings: Settings, deadline: Deadline, state: JobState | None, history: History
) -> list[str]:
    """Keep the consoles of a job's guests of OSv, and leave them to its owner.

    :returns: what could not be done, a clause each.
    """
    plan = None if state is None else state.plan()
    if plan is None or plan.image.distro is not Distro.OSV:
        return []
    failed = _keep(plan, settings, Deadline.after(min(PATIENCE, deadline.remaining() * SHARE)), history)
    directory, sentence = os.environ.get("PBS_O_WORKDIR", ""), "what its guests of OSv printed"
    try:
        leave(settings, history, call.job_name, directory, plan.job.owner, sentence)
    except TorqueVMError as error:
        failed.append(str(error))
    return failed


def _keep(plan: Plan, settings: Settings, deadline: Deadline, history: History) -> list[str]:
    failed = []
    guests = build_inventory(plan, settings)
    for name, multi in Engine(settings, deadline).run(guests, read_console, role="guest", limit=TAIL).items():
        if multi.failed:
            failed.append(f"the console of {name} is not kept: {multi[0].exception}")
        elif multi[0].result:
            history.write_console(name, multi[0].result)
    return failed
