"""A sister's libvirtd that is killed, or freezes, in a phase of a job, on a real TORQUE of three nodes.

Before a job, that is in its survey: ``test_failures_torque.py``.
"""

from __future__ import annotations

import contextlib
import re

import pytest
from failing import STARTUP, begins, libvirtd, on_verdict, reap, watch
from failing_jobs import CHIEF, HOOKS, MARGIN, SISTER, TIMES, WatchedJob, blameless
from guest_jobs import Bystander, bystander, vm_lab
from submission_kit import submit_host
from torque_kit import output, settings

from nornir_torque_vm.exitcodes import RunExit
from nornir_torque_vm.lab import Lab

__all__ = ["blameless", "bystander", "submit_host", "vm_lab"]
pytestmark = [pytest.mark.torque, pytest.mark.timeout(900), pytest.mark.usefixtures("blameless")]

SISTERS = r"j\d+-r1"
"""The job's guest on the second node."""
PHASES = ("image", "start", "address", "health", "roster", "close", "hand-over")
"""Of a guest's start. The last three are over in a moment, and are tried without a TORQUE."""


def blamed(job: WatchedJob, phase: str, line: str) -> bool:
    """Whether a sentence begins with the sister, and with that phase or a later one.

    A guest goes on without its node's libvirtd: what has to do with libvirt next notices, not before.
    """
    noticed = "|".join(PHASES[PHASES.index(phase) :])
    return bool(re.match(rf"({job.guest(1)} on )?{SISTER}, ({noticed}): ", line))


@pytest.mark.parametrize("phase", PHASES[:4])
def test_a_sisters_libvirtd_that_dies_in_a_phase_is_told(
    vm_lab: Lab, bystander: Bystander, phase: str
) -> None:
    """With node and phase, the other node's results kept; after one reap on each node nothing is left."""
    with settings(vm_lab, HOOKS), libvirtd(vm_lab, SISTER) as daemon:
        job = WatchedJob(vm_lab)
        watching = watch(job, begins(phase, SISTERS), daemon.kill)
        line = job.told(RunExit.SITE)
    assert watching.at
    assert blamed(job, phase, line)
    assert "check that libvirtd runs there" in line
    assert job.statuses()[job.guest(0)] in {"ok", "changed"}
    reap(vm_lab, job.job_id)
    job.assert_nothing_left()
    bystander.assert_untouched()


@pytest.mark.parametrize("phase", PHASES[1:4])
def test_a_sisters_libvirtd_that_freezes_in_a_phase_is_late(
    vm_lab: Lab, bystander: Bystander, phase: str
) -> None:
    """The prologue ends by itself, whatever hangs: its deadline and its margin, not the MOM's alarm.

    When it answers again the epilogue finds everything: nothing is left, without any reap.
    """
    for seconds in TIMES:
        with settings(vm_lab, {**HOOKS, "timeout": seconds}), libvirtd(vm_lab, SISTER) as daemon:
            job = WatchedJob(vm_lab)
            watching = watch(job, begins(phase, SISTERS), daemon.freeze)
            on_verdict(job, daemon.thaw)
            line = job.told(RunExit.LATE)
        if watching.at and job.statuses()[job.guest(0)] in {"ok", "changed"}:  # not late for want of time
            break
        job.assert_nothing_left()
    assert blamed(job, phase, line)
    assert " late in " in line
    assert job.statuses()[job.guest(0)] in {"ok", "changed"}
    assert job.judged_at() - job.events()[0]["t"] < seconds + MARGIN + STARTUP
    job.assert_nothing_left()
    bystander.assert_untouched()


LOST = {"killed": "failed", "frozen": "late"}
"""How a libvirtd is lost → what its node's teardown comes to."""


@pytest.mark.parametrize("ending", LOST)
def test_a_sisters_libvirtd_that_is_lost_while_guests_are_removed_changes_nothing_for_the_user(
    vm_lab: Lab, bystander: Bystander, ending: str
) -> None:
    """The job's own output and exit status stand; what the epilogue could not remove goes with one reap."""
    for _ in range(3):  # the removal may be over before anybody looks
        job, done = ended_without(vm_lab, ending)
        if job.statuses("teardown")[SISTER] != "changed":
            break
    assert (done["exit_status"], done["start_count"]) == ("37", "1")
    assert (output(vm_lab, done), output(vm_lab, done, "Error")) == (f"{job.guest(0)}\n", "")
    assert job.statuses("teardown") == {CHIEF: "changed", SISTER: LOST[ending]}
    reap(vm_lab, job.job_id)
    job.assert_nothing_left()
    bystander.assert_untouched()


def ended_without(lab: Lab, ending: str) -> tuple[WatchedJob, dict[str, str]]:
    """A job whose sister loses its libvirtd when its guests are to go, and its attributes in the end."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(settings(lab, HOOKS))
        daemon = stack.enter_context(libvirtd(lab, SISTER))
        job = WatchedJob(lab, "uname -n; exit 37")
        on_verdict(job, lambda: stack.enter_context(settings(lab, {**HOOKS, "timeout": 8.0})))
        watching = watch(job, begins("destroy", SISTER), daemon.kill if ending == "killed" else daemon.freeze)
        done = job.ended()
    assert watching.at
    return job, done
