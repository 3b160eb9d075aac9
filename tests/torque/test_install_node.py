"""``torque-vm install node`` on a real TORQUE: from plain nodes to a job in guests, and back."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator

import pytest
from submission_kit import FRONT, PREFIX, TORQUE_VM, SubmitHost, submit_host
from torque_kit import (
    mom_pid,
    node_state,
    output,
    qsub,
    real_qsub,
    run_job,
    settings,
    wait_for_state,
)

from nornir_torque_vm.lab import HEAD, Lab
from nornir_torque_vm.lab.files import SPOOL

__all__ = ["submit_host"]
pytestmark = pytest.mark.torque

INSTALL = (TORQUE_VM, "install", "node", "--prefix", PREFIX)
BUSY = (
    "client_logs",
    "mom_logs",
    "mom_priv/jobs",
    "mom_priv/mom.lock",
    "aux",
    "spool",
    "undelivered",
    "checkpoint",
)
OTHERS = (*(f"{SPOOL}/{name}" for name in BUSY), "/srv/torque-vm/images")
"""What a MOM itself changes, and the images of all labs."""
GUEST_SECONDS = 150.0


def state(lab: Lab, node: str) -> dict[str, tuple[int, str]]:
    """Files and directories of a node that installing could touch: mode and content's digest."""
    root = lab.root(node)
    found = {}
    for folder in (
        SPOOL,
        "/etc/torque-vm",
        "/srv/torque-vm",
        "/run/torque-vm",
        "/var/lib/torque-vm",
        "/root",
    ):
        for path in (root / folder[1:]).rglob("*"):
            name = f"/{path.relative_to(root)}"
            if not name.startswith(OTHERS) and not path.is_symlink():
                content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
                found[name] = (path.stat().st_mode, content)
    return found


@dataclasses.dataclass(frozen=True)
class Site:
    """The lab with the kit installed on every node, and what the nodes were before."""

    lab: Lab
    before: dict[str, dict[str, tuple[int, str]]]
    moms: dict[str, int]


@pytest.fixture(scope="module")
def site(submit_host: SubmitHost) -> Iterator[Site]:
    """All nodes installed by the command; the last test takes it away."""
    lab = submit_host.lab
    before = {node: state(lab, node) for node in lab.node_names}
    try:
        for node in lab.node_names:
            lab.run(node, [*INSTALL, "--reload"], seconds=120.0)
        with submit_host.filtered():
            yield Site(lab, before, {node: mom_pid(lab, node) for node in lab.node_names})
    finally:
        for node in lab.node_names:
            lab.run(node, [*INSTALL, "--uninstall", "--reload"], seconds=120.0)


def test_a_plain_job_notices_nothing(site: Site) -> None:
    """On each node, with the job starter of ours in between."""
    for node in site.lab.node_names:
        done = run_job(site.lab, ["-l", f"nodes={node}"], "echo $PBS_ENVIRONMENT; exit 3\n")
        assert (output(site.lab, done), done["exit_status"]) == ("PBS_BATCH\n", "3")


def test_a_job_with_vm_runs_in_guests_on_all_nodes(site: Site) -> None:
    """Typed by a user on the head; its output comes back, and its exit status."""
    script = "#!/bin/sh\nuname -n\nexit 37\n"
    words = ["-l", "nodes=3", "-vm", "vcpus=1,ram=192M"]
    job = qsub(site.lab, words, script=script, program=FRONT)
    done = wait_for_state(site.lab, job, seconds=GUEST_SECONDS)
    assert output(site.lab, done).strip() == f"j{job.partition('.')[0]}-r0", output(site.lab, done, "Error")
    assert done["exit_status"] == "37"


def test_the_doctor_finds_nothing_wrong(site: Site) -> None:
    """With MOMs that run; on the head it looks at what a submit host has."""
    lab = site.lab
    doctor = [TORQUE_VM, "doctor", "--json", *lab.node_names]
    as_sites_have = {"real_qsub_on_nodes": real_qsub(lab), "network_filter": "torque-vm-guest"}
    with settings(lab, as_sites_have, *lab.node_names):
        early = json.loads(lab.run("node1", doctor, seconds=90.0).stdout)["hosts"]
        marks = {line["subject"]: line["mark"] for host in early for line in host["lines"]}
        assert marks["operator"] == "warn", "the server was told of nothing yet"
        lab.run(HEAD, [TORQUE_VM, "install", "server", *lab.node_names, "--apply"])
        try:
            done = lab.run("node1", doctor, seconds=90.0)
        finally:
            for node in lab.node_names:
                lab.run(HEAD, ["qmgr", "-c", f"set server operators -= root@{node}"])
    hosts = {host["host"]: host["lines"] for host in json.loads(done.stdout)["hosts"]}
    assert set(hosts) == set(lab.node_names)
    assert [line for lines in hosts.values() for line in lines if line["mark"] != "ok"] == []
    done = lab.run(HEAD, [TORQUE_VM, "doctor", "--json", "--prefix", PREFIX], seconds=90.0, check=False)
    ((head,),) = [json.loads(done.stdout)["hosts"]]
    marks = {line["subject"]: line["mark"] for line in head["lines"]}
    assert (marks["submit filter"], marks["compiled settings"]) == ("ok", "ok")
    assert "kvm" not in marks


def test_the_server_is_told_what_it_does_not_know(site: Site) -> None:
    """The lab's nodes have the property, and completed jobs are kept; the nodes' root is no operator yet."""
    install = [TORQUE_VM, "install", "server", *site.lab.node_names]
    lines = [f"qmgr -c 'set server operators += root@{node}'" for node in site.lab.node_names]
    try:
        assert site.lab.run(HEAD, install).stdout.splitlines() == lines
        assert site.lab.run(HEAD, [*install, "--apply"]).stdout.splitlines() == lines
        assert site.lab.run(HEAD, install).stdout == "nothing to do\n"
        site.lab.run("node2", ["pbsnodes", "-o", "-N", "a note", "node2"])
        assert "offline" in node_state(site.lab, "node2")
    finally:
        site.lab.run(HEAD, ["pbsnodes", "-c", "node2"])
        for node in site.lab.node_names:
            site.lab.run(HEAD, ["qmgr", "-c", f"set server operators -= root@{node}"])


def test_the_same_command_again_has_nothing_to_do(site: Site) -> None:
    """Also after jobs."""
    for node in site.lab.node_names:
        assert site.lab.run(node, list(INSTALL), seconds=60.0).stdout == "nothing to do\n"


def test_without_the_word_a_running_mom_keeps_its_starter(site: Site) -> None:
    """Every job of the node would fail."""
    done = site.lab.run("node1", [*INSTALL, "--uninstall"], check=False)
    assert done.returncode == 1
    assert "pbs_mom runs" in done.stderr
    assert site.lab.run("node1", list(INSTALL), seconds=60.0).stdout == "nothing to do\n"


def test_taking_it_away_leaves_nothing_and_jobs_go_on(site: Site) -> None:
    """The node is as it was, but for the record of the job in guests; the MOM was never restarted."""
    lab = site.lab
    for node in lab.node_names:
        lab.run(node, [*INSTALL, "--uninstall", "--reload"], seconds=120.0)
        assert state(lab, node) == site.before[node]
        assert mom_pid(lab, node) == site.moms[node]
        done = run_job(lab, ["-l", f"nodes={node}"], "echo plain\n")
        assert output(lab, done) == "plain\n"
