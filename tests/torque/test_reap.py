"""The reaper beside a real TORQUE: it removes what is proven to be over, and nothing else, whatever fails."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from driving import leftovers
from torque_kit import (
    delete,
    eventually,
    job_attributes,
    mom_file,
    qsub,
    signal_mom,
    start_mom,
    wait_for_state,
)

from nornir_torque_vm.driver.deploy import deploy_hooks
from nornir_torque_vm.lab import HEAD, Lab
from nornir_torque_vm.lab.files import SPOOL
from nornir_torque_vm.lab.spec import EXITED
from nornir_torque_vm.request import parse_request
from nornir_torque_vm.runstate.joblock import Holder
from nornir_torque_vm.sitekit import hook_text

pytestmark = pytest.mark.torque

REQUEST = parse_request(["vcpus=1,ram=192M"]).encode()


@pytest.fixture(scope="module")
def site(torque_lab: Lab) -> Iterator[Lab]:
    """A lab of its own, because its server is stopped and its MOMs are killed, with the hooks in place."""
    cluster = Lab(f"test-{os.getpid()}-torque-reap", nodes=2, torque=True)
    try:
        cluster.up()
        for node in cluster.node_names:
            deploy_hooks(cluster.root(node))
            signal_mom(cluster, node, "HUP")
        yield cluster
    finally:
        cluster.down()


def submit(lab: Lab, nodes: str) -> str:
    """Submit a long job with a guest on each node."""
    return qsub(lab, ["-T", "vm", "-l", f"nodes={nodes},other={REQUEST}"], stdin="sleep 600\n")


def reap(lab: Lab, node: str) -> dict[str, tuple[str, str]]:
    """Run the reaper on a node without a grace time; job → fate and why."""
    argv = [sys.executable, "-I", "-m", "nornir_torque_vm.cli", "reap", "--grace", "0", "--json"]
    done = lab.run(node, argv, seconds=60, check=False)
    assert done.returncode == 0, done.stderr
    return {entry["job"]: (entry["fate"], entry["why"]) for entry in json.loads(done.stdout)["jobs"]}


def guests(lab: Lab, node: str) -> list[str]:
    """Names of the domains that run on a node."""
    return lab.run(node, ["virsh", "-c", "qemu:///system", "list", "--name"]).stdout.split()


def of_job(lab: Lab, job: str, node: str) -> list[str]:
    """Everything of a job on a node."""
    start = f"tvm-{job.partition('.')[0]}-a"
    return sorted(
        name for name in leftovers(lab).get(node, [])
        if Path(name).name == job or Path(name).name.startswith(start)
    )  # fmt: skip


def files_of_mom(lab: Lab, node: str) -> Path:
    """The directory of a MOM's job files, as seen from here."""
    return lab.root(node) / SPOOL[1:] / "mom_priv/jobs"


def kill_prologue(lab: Lab, node: str, job: str) -> None:
    """SIGKILL to a MOM, then to the prologue that it had started."""
    signal_mom(lab, node, "KILL")
    lock = lab.root(node) / "run/torque-vm/locks" / job
    lab.run(node, ["kill", "-KILL", str(Holder(**json.loads(lock.read_text())).pid)])


def forget(lab: Lab, job: str) -> None:
    """Make the server forget a job at once."""
    lab.run(HEAD, ["qdel", "-p", job])


def server_pid(lab: Lab) -> str:
    """The server's process id, inside the head."""
    return (lab.root(HEAD) / SPOOL[1:] / "server_priv/server.lock").read_text().strip()


@contextmanager
def stopped_server(lab: Lab) -> Iterator[None]:
    """A server that takes questions and answers none."""
    pid = server_pid(lab)
    lab.run(HEAD, ["kill", "-STOP", pid])
    try:
        yield
    finally:
        lab.run(HEAD, ["kill", "-CONT", pid])


@contextmanager
def no_server(lab: Lab) -> Iterator[None]:
    """A server that is down; the same one comes back with its jobs."""
    lab.run(HEAD, ["kill", "-KILL", server_pid(lab)])
    eventually(lambda: lab.run(HEAD, ["qstat", "-B"], check=False).returncode != 0)
    try:
        yield
    finally:
        lab.run(HEAD, ["pbs_server"])
        (lab.root(HEAD) / EXITED[1:] / "pbs_server").unlink(missing_ok=True)
        eventually(lambda: lab.run(HEAD, ["qstat", "-B"], check=False).returncode == 0)


@contextmanager
def open_server(lab: Lab) -> Iterator[None]:
    """A server that tells everybody about everybody's jobs."""
    lab.run(HEAD, ["qmgr", "-c", "set server query_other_jobs = True"])
    try:
        yield
    finally:
        lab.run(HEAD, ["qmgr", "-c", "unset server query_other_jobs"])


def test_a_mother_superior_that_dies_in_the_prologue(site: Lab) -> None:
    """Nothing is touched while anybody has the job; then the other node clears itself, without it."""
    job = submit(site, "node1+node2")
    eventually(lambda: guests(site, "node1") and guests(site, "node2"), 60)
    chief = job_attributes(site, job)["exec_host"].partition("/")[0]
    sister = next(node for node in site.node_names if node != chief)
    before = leftovers(site)

    assert "is at work on it" in reap(site, chief)[job][1]
    assert reap(site, sister)[job] == ("kept", "this node's pbs_mom has it")
    kill_prologue(site, chief, job)
    assert reap(site, chief)[job][0] == reap(site, sister)[job][0] == "kept", "the server has it"
    after = leftovers(site)
    assert set(after[sister]) >= set(before[sister])
    assert of_job(site, job, chief)

    forget(site, job)
    assert reap(site, chief)[job] == ("kept", "this node's pbs_mom has it")
    eventually(lambda: not list(files_of_mom(site, sister).glob("*.JB")))
    assert reap(site, sister).get(job, ("removed",))[0] == "removed"
    assert of_job(site, job, sister) == []
    start_mom(site, chief)
    eventually(lambda: not list(files_of_mom(site, chief).glob("*.JB")))
    eventually(lambda: reap(site, chief) == {})
    assert leftovers(site) == {}


def test_a_node_that_forgot_its_jobs_and_a_server_that_does_not_answer(site: Lab) -> None:
    """As after a restart of a node that keeps nothing; another job's guest on the node goes on."""
    other = submit(site, "node1")
    wait_for_state(site, other, "R")
    eventually((site.root("node1") / "run/torque-vm/handover" / other / "given").exists, 120)
    kept = of_job(site, other, "node1")
    job = submit(site, "node1")
    eventually(lambda: len(guests(site, "node1")) == 2, 60)
    kill_prologue(site, "node1", job)
    for path in files_of_mom(site, "node1").glob(f"{job}.*"):
        path.unlink()
    left = of_job(site, job, "node1")
    assert len(left) > 4

    answers = {"known": reap(site, "node1")[job]}
    with stopped_server(site):
        answers["stopped"] = reap(site, "node1")[job]
    with no_server(site):
        answers["down"] = reap(site, "node1")[job]
    assert {fate for fate, _ in answers.values()} == {"kept"}
    assert "does not tell this node" in answers["known"][1]
    assert "does not answer within" in answers["stopped"][1]
    assert "no server answers" in answers["down"][1]
    forget(site, job)
    with stopped_server(site):
        assert reap(site, "node1")[job][0] == "kept"
    assert of_job(site, job, "node1") == left

    assert reap(site, "node1")[job] == ("removed", "the server knows no such job")
    assert of_job(site, job, "node1") == []
    assert of_job(site, other, "node1") == kept
    start_mom(site, "node1")
    assert reap(site, "node1")[other] == ("kept", "this node's pbs_mom has it")
    assert of_job(site, other, "node1") == kept
    delete(site, other)
    eventually(lambda: leftovers(site) == {}, 60)


def test_a_job_whose_epilogue_did_nothing(site: Lab) -> None:
    """Completed is over where the server says so; elsewhere when it has forgotten the job."""
    hook = mom_file(site, "node2", "epilogue.vm", "#!/bin/sh\nexit 0\n")
    try:
        job = submit(site, "node2")
        eventually((site.root("node2") / "run/torque-vm/handover" / job / "given").exists, 120)
        delete(site, job)
        wait_for_state(site, job)
    finally:
        hook.unlink()
        mom_file(site, "node2", "epilogue.vm", hook_text("epilogue.vm"))
    eventually(lambda: not list(files_of_mom(site, "node2").glob("*.JB")))
    left = of_job(site, job, "node2")
    assert f"run/torque-vm/handover/{job}" in left
    assert "does not tell this node" in reap(site, "node2")[job][1]
    assert of_job(site, job, "node2") == left
    with open_server(site):
        assert reap(site, "node2")[job] == ("removed", "the server says that it is completed")
    assert leftovers(site) == {}


def test_a_job_that_the_server_forgets_ends_with_its_own_epilogue(site: Lab) -> None:
    """After ``qdel -p`` its MOM still runs it for a while; it has its guests until then."""
    job = submit(site, "node2")
    eventually(lambda: list(files_of_mom(site, "node2").glob("*.JB")), 120)
    forget(site, job)
    found = reap(site, "node2")
    assert found.get(job, ("kept",))[0] == "kept"
    eventually(lambda: leftovers(site) == {}, 90)


def test_a_server_that_was_set_up_anew_does_not_decide(site: Lab) -> None:
    """It would say "unknown" of every job; when its numbers have come that far, it does."""
    volumes = site.root("node1") / "var/lib/torque-vm/volumes"
    volumes.mkdir(parents=True, exist_ok=True)
    (volumes / "tvm-4711-a1-r0-0badcafe.qcow2").touch()
    assert reap(site, "node1")["4711"] == (
        "kept", f"the server {HEAD} has given out no such number since it was set up",
    )  # fmt: skip
    before = next(
        line.split()[-1]
        for line in site.run(HEAD, ["qstat", "-B", "-f"]).stdout.splitlines()
        if "next_job_number" in line
    )
    site.run(HEAD, ["qmgr", "-c", "set server next_job_number = 4712"])
    try:
        assert reap(site, "node1")["4711"][0] == "removed"
    finally:
        site.run(HEAD, ["qmgr", "-c", f"set server next_job_number = {before}"])
    assert leftovers(site) == {}
