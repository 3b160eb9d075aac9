"""Runs inside a node of the lab: two guests of a job with processors kept for I/O and with shared memory.

Prints, as one JSON object, what the plan, libvirt, the kernel and the guests say of them, and what is left
when the guests are killed without anybody stopping components, and when the reaper has been there. Argument:
name of the image.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

from nornir.core.inventory import Inventory
from nornir.core.task import Result, Task

from nornir_torque_vm.accounts import caller
from nornir_torque_vm.components.base import When
from nornir_torque_vm.components.running import start, verify
from nornir_torque_vm.config.settings import Settings, load
from nornir_torque_vm.connections.virconnect import pool
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.engine import Engine
from nornir_torque_vm.images import image_for
from nornir_torque_vm.inventory.build import build_inventory
from nornir_torque_vm.model import Distro, Job, Node, Plan
from nornir_torque_vm.plan import make_plan
from nornir_torque_vm.reap.reaper import Reaper
from nornir_torque_vm.report import Report
from nornir_torque_vm.request import parse_request
from nornir_torque_vm.sshkeys import make_job_keys

JOB = "4810.components"
NODE = Node("node1", 2, indexes=(0, 1), np=2)
ASKED = "ram=192M,vcpus=1,vms_per_node=2,vcpu_pinning=false,iocm=true,unclot=true,unclot_shmem=1M"
DEVICES = "cd /sys/bus/pci/devices; for one in *; do echo $(cat $one/vendor) $(cat $one/device) $one; done"
seen: dict[str, Any] = {}


def threads(plan: Plan, rank: int) -> dict[str, str]:
    """Every thread of a guest's emulator, and the processors the kernel lets it have."""
    (pid,) = (
        path.name
        for path in Path("/proc").iterdir()
        if path.name.isdigit() and plan.guests[rank].uuid in command_line(path)
    )
    found = {}
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        facts = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
        found[f"{facts['Name']} {facts['Pid']}"] = facts["Cpus_allowed_list"]
    return found


def command_line(process: Path) -> str:
    """The words a process was started with; empty when it has ended."""
    try:
        return (process / "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def in_guest(task: Task, command: str) -> Result:
    """Run shell text in a guest as root."""
    done = task.host.get_connection("guest_ssh", task.nornir.config).run(command)
    return Result(host=task.host, result=f"{done.stdout}{done.stderr}")


def shared(directory: str) -> dict[str, list[int]]:
    """Files of shared memory on the node: mode, owner and size by name of the folder."""
    return {
        path.parent.name: [path.stat().st_mode & 0o777, path.stat().st_uid, path.stat().st_size]
        for path in Path(directory).glob("*/*")
    }


def pools(conn: Any, settings: Settings) -> list[str]:
    """Names of the node's storage pools that are in memory, or where every account can put files."""
    described = [(pool.name(), pool.XMLDesc(0)) for pool in conn.listAllStoragePools()]
    return sorted(name for name, text in described if settings.ramdisk_dir in text or "/dev/shm" in text)


def main() -> None:
    """Boot, look, crash, reap; whatever happens, leave nothing."""
    settings = dataclasses.replace(
        load("/etc/torque-vm/settings.toml"), iocm_enabled=True, iocm_max_cores_default=1,
        unclot_enabled=True, unclot_distros=(Distro.DEBIAN,),
    )  # fmt: skip
    engine = Engine(settings, Deadline.after(150))
    asked = parse_request([f"{ASKED},img={sys.argv[1]}"])
    try:
        facts, survey = engine.survey([NODE])
        assert survey.ok, survey.sentences()
        image = image_for(asked, settings)
        plan = make_plan(asked, settings, Job(JOB, "components", caller()), [NODE], image, facts)
        keys = make_job_keys([guest.name for guest in plan.guests])
        boot = engine.boot(plan, keys)
        seen["boot"] = boot.report.sentences()
        seen["places"] = [dataclasses.asdict(g.placement) for g in plan.guests if g.placement is not None]
        conn = pool.acquire(settings.local_uri, 1).wait(10)
        seen["xml"] = conn.lookupByName(plan.guests[0].domain).XMLDesc(0)
        seen["threads"] = [threads(plan, guest.rank) for guest in plan.guests]
        seen["shared"] = shared(settings.ramdisk_dir)
        seen["open"] = pools(conn, settings)
        inventory = build_inventory(plan, settings, keys=keys, addresses=boot.addresses)
        seen["devices"] = said(engine, inventory, DEVICES)
        address = f"0x$(head -n 3 /sys/bus/pci/devices/{device()}/resource | tail -n 1 | cut -c 3-18)"
        enable = f"echo 1 >/sys/bus/pci/devices/{device()}/enable; "
        said(
            engine,
            inventory,
            f'[ "$(hostname)" != j4810-r0 ] || {{ {enable}devmem {address} 32 0x7043beef; }}',
        )
        seen["memory"] = said(engine, inventory, f"{enable}devmem {address} 32")
        seen["seconds"] = min(cost(engine, inventory, plan) for _ in range(3))
        assert engine.close(plan).ok
        seen["closed"] = pools(conn, settings)
        for guest in plan.guests:  # as a crash would: nobody stops anything
            conn.lookupByName(guest.domain).destroy()
        seen["crashed"] = shared(settings.ramdisk_dir)
        outcome = Reaper(settings, Deadline.after(30), grace=0.0, node="node1").run_for(JOB)
        seen["reaped"] = [[case.fate, case.leftovers.names("component")] for case in outcome.cases]
        seen["after"] = list(map(str, Path(settings.ramdisk_dir).iterdir()))
    finally:
        Engine(settings, Deadline.after(30)).destroy([NODE], JOB)
    print(json.dumps(seen))


def cost(engine: Engine, inventory: Inventory, plan: Plan) -> float:
    """Seconds that everything takes which components do in a prologue, with guests that run."""
    began = time.monotonic()
    for one in (When.BEFORE_BOOT, When.AFTER_BOOT):
        assert not start(engine, inventory, plan.components, one).bad
    assert not verify(engine, inventory, plan.components).bad
    return time.monotonic() - began


def said(engine: Engine, inventory: Inventory, command: str) -> dict[str, str]:
    """What a command printed in each guest."""
    results = engine.run(inventory, in_guest, role="guest", command=command)
    assert Report.from_results(results).ok, Report.from_results(results).sentences()
    return {name: multi[0].result for name, multi in results.items()}


def device() -> str:
    """Where the first guest has the shared memory on its bus."""
    (line,) = [line for line in seen["devices"]["j4810-r0"].splitlines() if "0x1af4 0x1110" in line]
    return str(line.split()[2])


if __name__ == "__main__":
    main()
