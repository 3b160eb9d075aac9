"""What components add to a prologue of four guests, for ``components.py``: runs in a lab's first node.

Arguments: how often, directory of a file system in memory, node names. Boots guests of a job with processors
kept for I/O and shared memory, then does again what components do in a prologue, with nothing around it. The
answer is ``{"load": …, "steps": […]}``: seconds until the components are loaded, once per process, and for
all their steps, each time.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time

from nornir_torque_vm.accounts import caller
from nornir_torque_vm.components.base import When
from nornir_torque_vm.components.loading import load_all
from nornir_torque_vm.components.running import start, verify
from nornir_torque_vm.config import settings as settings_module
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.engine import Engine
from nornir_torque_vm.hooks.frame import leave
from nornir_torque_vm.images import image_for
from nornir_torque_vm.inventory.build import build_inventory
from nornir_torque_vm.model import Distro, Job, Node
from nornir_torque_vm.plan import make_plan
from nornir_torque_vm.request import parse_request
from nornir_torque_vm.sshkeys import make_job_keys

ASKED = "ram=192M,vcpus=1,vms_per_node=2,vcpu_pinning=false,iocm=true,unclot=true,unclot_shmem=1M"
JOB = "3.components"
SECONDS = 120.0


def main() -> None:
    """Boot, take the times, leave nothing."""
    times, memory, *names = sys.argv[1:]
    settings = dataclasses.replace(
        settings_module.load(), iocm_enabled=True, iocm_max_cores_default=1, unclot_enabled=True,
        unclot_distros=(Distro.DEBIAN,), ramdisk_dir=memory,
    )  # fmt: skip
    began = time.monotonic()
    assert load_all(settings)
    loaded = time.monotonic() - began
    engine, request = Engine(settings, Deadline.after(SECONDS)), parse_request([ASKED])
    nodes = [Node(name, 2, indexes=(0, 1), np=2) for name in names]
    try:
        facts, _ = engine.survey(nodes)
        image = image_for(request, settings)
        plan = make_plan(request, settings, Job(JOB, "components", caller()), nodes, image, facts)
        keys = make_job_keys([guest.name for guest in plan.guests])
        boot = engine.boot(plan, keys)
        assert boot.report.ok, boot.report.sentences()
        inventory = build_inventory(plan, settings, keys=keys, addresses=boot.addresses)
        steps = []
        for _ in range(int(times)):
            began = time.monotonic()
            for when in (When.BEFORE_BOOT, When.AFTER_BOOT):
                assert not start(engine, inventory, plan.components, when).bad
            assert not verify(engine, inventory, plan.components).bad
            steps.append(time.monotonic() - began)
    finally:
        Engine(settings, Deadline.after(SECONDS)).destroy(nodes, JOB)
    print(json.dumps({"load": loaded, "steps": steps}), flush=True)
    leave(0)


if __name__ == "__main__":
    main()
