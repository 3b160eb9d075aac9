"""A sister whose libvirtd dies or freezes, before a job or in a phase of it: told in time, nothing left."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest
from driving import Job, command, history, settings
from failing import BUSY_MACHINE, STARTUP, Bystander, begins, ends, libvirtd, on_verdict, reap, watch

from nornir_torque_vm.exitcodes import RunExit
from nornir_torque_vm.lab import Lab

pytestmark = pytest.mark.lab

SISTERS = r"j\d+-r1"
"""The job's guest on the second node."""
MARGIN = 6.0
HOOKS = {"timeout": BUSY_MACHINE, "teardown_margin": MARGIN, "requeue_pause": 0}
PHASES = ("survey", "image", "start", "address", "health", "roster", "close")


@pytest.fixture(scope="module")
def bystander(lab: Lab) -> Iterator[Bystander]:
    """Another job's guests."""
    other = Bystander(lab)
    try:
        yield other
    finally:
        other.remove()


@pytest.fixture(autouse=True)
def swept(lab: Lab, bystander: Bystander) -> Iterator[None]:
    """A test that fails must not make the next one fail."""
    yield
    bystander.sweep()


@pytest.mark.parametrize("phase", PHASES)
def test_a_sisters_libvirtd_that_dies_in_a_phase_requeues_the_job(
    lab: Lab, bystander: Bystander, phase: str
) -> None:
    """One sentence with node and phase; the other node's results are kept; after one reap nothing is left."""
    job = Job(lab, "echo never", nodes=2)
    where = "node2" if phase == "survey" else SISTERS
    with settings(lab, HOOKS, "node1"), libvirtd(lab, "node2") as daemon:
        if phase == "close":  # over in a moment, and without events; the roster before it needs no libvirtd
            watch(job, begins("roster", SISTERS), daemon.freeze)
        event = ends("roster", SISTERS) if phase == "close" else begins(phase, where)
        watching = watch(job, event, daemon.kill)
        ended = job.run()
    assert watching.at
    assert (ended.outcome.fate, ended.exit_code) == ("requeue", RunExit.SITE)
    sentence = ended.verdict["sentence"]
    # what has to do with libvirt next fails: the guest itself goes on, so up to the hand-over nothing may
    noticed = PHASES[PHASES.index(phase) :]
    assert any(
        sentence.startswith((f"node2, {word}: ", f"{job.guest(1)} on node2, {word}: ")) for word in noticed
    )
    assert "check that libvirtd runs there" in sentence
    assert job.errors.splitlines() == [f"torque-vm: {sentence}"]
    hosts = {host["host"]: host["status"] for host in history(lab, ended, "report")["hosts"]}
    mine = "node1" if "survey: " in sentence else job.guest(0)
    assert hosts[mine] in {"ok", "changed"}
    assert "never" not in job.lines
    reap(lab, ended.outcome.job_id)
    bystander.untouched()


def test_a_sisters_libvirtd_that_is_dead_is_noticed_before_anything_is_made(
    lab: Lab, bystander: Bystander
) -> None:
    """The survey asks all nodes; a job on the healthy node alone runs meanwhile."""
    job, other = Job(lab, "echo never", nodes=2), Job(lab, "hostname")
    with settings(lab, HOOKS, "node1"), libvirtd(lab, "node2") as daemon:
        daemon.kill()
        began = time.monotonic()
        ended = job.run()
        took = time.monotonic() - began
        assert other.run().exit_code == 0
    assert took < BUSY_MACHINE / 2, "refused is not silent: nobody waits for the deadline"
    assert (ended.outcome.fate, ended.exit_code) == ("requeue", RunExit.SITE)
    assert ended.verdict["sentence"].startswith("node2, survey: cannot open qemu+tls://node2/system: ")
    assert other.lines == [other.guest(0)]
    reap(lab, ended.outcome.job_id)
    bystander.untouched()


@pytest.mark.parametrize("ending", ["dead", "frozen"])
def test_a_sisters_libvirtd_that_is_lost_during_the_job_changes_nothing_for_the_user(
    lab: Lab, bystander: Bystander, ending: str
) -> None:
    """The job's own exit code stands; what the epilogue could not remove is told, and one reap removes it."""
    seconds, job = 8.0, Job(lab, "echo ran; exit 37", nodes=2)
    with contextlib.ExitStack() as stack:
        stack.enter_context(settings(lab, HOOKS, "node1"))
        daemon = stack.enter_context(libvirtd(lab, "node2"))

        def lose() -> None:
            stack.enter_context(settings(lab, {**HOOKS, "timeout": seconds}, "node1"))  # the epilogue's
            (daemon.kill if ending == "dead" else daemon.freeze)()

        losing = on_verdict(job, lose)
        ended = job.run()
        took = time.monotonic() - losing.at
        told = command(lab, "jobs", "--failed")
    assert losing.at
    assert (job.lines, ended.exit_code) == (["ran"], 37)
    teardown = history(lab, ended, "teardown")
    found = {host["host"]: host["status"] for host in teardown["hosts"]}
    assert found == {"node1": "changed", "node2": "failed" if ending == "dead" else "late"}
    assert took < seconds + BUSY_MACHINE / 4, "the job's own time, and the epilogue's"
    assert f"{ended.outcome.job_id} " in told.stdout
    assert "not cleaned up: " in told.stdout
    reap(lab, ended.outcome.job_id)
    bystander.untouched()


@pytest.mark.proves("teardown_margin")
@pytest.mark.parametrize("phase", ["image", "start"])
def test_a_sisters_libvirtd_that_freezes_is_late_and_the_epilogue_finds_all(
    lab: Lab, bystander: Bystander, phase: str
) -> None:
    """The prologue ends with its deadline and its margin, whatever hangs; thawed, nothing is left."""
    seconds, job = 8.0, Job(lab, "echo never", nodes=2)
    with settings(lab, {**HOOKS, "timeout": seconds}, "node1"), libvirtd(lab, "node2") as daemon:
        watching = watch(job, begins(phase, SISTERS), daemon.freeze)
        began = time.monotonic()
        judged = on_verdict(job, daemon.thaw)
        ended = job.run()
    assert watching.at
    assert judged.at - began < seconds + MARGIN + STARTUP
    assert (ended.outcome.fate, ended.exit_code) == ("requeue", RunExit.LATE)
    assert f"{job.guest(1)} on node2, {phase}: late in " in ended.verdict["sentence"]
    assert history(lab, ended, "teardown")["ok"], "the epilogue came when it answered again"
    bystander.untouched()
