"""Our side of ``destroy.py``: end all that a job has on this node, as the epilogue does.

Argument: the job's id. Nothing else is known: what there is, libvirt has to be asked. The answer is
``{"seconds": …}``; the clock starts when everything is imported.
"""

from __future__ import annotations

import json
import os
import sys
import time

import libvirt  # noqa: F401 - as the floor, so that its import is on neither clock

from nornir_torque_vm.config import settings as settings_module
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.engine import Engine
from nornir_torque_vm.hooks.frame import leave
from nornir_torque_vm.model import Node


def main() -> None:
    """End all guests of the job."""
    settings = settings_module.load()
    node = Node(os.uname().nodename)
    began = time.monotonic()
    report = Engine(settings, Deadline.after(30.0)).destroy([node], sys.argv[1])
    seconds = time.monotonic() - began
    assert report.ok, report.sentences()
    assert report.hosts[0].changed, "there was nothing to end"
    print(json.dumps({"seconds": seconds}), flush=True)
    leave(0)


if __name__ == "__main__":
    main()
