"""Guests that never get ready and nodes that cannot take one, on a real TORQUE: told, nothing left."""

from __future__ import annotations

import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import broken_images
import pytest
from failing import covered, on_panic, on_verdict
from failing_jobs import CHIEF, HOOKS, SISTER, TIMES, WatchedJob, blameless
from guest_jobs import Bystander, bystander, vm_lab
from submission_kit import submit_host
from torque_kit import output, settings

from nornir_torque_vm.exitcodes import RunExit
from nornir_torque_vm.lab import HEAD, Lab
from nornir_torque_vm.lab.files import USER
from nornir_torque_vm.lab.spec import POOL

__all__ = ["blameless", "bystander", "submit_host", "vm_lab"]
pytestmark = [pytest.mark.torque, pytest.mark.timeout(900), pytest.mark.usefixtures("blameless")]

VOLUMES = "/var/lib/torque-vm/volumes"
SOON = 5.0
"""Seconds from a panic to its report."""


@pytest.fixture
def image(vm_lab: Lab, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Makes an image for the pool; gone afterwards."""
    with broken_images.in_pool(vm_lab, tmp_path) as make:
        yield make


def test_a_panic_at_boot_is_told_at_once_with_the_end_of_the_console(
    vm_lab: Lab, bystander: Bystander, image: Callable[..., str]
) -> None:
    """In the error file, and more of it beside the job's output, in a file of the owner's own."""
    seen: list[float] = []
    with settings(vm_lab, HOOKS):
        job = WatchedJob(vm_lab, nodes=CHIEF, image=image(arguments=broken_images.PANICS))
        on_panic(job, [vm_lab.root(CHIEF) / VOLUMES[1:]], (), lambda: seen.append(time.time()))
        line = job.told(RunExit.SITE)
    assert line.startswith(f"{job.guest(0)} on {CHIEF}, address: it panicked; its console says: ")
    assert "Kernel panic - not syncing: VFS: Unable to mount root fs" in line
    assert job.judged_at() - seen[0] < SOON, "its guests are gone by then, too"
    console = vm_lab.root(HEAD) / line.rpartition("; console in ")[2].partition(" on ")[0][1:]
    facts = console.stat()
    assert console.parent == vm_lab.root(HEAD) / USER.home[1:]
    assert (facts.st_uid, stat.S_IMODE(facts.st_mode)) == (USER.uid, 0o600)
    assert "Kernel panic - not syncing" in console.read_text()
    job.assert_nothing_left()
    bystander.assert_untouched()


def test_a_guest_whose_sshd_never_comes_is_told_as_such(
    vm_lab: Lab, bystander: Bystander, image: Callable[..., str]
) -> None:
    """It has an address, says that it is ready, and refuses connections."""
    name = image(programs={"usr/sbin/dropbear": broken_images.ENDS_AT_ONCE})
    for seconds in TIMES:
        with settings(vm_lab, {**HOOKS, "timeout": seconds}):
            job = WatchedJob(vm_lab, nodes=CHIEF, image=name)
            line = job.told(RunExit.LATE)
        job.assert_nothing_left()
        if "refuses connections" in line:
            break
    assert line.startswith(f"{job.guest(0)} on {CHIEF}, health: not healthy after ")
    assert "port 22 refuses connections (its sshd has not started); its console says: " in line
    bystander.assert_untouched()


def test_a_pool_that_is_not_mounted_is_told_with_what_to_look_at(vm_lab: Lab, bystander: Bystander) -> None:
    """On the first node: the site's fault, not that of a user who names an image that was there yesterday."""
    with settings(vm_lab, HOOKS), covered(vm_lab, CHIEF, POOL) as cover:
        cover()
        job = WatchedJob(vm_lab, image="micro.qcow2")
        line = job.told(RunExit.SITE)
    assert POOL in line
    assert "is it mounted" in line
    job.assert_nothing_left()
    bystander.assert_untouched()


def test_a_pool_that_vanished_from_a_sister_is_tried_again_and_when_it_is_back_the_job_runs(
    vm_lab: Lab, bystander: Bystander
) -> None:
    """Its owner never notices."""
    with settings(vm_lab, {**HOOKS, "max_requeues": 1}):
        with covered(vm_lab, SISTER, POOL) as cover:
            cover()
            job = WatchedJob(vm_lab, "uname -n")
            first: list[str] = []
            watched = on_verdict(job, lambda: first.append(job.history("verdict")["sentence"]))
            watched.join(240)
        done = job.ended()
    (sentence,) = first
    assert sentence.startswith(f"{job.guest(1)} on {SISTER}, image: ")
    assert "micro.qcow2" in sentence
    assert (done["exit_status"], done["start_count"]) == ("0", "2")
    assert (output(vm_lab, done), output(vm_lab, done, "Error")) == (f"{job.guest(0)}\n", "")
    job.assert_nothing_left()
    bystander.assert_untouched()


def test_a_disk_that_is_full_on_one_node_is_told_with_that_node(vm_lab: Lab, bystander: Bystander) -> None:
    """The other node's guest came up to where it waited, and is removed with everything else."""
    with settings(vm_lab, HOOKS), covered(vm_lab, SISTER, VOLUMES, "16k") as cover:
        cover()
        job = WatchedJob(vm_lab)
        line = job.told(RunExit.SITE)
        assert list((vm_lab.root(SISTER) / VOLUMES[1:]).iterdir()) == []
    assert line.startswith(f"{job.guest(1)} on {SISTER}, image: ")
    assert f"no space is left on the file system of {VOLUMES}" in line
    assert job.statuses() == {job.guest(0): "changed", job.guest(1): "failed"}
    job.assert_nothing_left()
    bystander.assert_untouched()
