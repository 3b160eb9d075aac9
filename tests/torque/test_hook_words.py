"""What hooks say on a real TORQUE: a line each in syslog, none in a job's output; progress at a terminal."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from start_kit import BROKEN, REQUEST, SECONDS, site, submit, swept
from torque_kit import eventually, output, qsub, settings, wait_for_state
from torque_terminal import Terminal

from nornir_torque_vm.lab import Lab

__all__ = ["site"]

pytestmark = pytest.mark.torque


@contextlib.contextmanager
def syslog(lab: Lab, node: str) -> Iterator[list[str]]:
    """What is sent to a node's syslog meanwhile, ours only, without dates and process ids."""
    path, lines = lab.root(node) / "dev/log", list[str]()
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as log:
        log.bind(str(path))
        path.chmod(0o666)

        def listen() -> None:
            while text := log.recv(65536).decode():
                found = re.search(r"torque-vm(?:\[\d+\])?: (.*)", text, re.DOTALL)
                if found:
                    lines.append(found[1].rstrip("\n\0"))

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield lines
        finally:
            with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as end:
                end.sendto(b"", str(path))
            thread.join()
            Path(path).unlink()


def of(job: str, lines: list[str]) -> list[str]:
    """The lines of one job."""
    return [line for line in lines if f" job={job} " in line]


def test_each_hook_writes_one_line_to_syslog(site: Lab) -> None:
    """Of a job that goes well; the reaper writes none where nothing is left."""
    with syslog(site, "node1") as first, syslog(site, "node2") as second:
        job = submit(site, "node1+node2")
        done = wait_for_state(site, job, seconds=SECONDS)
        lines = {"node1": first, "node2": second}
        chief = done["exec_host"].partition("/")[0]
        sister = next(node for node in lines if node != chief)
        # A line may be late and of a job that was there before.
        eventually(lambda: len(of(job, lines[sister])) == 2)
        assert swept(site) == {}
    assert done["exit_status"] == "0"
    began, ended = of(job, lines[chief])
    assert began.startswith(f"prologue job={job} ready")
    assert ended.startswith(f"epilogue job={job} ")
    assert re.search("guests removed from 2 nodes; guests=2 cpu_seconds=[0-9]", ended)
    marked, swept_up = of(job, lines[sister])
    assert marked == f"prologue.parallel job={job} marked"
    # What is in a guest's folder only its own node removes.
    assert re.fullmatch(rf"epilogue\.parallel job={job} removed the files of tvm-\d+-a1-r1-\w+", swept_up)
    assert re.fullmatch(r"j\d+-r0\n", output(site, done)), "nothing of ours is in the job's output"
    assert output(site, done, "Error") == ""


def test_a_refusal_is_one_line_for_the_user_and_one_of_each_hook_in_syslog(site: Lab) -> None:
    """The job starter's too, which tells the user."""
    with syslog(site, "node1") as lines:
        job = qsub(site, ["-T", "vm", "-l", f"nodes=node1,{REQUEST}:nonsense=1"], stdin="true\n")
        done = wait_for_state(site, job, seconds=SECONDS)
        eventually(lambda: len(lines) >= 3)
    assert done["exit_status"] == "120"
    assert output(site, done) == ""
    (sentence,) = output(site, done, "Error").splitlines()
    assert sentence.startswith("torque-vm: ")
    assert [line.split()[:2] for line in lines] == [
        [hook, f"job={job}"] for hook in ("prologue", "job_starter", "epilogue")
    ]
    told = sentence.removeprefix("torque-vm: ")
    assert lines[0] == f"prologue job={job} {told}"
    assert lines[1] == f"job_starter job={job} {told}"


def test_the_owner_of_an_interactive_job_sees_how_far_the_guests_are(site: Lab) -> None:
    """One line that is written over, before the shell in the guest; then nothing of it is left."""
    words = ["qsub", "-I", "-T", "vm", "-l", f"nodes=node1,{REQUEST}"]
    with Terminal(site, words) as terminal:
        terminal.expect("torque-vm: guests: 1 ", SECONDS)
        terminal.expect("torque-vm: guests: 1 ok after ", SECONDS)
        terminal.send("echo at:$(uname -n):$(tty)\n")
        said = terminal.expect(":/dev/", SECONDS)
        terminal.send("exit\n")
        terminal.wait(SECONDS)
    assert re.search(r"at:j\d+-r0:/dev/", said)
    states = re.findall(r"torque-vm: guests: ([^\r\n]*)", said)
    assert len(states) >= 3, "it moves"
    assert any("address" in state for state in states[:-1])


def test_an_interactive_job_that_cannot_start_says_why_at_the_terminal(site: Lab) -> None:
    """TORQUE does not try it again."""
    words = ["qsub", "-I", "-T", "vm", "-l", f"nodes=node1,{REQUEST}"]
    with settings(site, BROKEN, "node1"), Terminal(site, words) as terminal:
        terminal.expect("check that libvirtd runs there", SECONDS)
        terminal.wait(SECONDS)
    assert "torque-vm: node1, survey: " in terminal.text
    eventually(lambda: swept(site) == {}, 60)
