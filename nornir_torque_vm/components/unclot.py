"""Shared memory between the guests of a job on one node: QEMU's ivshmem without a server.

The memory is a file on the node's file system in memory, ``ramdisk_dir``, in a folder of the attempt's own
(:class:`~nornir_torque_vm.storage.FolderStorage`): guests decide how it begins, and libvirtd must not look at
that. libvirt's ``<shmem>`` knows no directory but ``/dev/shm`` (libvirt 9.0;
https://libvirt.org/formatdomain.html), where every account can put files. So the emulator is given the device
by arguments of its own.

Facts (QEMU 7.2, measured): a file that is not there the guest that starts first makes, so that everybody on
the node can read it, and nobody ever removes it. So it is made before the guests, for the emulator alone, and
removed after them. The folder stays open until the guests are ready, see ``close_folders``: after a start
that failed, and of guests that no prologue started, it can be removed from any node.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Callable, Collection

from nornir.core.task import Result, Task

from nornir_torque_vm.components.base import Component, When
from nornir_torque_vm.components.devices import Extras, SharedMemory
from nornir_torque_vm.components.live import descriptions_of
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.connections.libvirt import mapped
from nornir_torque_vm.deadline import current
from nornir_torque_vm.errors import HypervisorError, RequestError, StorageError, TorqueVMError
from nornir_torque_vm.found import DOMAIN_PREFIX, shared_memory
from nornir_torque_vm.identity import job_tag
from nornir_torque_vm.inventory.hostdata import node_of, plan_of, settings_of
from nornir_torque_vm.model import Guest, Image, Node, Plan
from nornir_torque_vm.request import Request
from nornir_torque_vm.sizes import power_of_two
from nornir_torque_vm.storage import RAMDISK
from nornir_torque_vm.tasks.common import connection, folder_of, ramdisk_of
from nornir_torque_vm.tasks.selection import is_of_job
from nornir_torque_vm.userfiles import owner_emulates

NAME = "unclot"
FILE = "memory"
"""Name of the file in the folder."""
_FOLDER = re.compile(r"tvm-[0-9]+(?:-[0-9]+)?-a[0-9]+-[0-9a-f]{8}-n[0-9]+")
"""Beside it are files and folders of guests, whose names begin with those of domains."""


def component(settings: Settings) -> Component:  # noqa: ARG001 - it has one form only
    """Return the component."""
    return Component(
        name=NAME,
        wanted=wanted,
        shared=shared,
        adjust=adjust,
        start=make_shared_memory,
        verify=verify_shared_memory,
        stop=remove_shared_memory,
        find=find_shared_memory,
        when=When.BEFORE_BOOT,
    )


def wanted(request: Request, settings: Settings, node: Node) -> bool:  # noqa: ARG001 - all nodes have memory
    """Whether the job asked for it, or its site gives it to those that do not say."""
    return settings.unclot_default if request.unclot is None else request.unclot


def shared(request: Request, settings: Settings, image: Image) -> int:
    """Bytes that the guests of a node have together; none where :func:`adjust` leaves it out."""
    if image.distro not in settings.unclot_distros:
        return 0
    asked = request.unclot_shmem
    return power_of_two(settings.unclot_shmem_default if asked is None else asked)


def adjust(plan: Plan, request: Request, settings: Settings) -> Plan:
    """Give every guest the memory of its node; a default does not concern guests that cannot use it.

    :raises RequestError: it was asked for in guests that the site does not offer it to.
    """
    if plan.image.distro not in settings.unclot_distros:
        if request.unclot:
            able = " and ".join(settings.unclot_distros)
            raise RequestError(
                f"unclot works in {able} guests only, and the image is {plan.image.distro}",
                hint="leave unclot away, or choose another image",
            )
        return dataclasses.replace(plan, components=tuple(p for p in plan.components if p.name != NAME))
    size = shared(request, settings, plan.image)
    guests = []
    for guest in plan.guests:
        name = folder_name(plan, guest.node)
        guests.append(_with(guest, SharedMemory(name, size, f"{settings.ramdisk_dir}/{name}/{FILE}")))
    return dataclasses.replace(plan, guests=tuple(guests))


def folder_name(plan: Plan, node: str) -> str:
    """What the folder of a job on one node is called: nobody else's, also where nodes share a directory."""
    return f"{job_tag(plan.job)}-n{[one.name for one in plan.nodes].index(node)}"


def make_shared_memory(task: Task) -> Result:
    """Nornir task: make the file, empty and as large as it will be; it takes memory as guests write to it.

    :raises StorageError: the node has no file system in memory, or the folder is there already.
    """
    plan, node = plan_of(task.host), node_of(task.host)
    memory = _planned(plan.on(node)[0])
    folder = folder_of(task, memory.name, RAMDISK)
    current.get().check()
    user = user_of(plan, lambda: _usual_user(task))
    if not folder.dispose():  # else libvirt would look at what guests have written
        hint = "run torque-vm reap there"
        raise StorageError(f"{folder.path(FILE)} is there already", hint=hint, node=node)
    try:
        folder.hole(FILE, memory.size, user)
    except TorqueVMError:
        with contextlib.suppress(TorqueVMError):  # of two, the first says what is wrong
            folder.dispose()
        raise
    return Result(host=task.host, result=memory.name, changed=True)


def verify_shared_memory(task: Task) -> Result:
    """Nornir task: see that every guest of the job on the node has the memory, and that the file is there.

    :raises HypervisorError: a running guest has not.
    :raises StorageError: the file is gone.
    """
    plan, node = plan_of(task.host), node_of(task.host)
    for guest, domain in descriptions_of(task, plan.on(node)):
        memory = _planned(guest)
        if (memory.name, memory.size) not in shared_memory(domain):
            raise HypervisorError("it runs without its shared memory", node=node, guest=guest.name)
    name = folder_name(plan, node)
    if name not in _names(task):
        raise StorageError(f"{settings_of(task.host).ramdisk_dir}/{name} is gone", node=node)
    return Result(host=task.host)


def remove_shared_memory(task: Task, job_id: str, tags: Collection[str] | None = None) -> Result:
    """Nornir task: remove the shared memory of a job from a node, as the node has it.

    Arguments:
        job_id: whose: ``17.head``; ``17`` for that number of any server
        tags: only of the attempts with these tags; of any by default

    Returns:
        Result object with the following attributes set:
          * changed (``bool``): whether any was removed; what is closed only its node itself removes

    Raises:
        InventoryError: no job id
        StorageError: it could not be removed
        HypervisorError: libvirt refuses or cannot be reached
    """
    names = [name for name in _names(task) if is_of_job(name, job_id, tags)]
    if names:
        current.get().check()
    gone = [folder_of(task, name, RAMDISK).dispose() for name in names]
    return Result(host=task.host, changed=any(gone))


def find_shared_memory(task: Task) -> Result:
    """Nornir task: names of all shared memory of jobs on a node."""
    return Result(host=task.host, result=_names(task))


def _with(guest: Guest, memory: SharedMemory) -> Guest:
    extras = guest.extras or Extras()
    return dataclasses.replace(
        guest, extras=dataclasses.replace(extras, shared_memory=(*extras.shared_memory, memory))
    )


def _planned(guest: Guest) -> SharedMemory:
    """The memory that the plan gives a guest."""
    assert guest.extras is not None  # noqa: S101 - a plan with the component has gone through adjust()
    return guest.extras.shared_memory[0]


def _names(task: Task) -> list[str]:
    """Names of the folders of all jobs on a node; none where it has no file system for them."""
    ramdisk = ramdisk_of(task)
    names = ramdisk.names(DOMAIN_PREFIX) if ramdisk is not None else []
    return [name for name in names if _FOLDER.fullmatch(name)]


def user_of(plan: Plan, usual: Callable[[], tuple[int, int]]) -> tuple[int, int]:
    """Uid and gid of the job's emulators on a node.

    :param usual: tells those that libvirt gives emulators there.
    """
    return (plan.job.owner.uid, plan.job.owner.gid) if owner_emulates(plan) else usual()


def _usual_user(task: Task) -> tuple[int, int]:
    from nornir_torque_vm.capabilities import emulator_user

    with mapped(node_of(task.host)):
        return emulator_user(connection(task).getCapabilities())
