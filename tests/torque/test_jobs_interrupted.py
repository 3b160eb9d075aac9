"""Jobs in guests whose start is disturbed, on a real TORQUE: never on bare metal, and nothing is left."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from guest_jobs import (
    GUEST_SECONDS,
    NOTE,
    Bystander,
    bystander,
    guest_names,
    hosts_noted,
    mom_priv,
    submit,
    vm_lab,
)
from remains import assert_nothing_left, domains
from submission_kit import submit_host
from torque_kit import (
    delete,
    eventually,
    job_attributes,
    mom_file,
    node_state,
    output,
    signal_mom,
    start_mom,
    wait_for_state,
)

from nornir_torque_vm.lab import Lab
from nornir_torque_vm.runstate.joblock import Holder

__all__ = ["bystander", "submit_host", "vm_lab"]
pytestmark = [pytest.mark.torque, pytest.mark.timeout(900)]

SCRIPT = NOTE + "uname -n"
MARKED = 'exec "$PYTHON" -I -m nornir_torque_vm.hooks.prologue'
"""Where prologue.vm has made the marker."""


def kill_prologue(lab: Lab, node: str, job: str) -> None:
    """SIGKILL to the prologue that holds a job's lock."""
    lock = lab.root(node) / "run/torque-vm/locks" / job
    lab.run(node, ["kill", "-KILL", str(Holder(**json.loads(lock.read_text())).pid)])


def chief(lab: Lab, job: str) -> str:
    """A job's mother superior."""
    return job_attributes(lab, job)["exec_host"].partition("/")[0]


@contextmanager
def dying(lab: Lab, node: str, before: str) -> Iterator[None]:
    """The node's next prologue of a job with guests is killed where a line begins; later ones are not."""
    path = mom_priv(lab, node) / "prologue.vm"
    text = path.read_text()
    once = lab.root(node) / "root/once"
    once.touch()
    try:
        path.unlink()
        mom_file(lab, node, path.name, text.replace(before, f"rm /root/once && kill -KILL $$\n{before}", 1))
        yield
        assert not once.exists()
    finally:
        path.unlink()
        mom_file(lab, node, path.name, text)
        once.unlink(missing_ok=True)


def test_a_job_deleted_in_its_prologue_never_runs(vm_lab: Lab, bystander: Bystander) -> None:
    """Its guests are being started on two nodes; the epilogue ends the prologue, and both clean up."""
    job = submit(vm_lab, SCRIPT, nodes="node1+node2", guests=2)
    eventually(lambda: len(domains(vm_lab, job)) == 2, GUEST_SECONDS)
    assert delete(vm_lab, job).returncode == 0
    done = wait_for_state(vm_lab, job, seconds=GUEST_SECONDS)
    assert (done["exit_status"], done["start_count"]) == ("0", "1")
    assert hosts_noted(vm_lab, job) == []
    assert_nothing_left(vm_lab, job)
    bystander.assert_untouched()


@pytest.mark.parametrize("both", [False, True], ids=["its prologue goes on", "and its prologue"])
def test_a_mom_that_is_killed_in_the_prologue_starts_the_job_again(
    vm_lab: Lab, bystander: Bystander, both: bool
) -> None:
    """The new attempt ends the old one, or what it left, and has guests of its own; the job runs once."""
    job = submit(vm_lab, SCRIPT, nodes="node1+node2")
    eventually(lambda: len(domains(vm_lab, job)) == 2, GUEST_SECONDS)
    node = chief(vm_lab, job)
    signal_mom(vm_lab, node, "KILL")
    if both:
        kill_prologue(vm_lab, node, job)
    start_mom(vm_lab, node)
    done = wait_for_state(vm_lab, job, seconds=GUEST_SECONDS)
    assert output(vm_lab, done).split() == guest_names(job, 1)
    assert done["exit_status"] == "0"
    assert hosts_noted(vm_lab, job) == []
    assert_nothing_left(vm_lab, job)
    eventually(lambda: node_state(vm_lab, node) == "free")
    bystander.assert_untouched()


def test_a_prologue_that_is_killed_while_guests_start(vm_lab: Lab, bystander: Bystander) -> None:
    """To TORQUE a success: the job starts, is refused, and its epilogue removes the guests of both nodes."""
    job = submit(vm_lab, SCRIPT, nodes="node1+node2")
    eventually(lambda: len(domains(vm_lab, job)) == 2, GUEST_SECONDS)
    kill_prologue(vm_lab, chief(vm_lab, job), job)
    refused(vm_lab, job)
    bystander.assert_untouched()


def test_a_prologue_that_is_killed_after_its_marker(vm_lab: Lab, bystander: Bystander) -> None:
    """Before Python runs: the marker alone makes the starter refuse."""
    with dying(vm_lab, "node1", MARKED):
        job = submit(vm_lab, SCRIPT, nodes="node1")
        refused(vm_lab, job)
    bystander.assert_untouched()


def refused(lab: Lab, job: str) -> None:
    """Make sure that a job ended with the starter's sentence in its error file, and without a trace."""
    done = wait_for_state(lab, job, seconds=GUEST_SECONDS)
    assert (done["exit_status"], output(lab, done)) == ("122", "")
    (line,) = output(lab, done, "Error").splitlines()
    assert line.startswith(f"torque-vm: job {job}: its guests were not started, or are gone; ")
    assert hosts_noted(lab, job) == []
    assert_nothing_left(lab, job)


def test_a_prologue_that_is_killed_before_its_marker(vm_lab: Lab, bystander: Bystander) -> None:
    """Nothing tells the starter; so TORQUE is kept from starting the job, and tries again."""
    with dying(vm_lab, "node1", "PYTHON="):
        job = submit(vm_lab, SCRIPT, nodes="node1")
        done = wait_for_state(vm_lab, job, seconds=GUEST_SECONDS)
    assert hosts_noted(vm_lab, job) == []
    assert output(vm_lab, done).split() == guest_names(job, 1)
    assert (done["exit_status"], done["start_count"]) == ("0", "2")
    assert_nothing_left(vm_lab, job)
    bystander.assert_untouched()
