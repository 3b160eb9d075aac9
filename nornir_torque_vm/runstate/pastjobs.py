"""What became of a job: an attempt told in one line from what is kept of it. Pure; see ``records``."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterable, Mapping, Sequence

from nornir_torque_vm.errors import InventoryError
from nornir_torque_vm.gueststats import Figures
from nornir_torque_vm.model import Plan
from nornir_torque_vm.runstate.jobrecord import JobRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class State(enum.StrEnum):
    """What became of an attempt."""

    STARTING = "starting"
    """Its prologue is at work."""
    RUNNING = "running"
    """Its guests were handed over and are there."""
    READY = "ready"
    """Its guests were handed over; nothing is known of their end: the node was reset, say."""
    OVER = "over"
    """Its guests were ready once and its epilogue has run."""
    REFUSED = "refused"
    BUSY = "busy"
    LATE = "late"
    CANCELLED = "cancelled"
    SITE = "site"
    UNFINISHED = "unfinished"
    """No verdict, and nobody at work on it: its prologue was killed."""

    @property
    def failed(self) -> bool:
        """Whether its guests never became ready, and will not."""
        return self not in {State.STARTING, State.RUNNING, State.READY, State.OVER}


FAILURES = {"refused": State.REFUSED, "busy": State.BUSY, "late": State.LATE, "cancelled": State.CANCELLED}
"""Outcome of a verdict → state; every other failure is the site's."""


@dataclasses.dataclass(frozen=True, slots=True)
class PastJob:
    """One attempt of one job, in one line. Texts are hostile."""

    job_id: str
    attempt: int
    state: State
    owner: str = ""
    name: str = ""
    nodes: tuple[str, ...] = ()
    guests: int = 0
    began: float = 0.0
    """Seconds since the epoch."""
    ready_after: float | None = None
    """Seconds from the prologue's begin to its verdict; None when the guests never were ready."""
    sentence: str = ""
    """Why it failed, or what could not be removed."""
    clean: bool = True
    """False when its teardown left something behind."""

    @property
    def record(self) -> str:
        """Name of its directory in the history."""
        return f"{self.job_id}.{self.attempt}"

    @property
    def failed(self) -> bool:
        """Whether somebody should look at it."""
        return self.state.failed or not self.clean


@dataclasses.dataclass(frozen=True, slots=True)
class Files:
    """What is kept of one attempt, as far as it can be read."""

    job: JobRecord | None = None
    plan: Plan | None = None
    verdict: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    report: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    teardown: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    scripts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """What became of the scripts that ran in its guests after the job."""
    figures: Figures | None = None
    judged: float = 0.0
    """When the verdict was given, seconds since the epoch; 0 without one."""
    changed: float = 0.0
    """When something was last added."""
    events: tuple[bytes, ...] = ()
    """Lines; only when they were asked for."""
    last_words: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    """What guests that failed said last, by file name; only when it was asked for. Hostile."""


def judge(outcome: str, *, torn_down: bool, exists: bool, at_work: bool) -> State:
    """What became of an attempt. Pure.

    :param outcome: its verdict's word; empty without a verdict.
    :param torn_down: an epilogue has run.
    :param exists: there is run state of this attempt.
    :param at_work: its prologue holds the job's lock.
    """
    if not outcome:
        return State.STARTING if at_work else State.UNFINISHED
    if outcome != "ok":
        return FAILURES.get(outcome, State.SITE)
    if torn_down:
        return State.OVER
    return State.RUNNING if exists else State.READY


def summary(job_id: str, attempt: int, files: Files, state: State) -> PastJob:
    """One attempt in one line. Pure."""
    plan, job = files.plan, files.job
    began = job.began if job else files.judged or files.changed
    ready = files.judged - began if job and files.judged and not state.failed else None
    clean = not files.teardown or files.teardown.get("ok") is True
    return PastJob(
        job_id, attempt, state,
        owner=job.owner if job else plan.job.owner.name if plan else "",
        name=job.name if job else "",
        nodes=tuple(node.name for node in plan.nodes) if plan else tuple(_nodes(files)),
        guests=len(plan.guests) if plan else 0,
        began=began, ready_after=ready, sentence=_sentence(files, state, clean=clean), clean=clean,
    )  # fmt: skip


def _sentence(files: Files, state: State, *, clean: bool) -> str:
    if state is State.UNFINISHED:
        why = "its prologue ended without a verdict"
    else:
        why = str(files.verdict.get("sentence") or "")
    left = "" if clean else f"not cleaned up: {'; '.join(_errors(files.teardown)) or 'nobody says why'}"
    failed = (
        "" if files.scripts.get("ok", True) is True else "; ".join(_errors(files.scripts, with_phase=True))
    )
    return "; ".join(filter(None, (why, failed, left)))


def _nodes(files: Files) -> Iterable[str]:
    hosts = (str(entry.get("node") or "") for entry in _hosts(files.report or files.teardown))
    return dict.fromkeys(filter(None, hosts))


def _errors(report: Mapping[str, Any], *, with_phase: bool = False) -> list[str]:
    found = [entry for entry in _hosts(report) if isinstance(entry.get("error"), Mapping)]
    heads = (f"{entry.get('phase', '')}: " if with_phase else "" for entry in found)
    said = (str(entry["error"].get("message", "")) for entry in found)
    return list(dict.fromkeys(map("".join, zip(heads, said, strict=True))))


def _hosts(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    hosts = report.get("hosts")
    return [entry for entry in hosts if isinstance(entry, Mapping)] if isinstance(hosts, list) else []


def choose(text: str, jobs: Sequence[PastJob]) -> PastJob | None:
    """The attempt that ``17.head.2``, ``17.head``, ``17`` or ``17.2`` means; without a number the last one.

    :raises InventoryError: jobs of several servers have that number.
    """
    readings: tuple[Callable[[PastJob], str], ...] = (
        lambda one: one.record,
        lambda one: one.job_id,
        _number,
        lambda one: f"{_number(one)}.{one.attempt}",
    )
    for reading in readings:
        found = [one for one in jobs if reading(one) == text]
        if len({one.job_id for one in found}) > 1:
            names = ", ".join(sorted({one.job_id for one in found}))
            raise InventoryError(f"{text} can be any of {names}", hint="name it in full")
        if found:
            return max(found, key=lambda one: one.attempt)
    return None


def _number(job: PastJob) -> str:
    return job.job_id.partition(".")[0]
