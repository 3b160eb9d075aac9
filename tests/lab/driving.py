"""Running jobs and commands in the test lab, and looking at what they left."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nornir_torque_vm.config.textfile import write_text
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.driver.batch import Submission
from nornir_torque_vm.driver.session import Ended, Session
from nornir_torque_vm.identity import guest_name
from nornir_torque_vm.lab import Lab
from nornir_torque_vm.lab.files import toml
from nornir_torque_vm.request import parse_request

TORQUE_VM = [sys.executable, "-m", "nornir_torque_vm.cli"]
SMALL = "vcpus=1,ram=192M"
"""The least a micro guest is happy with."""
GUEST = re.compile(r"tvm-[0-9-]+-a[0-9]+-r[0-9]+-[0-9a-f]{8}")
"""Name of a domain, and of its folder."""
FOLDERS_GONE = 10.0
"""Seconds after which a folder without its guest counts as left."""


class Job:
    """A job on the lab's first nodes, and what it printed."""

    def __init__(
        self, lab: Lab, script: str, request: str = SMALL, *, nodes: int = 1, max_starts: int = 1, **more: Any
    ) -> None:
        self.out, self.err = io.BytesIO(), io.BytesIO()
        self.session = Session(lab, self.out, self.err)
        self.submission = Submission(
            script=f"#!/bin/sh\n{script}\n".encode(),
            name="test",
            hosts=lab.node_names[:nodes],
            ppn=2,
            resources=(f"other={parse_request([request]).encode()}",),
            **more,
        )
        self.alarm = 300.0
        self.over, self.max_starts = False, max_starts
        self.lab = lab

    def run(self) -> Ended:
        """Run it to its end."""
        try:
            return self.session.run(self.submission, max_starts=self.max_starts, alarm=self.alarm)
        finally:
            self.over = True

    def guest(self, rank: int) -> str:
        """Name of one of its guests, once it runs."""
        assert self.session.job is not None
        return guest_name(self.session.job.job.job_id, rank)

    def written(self, name: str) -> bytes:
        """A file of its history; empty as long as it is not there."""
        if self.session.job is None:
            return b""
        folder = self.lab.root(self.submission.hosts[0]) / "var/log/torque-vm"
        path = next(iter(folder.glob(f"{self.session.job.job.job_id}.*/{name}")), None)
        return path.read_bytes() if path is not None else b""

    @property
    def lines(self) -> list[str]:
        """Its standard output."""
        return self.out.getvalue().decode().splitlines()

    @property
    def errors(self) -> str:
        """Its standard error."""
        return self.err.getvalue().decode()


def command(
    lab: Lab, *words: str, node: str = "node1", seconds: float = 120.0
) -> subprocess.CompletedProcess[str]:
    """Run ``torque-vm`` on a node, as an administrator there would."""
    return lab.run(node, [*TORQUE_VM, *words], seconds=seconds, check=False)


def leftovers(lab: Lab) -> dict[str, list[str]]:
    """Everything jobs could have left on the nodes: guests, files of guests, run state.

    Sisters remove the folders of guests themselves, a moment after those have gone.
    """
    for _ in Deadline.after(FOLDERS_GONE).backoff(0.5):
        found = remaining(lab)
        alone = (name for names in found.values() for name in names if names.count(name) == 1)
        if not any(map(GUEST.fullmatch, alone)) or not any(map(has_net, map(lab.root, lab.node_names))):
            break
    return remaining(lab)


def has_net(root: Path) -> bool:
    """Whether a process that an epilogue.parallel has left behind is at work on a node."""
    for path in (root / "proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has just ended
            if b"nornir_torque_vm.hooks.safetynet" in path.read_bytes():
                return True
    return False


def remaining(lab: Lab) -> dict[str, list[str]]:
    """What :func:`leftovers` tells, at this moment; the name of a guest that runs is there twice."""
    found: dict[str, list[str]] = {}
    for node in lab.node_names:
        domains = lab.run(node, ["virsh", "-c", "qemu:///system", "list", "--all", "--name"]).stdout.split()
        root = lab.root(node)
        volumes = [path.name for path in (root / "var/lib/torque-vm/volumes").glob("*")]
        state = [
            str(path.relative_to(root))
            for folder in ("markers", "handover", "jobs", "locks")
            for path in (root / "run/torque-vm" / folder).glob("*")
        ]
        if any((domains, volumes, state)):
            found[node] = domains + volumes + state
    return found


def history(lab: Lab, ended: Ended, name: str, node: str = "node1") -> Any:
    """One of the files the last attempt of a job left in the history of its mother superior."""
    records = sorted((lab.root(node) / "var/log/torque-vm").glob(f"{ended.outcome.job_id}.*"))
    return json.loads((records[-1] / f"{name}.json").read_text(encoding="utf-8"))


def started(job: Job) -> int:
    """How many of a running job's guests have been started so far."""
    if job.session.job is None:
        return 0
    folder = job.lab.root("node1") / "var/log/torque-vm"
    records = folder.glob(f"{job.session.job.job.job_id}.*/events.jsonl")
    lines = [line for path in records for line in path.read_text(encoding="utf-8").splitlines()]
    return sum('"event":"step_end","task":"start_guest"' in line for line in lines)


@contextlib.contextmanager
def settings(lab: Lab, changes: Mapping[str, object], *hosts: str) -> Iterator[None]:
    """Change settings of hosts for a while, by name."""
    files = [lab.root(host) / "etc/torque-vm/settings.toml" for host in hosts]
    before = {path: path.read_text() for path in files}
    try:
        for path, text in before.items():
            write_text(path, toml(tomllib.loads(text) | dict(changes)), 0o644)
        yield
    finally:
        for path, text in before.items():
            write_text(path, text, 0o644)


def emulators(lab: Lab, node: str) -> list[int]:
    """Process ids, as seen inside the node, of the guests that run there."""
    found = lab.run(node, ["sh", "-c", "grep -l qemu-system /proc/[0-9]*/cmdline || true"]).stdout.split()
    return [int(path.split("/")[2]) for path in found if path.split("/")[2] != "self"]


def pool_state(pool: Path) -> dict[str, tuple[int, int, int, int, bytes]]:
    """Owner, group, mode, mtime and content digest of every base image."""
    import hashlib

    state = {}
    for path in sorted(pool.iterdir()):
        facts = path.stat()
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
        state[path.name] = (facts.st_uid, facts.st_gid, facts.st_mode, facts.st_mtime_ns, digest)
    return state


def have(*programs: str) -> list[str]:
    """Those of the programs that are missing."""
    return [program for program in programs if shutil.which(program) is None]


def shell(lab: Lab, node: str, text: str, seconds: float = 30.0) -> str:
    """Run shell text on a node as root and return what it printed."""
    return lab.run(node, ["sh", "-c", text], seconds=seconds).stdout


def words_of(rows: Sequence[str]) -> list[list[str]]:
    """A printed table as lists of words, without its headline."""
    return [row.split() for row in rows[1:]]


def wait_for(true: Callable[[], object], seconds: float) -> None:
    """Poll until the condition holds.

    :raises TimeoutError: it never did.
    """
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds} s")
        time.sleep(0.1)
