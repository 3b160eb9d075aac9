"""Small Nornir objects for tests: hosts by name, nothing on disk, no plugin loaded."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from nornir.core import Nornir
from nornir.core.configuration import Config, LoggingConfig
from nornir.core.inventory import ConnectionOptions, Defaults, Groups, Host, Hosts, Inventory
from nornir.core.plugins.connections import ConnectionPluginRegister
from nornir.core.plugins.runners import RunnerPlugin
from nornir.core.processor import Processor, Processors
from nornir.core.task import Result, Task

from nornir_torque_vm.connections.libvirt import LibvirtConnection
from nornir_torque_vm.runners.deadline import DeadlineRunner

logging.getLogger("nornir").addHandler(logging.NullHandler())  # else failing tasks fill the screen


def nornir_of(
    hosts: int | Iterable[str],
    runner: RunnerPlugin | None = None,
    processors: Iterable[Processor] = (),
    uris: Mapping[str, str] | None = None,
    **extras: Any,
) -> Nornir:
    """Return Nornir over hosts ``h0``, ``h1`` … or those named; ``uris`` gives them a libvirt."""
    names = [f"h{n}" for n in range(hosts)] if isinstance(hosts, int) else list(hosts)
    ConnectionPluginRegister.register("libvirt", LibvirtConnection)
    made = {name: Host(name=name) for name in names}
    for name, uri in (uris or {}).items():
        made[name].connection_options["libvirt"] = ConnectionOptions(extras={"uri": uri, **extras})
    inventory = Inventory(hosts=Hosts(made), groups=Groups(), defaults=Defaults())
    return Nornir(
        inventory=inventory,
        runner=runner or DeadlineRunner(),
        config=Config(logging=LoggingConfig(enabled=False)),
        processors=Processors(list(processors)),
    )


def noop(task: Task) -> Result:
    """Succeed at once."""
    return Result(host=task.host)


def eventually(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Whether it becomes true within that time."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return condition()
