"""Reads what is kept of jobs on this node: history and run state. Only root can.

What cannot be read of one attempt is left out and the rest is told: a record may be half written, half
pruned, or of a later version.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import StateError
from nornir_torque_vm.gueststats import Figures
from nornir_torque_vm.identity import is_job_id, job_tag
from nornir_torque_vm.plan import plan_from_json
from nornir_torque_vm.runstate.history import CLOUD_INIT, CONSOLE, EVENTS
from nornir_torque_vm.runstate.joblock import holder
from nornir_torque_vm.runstate.jobrecord import JobRecord
from nornir_torque_vm.runstate.jobstate import JOBS
from nornir_torque_vm.runstate.pastjobs import Files, PastJob, State, judge, summary
from nornir_torque_vm.runstate.rootdir import RootDir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    T = TypeVar("T")


def past_jobs(settings: Settings) -> list[PastJob]:
    """Every attempt on record, newest first.

    :raises StateError: history or run state cannot be read; says who can.
    """
    with _readable():
        found = list(_all(settings))
    return sorted(found, key=lambda one: (one.began, one.record), reverse=True)


def details(settings: Settings, wanted: PastJob) -> Files:
    """All that is kept of one attempt.

    :raises StateError: it cannot be read, or it is gone by now.
    """
    with _readable(), RootDir.at(settings.history_dir) as root, root.sub(wanted.record) as record:
        return dataclasses.replace(_files(record, with_events=True), last_words=_last_words(record))


def _all(settings: Settings) -> Iterator[PastJob]:
    try:
        root = RootDir.at(settings.history_dir)
    except StateError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return
        raise
    with root:
        tags = _tags(settings)
        for name in root.names():
            job_id, _, number = name.rpartition(".")
            if is_job_id(job_id) and number.isdecimal():
                files = _of_name(root, name)
                if files is not None:
                    state = _state(settings, job_id, int(number), files, tags)
                    yield summary(job_id, int(number), files, state)


def _of_name(root: RootDir, name: str) -> Files | None:
    """The files of one record; None when it was pruned meanwhile, or is no directory."""
    try:
        with root.sub(name) as record:
            return _files(record, with_events=False)
    except StateError as error:
        if isinstance(error.__cause__, (FileNotFoundError, NotADirectoryError)):
            return None
        raise


def _state(settings: Settings, job_id: str, attempt: int, files: Files, tags: Collection[str]) -> State:
    owner = holder(settings.run_dir, job_id)
    return judge(
        str(files.verdict.get("outcome") or ""),
        torn_down=bool(files.teardown),
        exists=files.plan is not None and job_tag(files.plan.job) in tags,
        at_work=owner is not None and owner.attempt == attempt and owner.alive(),
    )


def _tags(settings: Settings) -> Collection[str]:
    """Attempts of which there is run state."""
    try:
        with RootDir.at(settings.run_dir) as run, run.sub(JOBS) as jobs:
            return frozenset(jobs.names())
    except StateError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return frozenset()
        raise


def _files(record: RootDir, *, with_events: bool) -> Files:
    return Files(
        job=_read(record, "job.json", JobRecord.from_json),
        plan=_read(record, "plan.json", lambda text: plan_from_json(text.decode())),
        verdict=_read(record, "verdict.json", _object) or {},
        report=_read(record, "report.json", _object) or {},
        teardown=_read(record, "teardown.json", _object) or {},
        scripts=_read(record, "scripts.json", _object) or {},
        figures=_read(record, "stats.json", Figures.from_json),
        judged=_written(record, "verdict.json"),
        changed=os.fstat(record.fd).st_mtime,
        events=tuple((record.read(EVENTS) or b"").splitlines()) if with_events else (),
    )


def _last_words(record: RootDir) -> dict[str, bytes]:
    names = [name for name in record.names() if name.startswith((CONSOLE, CLOUD_INIT))]
    return {name: record.read(name) or b"" for name in names}


def _read(record: RootDir, name: str, parse: Callable[[bytes], T]) -> T | None:
    """One file, None when it is missing or damaged."""
    text = record.read(name)
    if text is None:
        return None
    try:
        return parse(text)
    except (StateError, ValueError):
        return None


def _object(text: bytes) -> Mapping[str, Any]:
    found = json.loads(text)
    return found if isinstance(found, Mapping) else {}


def _written(record: RootDir, name: str) -> float:
    """When a file was written: whole, once, so that is when its event was."""
    try:
        return os.stat(name, dir_fd=record.fd, follow_symlinks=False).st_mtime
    except FileNotFoundError:
        return 0.0


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    """Say who may read when we may not."""
    try:
        yield
    except StateError as error:
        if isinstance(error.__cause__, PermissionError) and os.geteuid() != 0:
            raise StateError(error.what, hint="what is kept of jobs is for root alone") from error.__cause__
        raise
