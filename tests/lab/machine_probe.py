"""Runs inside a node of the lab: starts one guest after the other, each as its settings and request say.

Reads cases as JSON from standard input: name → settings that differ from the node's, and the request. Prints,
as one JSON object, what libvirt and the kernel say of each case's guest, or why there is none.
"""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

from nornir_torque_vm.accounts import caller
from nornir_torque_vm.config.settings import DEFAULT_PATH, loads
from nornir_torque_vm.connections.virconnect import pool
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.engine import Engine
from nornir_torque_vm.errors import TorqueVMError
from nornir_torque_vm.images import image_for
from nornir_torque_vm.inventory.build import build_inventory
from nornir_torque_vm.lab.files import toml
from nornir_torque_vm.machine.shape import shape_of
from nornir_torque_vm.model import Job, Node, Plan
from nornir_torque_vm.plan import make_plan
from nornir_torque_vm.report import Report
from nornir_torque_vm.request import parse_request
from nornir_torque_vm.sshkeys import make_job_keys
from nornir_torque_vm.tasks import prepare_image, start_guest

JOB = "4900.machine"
NODE = Node("node1")


def start(engine: Engine, request: str) -> Plan:
    """Survey, plan and start a job's guests on this node.

    :raises TorqueVMError: they cannot be had.
    """
    asked = parse_request([request])
    facts, survey = engine.survey([NODE], shape=shape_of(asked, engine.settings))
    assert survey.ok, survey.sentences()
    plan = make_plan(
        asked,
        engine.settings,
        Job(JOB, "machine", caller()),
        [NODE],
        image_for(asked, engine.settings),
        facts,
    )
    inventory = build_inventory(plan, engine.settings, keys=make_job_keys([g.name for g in plan.guests]))
    for task in (prepare_image, start_guest):  # what the guest is has been settled before it boots
        report = Report.from_results(engine.run(inventory, task, role="guest"))
        assert report.ok, report.sentences()
    return plan


def truth(engine: Engine, plan: Plan) -> dict[str, Any]:
    """What libvirt says of a job's first guest, and the kernel of its emulator."""
    guest = plan.guests[0]
    conn = pool.acquire(engine.settings.local_uri, 1).wait(10)
    pid, words = next(
        (path, words)
        for path in Path("/proc").glob("[0-9]*")
        if guest.uuid in " ".join(words := argv_of(path))
    )
    return {
        "xml": conn.lookupByName(guest.domain).XMLDesc(0),
        "guests": len(plan.guests),
        "argv": words,
        "sockets": inet_sockets(pid),
    }


def argv_of(process: Path) -> list[str]:
    """The words a process was started with; empty when it has ended."""
    try:
        return (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def inet_sockets(process: Path) -> list[str]:
    """Lines of the kernel's tables of TCP and UDP sockets that are the process's."""
    own = {str(fd.readlink()) for fd in (process / "fd").iterdir()}
    tables = [process / "net" / name for name in ("tcp", "tcp6", "udp", "udp6")]
    lines = [line for table in tables if table.exists() for line in table.read_text().splitlines()[1:]]
    return [line for line in lines if f"socket:[{line.split()[9]}]" in own]


def main() -> None:
    """Go through the cases; whatever happens, leave no guest."""
    before = tomllib.loads(Path(DEFAULT_PATH).read_text())
    seen: dict[str, Any] = {}
    for name, (changes, request) in json.load(sys.stdin).items():
        engine = Engine(loads(toml(before | changes)), Deadline.after(60))
        try:
            seen[name] = truth(engine, start(engine, request))
        except TorqueVMError as error:
            seen[name] = {"refused": str(error)}
        finally:
            assert Engine(engine.settings, Deadline.after(30)).destroy([NODE], JOB).ok
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
