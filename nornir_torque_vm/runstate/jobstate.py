"""Run state of a job on its mother superior: what must outlive the prologue and end with the job.

::

    <run_dir>/                 root 0711 (or 0755): the owner has to reach the next two
        markers/<job id>       see handover
        handover/<job id>/     see handover
        locks/<job id>         see joblock
        jobs/<tag>/            root 0700, one per attempt
            plan.json  keys.json  scripts.json  addresses.json      root 0600

The truth about what exists is in libvirt; nothing here is needed to destroy a job's guests.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import DeadlineExceeded, RequestError, StateError
from nornir_torque_vm.guestscripts.script import GuestScript, scripts_from_json, scripts_to_json
from nornir_torque_vm.identity import job_slug, job_tag
from nornir_torque_vm.model import Job, JobKeys, KeyPair, Owner, Plan
from nornir_torque_vm.runstate.handover import (
    GIVEN,
    HANDOVERS,
    MARKERS,
    UPLOADED,
    HandOver,
    Refusal,
)
from nornir_torque_vm.runstate.history import History
from nornir_torque_vm.runstate.joblock import job_lock
from nornir_torque_vm.runstate.rootdir import RootDir

__all__ = ["History", "JobState"]

JOBS = "jobs"
"""Subdirectory of the run directory."""
KEYS_VERSION = 1
"""Of the JSON form of the keys."""


class JobState:
    """The state of one attempt. Nothing is created before the first ``save``.

    :param run_dir: the setting ``run_dir``.
    :raises InventoryError: the job's id is no job id.

    Methods that touch files raise :class:`StateError`.
    """

    def __init__(self, run_dir: str | Path, job: Job) -> None:
        self.run_dir, self.job = Path(run_dir), job
        self.tag = job_tag(job)

    @classmethod
    def find(cls, run_dir: str | Path, job_id: str) -> JobState | None:
        """Return the state of the job's latest attempt; None when there is none that can be read."""
        with _existing(run_dir, JOBS) as jobs:
            found = [cls._read(run_dir, jobs, tag) for tag in _tags(jobs, job_id)] if jobs else []
        same = [entry for entry in found if entry is not None and entry[0].job.id == job_id]
        return max(same, key=lambda entry: (entry[0].job.attempt, entry[1]))[0] if same else None

    @classmethod
    def of_tag(cls, run_dir: str | Path, tag: str) -> JobState | None:
        """Return the state of the attempt of this tag; None when there is none that can be read."""
        with _existing(run_dir, JOBS) as jobs:
            found = cls._read(run_dir, jobs, tag) if jobs else None
        return found[0] if found is not None else None

    @classmethod
    def forget(cls, run_dir: str | Path, job_id: str) -> None:
        """Remove all that any attempt of a job left, the marker last; when there is nothing, fine.

        A directory whose plan was never written, or cannot be read, goes by its name.
        """
        job_slug(job_id)
        withdraw(run_dir, job_id)
        with _existing(run_dir, JOBS) as jobs:
            if jobs:
                for tag in _tags(jobs, job_id):
                    found = cls._read(run_dir, jobs, tag)
                    if found is None or found[0].job.id == job_id:
                        jobs.remove_dir(tag)
        with _existing(run_dir, MARKERS) as markers:
            if markers:
                markers.remove(job_id)

    def lock(self, deadline: Deadline | None = None) -> contextlib.AbstractContextManager[None]:
        """Hold the lock of the job, all attempts of it; an older attempt's prologue has to leave.

        See :func:`~nornir_torque_vm.runstate.joblock.job_lock`.
        """
        return job_lock(
            self.run_dir, self.job.id, attempt=self.job.attempt, deadline=deadline, take_over=True
        )

    def save(self, plan: Plan, keys: JobKeys, scripts: Sequence[GuestScript] = ()) -> None:
        """Keep plan and keys, and scripts if there are any; an earlier attempt's hand-over is withdrawn."""
        from nornir_torque_vm.plan import plan_to_json

        withdraw(self.run_dir, self.job.id)
        with self._open() as directory:
            directory.write("plan.json", plan_to_json(plan).encode())
            directory.write("keys.json", _keys_to_json(keys).encode())
            if scripts:
                directory.write("scripts.json", scripts_to_json(scripts).encode())

    def hand_over(self, plan: Plan, keys: JobKeys, addresses: Mapping[str, str]) -> None:
        """Keep the addresses and give the job's owner, and nobody else, what opens the guests."""
        content = HandOver.of(plan, keys, addresses).to_json().encode()
        owner = (plan.job.owner.uid, plan.job.owner.gid)
        with self._open() as directory, RootDir.at(self.run_dir) as run:
            directory.write("addresses.json", json.dumps(dict(addresses), indent=1).encode())
            # Written here and moved there, so that what a killed prologue leaves goes with the job.
            directory.write("handover.json", content, mode=0o400, owner=owner)
            with _own_folder(run, self.job.id) as folder:
                directory.move("handover.json", folder, GIVEN)

    def plan(self) -> Plan | None:
        """The plan, None when none was saved."""
        from nornir_torque_vm.plan import plan_from_json

        text = self._load("plan.json")
        return None if text is None else plan_from_json(text)

    def keys(self) -> JobKeys | None:
        """The keys, None when none were saved."""
        text = self._load("keys.json")
        return None if text is None else _keys_from_json(text)

    def scripts(self) -> tuple[GuestScript, ...]:
        """The scripts that run in its guests; none when none were saved."""
        text = self._load("scripts.json")
        return () if text is None else scripts_from_json(text)

    def drop_scripts(self) -> None:
        """Forget the scripts: they have been run."""
        with self._open() as directory:
            directory.remove("scripts.json")

    def addresses(self) -> Mapping[str, str]:
        """Guest name → address as handed over; empty before."""
        text = self._load("addresses.json")
        try:
            return {} if text is None else {str(name): str(value) for name, value in json.loads(text).items()}
        except (ValueError, AttributeError) as error:
            raise StateError("the guests' addresses cannot be read", job=self.job.id) from error

    def remove(self) -> None:
        """Remove what this attempt left; a newer attempt's hand-over and the marker stay."""
        if self._is_mine(given(self.run_dir, self.job.id)):
            withdraw(self.run_dir, self.job.id)
        with _existing(self.run_dir, JOBS) as jobs:
            if jobs:
                jobs.remove_dir(self.tag)

    def _is_mine(self, text: bytes | None) -> bool:
        """Whether a hand-over is this attempt's; one that cannot be read is of no use to anybody."""
        try:
            return text is not None and HandOver.from_json(text).tag == self.tag
        except (StateError, RequestError, DeadlineExceeded):  # a refusal is raised
            return True

    @contextlib.contextmanager
    def _open(self) -> Iterator[RootDir]:
        with (
            RootDir.at(self.run_dir, create=0o711) as run,
            run.sub(JOBS, create=0o700) as jobs,
            jobs.sub(self.tag, create=0o700) as directory,
        ):
            yield directory

    def _load(self, name: str) -> str | None:
        with _existing(self.run_dir, JOBS) as jobs:
            if jobs is None or self.tag not in jobs.names():
                return None
            with jobs.sub(self.tag) as directory:
                content = directory.read(name)
        return None if content is None else content.decode(errors="replace")

    @classmethod
    def _read(cls, run_dir: str | Path, jobs: RootDir, tag: str) -> tuple[JobState, float] | None:
        """The state in one directory and when its plan was written; None when that cannot be told."""
        from nornir_torque_vm.plan import plan_from_json

        try:
            with jobs.sub(tag) as directory:
                content = directory.read("plan.json")
                if content is None:
                    return None
                written = os.stat("plan.json", dir_fd=directory.fd, follow_symlinks=False).st_mtime
            return cls(run_dir, plan_from_json(content.decode(errors="replace")).job), written
        except (StateError, OSError):
            return None


def refuse_job(run_dir: str | Path, job_id: str, owner: Owner, refusal: Refusal) -> None:
    """Leave a refusal for a job's owner in place of the hand-over.

    It is written where a hand-over is: in a directory that goes with the job if we are killed here. The job
    may have no attempt yet, so the directory is called after attempt 0.
    """
    tag = f"tvm-{job_slug(job_id)}-a0-{secrets.token_hex(4)}"
    content, reader = refusal.to_json().encode(), (owner.uid, owner.gid)
    with RootDir.at(run_dir, create=0o711) as run, run.sub(JOBS, create=0o700) as jobs:
        with jobs.sub(tag, create=0o700) as directory:
            directory.write("refusal.json", content, mode=0o400, owner=reader)
            with _own_folder(run, job_id) as folder:
                directory.move("refusal.json", folder, GIVEN)
        jobs.remove_dir(tag)


def given(run_dir: str | Path, job_id: str) -> bytes | None:
    """Return what is in a job's hand-over, for root; None when there is none. Its owner can rewrite it.

    :raises StateError: it cannot be read.
    """
    with _existing(run_dir, HANDOVERS) as handovers:
        if handovers is None:
            return None
        try:
            with handovers.sub(job_id) as folder:
                return folder.read(GIVEN)
        except StateError as error:
            if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
                return None
            raise


def withdraw(run_dir: str | Path, job_id: str) -> None:
    """Remove a job's hand-over from this node, and what libvirt left of one; when there is none, fine.

    :raises StateError: it cannot be removed.
    """
    with _existing(run_dir, HANDOVERS) as handovers:
        if handovers:
            handovers.remove(job_id + UPLOADED)
            try:
                handovers.remove_dir(job_id)
            except StateError as error:
                if not isinstance(error.__cause__, NotADirectoryError):
                    raise
                handovers.remove(job_id)  # it is a file of an earlier version


@contextlib.contextmanager
def _own_folder(run: RootDir, job_id: str) -> Iterator[RootDir]:
    """Lend the directory that a job's hand-over is in."""
    with run.sub(HANDOVERS, create=0o711) as handovers, handovers.sub(job_id, create=0o711) as folder:
        yield folder


def _existing(run_dir: str | Path, name: str) -> contextlib.AbstractContextManager[RootDir | None]:
    """A subdirectory of the run directory, None when there is none: looking and removing create nothing."""
    try:
        with RootDir.at(run_dir) as run:
            return run.sub(name)
    except StateError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return contextlib.nullcontext()
        raise


def _tags(jobs: RootDir, job_id: str) -> list[str]:
    """Directories that can be this job's; another server's job of the same number looks alike."""
    return jobs.names(f"tvm-{job_slug(job_id)}-a")


def _keys_to_json(keys: JobKeys) -> str:
    pairs = {"admin": dataclasses.asdict(keys.admin), "user": dataclasses.asdict(keys.user)}
    hosts = {name: dataclasses.asdict(pair) for name, pair in keys.hosts.items()}
    return json.dumps({"version": KEYS_VERSION, **pairs, "hosts": hosts}, indent=1) + "\n"


def _keys_from_json(text: str) -> JobKeys:
    try:
        raw = json.loads(text)
        if raw["version"] != KEYS_VERSION:
            raise StateError(f"the keys have form {raw['version']!r}, this program reads {KEYS_VERSION}")
        hosts = {name: KeyPair(**pair) for name, pair in raw["hosts"].items()}
        return JobKeys(KeyPair(**raw["admin"]), KeyPair(**raw["user"]), hosts)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StateError(f"the job's keys cannot be read ({type(error).__name__})") from error
