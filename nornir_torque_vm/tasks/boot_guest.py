"""Task: bring a guest from nothing to healthy."""

from __future__ import annotations

import dataclasses

from nornir.core.task import Result, Task

from nornir_torque_vm.addresses.model import AddressSource
from nornir_torque_vm.tasks.check_health import Probe, check_health, preload
from nornir_torque_vm.tasks.common import LIBVIRT
from nornir_torque_vm.tasks.discover_address import discover_address
from nornir_torque_vm.tasks.prepare_image import prepare_image
from nornir_torque_vm.tasks.start_guest import start_guest

CONNECTION_NAME = LIBVIRT


@dataclasses.dataclass(frozen=True, slots=True)
class Booted:
    """A guest that is ready."""

    address: str
    source: AddressSource


def boot_guest(task: Task, command: str = "", probe: Probe | None = None) -> Result:
    """Run :func:`prepare_image`, :func:`start_guest`, :func:`discover_address`, :func:`check_health`.

    Each is a subtask, so processors see them as phases. The first that fails ends it.

    Arguments:
        command: as for check_health
        probe: as for check_health

    Returns:
        Result object with the following attributes set:
          * result (:class:`Booted`): where the guest is
          * changed (``bool``): whether it was started, False when it had been running

    Raises:
        NornirSubTaskError: the subtask's own error is in its result
    """
    task.run(prepare_image)
    started = task.run(start_guest)[0]
    if probe is None:
        preload()
    found = task.run(discover_address)[0].result
    task.run(check_health, command=command, probe=probe)
    return Result(host=task.host, result=Booted(found.address, found.source), changed=started.changed)
