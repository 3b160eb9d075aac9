"""Failures under a real TORQUE: the job's state, its owner's sentence; MOMs stay up, others are untouched."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from driving import settings
from failing import Bystander, Daemon, libvirtd, reap
from torque_kit import (
    delete,
    eventually,
    job_attributes,
    mom_pid,
    node_state,
    output,
    qsub,
    signal_mom,
    wait_for_state,
)

from nornir_torque_vm.driver.deploy import deploy_hooks
from nornir_torque_vm.exitcodes import RunExit
from nornir_torque_vm.lab import Lab, torque_missing
from nornir_torque_vm.lab.layout import BRIDGE, SWITCH
from nornir_torque_vm.request import parse_request

pytestmark = pytest.mark.torque

REQUEST = parse_request(["vcpus=1,ram=192M"]).encode()
FIRST, SISTER = "node2", "node1"
"""pbs_sched gives a job of two nodes the last one first."""
PATIENCE = 240.0
HOOKS = {"timeout": 120.0, "teardown_margin": 6.0, "requeue_pause": 2, "offline_after": 0}


class Site:
    """Two nodes with a paused guest of another job on each, and a job without guests on both."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.bystander = lab, Bystander(lab)
        self.plain = qsub(lab, ["-l", "nodes=2:ppn=1"], stdin="sleep 3600\n")
        eventually(lambda: job_attributes(lab, self.plain).get("session_id", "0") != "0", PATIENCE)
        self.moms = {node: mom_pid(lab, node) for node in lab.node_names}
        self.session = job_attributes(lab, self.plain)["session_id"]

    def submit(self) -> str:
        """Submit a job with a guest on each node; it must never run on bare metal."""
        job = qsub(self.lab, ["-T", "vm", "-l", f"nodes=2:ppn=1,other={REQUEST}"], stdin="hostname\n")
        wait_for_state(self.lab, job, "RC", PATIENCE)
        return job

    def verdict(self, job: str) -> dict[str, Any]:
        """What the prologue of the job's last attempt judged."""
        records = (self.lab.root(FIRST) / "var/log/torque-vm").glob(f"{job}.*/verdict.json")
        newest = max(records, key=lambda path: int(path.parent.name.rpartition(".")[2]))
        found: dict[str, Any] = json.loads(newest.read_text())
        return found

    def untouched(self) -> None:
        """Nothing of the job is left, both other jobs are as they were, and so are nodes and MOMs.

        :raises AssertionError: something is not.
        """
        self.bystander.untouched()
        plain = job_attributes(self.lab, self.plain)
        assert (plain["job_state"], plain["session_id"]) == ("R", self.session)
        assert {node: mom_pid(self.lab, node) for node in self.lab.node_names} == self.moms
        for node, pid in self.moms.items():
            assert Path(f"{self.lab.root(node)}/proc/{pid}/comm").read_text() == "pbs_mom\n"
        eventually(lambda: {node_state(self.lab, node) for node in self.lab.node_names} == {"free"}, PATIENCE)


@pytest.fixture(scope="module")
def site(micro: Path) -> Iterator[Site]:
    """A lab of its own: its daemons are killed."""
    if reason := torque_missing():
        pytest.skip(reason)
    assert micro.exists()
    cluster = Lab(f"test-{os.getpid()}-torque-failures", nodes=2, torque=True)
    try:
        cluster.up()
        for node in cluster.node_names:
            deploy_hooks(cluster.root(node))
            signal_mom(cluster, node, "HUP")
        yield Site(cluster)
    finally:
        cluster.down()


@pytest.fixture(autouse=True)
def swept(site: Site) -> Iterator[None]:
    """A test that fails must not make the next one fail."""
    yield
    site.bystander.sweep()


def told(site: Site, job: str, exit_status: RunExit) -> str:
    """The only line in the error file of a job that was started to be refused; its script did not run."""
    done = wait_for_state(site.lab, job, seconds=PATIENCE)
    assert done["exec_host"].startswith(f"{FIRST}/")
    assert int(done["exit_status"]) == exit_status
    assert output(site.lab, done) == ""
    (line,) = output(site.lab, done, "Error").splitlines()
    return line


def test_a_sister_whose_libvirtd_is_dead_requeues_the_job_and_then_its_owner_is_told(site: Site) -> None:
    """As often as the site allows; what could not be removed from the sister goes with one reap."""
    with settings(site.lab, {**HOOKS, "max_requeues": 1}, FIRST), libvirtd(site.lab, SISTER) as daemon:
        daemon.kill()
        job = site.submit()
        line = told(site, job, RunExit.SITE)
        assert job_attributes(site.lab, job)["start_count"] == "2"
    assert f"{SISTER}, " in line
    assert "cannot open qemu+tls://" in line
    assert line.endswith("; given up after 2 attempts")
    reap(site.lab, job)
    site.untouched()


def test_a_sister_whose_libvirtd_is_frozen_is_late_and_its_owner_is_told(site: Site) -> None:
    """The prologue ends in time by itself, not by the MOM's alarm, which TORQUE would take for a success."""
    hooks = {**HOOKS, "timeout": 10.0, "max_requeues": 0}
    with settings(site.lab, hooks, FIRST), libvirtd(site.lab, SISTER) as daemon:
        daemon.freeze()
        job = site.submit()
        line = told(site, job, RunExit.LATE)
    assert f"{SISTER}, survey: late in " in line
    reap(site.lab, job)
    site.untouched()


def test_a_silent_dhcp_server_is_told_with_guests_nodes_and_where_to_look(site: Site) -> None:
    """The owner reads it in the error file; no guest is left, without any reap."""
    server = Daemon(site.lab, SWITCH, "dnsmasq")
    with settings(site.lab, {**HOOKS, "timeout": 20.0, "max_requeues": 0}, FIRST):
        server.freeze()
        try:
            job = site.submit()
            line = told(site, job, RunExit.LATE)
        finally:
            server.thaw()
    number = job.partition(".")[0]
    assert f"j{number}-r[0-1] on node[1-2], address: no address after " in line
    assert f"look at the bridge {BRIDGE} and at the DHCP server behind it" in line
    site.untouched()


def test_a_job_for_which_the_nodes_are_full_waits_and_is_never_given_up(site: Site) -> None:
    """Requeued with a pause, without a fault; it starts as soon as there is room."""
    hooks = {**HOOKS, "max_requeues": 0}
    with settings(site.lab, hooks, FIRST):
        with settings(site.lab, {"max_vms_per_node": 1}, FIRST):
            job = site.submit()
            eventually(lambda: int(job_attributes(site.lab, job).get("start_count", 0)) >= 3, PATIENCE)
            judged = site.verdict(job)
            assert (judged["outcome"], judged["hook_exit"], judged["refused"]) == ("busy", 2, False)
        try:
            done = wait_for_state(site.lab, job, seconds=PATIENCE)
        finally:
            delete(site.lab, job)
    assert done["exit_status"] == "0"
    assert output(site.lab, done) == f"j{job.partition('.')[0]}-r0\n"
    site.untouched()
