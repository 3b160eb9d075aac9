"""Runs inside a node of the lab: guests of two jobs on one node, each within the slot its job has there.

Prints, as one JSON object, what each plan says, what libvirt and the kernel say of its running guest, and why
a third job gets none; the same of a job that has all a node gives where the host keeps a core. Argument: name
of the image.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from nornir_torque_vm.accounts import caller
from nornir_torque_vm.config.settings import load
from nornir_torque_vm.connections.virconnect import pool
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.engine import Engine
from nornir_torque_vm.errors import TorqueVMError
from nornir_torque_vm.images import image_for
from nornir_torque_vm.inventory.build import build_inventory
from nornir_torque_vm.model import Job, Node, Plan
from nornir_torque_vm.plan import make_plan
from nornir_torque_vm.report import Report
from nornir_torque_vm.request import parse_request
from nornir_torque_vm.sshkeys import make_job_keys
from nornir_torque_vm.tasks import prepare_image, start_guest

JOBS = {
    "whole": ("4800.pin", (0, 1), 2),
    "first": ("4801.pin", (0,), 2),
    "second": ("4802.pin", (1,), 2),
    "third": ("4803.pin", (1,), 2),
    "rest": ("4804.pin", (0,), 1),
}
"""Job, slots, and the slots of the node."""
seen: dict[str, Any] = {}


def start(engine: Engine, name: str, request: str) -> Plan:
    """Survey, plan and start one job's guest on this node.

    :raises TorqueVMError: it cannot be had.
    """
    job_id, slots, size = JOBS[name]
    asked = parse_request([request])
    node = Node("node1", len(slots), indexes=slots, np=size)
    facts, survey = engine.survey([node])
    assert survey.ok, survey.sentences()
    image = image_for(asked, engine.settings)
    plan = make_plan(asked, engine.settings, Job(job_id, "pin", caller()), [node], image, facts)
    inventory = build_inventory(plan, engine.settings, keys=make_job_keys([g.name for g in plan.guests]))
    for task in (prepare_image, start_guest):  # that is all: where it runs is settled before it boots
        report = Report.from_results(engine.run(inventory, task, role="guest"))
        assert report.ok, report.sentences()
    return plan


def truth(engine: Engine, plan: Plan) -> dict[str, Any]:
    """What the plan, libvirt and the kernel say of a job's guest."""
    (guest,) = plan.guests
    conn = pool.acquire(engine.settings.local_uri, 1).wait(10)
    domain = conn.lookupByName(guest.domain)
    pid = next(
        int(path.name)
        for path in Path("/proc").iterdir()
        if path.name.isdigit() and guest.uuid in command_line(path)
    )
    threads = {}
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        facts = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
        threads[f"{facts['Name']} {facts['Pid']}"] = facts["Cpus_allowed_list"]
    assert guest.placement is not None
    place = guest.placement
    return {"cpus": place.cpus, "vcpus": place.vcpus, "xml": domain.XMLDesc(0), "allowed": threads}


def command_line(process: Path) -> str:
    """The words a process was started with; empty when it has ended."""
    try:
        return (process / "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def main() -> None:
    """Start, look, refuse; whatever happens, leave no guest."""
    settings = load("/etc/torque-vm/settings.toml")
    engine = Engine(settings, Deadline.after(150))
    base = f"ram=192M,img={sys.argv[1]}"
    try:
        seen["whole"] = truth(engine, start(engine, "whole", f"{base},vcpus=2,vcpu_pinning=true"))
        assert engine.destroy([Node("node1")], JOBS["whole"][0]).ok
        for name, how in (("first", "vcpus=1"), ("second", "vcpus=1,vcpu_pinning=false")):
            seen[name] = truth(engine, start(engine, name, f"{base},{how}"))
        try:
            start(engine, "third", f"{base},vcpus=1")
        except TorqueVMError as error:
            seen["third"] = {"type": type(error).__name__, "said": str(error)}
        for name in ("first", "second"):
            assert engine.destroy([Node("node1")], JOBS[name][0]).ok
        keeping = Engine(dataclasses.replace(settings, host_os_core_count=1), Deadline.after(60))
        try:
            seen["rest"] = truth(keeping, start(keeping, "rest", f"{base},vcpus=1"))
        except TorqueVMError as error:
            seen["rest"] = {"said": str(error)}
    finally:
        for job_id, *_ in JOBS.values():
            Engine(settings, Deadline.after(30)).destroy([Node("node1")], job_id)
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
