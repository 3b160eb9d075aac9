"""A job with a plan, keys and run state to test with."""

from __future__ import annotations

import os
from pathlib import Path

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.model import Image, Job, JobKeys, KeyPair, Node, Owner, Plan
from nornir_torque_vm.plan import make_plan
from nornir_torque_vm.request import Request
from nornir_torque_vm.runstate.jobstate import JobState


def job(job_id: str = "17[3].head", attempt: int = 1, nonce: str = "0badcafe") -> Job:
    """A job of the user who runs the tests, so that files can be given to its owner without root."""
    return Job(
        job_id, "head", Owner("alice", os.geteuid(), os.getegid(), "users", "/home/alice"), attempt, nonce
    )


def plan(of: Job | None = None, per_node: int = 1) -> Plan:
    """A plan on two nodes."""
    request = Request(vms_per_node=per_node, vcpus=3)
    return make_plan(request, Settings(), of or job(), [Node("n1"), Node("n2")], Image("i", "/pool/i"))


def keys(of: Plan) -> JobKeys:
    """Keys that are no keys and tell what they stand for."""
    hosts = {
        guest.name: KeyPair(f"private {guest.name}\n", f"ssh-ed25519 AAAA{guest.rank} c")
        for guest in of.guests
    }
    return JobKeys(
        KeyPair("admin\n", "ssh-ed25519 AAAAadmin a"), KeyPair("user\n", "ssh-ed25519 AAAAuser u"), hosts
    )


def addresses(of: Plan) -> dict[str, str]:
    """An address for every guest, by rank."""
    return {guest.name: f"10.0.0.{guest.rank + 1}" for guest in of.guests}


def saved(run_dir: Path, of: Job | None = None) -> JobState:
    """The state of a job whose guests are being started."""
    state = JobState(run_dir, of or job())
    made = plan(state.job)
    state.save(made, keys(made))
    return state


def started(run_dir: Path, of: Job | None = None) -> JobState:
    """The state of a job whose guests are ready."""
    state = saved(run_dir, of)
    made = plan(state.job)
    state.hand_over(made, keys(made), addresses(made))
    return state
