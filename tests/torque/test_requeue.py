"""Starts that fail on a real TORQUE: how often they are tried again, what users read, who is taken out."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from start_kit import BROKEN, PAUSE, SECONDS, attempts, mom_priv, on_metal, site, submit, torque_vm
from torque_kit import (
    configure_mom,
    delete,
    eventually,
    job_attributes,
    mom_file,
    node_state,
    output,
    run_job,
    settings,
    wait_for_state,
)

from nornir_torque_vm.lab import HEAD, Lab
from nornir_torque_vm.lab.files import SPOOL
from nornir_torque_vm.lab.spec import EXITED
from nornir_torque_vm.sitekit import hook_text

__all__ = ["site"]

CLEARED = ("its node check is content", "its faults are forgotten, its node check is content")
pytestmark = pytest.mark.torque


@pytest.fixture
def operators(site: Lab) -> Iterator[Lab]:
    """Root of the nodes has the operator right, as ``torque-vm install server`` gives it."""
    cure(site)
    names = [f"root@{node}" for node in site.node_names]
    try:
        for name in names:
            site.run(HEAD, ["qmgr", "-c", f"set server operators += {name}"])
        yield site
    finally:
        for name in names:
            site.run(HEAD, ["qmgr", "-c", f"set server operators -= {name}"])
        cure(site)


def cure(lab: Lab) -> None:
    """Put all nodes back that are out."""
    lab.run(HEAD, ["pbsnodes", "-c", "-N", "n", *lab.node_names])


def note_of(lab: Lab, node: str) -> str:
    """What ``pbsnodes -ln`` says about a node that is out."""
    lines = lab.run(HEAD, ["pbsnodes", "-l", "-n"], check=False).stdout.splitlines()
    return next((line for line in lines if line.split()[0] == node), "")


@pytest.mark.proves("local_uri")
def test_what_the_site_cannot_mend_is_tried_a_limited_number_of_times_and_told(site: Lab) -> None:
    """After the pause each; then the job ends with 122, its error file is one sentence, its output nothing.

    TORQUE counts the same starts as the history; the script ran nowhere, on bare metal least of all.
    """
    with settings(site, BROKEN, "node2"):
        job = submit(site, "node2")
        done = wait_for_state(site, job, seconds=SECONDS)
        found = attempts(site, "node2", job)
    assert (done["exit_status"], done["start_count"]) == ("122", "3")
    assert [(one["attempt"], one["state"]) for one in found] == [(1, "site"), (2, "site"), (3, "site")]
    began = [one["began"] for one in found]
    assert all(later - earlier >= PAUSE for earlier, later in itertools.pairwise(began))
    assert output(site, done) == ""
    (line,) = output(site, done, "Error").splitlines()
    assert line.startswith("torque-vm: node2, survey: ")
    assert line.endswith("given up after 3 attempts")
    assert on_metal(site) == []
    assert node_state(site, "node2") == "free"


@pytest.mark.skipif(os.cpu_count() == 1, reason="two slots need two processors")
def test_a_full_node_is_waited_for_without_end(site: Lab) -> None:
    """Of places, of memory, of processors; more often than a fault of the site would be tried again.

    Nobody is blamed, no two guests are there at a time; then the job runs. The first job has all processors
    of the node, which had one slot when it started.
    """
    node, size = "node2", site.slots
    kibibytes = int(site.run(node, ["sh", "-c", "virsh nodeinfo | awk '/Memory size/ {print $3}'"]).stdout)
    taken = {
        "1 guests are there and 1 more would exceed 1": {"max_vms_per_node": 1},
        "ram=192M is more than the ": {"host_os_ram_mb": kibibytes // 1024 - 300},
        "guests of job {job} are on processors ": {},
    }
    try:
        site.run(HEAD, ["qmgr", "-c", f"set node {node} np = 1"])
        first = submit(site, node, "sleep 600\n")
        handover = site.root(node) / "run/torque-vm/handover" / first / "given"
        eventually(handover.exists, SECONDS)
        site.run(HEAD, ["qmgr", "-c", f"set node {node} np = 2"])
        job = ""
        for words, changes in taken.items():
            with settings(site, changes, node):
                job = job or submit(site, node)
                eventually(lambda: told(site, node, job).count(words.format(job=first)) >= 2, SECONDS)  # noqa: B023 - called here
                (there,) = site.run(node, ["virsh", "-c", "qemu:///system", "list", "--name"]).stdout.split()
                assert there.startswith(f"tvm-{first.partition('.')[0]}-a1-r0-")
        delete(site, first)
        done = wait_for_state(site, job, seconds=SECONDS)
        found = attempts(site, node, job)
        assert not list((site.root(node) / "var/log/torque-vm/nodes").glob("*"))
    finally:
        site.run(HEAD, ["qmgr", "-c", f"set node {node} np = {size}"])
    assert done["exit_status"] == "0"
    states = [one["state"] for one in found]
    assert len(states) >= 2 * len(taken)
    assert set(states[:-1]) == {"busy"}
    assert states[-1] == "over"
    (host,) = output(site, done).split()
    assert on_metal(site) == []
    assert host == f"j{job.partition('.')[0]}-r0"
    assert output(site, done, "Error") == "", "a batch prologue says nothing when all is well"


def told(lab: Lab, node: str, job: str) -> str:
    """What all attempts of a job came to, in their own words."""
    return "\n".join(one["sentence"] for one in attempts(lab, node, job))


def test_a_faulty_node_is_taken_out_and_the_job_runs_elsewhere(operators: Lab) -> None:
    """Once, with a note; before the last attempt, so that the user never notices. Then it is put back."""
    lab = operators
    with settings(lab, {"offline_after": 2}):
        bad = run_job(lab, ["-l", "nodes=1:ppn=1"], "true\n")["exec_host"].partition("/")[0]
        with settings(lab, BROKEN, bad):  # the one that the scheduler takes
            job = submit(lab, "1:ppn=1")
            done = wait_for_state(lab, job, seconds=SECONDS)
        assert (done["exit_status"], done["start_count"]) == ("0", "3")
        assert not done["exec_host"].startswith(bad)
        assert node_state(lab, bad) == "offline"
        note = note_of(lab, bad)
        assert "torque-vm: 2 failed starts since" in note
        assert f"(job {job})" in note
        assert note.endswith(f"put back: pbsnodes -c -N n {bad}")
        assert [one["node"] for one in torque_vm(lab, "node1", "nodes")["nodes"]] == [bad]
        lab.run(bad, [sys.executable, "-I", "-m", "nornir_torque_vm.cli", "nodes", "--clear", bad])
        assert node_state(lab, bad) == "free"
        assert note_of(lab, bad) == ""
        assert torque_vm(lab, bad, "nodes", check=False)["nodes"] == []
        done = wait_for_state(lab, submit(lab, bad), seconds=SECONDS)
        assert done["exit_status"] == "0"


@contextlib.contextmanager
def dead_libvirtd(lab: Lab, node: str) -> Iterator[None]:
    """A node whose libvirtd was killed."""
    pid = lab.run(node, ["sh", "-c", "pidof libvirtd"]).stdout.strip()
    lab.run(node, ["kill", "-KILL", pid])
    try:
        yield
    finally:
        lab.run(node, ["libvirtd", "--listen", "-d"])
        (lab.root(node) / EXITED[1:] / "libvirtd").unlink(missing_ok=True)


def test_a_faulty_sister_is_taken_out_by_its_mother_superior(operators: Lab) -> None:
    """Whose libvirt is dead cannot be told anything; its MOM is well."""
    lab = operators
    with settings(lab, {"offline_after": 2}), dead_libvirtd(lab, "node1"):
        job = submit(lab, "node2+node1+node3")
        eventually(lambda: node_state(lab, "node1") == "offline", SECONDS)
        delete(lab, job)
        wait_for_state(lab, job, seconds=SECONDS)
        chief = job_attributes(lab, job)["exec_host"].partition("/")[0]
        assert chief != "node1"
        assert "libvirt" in note_of(lab, "node1")
        assert {node_state(lab, node) for node in ("node2", "node3")} == {"free"}
        assert [one["outcome"] for one in verdicts(lab, chief, job)][:2] == ["site", "site"]


def verdicts(lab: Lab, node: str, job: str) -> list[dict[str, Any]]:
    """The verdicts of a job's attempts, oldest first."""
    folders = sorted((lab.root(node) / "var/log/torque-vm").glob(f"{job}.*"), key=lambda path: path.suffix)
    texts = [path / "verdict.json" for path in folders]
    return [json.loads(path.read_text()) for path in texts if path.exists()]


def test_without_the_right_a_node_takes_itself_out_by_its_own_check(site: Lab) -> None:
    """The MOM reports it down, with the reason in the note; jobs go on, and it comes back when cleared."""
    lab, node = site, "node3"
    folder = mom_priv(lab, node) / "hooks"
    folder.mkdir()
    try:
        mom_file(lab, node, "hooks/node_check", hook_text("node_check"))
        configure_mom(lab, node, f"$node_check_script {SPOOL}/mom_priv/hooks/node_check")
        with settings(lab, {"offline_after": 2}):
            with settings(lab, BROKEN, node):
                job = submit(lab, node)
                eventually(lambda: "down" in node_state(lab, node), SECONDS)
            assert "2 failed starts" in lab.run(HEAD, ["pbsnodes", "-x", node]).stdout
            assert "2 failed starts" in torque_vm(lab, node, "nodes")["nodes"][0]["out"]
            delete(lab, job)
            wait_for_state(lab, job, seconds=SECONDS)
            clear = [sys.executable, "-I", "-m", "nornir_torque_vm.cli", "nodes", "--clear", node]
            # A start that failed after the word was written counts for itself.
            assert lab.run(node, clear).stdout in {f"{node}: {said}\n" for said in CLEARED}
            eventually(lambda: node_state(lab, node) == "free", 60)
    finally:
        (folder / "node_check").unlink(missing_ok=True)
        folder.rmdir()
        lab.run(HEAD, ["pbsnodes", "-N", "n", node], check=False)
