"""Keeps what guests that failed said last, before they are removed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Container

from nornir.core.task import Result

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.engine import Boot, Engine
from nornir_torque_vm.errors import NotHealthy
from nornir_torque_vm.hooks.frame import log, log_unforeseen
from nornir_torque_vm.inventory.build import build_inventory
from nornir_torque_vm.model import JobKeys, Plan
from nornir_torque_vm.report import HostReport, Status
from nornir_torque_vm.runstate.history import TAIL, History
from nornir_torque_vm.tasks.read_cloud_init import read_cloud_init
from nornir_torque_vm.tasks.read_console import read_console

HOOK = "prologue"
PATIENCE = 3.0
"""Seconds all guests together get to be heard; a console needs some milliseconds."""
SHARE = 0.2
"""Part of the time that is left which they get at most: the teardown needs the rest."""


def keep_last_words(
    settings: Settings, deadline: Deadline, plan: Plan, keys: JobKeys, boot: Boot, history: History
) -> None:
    """Keep in the history what the guests that failed, or were late, said last.

    Never an error: the guests have to go, heard or not.

    :param deadline: of the teardown.
    """
    patience = Deadline.after(min(PATIENCE, deadline.remaining() * SHARE))
    engine, bad = Engine(settings, patience), {entry.host: entry for entry in boot.report.bad}

    def keep(task: Callable[..., Result], names: Container[str], write: Callable[[str, bytes], None]) -> None:
        guests = tuple(guest for guest in plan.guests if guest.name in names)
        inventory = build_inventory(dataclasses.replace(plan, guests=guests), settings, keys=keys)
        for name, host in inventory.hosts.items():
            host.hostname = boot.addresses.get(name) or host.hostname
        results = engine.run(inventory, task, role="guest", limit=TAIL) if guests else {}
        for name, multi in results.items():
            if not multi.failed and multi[0].result:
                write(name, multi[0].result)

    try:
        failed = {name for name, entry in bad.items() if entry.status is not Status.CANCELLED}
        keep(read_console, failed, history.write_console)
        keep(read_cloud_init, {name for name in failed if _answered(bad[name])}, history.write_cloud_init)
    except Exception as error:  # noqa: BLE001 - nothing here may keep guests alive
        log(HOOK, history.job_id, f"what its guests said last is not kept: {error}")
        log_unforeseen(HOOK, history.job_id, error)


def _answered(entry: HostReport) -> bool:
    """Whether somebody could log in to a guest that failed all the same: then its cloud-init did."""
    return entry.failure is not None and entry.failure.kind == NotHealthy.__name__
