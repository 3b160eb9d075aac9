"""Leases that end with what a job left on this node, from whatever still tells of its guests.

A domain tells its own. The plan that a job's first node keeps tells those of all its guests; who of them
still runs on another node answers, and keeps its lease. After a restart there are only files: their names
tell which guests there were, and with the job's id that is their MAC addresses.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence

from nornir_torque_vm.addresses.bridge import bridge_here, bridges_here
from nornir_torque_vm.addresses.release import leases_of, release_leases
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import StateError
from nornir_torque_vm.identity import mac_address
from nornir_torque_vm.inventory.build import is_local
from nornir_torque_vm.inventory.torque import server_of
from nornir_torque_vm.reap.leftovers import Leftovers
from nornir_torque_vm.runstate.jobstate import JOBS, JobState

_RANK = re.compile(r"-r([0-9]{1,6})-[0-9a-f]{8}")
"""In the name of a domain."""


@dataclasses.dataclass(frozen=True, slots=True)
class Lease:
    """One that a guest has, or may have."""

    bridge: str
    mac: str
    address: str = ""
    """Empty when it is not known."""
    sure: bool = True
    """Whether the guest is gone."""


def give_back(
    left: Leftovers, job_ids: Sequence[str], node: str, settings: Settings, deadline: Deadline
) -> None:
    """Give back the leases of a job whose guests here are gone; as far as the server can be reached.

    :param job_ids: full ids of the job, as far as they are known.
    :param node: the one we are on.
    """
    if not settings.release_leases:
        return
    bridges = bridges_here(settings, deadline)
    found = list(_of_domains(left, bridges[0]))
    places = {lease.mac: lease.bridge for lease in found}  # what libvirt says, the settings may have changed
    found += [
        dataclasses.replace(lease, bridge=places.get(lease.mac, lease.bridge))
        for lease in _of_plans(left, node, settings, deadline)
    ]
    known = {lease.mac for lease in found}
    found += [lease for lease in _of_files(left, job_ids, bridges, settings) if lease.mac not in known]
    for bridge in dict.fromkeys(lease.bridge for lease in found):
        here = [lease for lease in found if lease.bridge == bridge]
        leases: dict[str, str] = {}
        for lease in here:
            leases[lease.mac] = leases.get(lease.mac) or lease.address
        unsure = leases.keys() - {lease.mac for lease in here if lease.sure}
        release_leases(leases, bridge, settings, deadline, unsure)


def _of_domains(left: Leftovers, usual: str) -> Iterator[Lease]:
    for bridge, macs in left.macs.items():
        yield from (Lease(bridge or usual, mac) for mac in macs)


def _of_plans(left: Leftovers, node: str, settings: Settings, deadline: Deadline) -> Iterator[Lease]:
    for tag in left.names(JOBS):
        with contextlib.suppress(StateError):  # one that cannot be read tells nothing
            state = JobState.of_tag(settings.run_dir, tag)
            plan = None if state is None else state.plan()
            if state is None or plan is None:
                continue
            bridge = bridge_here(plan, settings, deadline)
            here = {guest.mac for guest in plan.guests if is_local(guest.node, node)}
            for mac, address in leases_of(state, plan).items():
                yield Lease(bridge, mac, address, mac in here)


def _of_files(
    left: Leftovers, job_ids: Iterable[str], bridges: Sequence[str], settings: Settings
) -> Iterator[Lease]:
    """Those of guests of which there are files and no domain; whose images they had nobody tells."""
    if settings.static_ip_mapping:
        return
    gone = set(left.guests) - set(left.names("domain"))
    ranks = sorted({int(match[1]) for name in gone if (match := _RANK.search(name))})
    for job_id in job_ids:
        for rank in ranks if "." in job_id else ():
            mac = mac_address(server_of(job_id, settings), job_id, rank)
            yield from (Lease(bridge, mac) for bridge in bridges)
