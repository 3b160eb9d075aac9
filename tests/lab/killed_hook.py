"""A hook as a program, for nodes of the lab: writes down its events, and kills itself at one of them.

Arguments: the file for the events; the event to be killed at, or nothing; the hook's module; its own. Guests
are created paused and count as ready at once: ending them is what it is about.
"""

from __future__ import annotations

import functools
import importlib
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from killing import Killer, announce
from nornir.core.task import Result, Task

from nornir_torque_vm.addresses.model import AddressSource
from nornir_torque_vm.tasks.discover_address import Address

_PAUSED = 1
"""``VIR_DOMAIN_START_PAUSED``."""
_writing = threading.local()


def main() -> None:
    """Run the hook."""
    file, at, module, *arguments = sys.argv[1:]
    killer = Killer(at, lambda: os.kill(os.getpid(), signal.SIGKILL))

    def told(event: str) -> None:
        if not getattr(_writing, "now", False):
            _writing.now = True
            with Path(file).open(
                "a", encoding="utf-8"
            ) as events:  # each anew: a hook may close what it finds
                events.write(f"{event}\n")
            _writing.now = False
            killer(event)

    pause_guests()
    announce(told)
    hook: Any = importlib.import_module(module)
    if hasattr(hook, "Prologue"):
        hook.Prologue = functools.partial(hook.Prologue, probe=lambda _: True)
    sys.argv = [module, *arguments]
    hook.main()


def pause_guests() -> None:
    """Create guests paused, and give them addresses: they will never ask for one."""
    import libvirt

    real = libvirt.virConnect.createXML

    def create(self: Any, xml: str, flags: int = 0) -> Any:
        return real(self, xml, flags | _PAUSED)

    def discover_address(task: Task) -> Result:
        task.host.hostname = "192.0.2.1"
        found = Address(task.host.hostname, AddressSource.NEIGHBOUR, 0.0)
        return Result(host=task.host, result=found)

    libvirt.virConnect.createXML = create
    # Its package has a function of the module's name.
    booting: Any = importlib.import_module("nornir_torque_vm.tasks.boot_guest")
    booting.discover_address = discover_address


if __name__ == "__main__":
    main()
