"""What several tasks do alike: reach a node, wait with sense, look at our domains, say where they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypedDict

from nornir.core.inventory import Host
from nornir.core.task import Task

from nornir_torque_vm.connections.libvirt import NO_DOMAIN, map_error, mapped
from nornir_torque_vm.deadline import BACKOFF_MAX, Deadline, current
from nornir_torque_vm.found import DOMAIN_PREFIX, FoundGuest, read_domain
from nornir_torque_vm.inventory.build import uri_in
from nornir_torque_vm.inventory.hostdata import is_guest, node_of, settings_of
from nornir_torque_vm.storage import (
    RAMDISK,
    VOLUMES,
    FolderStorage,
    Kind,
    Storage,
    folder_storage,
    storage_for,
)

LIBVIRT = "libvirt"
GUEST_SSH = "guest_ssh"
NODE_SHELL = "node_shell"

LAST_WORD = 0.25
"""Seconds before the deadline at which a waiting task gives up by itself: so the result says what it
waited for, and not only that the runner's patience was over."""
QUESTIONS_PER_SECOND = 200
"""Rounds of questions all waiting guests together may ask in a second."""
SHORTEST_PAUSE = 0.1
"""Pause between two rounds that even a single guest's questions grow to, seconds."""

STATS_STATE = 1
"""``VIR_DOMAIN_STATS_STATE``: state and reason, which costs no question to the guest's emulator."""


def connection(task: Task, name: str = LIBVIRT) -> Any:
    """The host's connection called ``name``; opened when it is not."""
    return task.host.get_connection(name, task.nornir.config)


def storage_of(task: Task, kind: Kind = VOLUMES) -> Storage:
    """Where the files of guests on the host's node are kept."""
    host = task.host
    return storage_for(connection(task), settings_of(host), node=node_of(host), uri=uri_of(host), kind=kind)


def folder_of(task: Task, name: str, kind: Kind = VOLUMES) -> FolderStorage:
    """The folder of this name on the host's node."""
    conn, host = connection(task), task.host
    settings, here = settings_of(host), bool(host.get("local"))
    return folder_storage(conn, settings, name, here=here, node=node_of(host), uri=uri_of(host), kind=kind)


def ramdisk_of(task: Task) -> Storage | None:
    """Where disks in memory are kept on the host's node; None where the site has none.

    A missing directory is none, too: of a node that was set up later, or whose file system is not mounted.
    """
    if not settings_of(task.host).ramdisk_dir:
        return None
    ramdisk = storage_of(task, RAMDISK)
    return ramdisk if ramdisk.capacity() else None


def all_storages(task: Task) -> dict[Kind, Storage]:
    """Every place on the host's node where files and folders of guests may be."""
    ramdisk = ramdisk_of(task)
    return {VOLUMES: storage_of(task)} | ({} if ramdisk is None else {RAMDISK: ramdisk})


def uri_of(host: Host) -> str:
    """The libvirt URI of the node that ``host`` is or is on, as its connection is opened."""
    # Our inventories say it plainly; Nornir's way through all options of all groups is a long one.
    return str(host.get("uri") or uri_in(host.get_connection_parameters(LIBVIRT)))


def rounds(task: Task) -> Iterator[int]:
    """Yield 0, 1, 2 … with growing pauses until shortly before this thread's deadline.

    The more hosts there are, the longer the pauses grow.

    :raises DeadlineExceeded: the deadline itself passed or was cancelled: nobody waits any more.
    """
    deadline = current.get()
    hosts = len(task.nornir.inventory.hosts)
    longest = min(BACKOFF_MAX, max(SHORTEST_PAUSE, hosts / QUESTIONS_PER_SECOND))
    for attempt in Deadline(deadline.at - LAST_WORD).backoff(longest):
        deadline.check()
        yield attempt


def candidates(conn: Any, node: str, prefix: str) -> dict[str, tuple[Any, int]]:
    """Domains of a node that may be ours, by name → ``virDomain`` and state: one question to libvirtd.

    :raises HypervisorError: libvirt refuses.
    """
    with mapped(node):
        states = conn.getAllDomainStats(STATS_STATE, 0)
    return {
        domain.name(): (domain, numbers.get("state.state", 0))
        for domain, numbers in states
        if domain.name().startswith(prefix)
    }


def our_guests(conn: Any, node: str) -> list[FoundGuest]:
    """The guests of ours on a node, proven by their metadata: one question more for each.

    :raises HypervisorError: libvirt refuses.
    """
    return found_in(descriptions(conn, node, DOMAIN_PREFIX), node)


def descriptions(conn: Any, node: str, prefix: str) -> list[tuple[str, int]]:
    """The XML and the state of a node's domains whose names begin so: one question more for each.

    :raises HypervisorError: libvirt refuses.
    """
    from libvirt import libvirtError

    found = []
    for domain, state in candidates(conn, node, prefix).values():
        try:
            found.append((domain.XMLDesc(0), state))
        except libvirtError as exc:
            if exc.get_error_code() != NO_DOMAIN:  # else it ended between the two questions
                raise map_error(exc, node) from exc
    return found


def found_in(domains: Iterable[tuple[str, int]], node: str) -> list[FoundGuest]:
    """The guests of ours among descriptions of domains."""
    read = (read_domain(text, node=node, state=state) for text, state in domains)
    return [guest for guest in read if guest is not None and guest.domain.startswith(DOMAIN_PREFIX)]


class Place(TypedDict):
    """Where an error happened, as our exceptions take it."""

    node: str
    guest: str


def where(task: Task) -> Place:
    """The node and, on a guest, the guest that this task is about."""
    return Place(node=node_of(task.host), guest=task.host.name if is_guest(task.host) else "")
