"""What ``torque-vm jobs`` and ``torque-vm job`` print, as text and as values for JSON. Pure.

Names of jobs, accounts and queues, and sentences made of them, are hostile: nothing a terminal would act on
gets through.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from nornir_torque_vm.cli.show import table
from nornir_torque_vm.consoletext import lines_of
from nornir_torque_vm.gueststats import GuestStats
from nornir_torque_vm.keys import KEYS
from nornir_torque_vm.nodefile import fold
from nornir_torque_vm.plan import plan_to_json
from nornir_torque_vm.processors.replay import job_timeline, read_events
from nornir_torque_vm.request import Request
from nornir_torque_vm.runstate.pastjobs import Files, PastJob, State
from nornir_torque_vm.timeline import Timeline

TITLES = ("JOB", "ATTEMPT", "OWNER", "STATE", "NODES", "GUESTS", "WHEN", "READY AFTER", "WHY")
USAGE_TITLES = (
    "GUEST",
    "NODE",
    "CPU SECONDS",
    "PEAK MEMORY",
    "GIVEN",
    "DISK READ",
    "WRITTEN",
    "NET RECEIVED",
    "SENT",
)
LAST_LINES = 8
"""Lines shown of what each guest that failed said last; the record has more."""
_UNITS = ("bytes", "K", "M", "G", "T")


def legible(text: str) -> str:
    """``text`` on one line, what is not printable written out; ``-`` for nothing."""
    shown = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
    return shown or "-"


def moment(seconds: float) -> str:
    """Seconds since the epoch in this host's time."""
    if not seconds:
        return "-"
    return dt.datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def span(seconds: float | None) -> str:
    """A length of time, ``-`` when there is none."""
    return "-" if seconds is None else f"{max(0.0, seconds):.1f} s"


def amount(count: int | None) -> str:
    """A number of bytes to about three digits, binary; ``-`` when it is not known."""
    if count is None:
        return "-"
    value, units = float(count), iter(_UNITS)
    unit = next(units)
    while value >= 1024 and unit != _UNITS[-1]:
        value, unit = value / 1024, next(units)
    return f"{count} bytes" if unit == "bytes" else f"{value:.1f}{unit}"


def row(job: PastJob) -> tuple[str, ...]:
    """One attempt for the table of ``torque-vm jobs``."""
    return (
        legible(job.job_id), str(job.attempt), legible(job.owner), job.state, legible(fold(job.nodes)),
        str(job.guests or "-"), moment(job.began), span(job.ready_after), legible(job.sentence),
    )  # fmt: skip


def listing(jobs: Iterable[PastJob]) -> str:
    """The table of ``torque-vm jobs``."""
    return table(TITLES, map(row, jobs))


def facts(job: PastJob) -> dict[str, Any]:
    """One attempt for ``torque-vm jobs --json``; times in seconds, the moment since the epoch."""
    ready = None if job.ready_after is None else round(job.ready_after, 3)
    return {
        "job": job.job_id, "attempt": job.attempt, "state": str(job.state), "owner": job.owner,
        "name": job.name, "nodes": list(job.nodes), "guests": job.guests, "began": round(job.began, 3),
        "ready_after": ready, "sentence": job.sentence, "clean": job.clean, "failed": job.failed,
    }  # fmt: skip


def everything(job: PastJob, files: Files, folder: str, attempts: Sequence[PastJob] = ()) -> dict[str, Any]:
    """All about one attempt for ``torque-vm job --json``; None for what is not on record.

    :param attempts: all of the job.
    """
    timeline = timeline_of(files)
    return {
        **facts(job),
        "attempts": [facts(one) for one in sorted(attempts, key=lambda one: one.attempt)],
        "record": folder,
        "queue": files.job.queue if files.job else None,
        "resources": files.job.resources if files.job else None,
        "plan": json.loads(plan_to_json(files.plan)) if files.plan else None,
        "verdict": files.verdict or None,
        "report": files.report or None,
        "timeline": timeline.to_dict() if timeline else None,
        "figures": json.loads(files.figures.to_json()) if files.figures else None,
        "figures_missing": missing_figures(job, files),
        "last_words": {name: lines_of(said) for name, said in files.last_words.items()} or None,
        "scripts": files.scripts or None,
        "teardown": files.teardown or None,
    }


def page(job: PastJob, files: Files, folder: str, attempts: Sequence[PastJob] = ()) -> str:
    """All about one attempt, for people.

    :param attempts: all of the job.
    """
    lines = [f"{title:<10}{text}" for title, text in _headings(job, files, folder)]
    if len(attempts) > 1:
        lines.insert(1, f"{'attempts':<10}{_attempts(attempts)}")
    timeline = timeline_of(files)
    if timeline is not None and timeline.spans:
        lines += ["", *map(legible, timeline.to_text().splitlines())]
    if files.figures is not None and files.figures.guests:
        lines += ["", table(USAGE_TITLES, map(usage_row, files.figures.guests))]
    for name, said in files.last_words.items():
        lines += ["", f"{legible(name)} ends with:", *(f"  {line}" for line in lines_of(said)[-LAST_LINES:])]
    missing = missing_figures(job, files)
    if missing:
        lines += ["", *(f"no figures of {legible(line)}" for line in missing)]
    return "\n".join(lines)


def _attempts(attempts: Sequence[PastJob]) -> str:
    """What each came to, and when it began: ``1 busy (…), 2 over (…)``."""
    ordered = sorted(attempts, key=lambda one: one.attempt)
    return ", ".join(f"{one.attempt} {one.state} ({moment(one.began)})" for one in ordered)


def _headings(job: PastJob, files: Files, folder: str) -> Iterator[tuple[str, str]]:
    yield "job", f"{legible(job.job_id)}, attempt {job.attempt}: {job.state}"
    if files.job is not None:
        yield "name", legible(job.name)
    yield "owner", legible(job.owner)
    ready = "" if job.ready_after is None else f", guests ready after {span(job.ready_after)}"
    yield "when", moment(job.began) + ready
    if files.job is not None:
        yield "queue", legible(files.job.queue)
        yield "asked for", legible(files.job.resources)
        yield "request", _request(files.job.request())
    yield "plan", _plan(job, files)
    yield "verdict", _verdict(files)
    if job.sentence:
        yield "why", legible(job.sentence)
    yield "teardown", _teardown(job, files)
    yield "record", legible(folder)


def _request(request: Request | None) -> str:
    if request is None:
        return "none that can be read"
    asked = ((field, getattr(request, field.name)) for field in KEYS)
    words = [f"{field.name}={field.kind.text(value)}" for field, value in asked if value is not None]
    return legible(",".join(words)) if words else "guests as this site makes them by default"


def _plan(job: PastJob, files: Files) -> str:
    plan = files.plan
    if plan is None or not plan.guests:
        return "none was made"
    shape = plan.guests[0].shape
    each = f"{_count(shape.vcpus, 'vCPU')}, {amount(shape.ram)} of memory, {shape.domain_type}, {shape.arch}"
    where = f"{_count(len(plan.guests), 'guest')} on {fold(job.nodes)}"
    return legible(f"{where}; each: {each}; image {plan.image.name}")


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _verdict(files: Files) -> str:
    if not files.verdict:
        return "none"
    word = legible(str(files.verdict.get("outcome", "")))
    return f"{word}; its owner was told in the job's error output" if files.verdict.get("refused") else word


def _teardown(job: PastJob, files: Files) -> str:
    if files.teardown:
        return "all removed" if job.clean else "not all could be removed"
    if job.state in {State.STARTING, State.RUNNING}:
        return "none yet"
    if files.verdict and job.state.failed:
        return (
            "by the prologue; what it could not remove is in syslog" if files.plan else "nothing was started"
        )
    return "none is on record"


def usage_row(one: GuestStats) -> tuple[str, ...]:
    """One guest's figures for a table."""
    cpu = "-" if one.cpu_seconds is None else f"{one.cpu_seconds:.1f}"
    memory = (one.memory, one.memory_limit)
    counts = (one.disk_read, one.disk_written, one.net_received, one.net_sent)
    return (legible(one.guest), legible(one.node), cpu, *map(amount, (*memory, *counts)))


def missing_figures(job: PastJob, files: Files) -> list[str]:
    """Of which guests there are no figures, and why: ``its guests: …``; nothing when all are there."""
    if files.figures is None:
        return [f"its guests: {_why_none(job, files)}"]
    found = {one.domain for one in files.figures.guests}
    lines = [f"guests on {node}: {why}" for node, why in files.figures.missing.items()]
    gone = [
        guest.name
        for guest in (files.plan.guests if files.plan else ())
        if guest.domain not in found and guest.node not in files.figures.missing
    ]
    return [*lines, f"{fold(gone)}: ended before the job did"] if gone else lines


def _why_none(job: PastJob, files: Files) -> str:
    if job.state in {State.STARTING, State.RUNNING}:
        return "they are taken when the job ends"
    if files.plan is None:
        return "none was ever started"
    if job.state.failed:
        return "none was there when the start had failed"
    if files.teardown:
        return "none was there any more when the job ended"
    return "no epilogue of the job is on record"


def timeline_of(files: Files) -> Timeline | None:
    """Where the guests' time went; None without a plan or without events."""
    if files.plan is None or not files.events:
        return None
    return job_timeline(list(read_events(files.events)), files.plan)


def chosen(
    jobs: Sequence[PastJob], *, user: str | None, failed: bool, limit: int | None
) -> Sequence[PastJob]:
    """Those of the attempts that were asked for, in their order."""
    kept = [one for one in jobs if user in (None, one.owner) and (one.failed or not failed)]
    return kept if limit is None else kept[:limit]
