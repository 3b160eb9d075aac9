"""A job in a guest of OSv, against a server that speaks its interface: start, finish, exit, failures."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jobs
import pytest
from osv_server import ADDRESS, Osv, serving

from nornir_torque_vm.errors import RequestError, StateError
from nornir_torque_vm.hooks.momtask import MomTask
from nornir_torque_vm.model import Distro, Image
from nornir_torque_vm.osv import job as job_module
from nornir_torque_vm.osv.calls import VERSION
from nornir_torque_vm.osv.client import LIMIT, Declined, NoAnswer, Rest
from nornir_torque_vm.osv.job import run_job
from nornir_torque_vm.runstate.handover import HandOver
from nornir_torque_vm.runstate.jobstate import JobState

JOB = "17[3].head"
BATCH = MomTask(["/bin/bash"])
CURE = "write one OSv command a line: a program with its arguments, others after &"


@pytest.fixture
def osv() -> Osv:
    return Osv()


@pytest.fixture
def port(osv: Osv) -> Iterator[int]:
    with serving(osv, port=0) as number:
        yield number


def handed(address: str = ADDRESS) -> HandOver:
    """A hand-over of two guests of OSv, the first at this address."""
    plan = dataclasses.replace(jobs.plan(), image=Image("osv", "/pool/osv", distro=Distro.OSV))
    first, second = plan.guests
    return HandOver.of(plan, jobs.keys(plan), {first.name: address, second.name: "10.0.0.2"})


def script(text: str) -> MomTask:
    """A batch job's first shell."""
    return BATCH._replace(script=("/x.SC", text.encode()))


def test_a_job_is_its_commands_one_after_the_other(osv: Osv, port: int) -> None:
    """Each is waited for to its end, programs of one line together; nodefile and variables come before."""
    given = {"PBS_JOBID": JOB, "PBS_JOBCOOKIE": "secret", "PBS_O_WORKDIR": "/a b&c=d"}
    assert run_job(handed(), script("#!/bin/sh\n/a.so 1 & /b.so\n/c.so\n"), given, port) == 0
    assert osv.commands == ["/a.so 1 & /b.so", "/c.so"]
    assert osv.looks == [210] * 3 + [211] * 3 + [220] * 3
    assert osv.files == {"/pbs_nodefile": f"{ADDRESS}\n" * 3 + "10.0.0.2\n" * 3}
    assert osv.environment == {
        "PBS_JOBID": JOB, "PBS_O_WORKDIR": "/a b&c=d", "PBS_NP": "6", "PBS_NUM_NODES": "2",
        "PBS_NUM_PPN": "3", "PBS_NODEFILE": "/pbs_nodefile", "DISTRO": "OSV",
    }  # fmt: skip


def test_bare_answers_mean_the_same(osv: Osv, port: int) -> None:
    """Older servers send texts without quotes."""
    osv.bare = True
    assert run_job(handed(), script("/a.so"), {}, port) == 0


def test_a_guest_that_is_too_busy_to_answer_is_asked_again(
    osv: Osv, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But a command is never started twice."""
    monkeypatch.setattr(job_module, "LONGEST_PAUSE", 0.05)
    osv.busy = 3
    assert run_job(handed(), script("/a.so"), {}, port) == 0
    assert osv.commands == ["/a.so"]


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (script("/a.so\n/missing.so"),
         "OSv does not run '/missing.so': /app/: Failed to load object: /missing.so (HTTP 400)"),
        (script("/a.so; /b.so"), f"line 1 of the script cannot be run by OSv: ; is a shell's; {CURE}"),
        (BATCH._replace(slot=1), "guests of OSv run the job's script and no other tasks; use other guests"),
        (BATCH._replace(terminal=True, connected=True),
         "guests of OSv have no shell for an interactive job; submit a script"),
        (BATCH, "the script has no command for OSv; write one OSv command a line"),
    ],
)  # fmt: skip
def test_what_osv_cannot_run_is_the_users_to_mend(osv: Osv, port: int, task: MomTask, said: str) -> None:
    """One sentence each; nothing is run on the node in its place."""
    with pytest.raises(RequestError) as caught:
        run_job(handed(), task, {}, port)
    assert str(caught.value) == said
    assert osv.commands in ([], ["/a.so"])


def test_a_guest_that_goes_away_is_the_sites_failure(
    osv: Osv, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With job and guest; a silent end of the job would look like its success."""
    monkeypatch.setattr(job_module, "LONGEST_PAUSE", 0.01)
    finished = osv.finished

    def gone(thread: int) -> str:
        osv.busy = 100
        return finished(thread)

    monkeypatch.setattr(osv, "finished", gone)
    with pytest.raises(StateError) as caught:
        run_job(handed(), script("/a.so"), {}, port)
    assert str(caught.value).startswith("job 17[3].head, guest j17-3-r0: the guest of OSv failed: port ")
    monkeypatch.setattr(osv, "finished", lambda _: "perhaps")
    osv.busy = 0
    with pytest.raises(StateError, match="it answered 'perhaps' where 0 or 1 is wanted"):
        run_job(handed(), script("/a.so"), {}, port)


@contextlib.contextmanager
def speaking(say: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that is none: says something to whoever connects."""
    with socket.create_server((ADDRESS, 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection, contextlib.suppress(OSError):
                        connection.recv(4096)
                        say(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


def drip(connection: socket.socket) -> None:
    """Something, again and again, and never an end."""
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    for _ in range(1000):
        connection.sendall(b"X: y\r\n")
        time.sleep(0.05)


def test_an_answer_that_never_ends_is_given_up(osv: Osv) -> None:
    """Whatever arrives meanwhile: the limit is for all of it."""
    for say in (drip, lambda _: time.sleep(5)):
        with speaking(say) as port:
            began = time.monotonic()
            with pytest.raises(NoAnswer, match=r"/os/version is not answered within 0\.3 s"):
                Rest(ADDRESS, port).ask(VERSION, 0.3)
            assert time.monotonic() - began < 3


def test_a_long_answer_is_read_to_a_limit() -> None:
    """A guest cannot fill the node's memory."""
    with speaking(lambda c: c.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (4 * LIMIT))) as port:
        assert len(Rest(ADDRESS, port).ask(VERSION, 20.0)) == LIMIT


def test_a_closed_port_nonsense_and_a_refusal_are_told_apart(osv: Osv, port: int) -> None:
    """For whoever waits for a guest that boots."""
    with socket.create_server((ADDRESS, 0)) as server:
        closed = server.getsockname()[1]
    with pytest.raises(NoAnswer, match=r"port \d+ does not answer: Connection refused"):
        Rest(ADDRESS, closed).ask(VERSION, 5.0)
    with speaking(lambda c: c.sendall(b"SSH-2.0-OpenSSH\r\n")) as other, pytest.raises(NoAnswer):
        Rest(ADDRESS, other).ask(VERSION, 5.0)
    with pytest.raises(Declined, match=r"/os/nothing: .*not found.* \(HTTP 404\)"):
        Rest(ADDRESS, port).ask(VERSION._replace(path="/os/nothing"), 5.0)


class Start:
    """The job starter of a job whose guests are OSv, as a MOM starts it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        plan = dataclasses.replace(jobs.plan(), image=Image("osv", "/pool/osv", distro=Distro.OSV))
        state = JobState(folder / "run", plan.job)
        state.save(plan, jobs.keys(plan))
        first, second = plan.guests
        state.hand_over(plan, jobs.keys(plan), {first.name: ADDRESS, second.name: "10.0.0.2"})
        self.script = folder / "17-3.head.SC"

    def begin(self, text: str, **changes: str) -> subprocess.Popen[str]:
        """Start it for a batch job with this script."""
        self.script.write_text(text)
        module = "nornir_torque_vm.hooks.job_starter"
        given = {
            "PATH": "/bin:/usr/bin", "PBS_JOBID": JOB, "SHELL": "/bin/bash", "PBS_ENVIRONMENT": "PBS_BATCH",
            "PBS_VNODENUM": "0", **changes,
        }  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "-I", "-m", module, str(self.folder / "run"), "11", "/bin/bash"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=given,
        )  # fmt: skip
        assert process.stdin
        process.stdin.write(f"{self.script}\n")
        process.stdin.close()
        process.stdin = None
        return process

    def run(self, text: str, **changes: str) -> tuple[int, str]:
        """Run it to its end; exit code and what it complained about."""
        process = self.begin(text, **changes)
        _, said = process.communicate(timeout=60)
        return process.returncode, said


def test_the_starter_runs_a_script_in_the_first_guest(osv: Osv, tmp_path: Path) -> None:
    """By the hand-over alone; no ssh is needed, and no shell sees the script."""
    osv.lasts = 0
    with serving(osv):
        assert Start(tmp_path).run("#!/bin/sh\n/tests/a.so --n 3\n") == (0, "")
    assert osv.commands == ["/tests/a.so --n 3"]


def test_the_starter_never_runs_an_osv_job_on_the_node(osv: Osv, tmp_path: Path) -> None:
    """Not what OSv cannot run, and not a task of pbsdsh."""
    start = Start(tmp_path)
    with serving(osv):
        code, said = start.run(f"touch {tmp_path}/on-the-node; true\n")
        assert (code, said.startswith("torque-vm: line 1 of the script cannot be run by OSv: ;")) == (
            120,
            True,
        )
    assert not (tmp_path / "on-the-node").exists()
    assert osv.commands == []


def test_a_killed_job_ends_what_runs_in_its_guest(osv: Osv, tmp_path: Path) -> None:
    """The starter dies of the signal, as the job's shell would; the guest is told to shut down."""
    osv.lasts = 1_000_000
    with serving(osv):
        process = Start(tmp_path).begin("/for-ever.so\n")
        end = time.monotonic() + 30
        while not osv.commands and time.monotonic() < end:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(30) == -signal.SIGTERM
        process.communicate()
        assert osv.off.wait(10)
