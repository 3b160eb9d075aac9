"""What goes wrong at a site: one line that names cause and cure, an exit code of its class, nothing left."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from driving import SMALL, TORQUE_VM, Job, command, history, leftovers, shell, wait_for
from remains import assert_nothing_left

from nornir_torque_vm.driver.deploy import deploy_hooks
from nornir_torque_vm.exitcodes import CliExit, RunExit
from nornir_torque_vm.lab import Lab

pytestmark = pytest.mark.lab

STARTUP = 1.5
"""Seconds from starting the program to the beginning of its own time, on a busy machine."""


@contextmanager
def frozen_libvirtd(lab: Lab, node: str) -> Iterator[None]:
    """Stop the node's libvirtd as a hung storage would, and let it go on afterwards."""
    pid = shell(lab, node, "pidof libvirtd").strip()
    lab.run(node, ["kill", "-STOP", pid])
    try:
        yield
    finally:
        lab.run(node, ["kill", "-CONT", pid])


@pytest.fixture(autouse=True)
def swept(lab: Lab) -> Iterator[None]:
    """A test that fails must not make the next one fail."""
    yield
    if leftovers(lab):
        command(lab, "destroy", "node1", "node2", "--all")
        for node in lab.node_names:
            shell(lab, node, "rm -rf /run/torque-vm/*/*")


@pytest.fixture
def pool(lab: Lab) -> Iterator[Path]:
    """The lab's image pool; what a test adds is removed."""
    before = set(lab.pool.iterdir())
    yield lab.pool
    for path in set(lab.pool.iterdir()) - before:
        path.unlink()


def one_line(text: str) -> str:
    """The only line there is."""
    lines = [line for line in text.splitlines() if line.strip()]
    assert len(lines) == 1, text
    return lines[0]


def test_a_frozen_libvirtd_makes_its_node_late_and_leaves_the_others_results_intact(lab: Lab) -> None:
    """The run returns within 2 s of its deadline; one command removes everything when the node is back."""
    seconds, job = 30.0, "4711.adhoc"
    words = ("boot", "node1", "node2", "--job", job, "--timeout", str(seconds), "--json", "-vm", SMALL)
    argv = [*lab.enter("node1"), *TORQUE_VM, *words]
    boot = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    began = time.monotonic()
    wait_for(lambda: lab.status()[1].guests, 20)
    with frozen_libvirtd(lab, "node2"):
        out, err = boot.communicate(timeout=seconds + 20)
        took = time.monotonic() - began
    assert took < seconds + 2.0 + STARTUP, err
    assert boot.returncode == CliExit.LATE, out
    found = {host["node"]: host for host in json.loads(out)["hosts"]}
    assert found["node1"]["status"] == "changed"
    assert found["node2"]["status"] == "late"
    gone = command(lab, "destroy", "--job", job)
    assert gone.returncode == 0, gone.stderr
    assert_nothing_left(lab, job)
    assert leftovers(lab) == {}


def test_a_node_whose_libvirtd_is_frozen_before_the_job_ends_the_prologue_in_time() -> None:
    """The hook stays below the MOM's limit and blames the site: the job would be requeued."""
    lab = Lab("frozen", nodes=2, settings={"timeout": 8.0, "teardown_margin": 4.0, "requeue_pause": 0})
    lab.up()
    try:
        job = Job(lab, "echo never", nodes=2)
        began = time.monotonic()
        with frozen_libvirtd(lab, "node2"):
            ended = job.run()
            took = time.monotonic() - began
            verdict = history(lab, ended, "verdict")
        assert took < 8 + 4 + 8 + 4  # the prologue and its clean-up, then the epilogue's own
        assert ended.outcome.fate == "requeue"
        assert ended.exit_code == RunExit.LATE
        assert "node2" in verdict["sentence"]
        assert "never" not in job.lines
    finally:
        lab.down()


def test_a_full_disk_is_named_with_its_node(lab: Lab) -> None:
    """The volume directory has no room for a seed: site failure, requeue, and the others are cleaned up."""
    volumes = "/var/lib/torque-vm/volumes"
    shell(lab, "node2", f"mkdir -p {volumes}; mount -t tmpfs -o size=16k tmpfs {volumes}")
    try:
        job = Job(lab, "true", nodes=2)
        ended = job.run()
    finally:
        shell(lab, "node2", f"umount {volumes}")
    assert ended.outcome.fate == "requeue"
    assert ended.exit_code == RunExit.SITE
    line = one_line(job.errors)
    assert "node2" in line
    assert "space" in line
    assert_nothing_left(lab, ended.outcome.job_id)
    assert leftovers(lab) == {}


@pytest.mark.parametrize(
    ("number", "text", "words"),
    [
        (9091, "", "no"), (9092, "node1\nno'de\n", "no'de"), (9093, "node1\n../etc\n", "../etc"),
        (9094, "node 1\n", "node 1"),
    ],
    ids=["empty", "quote", "slash", "blank"],
)  # fmt: skip
def test_a_bad_nodefile_is_refused_by_the_hook_and_by_the_commands(
    lab: Lab, number: int, text: str, words: str
) -> None:
    """Names become URIs, file names and shell words: what is no host name goes nowhere."""
    target = lab.root("node1") / "root" / "nodefile"
    target.write_text(text)
    done = command(lab, "guests", "--nodefile", "/root/nodefile")
    assert done.returncode == CliExit.USAGE
    assert words in one_line(done.stderr)
    hook = run_prologue(lab, f"{number}.head", "/root/nodefile")
    assert hook.returncode == 2, "the site's fault: requeue"
    assert words in one_line(hook.stderr)
    target.unlink()
    shell(lab, "node1", f"rm /run/torque-vm/markers/{number}.head")  # an epilogue's task
    assert leftovers(lab) == {}


def run_prologue(lab: Lab, job_id: str, nodefile: str) -> subprocess.CompletedProcess[str]:
    """The installed hook with a nodefile TORQUE would never write."""
    deploy_hooks(lab.root("node1"))
    argv = [job_id, "alice", "alice", "j", "nodes=1,other=vm1:vcpus=1", "batch", "", "/nowhere"]
    hook = "/var/spool/torque/mom_priv/prologue.vm"
    return lab.run("node1", [hook, *argv], env={"PBS_NODEFILE": nodefile}, check=False)


@pytest.mark.parametrize("kind", ["not qcow2", "backing outside", "data file", "missing"])
def test_an_unusable_image_is_refused_with_cause_and_cure(lab: Lab, pool: Path, kind: str) -> None:
    """The user reads one sentence in the job's error file, and no guest is started."""
    image, words = bad_image(pool, kind)
    job = Job(lab, "true", f"{SMALL},img={image}")
    ended = job.run()
    assert (ended.outcome.fate, ended.exit_code) == ("start", RunExit.REFUSED)
    line = one_line(job.errors)
    assert image in line
    assert words in line
    assert leftovers(lab) == {}


def bad_image(pool: Path, kind: str) -> tuple[str, str]:
    """Make an image of that kind; return its name and what the sentence must mention."""
    if shutil.which("qemu-img") is None:
        pytest.skip("qemu-img is not installed")
    path = pool / "bad.qcow2"
    if kind == "not qcow2":
        path.write_bytes(b"\x7fELF" + bytes(4096))
        return path.name, "not a qcow2"
    if kind == "backing outside":
        subprocess.run(
            ["qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b", "/etc/passwd", "-F", "raw", path, "1M"],
            check=True,
        )
        return path.name, "/etc/passwd"
    if kind == "data file":
        outside = pool / "data.raw"
        subprocess.run(
            ["qemu-img", "create", "-q", "-f", "qcow2", "-o", f"data_file={outside}", path, "1M"], check=True
        )
        return path.name, "keeps its data in another file"
    return "nothing.qcow2", "does not exist"


def test_a_prologue_that_is_killed_never_lets_the_job_run_on_bare_metal(lab: Lab) -> None:
    """TORQUE counts a killed hook as success; marker without hand-over makes the starter refuse."""
    job = Job(lab, "echo on bare metal")

    def kill() -> None:
        wait_for(lambda: lab.status()[0].guests, 60)
        pid = shell(lab, "node1", "pgrep -f nornir_torque_vm.hooks.prologue").split()[0]
        lab.run("node1", ["kill", "-9", pid])

    killer = threading.Thread(target=kill)
    killer.start()
    ended = job.run()
    killer.join()
    assert ended.outcome.fate == "start"
    assert ended.exit_code == RunExit.SITE
    assert "on bare metal" not in job.lines
    assert "guests were not started" in one_line(job.errors)
    assert_nothing_left(lab, ended.outcome.job_id)
    assert leftovers(lab) == {}
