"""From what a user types on the head to guests on the nodes, and back: all of it on a real TORQUE."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from driving import leftovers
from guest_jobs import hooked
from submission_kit import PREFIX, SCRIPT, SubmitHost, submit_host, write_script
from torque_kit import output, wait_for_state
from torque_terminal import Terminal

from nornir_torque_vm.lab import Lab

__all__ = ["submit_host"]
pytestmark = pytest.mark.torque

VM_SECONDS = 120.0
"""How long a job with guests may take; they are emulated."""
JOB = """#!/bin/sh
#PBS -l walltime=10:00
{directive}
echo "$(id -un) $# $1"; cat /proc/sys/kernel/hostname
for guest in $(sort -u "$PBS_NODEFILE"); do ssh "$guest" hostname; done
echo to stderr >&2
exit 37
"""


@pytest.fixture
def hypervisors(torque_lab: Lab) -> Iterator[None]:
    """The nodes have hooks and a job starter, as a site has them."""
    with hooked(torque_lab):
        yield


def typed_at(terminal: Terminal, line: str) -> str:
    """Type a line; return the id of the job it submits."""
    before = len(terminal.text)
    terminal.send(f"{line}; echo code:$?\n")
    terminal.expect("\ncode:0")
    job = re.search(r"\d+\.head(?=\r)", terminal.text[before:])
    assert job, terminal.text
    return job[0]


@pytest.mark.usefixtures("hypervisors")
@pytest.mark.parametrize(
    ("path", "words", "inside", "guests"),
    [
        (f"{PREFIX}/wrapper:$PATH", "-l nodes=2 -vm vms_per_node=2,ram=192M -F '\"two words\"'", "", 4),
        ("$PATH", "-F '\"two words\"'", "#PBS -vm ram=192M -l nodes=1:vm", 1),
    ],
    ids=["wrapper", "filter"],
)
def test_a_job_that_a_user_types_runs_in_guests(
    submit_host: SubmitHost, path: str, words: str, inside: str, guests: int
) -> None:
    """With its arguments; its output and exit status come back, and nothing of the guests is left."""
    lab = submit_host.lab
    write_script(lab, JOB.format(directive=inside))
    with submit_host.filtered(), Terminal(lab, ["bash", "--norc", "--noprofile"]) as terminal:
        terminal.send(f"PATH={path}\n")
        job = typed_at(terminal, f"qsub {words} {SCRIPT}")
        terminal.send("exit\n")
        terminal.wait()
    done = wait_for_state(lab, job, seconds=VM_SECONDS)
    names = [f"j{job.partition('.')[0]}-r{rank}" for rank in range(guests)]
    assert output(lab, done).splitlines() == ["alice 1 two words", names[0], *names]
    assert "to stderr" in output(lab, done, "Error")
    assert (done["exit_status"], done["Job_Name"], done["jobtype"]) == ("37", SCRIPT, "vm")
    assert done["Output_Path"] == f"head:/home/alice/{SCRIPT}.o{job.partition('.')[0]}"
    assert leftovers(lab) == {}
