"""One command line submitted in several ways on the lab's head, and what the server knows of the jobs."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from torque_kit import delete, jobs, qsub, set_submit_filter, settings, user_file, user_run
from torque_terminal import Terminal

from nornir_torque_vm.lab import HEAD, Lab
from nornir_torque_vm.lab.files import SPOOL, USER

PREFIX = "/srv/torque-vm/kit"
"""Where the head has room of its own; a site would take the default."""
FRONT, FILTER = f"{PREFIX}/wrapper/qsub", f"{PREFIX}/wrapper/submit-filter"
TORQUE_VM = str(Path(sys.executable).with_name("torque-vm"))
SCRIPT = "job.sh"

CLOCK = ("ctime", "mtime", "qtime", "etime", "queue_rank")
"""Attributes that say when, and after how many others, a job was submitted."""
NUMBER = re.compile(r"\b\d+(?=(\[\d*\])?\.head\b)")
"""The number in a job's id."""


@dataclasses.dataclass(frozen=True)
class Job:
    """A job as the server holds it: its attributes without its number and the clock, and its script.

    ``attributes`` has one table, of an array one for each member.
    """

    number: str
    attributes: list[dict[str, str]]
    submit_args: str
    script: bytes | None
    err: str

    @property
    def only(self) -> dict[str, str]:
        """The attributes of a job that is no array."""
        (one,) = self.attributes
        return one


class SubmitHost:
    """The lab's head with the site kit installed, as ``torque-vm install submit-host`` does it.

    :param real: path of TORQUE's own qsub there.
    """

    def __init__(self, lab: Lab, real: str) -> None:
        self.lab, self.real = lab, real
        self._ids: list[str] = []

    def typed(
        self, program: str, text: str, *, stdin: str | None = None, env: Mapping[str, str] | None = None
    ) -> tuple[int, str, str]:
        """Have the user's shell run ``program`` with words as one types them: exit code, both streams."""
        done = user_run(self.lab, ["bash", "-c", f"exec {program} {text}"], stdin=stdin, env=env, check=False)
        return done.returncode, done.stdout, done.stderr

    def submitted(
        self, program: str, text: str, *, stdin: str | None = None, env: Mapping[str, str] | None = None
    ) -> Job:
        """Submit a job, which must not have started when this looks at it."""
        code, out, err = self.typed(program, text, stdin=stdin, env=env)
        assert code == 0, err
        job_id = out.strip() or self.newest()
        self._ids.append(job_id)
        return self.known(job_id, err)

    def at_terminal(self, program: str, text: str) -> Job:
        """Submit an interactive job at a terminal, look at it while it waits, and delete it."""
        with Terminal(self.lab, ["bash", "-c", f"exec {program} {text}"]) as terminal:
            said = terminal.expect(" to start")
            before, _, rest = said.partition("qsub: waiting for job ")
            job = self.known(rest.split()[0], before)
            delete(self.lab, rest.split()[0])
            terminal.wait()
        return job

    def known(self, job_id: str, err: str = "") -> Job:
        """What the server knows of a job."""
        number = NUMBER.match(job_id)
        assert number, f"{job_id!r} {err}"
        rows = list(self._rows(job_id).values())
        (arguments,) = {row.pop("submit_args", "") for row in rows}
        tables = [
            {name: without_number(value, number[0]) for name, value in row.items() if name not in CLOCK}
            for row in rows
        ]
        script = next((self.lab.root(HEAD) / SPOOL[1:]).glob(f"server_priv/jobs/{number[0]}[.-]*SC"), None)
        return Job(number[0], tables, arguments, script.read_bytes() if script else None, err)

    def _rows(self, job_id: str) -> dict[str, dict[str, str]]:
        """A job's attributes, or an array's members', once the server has held those over the limit."""
        rows = jobs(self.lab, job_id)
        while "[" in job_id:
            time.sleep(0.3)
            before, rows = rows, jobs(self.lab, job_id)
            if rows == before:
                break
        return rows

    def newest(self) -> str:
        """The id of the job that was submitted last, for ``-z``."""
        return max(jobs(self.lab), key=lambda job_id: int(job_id.partition(".")[0].partition("[")[0]))

    def delete_all(self) -> None:
        """Delete all jobs that were submitted."""
        user_run(self.lab, ["qdel", *self._ids], check=False)
        self._ids.clear()

    @contextlib.contextmanager
    def filtered(self) -> Iterator[None]:
        """Have TORQUE call our submit filter for a while, which is how a site has it."""
        set_submit_filter(self.lab, FILTER)
        try:
            yield
        finally:
            set_submit_filter(self.lab, None)


def differences(
    expected: list[dict[str, str]], found: list[dict[str, str]]
) -> list[tuple[str, str | None, str | None]]:
    """The attributes that are not as expected: name, expected value, value found; None for no such one."""
    assert len(found) == len(expected)
    return [
        (name, before.get(name), after.get(name))
        for before, after in zip(expected, found, strict=True)
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]


def without_number(text: str, number: str) -> str:
    """A text with ``N`` in place of the job's number, where it stands as such."""
    return re.sub(rf"(?<![0-9A-Za-z.:]){number}(?=\[|\.{HEAD})|(?<=\.[eo]){number}\b", "N", text)


@pytest.fixture(scope="module")
def submit_host(torque_lab: Lab) -> Iterator[SubmitHost]:
    """The head as a submit host; the submit filter is off unless a test wants it."""
    real = torque_lab.run(HEAD, ["sh", "-c", "command -v qsub"]).stdout.strip()
    install = [TORQUE_VM, "install", "submit-host", "--prefix", PREFIX]
    with settings(torque_lab, {"real_qsub_on_server": real, "real_qsub_on_nodes": real}, HEAD):
        torque_lab.run(HEAD, install)
        set_submit_filter(torque_lab, None)
        try:
            yield SubmitHost(torque_lab, real)
        finally:
            set_submit_filter(torque_lab, FILTER)  # what is to be taken away again
            torque_lab.run(HEAD, [*install, "--uninstall"])
            set_submit_filter(torque_lab, None)


@pytest.fixture(scope="module")
def parent(submit_host: SubmitHost) -> Iterator[str]:
    """A job that others can depend on; it is held."""
    job = qsub(submit_host.lab, ["-h"], stdin="true\n", program=submit_host.real)
    yield job
    delete(submit_host.lab, job)


@pytest.fixture(scope="module")
def stopped(torque_lab: Lab) -> Iterator[None]:
    """No job is started meanwhile."""
    torque_lab.run(HEAD, ["qmgr", "-c", "set server scheduling = false"])
    time.sleep(0.5)  # for what the scheduler is at work on
    yield
    torque_lab.run(HEAD, ["qmgr", "-c", "set server scheduling = true"])


@pytest.fixture
def waiting(submit_host: SubmitHost, stopped: None) -> Iterator[None]:
    """Jobs wait, and then they are deleted."""
    yield
    submit_host.delete_all()


def write_script(lab: Lab, text: str, name: str = SCRIPT) -> str:
    """Put a script into the user's home, which is where he types; return its name."""
    user_file(lab, name, text)
    return name


def home(lab: Lab, name: str) -> Path:
    """A file of the user's, from here."""
    return lab.root(HEAD) / USER.home[1:] / name
