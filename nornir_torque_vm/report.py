"""What came out of a run, per host: for exit codes, for people and for the history.

Reads Nornir's results by their shape alone, so this module needs no Nornir. A subtask's failure is
looked up at its root: who failed, in which phase, why, in one sentence and on one line.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import json
from collections.abc import Iterable, Mapping, Sequence

from nornir_torque_vm.errors import (
    Blame,
    Cancelled,
    DeadlineExceeded,
    HypervisorError,
    TorqueVMError,
    one_line,
)
from nornir_torque_vm.nodefile import fold
from nornir_torque_vm.phases import PHASES, is_step, phase_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = 1
"""Of the JSON form; grows when a key changes its meaning."""
MESSAGE_LENGTH = 500
"""Characters kept of an error that is not ours; libvirt and paramiko can be talkative."""


class Status(enum.StrEnum):
    """The verdict on one host."""

    OK = "ok"
    CHANGED = "changed"
    FAILED = "failed"
    LATE = "late"
    NOT_STARTED = "not_started"
    """Late without ever having been begun: the queue was too long, the host is not to blame."""
    CANCELLED = "cancelled"

    @property
    def good(self) -> bool:
        """Whether the host did what it was asked to."""
        return self in {Status.OK, Status.CHANGED}


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    """Why a host has no good result.

    ``what`` is the sentence without the place, equal for hosts that fail alike; ``message`` has it.
    """

    kind: str
    """Name of the exception's class; ``Failed`` when a task failed without one."""
    what: str
    message: str
    blame: Blame = Blame.SITE
    code: int = 0
    """libvirt's error number, 0 when it is not libvirt's error."""

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Describe an exception; what is not ours counts as the site's and names its class."""
        if isinstance(error, TorqueVMError):
            what = _one_line(f"{error.what}; {error.hint}" if error.hint else error.what)
            code = error.code if isinstance(error, HypervisorError) else 0
            return cls(type(error).__name__, what, str(error), error.blame, code)
        kind = type(error).__name__
        text = _one_line(str(error))
        what = f"{kind}: {text}" if text else kind
        return cls(kind, what, what)


@dataclasses.dataclass(frozen=True, slots=True)
class HostReport:
    """The outcome of one Nornir host, a node or a guest."""

    host: str
    node: str = ""
    """The node it is on; for a node itself, its own name; empty when not known."""
    phase: str = ""
    """Where it failed; for a good host, what was run."""
    status: Status = Status.OK
    seconds: float = 0.0
    failure: Failure | None = None
    changed: bool = False
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """What the task returned."""

    @property
    def error(self) -> str:
        """The failure in one line, empty for a good host."""
        return self.failure.message if self.failure else ""

    @property
    def what(self) -> str:
        """The failure without the place; the bare status when nothing else is known."""
        return self.failure.what if self.failure else self.status.replace("_", " ")

    def to_dict(self, *, data: bool = False) -> dict[str, Any]:
        """Return a JSON-able form; ``data`` is left out unless asked for (it may hold secrets)."""
        why = self.failure
        error = {"type": why.kind, "code": why.code, "message": why.message} if why else None
        plain = {
            "host": self.host, "node": self.node, "phase": self.phase, "status": str(self.status),
            "seconds": round(self.seconds, 3), "changed": self.changed, "error": error,
        }  # fmt: skip
        return {**plain, "data": _plain(self.data)} if data else plain


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """The outcomes of a run, in the order of the inventory."""

    hosts: tuple[HostReport, ...] = ()

    @classmethod
    def from_results(
        cls, results: Mapping[str, Sequence[Any]], *, seconds: Mapping[str, float] | None = None
    ) -> Report:
        """Judge what ``Nornir.run`` returned.

        :param results: an ``AggregatedResult``: host → ``MultiResult``.
        :param seconds: host → how long it took, as far as somebody measured it.
        """
        task, took = str(getattr(results, "name", "")), seconds or {}
        return cls(tuple(_judge(host, multi, task, took.get(host, 0.0)) for host, multi in results.items()))

    @classmethod
    def combined(cls, reports: Iterable[Report]) -> Report:
        """Make one report of several runs over the same hosts, in the order they ran.

        Per host the first failure stays, else the last result; seconds add up.
        """
        merged: dict[str, HostReport] = {}
        for entry in (entry for report in reports for entry in report.hosts):
            before = merged.get(entry.host)
            if before is None:
                merged[entry.host] = entry
                continue
            kept = entry if before.status.good else before
            merged[entry.host] = dataclasses.replace(
                kept, seconds=before.seconds + entry.seconds, changed=before.changed or entry.changed
            )
        return cls(tuple(merged.values()))

    @property
    def ok(self) -> bool:
        """Whether every host is good; a run over no host at all is not."""
        return bool(self.hosts) and not self.bad

    @property
    def good(self) -> tuple[HostReport, ...]:
        """The hosts that did what they were asked to."""
        return tuple(entry for entry in self.hosts if entry.status.good)

    @property
    def bad(self) -> tuple[HostReport, ...]:
        """All others, for whatever reason."""
        return tuple(entry for entry in self.hosts if not entry.status.good)

    @property
    def failed(self) -> tuple[HostReport, ...]:
        """The hosts with an error of their own: neither late nor cancelled."""
        return tuple(entry for entry in self.hosts if entry.status is Status.FAILED)

    @property
    def late(self) -> tuple[HostReport, ...]:
        """The hosts without a verdict in time, begun or not."""
        return tuple(entry for entry in self.hosts if entry.status in {Status.LATE, Status.NOT_STARTED})

    def summary(self) -> str:
        """How many of what: ``3 ok, 1 late``; changed counts as ok."""
        counts = collections.Counter(Status.OK if e.status.good else e.status for e in self.hosts)
        words = [f"{counts[status]} {status.replace('_', ' ')}" for status in Status if counts[status]]
        return ", ".join(words) or "no host"

    def sentences(self) -> tuple[str, ...]:
        """One line per reason, naming all hosts that share it: ``j17-r[0-3] on node[1-2], start: …``.

        Late hosts share theirs when they were late in the same phase, after however many seconds.
        """
        groups: dict[tuple[Status, str, str], list[HostReport]] = {}
        for entry in self.bad:
            reason = entry.what if entry.status is Status.FAILED else ""
            groups.setdefault((entry.status, entry.phase, reason), []).append(entry)
        return tuple(f"{_places(entries)}: {entries[0].what}" for entries in groups.values())

    def to_dict(self, *, data: bool = False) -> dict[str, Any]:
        """Return a JSON-able form; ``data`` as in :meth:`HostReport.to_dict`."""
        hosts = [entry.to_dict(data=data) for entry in self.hosts]
        return {"version": VERSION, "ok": self.ok, "summary": self.summary(), "hosts": hosts}

    def to_json(self, *, data: bool = False) -> str:
        """Return :meth:`to_dict` as indented JSON that ends with a newline."""
        return json.dumps(self.to_dict(data=data), indent=1) + "\n"


def status_of(multi: Sequence[Any]) -> Status:
    """The verdict on a host's ``MultiResult``, told by the exception at the root of a failure."""
    result = _root(multi)
    if not result.failed:
        return Status.CHANGED if any(part.changed for part in multi) else Status.OK
    error = result.exception
    if isinstance(error, Cancelled):
        return Status.CANCELLED
    if isinstance(error, DeadlineExceeded):
        return Status.LATE if error.started else Status.NOT_STARTED
    return Status.FAILED


def _judge(host: str, multi: Sequence[Any], task: str, seconds: float) -> HostReport:
    root, status = _root(multi), status_of(multi)
    failure = None
    if not status.good:
        if root.exception is not None:
            failure = Failure.of(root.exception)
        else:
            text = _one_line(str(root.result or "the task failed without saying why"))
            failure = Failure("Failed", text, text)
    return HostReport(
        host=host,
        node=str((getattr(multi[0].host, "data", None) or {}).get("node", "")),
        phase=phase_of(task if status.good else str(root.name or task)),
        status=status,
        seconds=seconds,
        failure=failure,
        changed=any(part.changed for part in multi),
        data=_data(multi[0].result) if status.good else {},
    )


def _root(multi: Sequence[Any]) -> Any:
    """The result that explains the others: the innermost failed one, or the task's own when all is well.

    Nornir wraps a subtask's failure into ``NornirSubTaskError(task, result)`` at each level; our
    runner puts the error of a late host at the task and again at the subtask that was running.
    """
    result = next((part for part in multi if part.failed), multi[0])
    while type(result.exception).__name__ == "NornirSubTaskError":
        multi = result.exception.result
        result = next((part for part in multi if part.failed), multi[0])
    if result.exception is None:
        return result
    return [part for part in multi if part.exception is result.exception][-1]


def _places(entries: Sequence[HostReport]) -> str:
    """Folded host names, the nodes when the hosts are not nodes themselves, and the phase when it is one."""
    hosts = fold(entry.host for entry in entries)
    nodes = fold(entry.node for entry in entries if entry.node not in {"", entry.host})
    place = f"{hosts} on {nodes}" if nodes else hosts
    phase = entries[0].phase
    return f"{place}, {phase}" if phase in PHASES.values() or is_step(phase) else place


def _one_line(text: str) -> str:
    line = one_line(text)
    return line if len(line) <= MESSAGE_LENGTH else line[: MESSAGE_LENGTH - 1] + "…"


def _data(result: Any) -> Mapping[str, Any]:
    if result is None:
        return {}
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        return {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
    return result if isinstance(result, Mapping) else {"result": result}


def _plain(value: Any) -> Any:
    """``value`` in terms of JSON; what JSON has no word for becomes text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
