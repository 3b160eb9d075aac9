"""What the job starter costs: ``python -m bench.starter`` (root).

The first line is a job with guests: from the starter's start, as a MOM starts it, to the first line that the
user's script prints, against ``ssh guest true`` as the same user with the same keys, from start to end. The
second, which has no floor, is what a job without guests pays: the CPU time of the starter before the task.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import time
from pathlib import Path
from typing import Any

from bench.cluster import bench_lab
from bench.pairs import alternate, main
from bench.ratio import Measured
from nornir_torque_vm.driver import slots
from nornir_torque_vm.driver.batch import BatchJob, Submission
from nornir_torque_vm.driver.deploy import deploy_hooks
from nornir_torque_vm.lab import Lab
from nornir_torque_vm.lab.files import USER
from nornir_torque_vm.request import parse_request
from nornir_torque_vm.runstate.handover import GIVEN, HANDOVERS, RUN_DIR

NAME = "starter"
LIMIT = 1.3
PLAIN_LIMIT = 3.0
"""Milliseconds of CPU."""
TASKS = 100
"""Plain tasks in one measurement."""
SECONDS = 120.0


class Guest:
    """A job with one guest that is ready, and its starter.

    :raises LabError: it could not be started.
    """

    def __init__(self, lab: Lab) -> None:
        self.lab, self.node = lab, lab.node_names[0]
        self.starter = deploy_hooks(lab.root(self.node))
        other = parse_request(["vcpus=1,ram=192M"]).encode()
        script = b"#!/bin/sh\necho first\n"
        submission = Submission(script, NAME, [self.node], 1, resources=(f"other={other}",))
        self.job = BatchJob(lab, submission, USER, 1, alarm=SECONDS)
        self.job._deliver()  # noqa: SLF001 - a job that only begins
        ended = self.job.chief.hook("prologue", SECONDS)
        if ended is None or ended.outcome != 0:
            raise RuntimeError(f"the prologue ended with {ended}")
        self.id = self.job.job.job_id
        handover = lab.root(self.node) / RUN_DIR.lstrip("/") / HANDOVERS / self.id / GIVEN
        self.given: dict[str, Any] = json.loads(handover.read_text(encoding="utf-8"))
        for name, content in (("key", self.given["user_key"]), ("hosts", self.given["known_hosts"])):
            path = self.path(name)
            path.write_text(content, encoding="ascii")
            path.chmod(0o600)
            os.chown(path, USER.uid, USER.gid)

    def path(self, name: str) -> Path:
        """A file of the user's, as seen from here."""
        return self.lab.root(self.node) / USER.home[1:] / name

    def end(self) -> None:
        """Remove the guest."""
        self.job.chief.hook("epilogue", SECONDS)
        self.job._forget()  # noqa: SLF001 - see above

    def until_first_line(self) -> float:
        """Start the job's shell as a MOM does; return the seconds until its script printed a line."""
        environment = slots.environment("job", self.job.job)
        return self._time([self.starter, USER.shell], environment, f"{self.job.job.script}\n")

    def until_ssh_ended(self) -> float:
        """Run ``ssh guest true``; return the seconds it took."""
        options = [
            "BatchMode=yes", f"IdentityFile={USER.home}/key", "IdentitiesOnly=yes",
            "StrictHostKeyChecking=yes",
            f"UserKnownHostsFile={USER.home}/hosts", "GlobalKnownHostsFile=none",
            "KexAlgorithms=curve25519-sha256",
        ]  # fmt: skip
        words = [word for option in options for word in ("-o", option)]
        where = f"{USER.name}@{self.given['guests'][0]['address']}"
        return self._time(["ssh", "-F", "none", "-T", *words, where, "true"], {"PATH": "/usr/bin:/bin"}, "")

    def _time(self, argv: list[str], environment: dict[str, str], stdin: str) -> float:
        """Seconds until a program of the user's in the node prints a line, or ends."""
        user = ["/usr/bin/setpriv", "--reuid", str(USER.uid), "--regid", str(USER.gid), "--init-groups"]
        variables = [f"{name}={value}" for name, value in environment.items()]
        words = [*self.lab.enter(self.node), "/usr/bin/env", "-i", "-C", USER.home, *variables, *user, *argv]
        began = time.monotonic()
        pipe = subprocess.PIPE
        with subprocess.Popen(words, stdin=pipe, stdout=pipe, start_new_session=True) as process:
            if process.stdin is None or process.stdout is None:
                raise RuntimeError("no pipes")
            process.stdin.write(stdin.encode())
            process.stdin.close()
            process.stdout.readline()
            took = time.monotonic() - began
            process.stdout.read()
        if process.returncode != 0:
            raise RuntimeError(f"{argv[0]} ended with {process.returncode}")
        return took


def plain_cost(starter: Path) -> float:
    """Milliseconds of CPU that a task without guests costs more when it is started by the starter."""

    def cost(argv: list[str]) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        for _ in range(TASKS):
            subprocess.run(argv, check=True, env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"})
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000 / TASKS

    return cost([str(starter), "/bin/true"]) - cost(["/bin/true"])


def measure(lab: Lab, pairs: int) -> list[Measured]:
    """Measure on the first node of a lab."""
    guest = Guest(lab)
    try:
        guest.until_first_line()  # Python's files are read for the first time
        what = "from the starter's start to the script's first line"
        taken = alternate(f"{NAME}: {what}", guest.until_first_line, guest.until_ssh_ended, pairs)
    finally:
        guest.end()
    starter = lab.root(guest.node) / guest.starter.lstrip("/")
    plain = [plain_cost(starter) for _ in range(pairs)]
    return [
        Measured(NAME, f"{what}, wall", LIMIT, *taken),
        Measured(NAME, "a task without guests, CPU more than without", PLAIN_LIMIT, plain, unit="ms"),
    ]


def run(pairs: int) -> list[Measured]:
    """Measure in a lab of our own."""
    with bench_lab() as lab:
        return measure(lab, pairs)


if __name__ == "__main__":
    main(run)
