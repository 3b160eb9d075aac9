"""What there is of jobs on this node: domains, files of guests, run state. Looks, and changes nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Iterable, Iterator

from nornir.core.task import Result, Task

from nornir_torque_vm.errors import InventoryError, StateError
from nornir_torque_vm.found import DOMAIN_PREFIX
from nornir_torque_vm.identity import job_slug, tag_of_domain
from nornir_torque_vm.inventory.hostdata import node_of
from nornir_torque_vm.runstate.handover import HANDOVERS, MARKERS, UPLOADED
from nornir_torque_vm.runstate.joblock import LOCKS
from nornir_torque_vm.runstate.jobstate import JOBS, JobState
from nornir_torque_vm.runstate.rootdir import RootDir
from nornir_torque_vm.tasks.common import all_storages, connection, our_guests

_DOMAIN = re.compile(r"tvm-([0-9]+(?:-[0-9]+)?)-a[0-9]+-r[0-9]+-[0-9a-f]{8}")
_TAG = re.compile(r"tvm-([0-9]+(?:-[0-9]+)?)-a[0-9]+-[0-9a-f]{8}")


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """One thing of a job.

    ``job_id`` is empty when the thing does not tell; ``stamp`` changes when it is made anew.
    """

    kind: str
    """``domain``, ``volume``, ``component``, or a subdirectory of the run directory."""
    name: str
    slug: str
    job_id: str = ""
    stamp: tuple[int, ...] = ()
    mac: str = ""
    """Of a domain that has, or may have, a lease."""
    bridge: str = ""
    """That this one's card is on; empty when nobody says."""


@dataclasses.dataclass(frozen=True, slots=True)
class Leftovers:
    """Everything on this node with one job's number."""

    slug: str
    things: frozenset[Found]

    def names(self, *kinds: str) -> list[str]:
        """Names of the things of these kinds, sorted."""
        return sorted(thing.name for thing in self.things if thing.kind in kinds)

    @property
    def job_ids(self) -> tuple[str, ...]:
        """The full ids that the things tell."""
        return tuple(sorted({thing.job_id for thing in self.things} - {""}))

    @property
    def guests(self) -> list[str]:
        """Names of the domains that exist or whose files do."""
        starts = (_DOMAIN.match(name) for name in self.names("domain", "volume"))
        return sorted({match[0] for match in starts if match})

    @property
    def macs(self) -> dict[str, list[str]]:
        """Bridge → MAC addresses of the domains on it that have, or may have, leases."""
        found: dict[str, list[str]] = {}
        for bridge, mac in sorted({(thing.bridge, thing.mac) for thing in self.things if thing.mac}):
            found.setdefault(bridge, []).append(mac)
        return found

    @property
    def tags(self) -> list[str]:
        """Tags of the attempts that anything tells."""
        starts = (_TAG.match(name) for name in self.names("component", JOBS))
        return sorted({match[0] for match in starts if match} | {tag_of_domain(name) for name in self.guests})

    @property
    def lasting(self) -> frozenset[Found]:
        """All but locks, which come and go with who looks."""
        return frozenset(thing for thing in self.things if thing.kind != LOCKS)

    @property
    def keys(self) -> frozenset[str]:
        """What tells these things from those of a later start of the job."""
        return frozenset(f"{thing.kind}/{thing.name}{list(thing.stamp)}" for thing in self.things)


def find_on_node(task: Task) -> Result:
    """Nornir task: the domains of ours and the files of guests on a node, as :class:`Found`."""
    found = []
    for guest in our_guests(connection(task), node_of(task.host)):
        match = _DOMAIN.fullmatch(guest.domain)
        with contextlib.suppress(InventoryError):
            if match and match[1] == job_slug(guest.job_id):
                mac = guest.mac if guest.static is None else ""
                found.append(
                    Found("domain", guest.domain, match[1], guest.job_id, mac=mac, bridge=guest.bridge)
                )
    names = {name for storage in all_storages(task).values() for name in storage.names(DOMAIN_PREFIX)}
    starts = ((name, _DOMAIN.match(name)) for name in sorted(names))
    found += [Found("volume", name, match[1]) for name, match in starts if match]
    return Result(host=task.host, result=found)


def of_components(names: Iterable[str]) -> Iterator[Found]:
    """Yield what components have on a node, from the names of it; names that tell no job are left alone."""
    for name in names:
        if match := _TAG.match(name):
            yield Found("component", name, match[1])


def find_in_run_dir(run_dir: str) -> Iterator[Found]:
    """Yield what lies in the run directory, which need not exist.

    :raises StateError: it cannot be trusted or read.
    """
    for kind in (MARKERS, HANDOVERS, LOCKS):
        with contextlib.closing(_Folder(run_dir, kind)) as folder:
            for name in folder.names():
                job_id = name.removesuffix(UPLOADED) if kind == HANDOVERS else name
                with contextlib.suppress(InventoryError, FileNotFoundError):
                    stamp = () if kind == LOCKS else folder.stamp(name)
                    yield Found(kind, name, job_slug(job_id), job_id, stamp)
    with contextlib.closing(_Folder(run_dir, JOBS)) as folder:
        for name in folder.names():
            if match := _TAG.fullmatch(name):
                state = JobState.of_tag(run_dir, name)
                yield Found(JOBS, name, match[1], state.job.id if state else "")


def unfinished(run_dir: str) -> frozenset[tuple[str, str]]:
    """Folder and name of the files in the run directory that are being written, or were by the dead.

    The folder of what lies in the run directory itself, which is the reaper's, is empty.

    :raises StateError: it cannot be trusted or read.
    """
    found: set[tuple[str, str]] = set()
    for kind in ("", MARKERS, HANDOVERS, LOCKS, JOBS):
        with contextlib.closing(_Folder(run_dir, kind)) as folder:
            found.update((kind, name) for name in folder.unfinished())
    return frozenset(found)


def by_job(found: Iterable[Found]) -> tuple[Leftovers, ...]:
    """Put together what has the same number, lowest first."""
    groups: dict[str, set[Found]] = {}
    for thing in found:
        groups.setdefault(thing.slug, set()).add(thing)
    order = sorted(groups, key=lambda slug: [int(part) for part in slug.split("-")])
    return tuple(Leftovers(slug, frozenset(groups[slug])) for slug in order)


class _Folder:
    """A subdirectory of the run directory, or, without a name, that itself; empty when there is none."""

    def __init__(self, run_dir: str, name: str) -> None:
        self._folder: RootDir | None = None
        try:
            run = RootDir.at(run_dir)
            if not name:
                self._folder = run
                return
            with run:
                self._folder = run.sub(name)
        except StateError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise

    def names(self) -> list[str]:
        """Names of what is in it."""
        return self._folder.names() if self._folder else []

    def unfinished(self) -> list[str]:
        """Names of what was not written to its end."""
        return self._folder.unfinished() if self._folder else []

    def stamp(self, name: str) -> tuple[int, int]:
        """What changes when a file is made anew, or written again; or a directory, or a file in one."""
        status = os.stat(name, dir_fd=self._folder.fd if self._folder else None, follow_symlinks=False)
        return status.st_ino, status.st_mtime_ns

    def close(self) -> None:
        """Close it."""
        if self._folder:
            os.close(self._folder.fd)
