"""Processors of a job's share that its guests leave to their input and output (IOcm).

How many: the user's wish within the site's limits, and what the guests can spare of it. On them run libvirt's
I/O threads, the emulators and the threads of vhost, which every libvirt and kernel of today has. The other
back end is :mod:`.dim`.
"""

from __future__ import annotations

import dataclasses

from nornir.core.task import Result, Task

from nornir_torque_vm.components.base import Component, Kept, When
from nornir_torque_vm.components.devices import Extras
from nornir_torque_vm.components.live import domains_of
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.connections.libvirt import mapped
from nornir_torque_vm.errors import HypervisorError, RequestError, SettingsError
from nornir_torque_vm.inventory.hostdata import node_of, plan_of
from nornir_torque_vm.model import Guest, Node, Placement, Plan
from nornir_torque_vm.pinning.topology import cpus_text
from nornir_torque_vm.request import Request

NAME = "iocm"
_LIVE = 1
"""``VIR_DOMAIN_AFFECT_LIVE``."""


def component(settings: Settings) -> Component:
    """Return the component with the site's back end."""
    if settings.iocm_backend == "dim":
        from nornir_torque_vm.components import dim

        return Component(
            name=NAME,
            wanted=wanted,
            kept=kept,
            start=dim.start_manager,
            verify=dim.verify_manager,
            stop=dim.stop_manager,
            find=dim.find_managers,
            when=When.AFTER_BOOT,
        )
    return Component(name=NAME, wanted=wanted, kept=kept, adjust=adjust, verify=verify_threads)


def wanted(request: Request, settings: Settings, node: Node) -> bool:
    """Whether the job has processors kept on a node, if it has any to spare."""
    asked = settings.iocm_enabled_default if request.iocm is None else request.iocm
    return asked and settings.iocm_nodes.matches(node.name)


def kept(request: Request, settings: Settings) -> Kept:
    """How many processors are kept on each node: the user's numbers, which the site limits.

    :raises RequestError: numbers beyond the limits, or the least more than the most.
    :raises SettingsError: the same of the site's defaults.
    """
    asked = {"iocm_min_cores": request.iocm_min_cores, "iocm_max_cores": request.iocm_max_cores}
    least, most = (
        getattr(settings, f"{key}_default") if value is None else value for key, value in asked.items()
    )
    error = SettingsError if set(asked.values()) == {None} else RequestError
    limits = f"{settings.iocm_min_cores} to {settings.iocm_max_cores}"
    for key, value in (("iocm_min_cores", least), ("iocm_max_cores", most)):
        if not settings.iocm_min_cores <= value <= settings.iocm_max_cores:
            raise error(f"{key}={value} is not within the site's limits, {limits}")
    if least > most:
        raise error(f"iocm_min_cores={least} is more than iocm_max_cores={most}")
    return Kept(least, most)


def adjust(plan: Plan, request: Request, settings: Settings) -> Plan:  # noqa: ARG001 - as all components
    """Let the guests' disks be served by threads of their own on what is kept, and the emulator run there."""
    return dataclasses.replace(plan, guests=tuple(map(_with_threads, plan.guests)))


def verify_threads(task: Task) -> Result:
    """Nornir task: see that the I/O threads and emulators of the job's running guests are on what is kept.

    Of I/O threads libvirt says what the kernel says. The threads of vhost, which move what the network card
    sends, are children of the emulator, whose processors libvirt sets before it runs (libvirt 9.0,
    src/qemu/qemu_process.c, qemuProcessLaunch).

    :raises HypervisorError: they are elsewhere.
    """
    plan, node = plan_of(task.host), node_of(task.host)
    for guest, domain in domains_of(task, plan.on(node)):
        kept_here = _placed(guest).kept
        if not kept_here:
            continue
        with mapped(node):
            threads = [_numbers(cpus) for _, cpus in domain.ioThreadInfo(_LIVE)]
            emulator = _numbers(domain.emulatorPinInfo(_LIVE))
        if not threads or {*threads, emulator} != {kept_here}:
            found = " and ".join(cpus_text(cpus) for cpus in (*threads, emulator))
            raise HypervisorError(
                f"its I/O threads and emulator are on {found}, not on {cpus_text(kept_here)}",
                node=node,
                guest=guest.name,
            )
    return Result(host=task.host)


def _with_threads(guest: Guest) -> Guest:
    place = _placed(guest)
    if not place.kept:
        return guest
    extras = dataclasses.replace(guest.extras or Extras(), iothreads=place.kept)
    return dataclasses.replace(
        guest, placement=dataclasses.replace(place, emulator=place.kept), extras=extras
    )


def _placed(guest: Guest) -> Placement:
    """A guest's placement; an empty one where nobody knows the node's processors."""
    return guest.placement or Placement(())


def _numbers(cpus: object) -> tuple[int, ...]:
    """The processors of one of libvirt's maps, a truth value for each."""
    assert isinstance(cpus, list | tuple)  # noqa: S101 - the binding's own form
    return tuple(number for number, has in enumerate(cpus) if has)
