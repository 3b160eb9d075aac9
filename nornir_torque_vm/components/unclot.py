"""Shared memory between the guests of a job on one node: libvirt's ``<shmem>``, ivshmem without a server.

Facts (libvirt 9.0 with QEMU 7.2, measured; https://libvirt.org/formatdomain.html): the file is
``/dev/shm/NAME`` on the node. The guest that starts first makes it, so that everybody there can read it, and
nobody ever removes it. So it is made before the guests, for the emulator alone, and removed after them,
through libvirt as all files of guests are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection

from nornir.core.task import Result, Task

from nornir_torque_vm.components.base import Component, When
from nornir_torque_vm.components.devices import Extras, SharedMemory
from nornir_torque_vm.components.live import descriptions_of
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.connections.libvirt import mapped
from nornir_torque_vm.deadline import current
from nornir_torque_vm.errors import HypervisorError, RequestError, StorageError
from nornir_torque_vm.found import DOMAIN_PREFIX
from nornir_torque_vm.identity import job_tag
from nornir_torque_vm.inventory.hostdata import node_of, plan_of, settings_of
from nornir_torque_vm.model import Guest, Image, Node, Plan
from nornir_torque_vm.request import Request
from nornir_torque_vm.sizes import format_size, power_of_two
from nornir_torque_vm.storage import Kind, Storage
from nornir_torque_vm.tasks.common import connection, uri_of
from nornir_torque_vm.tasks.selection import is_of_job
from nornir_torque_vm.userfiles import owner_emulates

NAME = "unclot"
DIRECTORY = "/dev/shm"  # noqa: S108 - where libvirt has QEMU look for the file; names are ours and made anew
"""Where the files are on every node; libvirt knows no other place."""
_KIND = Kind(DIRECTORY, "torque-vm-shm", made=False)


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
    guests = (_with(guest, SharedMemory(file_name(plan, guest.node), size)) for guest in plan.guests)
    return dataclasses.replace(plan, guests=tuple(guests))


def file_name(plan: Plan, node: str) -> str:
    """What the file of a job on one node is called: nobody else's, also where nodes share a directory."""
    return f"{job_tag(plan.job)}-n{[one.name for one in plan.nodes].index(node)}"


def make_shared_memory(task: Task) -> Result:
    """Nornir task: make the file, empty and as large as it will be; it takes memory as guests write to it.

    :raises StorageError: the node's ``/dev/shm`` is smaller than that.
    """
    plan, node = plan_of(task.host), node_of(task.host)
    memory = _planned(plan.on(node)[0])
    storage = _storage(task)
    room = storage.capacity()
    if room < memory.size:
        raise StorageError(
            f"{format_size(memory.size)} of shared memory is more than {DIRECTORY} has, {room >> 20}M",
            hint="mount it with a larger size=, or lower unclot_shmem",
            node=node,
        )
    current.get().check()
    storage.hole(memory.name, memory.size, user_of(plan, lambda: _usual_user(task)))
    return Result(host=task.host, result=memory.name, changed=True)


def verify_shared_memory(task: Task) -> Result:
    """Nornir task: see that every guest of the job on the node has the memory, and that the file is there.

    :raises HypervisorError: a running guest has not.
    :raises StorageError: the file is gone.
    """
    plan, node = plan_of(task.host), node_of(task.host)
    for guest, domain in descriptions_of(task, plan.on(node)):
        memory = _planned(guest)
        if memory.name not in {shmem.get("name") for shmem in domain.findall("devices/shmem")}:
            raise HypervisorError("it runs without its shared memory", node=node, guest=guest.name)
    name = file_name(plan, node)
    if name not in _storage(task).names(name):
        raise StorageError(f"{DIRECTORY}/{name} is gone", node=node)
    return Result(host=task.host)


def remove_shared_memory(task: Task, job_id: str, tags: Collection[str] | None = None) -> Result:
    """Nornir task: remove the shared memory of a job from a node, as the node has it.

    Arguments:
        job_id: whose: ``17.head``; ``17`` for that number of any server
        tags: only of the attempts with these tags; of any by default

    Returns:
        Result object with the following attributes set:
          * changed (``bool``): whether there was any

    Raises:
        InventoryError: no job id
        StorageError: a file could not be removed
        HypervisorError: libvirt refuses or cannot be reached
    """
    storage = _storage(task)
    names = [name for name in _names(storage) if is_of_job(name, job_id, tags)]
    if names:
        current.get().check()
    gone = [storage.remove(name) for name in names]
    return Result(host=task.host, changed=any(gone))


def find_shared_memory(task: Task) -> Result:
    """Nornir task: names of all shared memory of jobs on a node."""
    return Result(host=task.host, result=_names(_storage(task)))


def _with(guest: Guest, memory: SharedMemory) -> Guest:
    extras = guest.extras or Extras()
    return dataclasses.replace(
        guest, extras=dataclasses.replace(extras, shared_memory=(*extras.shared_memory, memory))
    )


def _planned(guest: Guest) -> SharedMemory:
    """The memory that the plan gives a guest."""
    assert guest.extras is not None  # noqa: S101 - a plan with the component has gone through adjust()
    return guest.extras.shared_memory[0]


def _names(storage: Storage) -> list[str]:
    return storage.names(DOMAIN_PREFIX) if storage.capacity() else []


def _storage(task: Task) -> Storage:
    """The node's directory for shared memory; below the run directory where libvirt only plays a node."""
    host, node = task.host, node_of(task.host)
    if uri_of(host).startswith("test:"):
        from nornir_torque_vm.storage.local import LocalStorage

        return LocalStorage(f"{settings_of(host).run_dir}/shm/{node}", node=node)
    from nornir_torque_vm.storage.volumes import VolumeStorage

    return VolumeStorage(connection(task), DIRECTORY, node=node, kind=_KIND)


def user_of(plan: Plan, usual: Callable[[], tuple[int, int]]) -> tuple[int, int]:
    """Uid and gid of the job's emulators on a node.

    :param usual: tells those that libvirt gives emulators there.
    """
    return (plan.job.owner.uid, plan.job.owner.gid) if owner_emulates(plan) else usual()


def _usual_user(task: Task) -> tuple[int, int]:
    from nornir_torque_vm.capabilities import emulator_user

    with mapped(node_of(task.host)):
        return emulator_user(connection(task).getCapabilities())
