"""Which nodes a failed start speaks against, and how much. Pure.

A node that fails job after job is taken out, so blaming the wrong one costs a site a good node:

* Only faults of the site count, not users' mistakes, full nodes, cancelled starts, errors nobody foresaw; and
  not that another machine has a guest's address, which is a fault of the network.
* What a guest's own software does (its address, its health) depends on the image too. It speaks against a
  node only when the guests of the same job on other nodes did well.
* Where more than half of a job's nodes fail, what they share is at fault, or the node that asked them.
* A job whose request has a part in the fault counts once, however often it is tried again.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterable, Sequence

from nornir_torque_vm.errors import AddressTaken, Blame, ImageError, SettingsError, StateError
from nornir_torque_vm.report import HostReport, Report, Status

NOTE_START = "torque-vm: "
"""How the note of a node begins that was taken out by us."""
NOTE_LENGTH = 400
"""Characters of a note; TORQUE 6.1.3 keeps 600 as they are (measured)."""
HERE = "here"
"""Phase of a fault of the mother superior itself, met before any node was asked."""
_GUESTS_OWN = frozenset({"address", "health", "disk", "roster", "guest-prologue", "vm-prologue"})
"""Phases in which the guest's software has a part."""
_NOT_THE_USERS = frozenset({HERE, "survey", "destroy"})
"""Phases in which nothing that the user asked for is tried; a second attempt removes the first one's rest."""
_WHAT_LENGTH = 160


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """One failed start that speaks against a node. ``what`` may repeat a guest's console: hostile."""

    at: float
    """Seconds since the epoch."""
    job_id: str
    phase: str
    what: str


def blamed(what: Report | BaseException, job_id: str, at: float, here: str) -> dict[str, Fault]:
    """Return node → fault for the nodes that a start's end speaks against.

    :param at: seconds since the epoch.
    :param here: the mother superior's name; empty when it is not known.
    """
    if isinstance(what, Report):
        found = _of_report(what)
    else:
        found = {here: (_phase_of(what), str(what))} if here and _phase_of(what) else {}
    return {node: Fault(at, job_id, phase, " ".join(why.split())) for node, (phase, why) in found.items()}


def did_well(report: Report) -> tuple[str, ...]:
    """The nodes of a start that went well: what was held against them does not count any more."""
    return tuple(dict.fromkeys(entry.node for entry in report.hosts if entry.node)) if report.ok else ()


def weight(faults: Iterable[Fault]) -> int:
    """How often a node has failed: each attempt in which the request had no part, of others each job once."""
    found = list(faults)
    plain = sum(fault.phase in _NOT_THE_USERS for fault in found)
    return plain + len({fault.job_id for fault in found if fault.phase not in _NOT_THE_USERS})


def note(node: str, faults: Sequence[Fault]) -> str:
    """What people read of a node that was taken out: how often, since when, which jobs, why, and the cure.

    One line of printable ASCII without commas, which part the fields of a MOM's report.
    """
    jobs = list(dict.fromkeys(fault.job_id for fault in faults))
    named = " ".join(jobs[-5:])
    since = dt.datetime.fromtimestamp(faults[0].at).astimezone().strftime("%Y-%m-%d %H:%M")
    cure = f"; put back: pbsnodes -c -N n {node}"
    told = _plain(faults[-1].what)[:_WHAT_LENGTH]
    text = f"{NOTE_START}{len(faults)} failed starts since {since} (job {named}); last: {told}"
    return _plain(text)[: NOTE_LENGTH - len(cure)] + cure


def _plain(text: str) -> str:
    """``text`` on one line, printable ASCII, no commas."""
    shown = "".join(char if char.isascii() and char.isprintable() else "?" for char in " ".join(text.split()))
    return shown.replace(",", ";")


def _of_report(report: Report) -> dict[str, tuple[str, str]]:
    nodes = {entry.node for entry in report.hosts if entry.node}
    suspects: dict[str, tuple[str, str]] = {}
    for entry in report.hosts:
        if entry.node and _is_fault(entry):
            suspects.setdefault(entry.node, (entry.phase, entry.what))
    if len(nodes) == 1:
        return {node: why for node, why in suspects.items() if why[0] not in _GUESTS_OWN}
    return suspects if len(suspects) <= len(nodes) / 2 else {}


def _is_fault(entry: HostReport) -> bool:
    """Whether a host failed by the site's fault; one that was never begun is not to blame for that."""
    if entry.status is Status.LATE:
        return True
    if entry.failure is not None and entry.failure.kind == AddressTaken.__name__:  # the network's
        return False
    return entry.status is Status.FAILED and (entry.failure is None or entry.failure.blame is Blame.SITE)


def _phase_of(error: BaseException) -> str:
    """The phase of an error that the mother superior met alone; empty when it says nothing against it."""
    if isinstance(error, ImageError) and error.blame is Blame.SITE:
        return "image"
    lost = isinstance(error, StateError) and isinstance(error.__cause__, OSError)
    return HERE if lost or isinstance(error, SettingsError) else ""
