"""One job on libvirt's test driver, from its nodefile to nothing left: what ``orchestration.py`` measures.

Arguments: the directory that ``orchestration.py`` laid out, and seconds that every call of libvirt is to
take longer. The prologue's and the epilogue's own steps, with guests that are healthy at once.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nornir_torque_vm.accounts import caller
from nornir_torque_vm.config import settings as settings_module
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.engine import Engine
from nornir_torque_vm.hooks.frame import leave
from nornir_torque_vm.images import image_for
from nornir_torque_vm.inventory.torque import read_nodefile, server_of
from nornir_torque_vm.model import Job
from nornir_torque_vm.plan import make_plan
from nornir_torque_vm.processors.events import JsonLinesEvents
from nornir_torque_vm.request import find_in_resources
from nornir_torque_vm.sshkeys import make_job_keys

JOB = "1.bench"
SECONDS = 100.0
LOCAL = {"ID", "UUID", "UUIDString", "connect", "getConnect", "isAlive", "name"}
"""Methods that are answered by what the client library knows already, on a connection to any driver."""


def slow_down(seconds: float) -> list[int]:
    """Make every call that would reach a libvirtd take so much longer; return a list that counts them."""
    import libvirt

    calls: list[int] = []

    def slow(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append(1)
            time.sleep(seconds)
            return method(*args, **kwargs)

        return call

    for kind in (libvirt.virConnect, libvirt.virDomain, libvirt.virStoragePool, libvirt.virStorageVol):
        for name, method in list(vars(kind).items()):
            if callable(method) and not name.startswith("_") and name not in LOCAL:
                setattr(kind, name, slow(method))
    libvirt.open = slow(libvirt.open)
    return calls


def main() -> None:
    """Do all of it, and say how many guests there were and how often libvirt was called."""
    folder, pause = Path(sys.argv[1]), float(sys.argv[2])
    calls = slow_down(pause) if pause else []
    settings = settings_module.load(str(folder / "settings.toml"))
    nodes = read_nodefile(str(folder / "nodefile"))
    request = find_in_resources((folder / "resources").read_text(encoding="ascii"))
    assert request is not None
    job = Job(JOB, server_of(JOB, settings), caller())
    with JsonLinesEvents(os.devnull, JOB) as events:
        engine = Engine(settings, Deadline.after(SECONDS), [events])
        facts, found = engine.survey(nodes)
        assert found.ok, found.sentences()
        plan = make_plan(request, settings, job, nodes, image_for(request, settings), facts)
        keys = make_job_keys([guest.name for guest in plan.guests])
        boot = engine.boot(plan, keys, probe=lambda _: True)
        assert boot.report.ok, boot.report.sentences()
        gone = engine.destroy(nodes, JOB)
    assert gone.ok, gone.sentences()
    assert all(node.changed for node in gone.hosts), "a node had nothing to destroy"
    print(json.dumps({"guests": len(plan.guests), "calls": len(calls)}), flush=True)
    leave(0)


if __name__ == "__main__":
    main()
