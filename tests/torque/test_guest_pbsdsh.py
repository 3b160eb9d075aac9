"""``pbsdsh`` typed in the script of a job with guests, on a real TORQUE: guests, in the nodefile's order."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from guest_jobs import hooked
from torque_kit import output, qsub, wait_for_state

from nornir_torque_vm.lab import Lab
from nornir_torque_vm.request import parse_request

pytestmark = [pytest.mark.torque, pytest.mark.timeout(900)]

BOOT = 500.0
"""Seconds for four emulated guests on a busy machine, from the job's submission to its end."""
SCRIPT = """\
#!/bin/sh
pbsdsh -s sh -c 'echo "$PBS_VNODENUM $PBS_NODENUM $(hostname) $PWD $(id -un)"'
pbsdsh -v -n 3 sh -c 'exit 3'; echo "code $?"
pbsdsh -u sh -c 'echo "$PBS_JOBID"' | sort -u
"""


@pytest.fixture
def site(torque_lab: Lab) -> Iterator[Lab]:
    """The lab with our hooks and job starter."""
    with hooked(torque_lab):
        yield torque_lab


def test_pbsdsh_in_a_job_runs_in_its_guests(site: Lab) -> None:
    """What a user's script does on nodes it does in guests; the guests are those of both nodes."""
    request = parse_request(["vcpus=1,ram=192M,vms_per_node=2"]).encode()
    words = ["-T", "vm", "-l", "nodes=node1:ppn=2+node2:ppn=2", "-l", f"other={request}"]
    job = qsub(site, words, script=SCRIPT)
    done = wait_for_state(site, job, seconds=BOOT)
    number = job.partition(".")[0]
    tasks = [f"{rank} {rank} j{number}-r{rank} /home/alice alice" for rank in range(4)]
    assert output(site, done).splitlines() == [*tasks, "code 0", job], output(site, done, "Error")
    told = ["pbsdsh(): spawned task 3", "pbsdsh(): task 3 exit status 3"]
    assert output(site, done, "Error").splitlines() == told
    assert done["exit_status"] == "0"
