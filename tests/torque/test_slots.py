"""What a real TORQUE tells a node's root of a job's slots, as the prologue asks."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from torque_kit import delete, job_attributes, qsub, wait_for_state

from nornir_torque_vm.lab import HEAD, Lab
from nornir_torque_vm.lab.files import SPOOL

pytestmark = pytest.mark.torque

NODE = "node1"
ASK = f"""
import dataclasses, json, sys
from nornir_torque_vm.config.settings import load
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.hooks.slots import with_slots
from nornir_torque_vm.inventory.torque import read_nodefile
nodes = read_nodefile("{SPOOL}/aux/" + sys.argv[1])
found, why = with_slots(nodes, sys.argv[1], load("/etc/torque-vm/settings.toml"), Deadline.after(30))
print(json.dumps([[dataclasses.asdict(node) for node in found], why]))
"""


@pytest.fixture
def operator(torque_lab: Lab) -> Iterator[Lab]:
    """A lab whose server tells the node's root about other people's jobs."""
    torque_lab.run(HEAD, ["qmgr", "-c", f"set server operators += root@{NODE}"])
    yield torque_lab
    torque_lab.run(HEAD, ["qmgr", "-c", f"set server operators -= root@{NODE}"])


@contextlib.contextmanager
def running(lab: Lab, *options: str, member: str = "") -> Iterator[str]:
    """A job that runs on the node for as long as that."""
    submitted = qsub(lab, ["-l", f"nodes={NODE}:ppn=1", *options], stdin="sleep 300\n")
    job_id = submitted.replace("[]", member)
    try:
        wait_for_state(lab, job_id, "R")
        yield job_id
    finally:
        delete(lab, submitted)
        wait_for_state(lab, job_id, "C")


def ask(lab: Lab, job_id: str) -> tuple[dict[str, Any], str]:
    """What the prologue would know of the job's node, and why not."""
    done = lab.run(NODE, [sys.executable, "-I", "-c", ASK, job_id], seconds=60)
    (node,), why = json.loads(done.stdout)
    return node, why


def test_two_jobs_on_a_node_are_told_apart_by_their_slots(operator: Lab) -> None:
    """A member of an array too; ``np`` is what the server's list of nodes says."""
    with running(operator) as first, running(operator, "-t", "7", member="[7]") as second:
        told = {job_id: ask(operator, job_id) for job_id in (first, second)}
        for job_id, (node, why) in told.items():
            assert why == ""
            (index,) = node["indexes"]
            assert job_attributes(operator, job_id)["exec_host"] == f"{NODE}/{index}"
            assert (node["name"], node["slots"], node["np"]) == (NODE, 1, operator.slots)
        assert told[first][0]["indexes"] != told[second][0]["indexes"]


def test_a_server_that_keeps_jobs_to_their_owners_is_a_reason(torque_lab: Lab) -> None:
    """TORQUE's own words, and nothing made up for the slots."""
    with running(torque_lab) as job_id:
        node, why = ask(torque_lab, job_id)
        assert why.startswith("the job's slots are not known: qstat: Unauthorized Request")
        assert (node["indexes"], node["np"]) == ([], 0)
