"""Jobs in guests on three nodes of a real TORQUE: they run, end, are ended, and leave nothing."""

from __future__ import annotations

import re

import pytest
from guest_jobs import (
    GUEST_SECONDS,
    NOTE,
    await_printed,
    guest_names,
    hosts_noted,
    number,
    printed,
    submit,
    vm_lab,
)
from remains import assert_nothing_left, domains
from submission_kit import FRONT, submit_host
from torque_kit import delete, eventually, job_attributes, output, qsub, wait_for_state
from torque_terminal import Terminal

from nornir_torque_vm.lab import HEAD, Lab

__all__ = ["submit_host", "vm_lab"]
pytestmark = [pytest.mark.torque, pytest.mark.timeout(900)]

LOOK = NOTE + 'uname -n; cat "$PBS_NODEFILE"; echo "$PBS_NP $PBS_NUM_NODES"; echo problem >&2\n'

PATIENT = ("-W", "30")
"""For qdel: seconds from SIGTERM to SIGKILL, else 2; its way into an emulated guest may take longer."""


def test_two_jobs_of_six_guests_share_three_nodes(vm_lab: Lab) -> None:
    """Rank 0 runs the script, its nodefile has the six; streams apart; each with its own exit status.

    One comes from the wrapper's command line, the other from a directive that the filter reads.
    """
    wrapped = submit(vm_lab, LOOK, nodes="3:ppn=2", guests=2)
    directives = "#PBS -l nodes=3:ppn=2\n#PBS -vm vcpus=1,ram=192M,vms_per_node=2\n"
    filtered = qsub(vm_lab, script=f"#!/bin/sh\n{directives}{LOOK}exit 37\n")
    for job, status in ((wrapped, "0"), (filtered, "37")):
        done = wait_for_state(vm_lab, job, seconds=GUEST_SECONDS)
        guests = guest_names(job, 6)
        assert output(vm_lab, done).splitlines() == [guests[0], *guests, "6 6"]
        assert output(vm_lab, done, "Error") == "problem\n"
        assert (done["exit_status"], done["start_count"]) == (status, "1")
        assert len(set(re.findall(r"node\d", done["exec_host"]))) == 3
        assert hosts_noted(vm_lab, job) == []
        assert_nothing_left(vm_lab, job)


@pytest.mark.parametrize(
    ("nodes", "walltime", "status", "words"),
    [
        ("1", "1:00:00", "271", ["ready", "told"]),
        ("2", "1:00:00", "265", ["ready"]),
        ("2", "0:00:12", "-11", ["ready", "told"]),
    ],
    ids=["deleted", "deleted on two nodes", "over its walltime"],
)
def test_a_job_that_is_ended_is_told(
    vm_lab: Lab, nodes: str, walltime: str, status: str, words: list[str]
) -> None:
    """The signal reaches the process inside, whose last words arrive.

    But TORQUE has no patience with a deleted job of several nodes: it kills milliseconds after the signal,
    whatever ``-W`` says, and tells any job so that does not die of the first.
    """
    script = "trap 'echo told; echo why >&2; exit 9' TERM; echo ready; while :; do sleep 0.2; done"
    job = submit(vm_lab, script, "-l", f"walltime={walltime}", nodes=nodes)
    if status != "-11":
        await_printed(vm_lab, job, "ready")
        assert len(domains(vm_lab, job)) == int(nodes)
        assert delete(vm_lab, job, *PATIENT).returncode == 0
    done = wait_for_state(vm_lab, job, seconds=GUEST_SECONDS)
    assert (done["exit_status"], done["start_count"]) == (status, "1")
    assert output(vm_lab, done).split() == words
    assert ("why" in output(vm_lab, done, "Error").splitlines()) == ("told" in words)
    assert_nothing_left(vm_lab, job)


def test_an_array_of_four_is_four_jobs(vm_lab: Lab) -> None:
    """Each member has guests, output and an exit status of its own."""
    array = submit(vm_lab, NOTE + 'echo "$PBS_ARRAYID $(uname -n)"; exit $PBS_ARRAYID', "-t", "0-3")
    members = [f"{array.partition('[')[0]}[{index}].{HEAD}" for index in range(4)]
    for index, member in enumerate(members):
        done = wait_for_state(vm_lab, member, seconds=GUEST_SECONDS)
        assert output(vm_lab, done) == f"{index} j{number(member)}-r0\n"
        assert done["exit_status"] == str(index)
    for member in members:
        assert hosts_noted(vm_lab, member) == []
        assert_nothing_left(vm_lab, member)


def test_an_interactive_job_of_the_wrappers_knows_all_its_guests(vm_lab: Lab) -> None:
    """The shell is in rank 0's guest, and the nodefile has those of both nodes."""
    words = [FRONT, "-I", "-l", "nodes=2", "-vm", "vcpus=1,ram=192M,vms_per_node=2"]
    with Terminal(vm_lab, words) as terminal:
        ready = re.search(r"job (\S+) ready", terminal.expect(" ready", GUEST_SECONDS))
        assert ready
        guests = guest_names(ready[1], 4)
        terminal.expect("$ ", GUEST_SECONDS)
        terminal.send("echo on:$(uname -n) of:$(sort -u $PBS_NODEFILE | xargs); test -t 0 && echo tty:$?\n")
        terminal.expect("tty:0")
        assert f"on:{guests[0]} of:{' '.join(guests)}\r" in terminal.text
        terminal.send("exit 3\n")
        assert terminal.wait(GUEST_SECONDS) == 0
    wait_for_state(vm_lab, ready[1], seconds=GUEST_SECONDS)
    assert_nothing_left(vm_lab, ready[1])


def test_two_jobs_on_one_node_have_nothing_of_each_other(vm_lab: Lab) -> None:
    """Neither's guests know, or let in, the other; and the end of one is no end of the other."""
    script = (
        'other=j$((${PBS_JOBID%%.*} + STEP))-r0; cat "$PBS_NODEFILE"\n'
        'ssh -o ConnectTimeout=5 "$other" uname -n 2>/dev/null; echo "other:$?"\n'
        "while echo on; do sleep 1; done"
    )
    one, two = (submit(vm_lab, script, "-v", f"STEP={step}", nodes="node2", guests=2) for step in ("1", "-1"))
    assert int(number(two)) == int(number(one)) + 1
    for job in (one, two):
        await_printed(vm_lab, job, "on\n")
        assert job_attributes(vm_lab, job)["job_state"] == "R"
        assert printed(vm_lab, job).split()[:3] == [*guest_names(job, 2), "other:255"]
        assert {node: len(names) for node, names in domains(vm_lab, job).items()} == {"node2": 2}
    before = domains(vm_lab, two)
    delete(vm_lab, one)
    wait_for_state(vm_lab, one, seconds=GUEST_SECONDS)
    assert_nothing_left(vm_lab, one)
    assert domains(vm_lab, two) == before
    said = printed(vm_lab, two)
    eventually(lambda: len(printed(vm_lab, two)) > len(said))
    delete(vm_lab, two)
    wait_for_state(vm_lab, two, seconds=GUEST_SECONDS)
    assert_nothing_left(vm_lab, two)
