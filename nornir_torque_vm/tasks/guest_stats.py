"""Task: ask what a job's guests have used."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from nornir.core.task import Result, Task

from nornir_torque_vm.connections.libvirt import NO_DOMAIN, map_error, mapped
from nornir_torque_vm.gueststats import GuestStats, parse_stats
from nornir_torque_vm.inventory.hostdata import node_of
from nornir_torque_vm.render.metadata import METADATA_URI, GuestRecord, parse_metadata
from nornir_torque_vm.tasks.common import LIBVIRT, candidates, connection
from nornir_torque_vm.tasks.selection import of_job_id

CONNECTION_NAME = LIBVIRT

FIGURES = 2 | 4 | 8 | 16 | 32
"""``VIR_DOMAIN_STATS_``\\ ``CPU_TOTAL``, ``BALLOON``, ``VCPU``, ``INTERFACE`` and ``BLOCK``."""
_NO_WAIT = 1 << 29
"""``VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT``: what is known without a busy emulator."""
_ELEMENT = 2
"""``VIR_DOMAIN_METADATA_ELEMENT``."""
_NO_METADATA = 80
"""``VIR_ERR_NO_DOMAIN_METADATA``."""


def guest_stats(task: Task, job_id: str, attempt: int | None = None) -> Result:
    """Ask a node's libvirt what a job's guests there have used since their start, in one question for all.

    A guest that ends meanwhile is left out.

    Arguments:
        job_id: whose guests: ``17.head``; ``17`` for that number of any server
        attempt: only this attempt; any by default

    Returns:
        Result object with the following attributes set:
          * result (list of :class:`~nornir_torque_vm.gueststats.GuestStats`): by attempt and rank; figures
            that the hypervisor does not have are None

    Raises:
        InventoryError: that is no job id
        HypervisorError: libvirt refuses or cannot be reached
    """
    chosen = of_job_id(job_id, attempt)
    pairs = stats_of(connection(task), node_of(task.host), chosen.prefix, chosen.wants)
    found = (stats for _, stats in pairs)
    return Result(host=task.host, result=sorted(found, key=lambda one: (one.attempt, one.rank)))


def stats_of(
    conn: Any, node: str, prefix: str, wants: Callable[[GuestRecord], bool]
) -> list[tuple[GuestRecord, GuestStats]]:
    """Ask for the figures of guests of ours, in one question for all.

    :param prefix: how the names of their domains begin.
    :param wants: which of them are meant, by what their metadata say.
    :returns: whose each is, and what it used.
    :raises HypervisorError: libvirt refuses.
    """
    records: dict[str, GuestRecord] = {}
    domains: list[Any] = []
    for name, (domain, _) in candidates(conn, node, prefix).items():
        record = _record(domain, node)
        if record is not None and wants(record):
            records[name] = record
            domains.append(domain)
    with mapped(node):
        answers = conn.domainListGetStats(domains, FIGURES, _NO_WAIT) if domains else []
    return [
        (records[domain.name()], _stats(records[domain.name()], node, domain.name(), numbers))
        for domain, numbers in answers
    ]


def _record(domain: Any, node: str) -> GuestRecord | None:
    """Whose guest it is; None when it is none of ours, or gone.

    :raises HypervisorError: libvirt does not say.
    """
    from libvirt import libvirtError

    try:
        return parse_metadata(domain.metadata(_ELEMENT, METADATA_URI))
    except libvirtError as exc:
        if exc.get_error_code() in (NO_DOMAIN, _NO_METADATA):
            return None
        raise map_error(exc, node) from exc


def _stats(record: GuestRecord, node: str, domain: str, numbers: dict[str, Any]) -> GuestStats:
    return GuestStats(
        **dataclasses.asdict(parse_stats(numbers)),
        guest=record.guest, node=node, domain=domain, rank=record.rank, attempt=record.attempt,
    )  # fmt: skip
