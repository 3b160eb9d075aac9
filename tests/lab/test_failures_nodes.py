"""Nodes that cannot take a guest: a pool that vanished, a disk that is full, other jobs' guests."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator

import libvirt
import pytest
from driving import SMALL, Job, history, leftovers, settings, shell
from failing import BUSY_MACHINE, Bystander, Daemon, begins, covered, reap, watch

from nornir_torque_vm.connections.virconnect import library
from nornir_torque_vm.driver.session import Ended
from nornir_torque_vm.exitcodes import RunExit
from nornir_torque_vm.lab import Lab
from nornir_torque_vm.lab.spec import POOL
from nornir_torque_vm.render.metadata import HELD, METADATA_URI

pytestmark = pytest.mark.lab

HOOKS = {"timeout": BUSY_MACHINE, "teardown_margin": 6.0, "requeue_pause": 0}
VOLUMES = "/var/lib/torque-vm/volumes"
TORQUE = "/var/tmp/torque"
LIVE = libvirt.VIR_DOMAIN_AFFECT_LIVE


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


def test_a_pool_that_is_not_mounted_on_the_first_node_is_the_sites_fault(
    lab: Lab, bystander: Bystander
) -> None:
    """Not the fault of the user who names an image that was there yesterday: the job is tried again."""
    job = Job(lab, "echo never", f"{SMALL},img=micro.qcow2")
    with settings(lab, HOOKS, "node1"), covered(lab, "node1", POOL) as cover:
        cover()
        ended = job.run()
    assert (ended.outcome.fate, ended.exit_code) == ("requeue", RunExit.SITE)
    assert POOL in ended.verdict["sentence"]
    assert "is it mounted" in ended.verdict["sentence"]
    bystander.untouched()


def test_a_pool_that_is_not_mounted_on_a_sister_is_told_with_node_and_phase(
    lab: Lab, bystander: Bystander
) -> None:
    """The other node's guest got ready, and is removed again."""
    job = Job(lab, "echo never", nodes=2)
    with settings(lab, HOOKS, "node1"), covered(lab, "node2", POOL) as cover:
        cover()
        ended = job.run()
    check(lab, job, ended, "image", "micro.qcow2")
    bystander.untouched()


@pytest.mark.parametrize("directory", [POOL, VOLUMES])
def test_a_file_system_that_vanishes_during_the_start_fails_the_nodes_guest(
    lab: Lab, bystander: Bystander, directory: str
) -> None:
    """The images', or the guests' own; what was hidden from the clean-up goes with one reap."""
    job, daemon = Job(lab, "echo never", nodes=2), Daemon(lab, "node2")
    with settings(lab, HOOKS, "node1"), covered(lab, "node2", directory) as cover:

        def vanish() -> None:
            daemon.freeze()  # or the phase would be over by then
            cover()
            daemon.thaw()

        watching = watch(job, begins("image", r"j\d+-r1"), vanish)
        ended = job.run()
    assert watching.at
    phase = history(lab, ended, "report")["hosts"][1]["phase"]
    assert phase in {"image", "start"}
    check(lab, job, ended, phase, directory)
    reap(lab, ended.outcome.job_id)
    bystander.untouched()


@pytest.mark.parametrize(("size", "what"), [("16k", "the disk"), ("224k", "the seed")])
def test_a_disk_that_is_full_on_one_node_fails_its_guest_only(
    lab: Lab, bystander: Bystander, size: str, what: str
) -> None:
    """Room for neither disk nor seed, or for the disk alone: told with the directory, nothing stays."""
    job = Job(lab, f"echo never {what}", nodes=2)
    with settings(lab, HOOKS, "node1"), covered(lab, "node2", VOLUMES, size) as cover:
        cover()
        ended = job.run()
        there = [name for name in leftovers(lab)["node2"] if name.startswith("tvm-")]
        assert set(there) <= set(bystander.left["node2"])
    check(lab, job, ended, "image", f"no space is left on the file system of {VOLUMES}")
    bystander.untouched()


def check(lab: Lab, job: Job, ended: Ended, phase: str, words: str) -> None:
    """One node's guest failed by the site's fault, the other's result is kept, the user has one sentence."""
    assert (ended.outcome.fate, ended.exit_code) == ("requeue", RunExit.SITE)
    sentence = ended.verdict["sentence"]
    assert sentence.startswith(f"{job.guest(1)} on node2, {phase}: ")
    assert words in sentence
    assert job.errors.splitlines() == [f"torque-vm: {sentence}"]
    hosts = {host["host"]: host["status"] for host in history(lab, ended, "report")["hosts"]}
    assert hosts == {job.guest(0): "changed", job.guest(1): "failed"}


def faults(lab: Lab) -> dict[str, str]:
    """What the first node holds against nodes."""
    folder = lab.root("node1") / "var/log/torque-vm/nodes"
    return {path.name: path.read_text() for path in folder.glob("*")}


@contextlib.contextmanager
def full_of_guests(_lab: Lab, _other: Bystander) -> Iterator[dict[str, object]]:
    """The other job has the only place of each node."""
    yield {"max_vms_per_node": 1}


@contextlib.contextmanager
def full_of_memory(lab: Lab, _other: Bystander) -> Iterator[dict[str, object]]:
    """The nodes have memory for one guest of a job, not for that and the other job's."""
    kibibytes = int(shell(lab, "node1", "virsh nodeinfo | awk '/Memory size/ {print $3}'"))
    yield {"host_os_ram_mb": kibibytes // 1024 - 300}


@contextlib.contextmanager
def full_of_processors(lab: Lab, other: Bystander) -> Iterator[dict[str, object]]:
    """The server gives the job slots whose processors the other job's guest still holds, as libvirt says."""
    answers = {
        "qstat": "<Data><Job><Job_Id>$3</Job_Id><exec_host>node1/0-1+node2/0-1</exec_host></Job></Data>",
        "pbsnodes": "<Data>"
        + "".join(f"<Node><name>{node}</name><state>free</state><np>2</np></Node>" for node in lab.node_names)
        + "</Data>",
    }
    folder = lab.root("node1") / TORQUE[1:]
    folder.mkdir()
    for name, text in answers.items():
        (folder / name).write_text(f"#!/bin/sh\ncat <<END\n{text}\nEND\n")
        (folder / name).chmod(0o755)
    socket = lab.root("node1") / "run/libvirt/libvirt-sock"
    conn = library().open(f"qemu+unix:///system?socket={socket}")
    domain = conn.lookupByName(other.domains["node1"])
    element = domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, METADATA_URI)

    def tell(text: str) -> None:
        domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, text, "tvm", METADATA_URI, LIVE)

    try:
        tell(element.replace("<job ", f'<job {HELD}="0" ', 1))
        yield {"real_qsub_on_nodes": f"{TORQUE}/qsub"}
    finally:
        tell(element)
        conn.close()
        shutil.rmtree(folder)


@pytest.mark.proves("max_vms_per_node", "host_os_ram_mb")
@pytest.mark.parametrize(
    ("full", "words"),
    [
        (full_of_guests, "node node1: 1 guests are there and 1 more would exceed 1"),
        (full_of_memory, "node node1: ram=192M is more than the 1"),
        (full_of_processors, "node node1: guests of job 900.adhoc are on processors 0 still"),
    ],
)
def test_a_node_that_is_full_makes_the_job_wait_without_a_fault(
    lab: Lab,
    bystander: Bystander,
    full: Callable[[Lab, Bystander], contextlib.AbstractContextManager[dict[str, object]]],
    words: str,
) -> None:
    """Requeued after a pause as often as it takes: a job that waits is never given up, no node blamed."""
    pause, starts = 2.0, 3
    job = Job(lab, "echo never", nodes=2, max_starts=starts)
    hooks = {**HOOKS, "requeue_pause": pause, "max_requeues": 1, "offline_after": 1}
    began, before = time.monotonic(), faults(lab)
    with full(lab, bystander) as changes, settings(lab, {**hooks, **changes}, "node1"):
        ended = job.run()
    assert time.monotonic() - began >= starts * pause
    assert (ended.outcome.fate, ended.outcome.starts) == ("requeue", starts)
    assert (ended.verdict["outcome"], ended.exit_code) == ("busy", RunExit.BUSY)
    assert (ended.verdict["hook_exit"], ended.verdict["refused"]) == (2, False)
    sentence = ended.verdict["sentence"]
    assert sentence.startswith(words)
    assert "; try again when " in sentence
    assert job.errors.splitlines() == [f"torque-vm: {sentence}"] * starts
    assert faults(lab) == before, "of other tests' jobs"
    bystander.untouched()
