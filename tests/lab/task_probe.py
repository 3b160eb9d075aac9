"""Runs inside a node of the lab: a plain ``InitNornir`` script that uses the tasks on real guests.

Prints what came of each step as one JSON object. Argument: name of the image.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import sys
from collections.abc import Callable
from typing import Any

from nornir import InitNornir
from nornir.core import Nornir
from nornir.core.task import Task

from nornir_torque_vm.config.settings import load
from nornir_torque_vm.errors import NotHealthy
from nornir_torque_vm.inventory.records import guests_inventory
from nornir_torque_vm.report import Report
from nornir_torque_vm.runners.deadline import DeadlineRunner
from nornir_torque_vm.tasks import (
    boot_guest,
    check_health,
    destroy,
    discover_address,
    list_guests,
    publish_roster,
    survey,
)

logging.getLogger("nornir").addHandler(logging.NullHandler())  # else failing tasks print tracebacks

JOB = "4712.adhoc"
seen: dict[str, Any] = {}


def note(step: str, results: Any) -> None:
    """Keep the verdict, and what the task returned, of every host."""
    seen[step] = {entry.host: entry.to_dict(data=True) for entry in Report.from_results(results).hosts}


def within(nornir: Nornir, seconds: float) -> Nornir:
    """The same hosts with another deadline."""
    return nornir.with_runner(DeadlineRunner(run_timeout=seconds))


def run(nornir: Nornir, step: str, task: Callable[..., Any], **parameters: Any) -> Any:
    """Run a task on good and failed hosts alike and note it."""
    results = nornir.run(task, on_failed=True, name=task.__name__, **parameters)
    note(step, results)
    return results


def panic(task: Task) -> None:
    """Crash the guest's kernel; the connection is lost on the way."""
    ssh = task.host.get_connection("guest_ssh", task.nornir.config)
    with contextlib.suppress(NotHealthy):
        ssh.run("echo c >/proc/sysrq-trigger", timeout=2.0)


def tour(nornir: Nornir) -> None:
    """From nothing to guests on both nodes, and back."""
    nodes, guests = nornir.filter(role="node"), nornir.filter(role="guest")
    run(nodes, "survey", survey)
    run(guests, "boot", boot_guest)
    for source in ("neighbour", "lease", "arp"):
        run(within(guests, 1.5), source, discover_address, sources=[source])
    run(guests, "roster", publish_roster)
    names = " ".join(guests.inventory.hosts)
    run(guests, "named", check_health, command=f"for name in {names}; do grep -w $name /etc/hosts; done")
    run(guests, "refused", check_health, command="echo no such luck >&2; exit 9")
    listed = run(nodes, "listed", list_guests)
    records = [record for multi in listed.values() for record in multi[0].result]
    found = guests_inventory(
        records, load("/etc/torque-vm/settings.toml"), keys=nornir.inventory.defaults.data["job_keys"]
    )
    again = Nornir(inventory=found, runner=nornir.runner, config=nornir.config).filter(role="guest")
    run(again, "again", check_health)
    victim = again.filter(rank=1)
    victim.run(panic, on_failed=True)
    run(within(victim, 20), "panic", check_health)
    run(nodes, "dry", destroy, dry_run=True)
    run(nodes, "gone", destroy)
    run(nodes, "twice", destroy)
    run(nodes, "left", list_guests)


def main() -> None:
    """Do the tour; whatever happens, leave no guest."""
    options = {"hosts": "node1 node2", "job_id": JOB, "request": f"vcpus=1,ram=192M,img={sys.argv[1]}"}
    with InitNornir(
        inventory={"plugin": "TorqueInventory", "options": options},
        runner={"plugin": "deadline", "options": {"run_timeout": 90}},
        logging={"enabled": False},
    ) as nornir:
        try:
            tour(nornir)
        finally:
            nornir.filter(role="node").run(destroy, on_failed=True)
    print(json.dumps(seen, default=plain))


def plain(value: Any) -> Any:
    """Dataclasses as objects, the rest as text."""
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) else str(value)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
