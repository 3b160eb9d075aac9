"""The reaper on nodes with real libvirtd and guests: what a killed prologue and a restart leave."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest
from driving import SMALL, command, leftovers, shell, wait_for
from remains import assert_nothing_left, leases_of

from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.driver.deploy import deploy_hooks
from nornir_torque_vm.identity import mac_address
from nornir_torque_vm.lab import Lab
from nornir_torque_vm.request import parse_request
from nornir_torque_vm.runstate.joblock import Holder

pytestmark = pytest.mark.lab

JOB = "9031.head"
MACS = [mac_address("head", JOB, rank) for rank in range(2)]
PLACE = "/etc/torque-vm/torque"
"""Where each node's qstat is, below its own /etc."""
QSTAT = """\
#!/bin/sh
if [ "$1" = -B ]; then
    printf 'Server: head\\n    server_state = Active\\n    next_job_number = 10000\\n'
else
    [ -e {place}/down ] && exec sleep 600
    echo "qstat: Unknown Job Id Error $3" >&2
    exit 153
fi
"""


@pytest.fixture
def site(lab: Lab) -> Iterator[Lab]:
    """Nodes with hooks and a qstat that knows no job; cleared afterwards."""
    kept = {}
    for node in lab.node_names:
        deploy_hooks(lab.root(node))
        (lab.root(node) / "var/spool/torque/mom_priv/jobs").mkdir(parents=True, exist_ok=True)
        place = lab.root(node) / PLACE[1:]
        place.mkdir()
        (place / "qstat").write_text(QSTAT.format(place=PLACE))
        (place / "qstat").chmod(0o755)
        path = lab.root(node) / "etc/torque-vm/settings.toml"
        kept[path] = path.read_text()
        lines = [line for line in kept[path].splitlines() if not line.startswith("real_qsub_on_nodes")]
        path.write_text("\n".join([*lines, f'real_qsub_on_nodes = "{PLACE}/qsub"', ""]))
    yield lab
    command(lab, "destroy", *lab.node_names, "--all")
    for node in lab.node_names:
        shell(lab, node, f"rm -rf {PLACE} /run/torque-vm/*/* /run/torque-vm/reaper.json"
                         " /var/lib/torque-vm/volumes/*")  # fmt: skip
    for path, text in kept.items():
        path.write_text(text)


def reap(lab: Lab, node: str, *words: str) -> dict[str, str]:
    """Run the reaper on a node; job → fate."""
    done = command(lab, "reap", "--grace", "0", "--json", *words, node=node)
    assert done.returncode == 0, done.stderr
    return {entry["job"]: entry["fate"] for entry in json.loads(done.stdout)["jobs"]}


def killed_prologue(lab: Lab) -> None:
    """Run a prologue for a guest on each node, and kill it as soon as both are there.

    The guests go on without it, and get addresses.
    """
    nodefile = lab.root("node1") / "root/nodefile"
    nodefile.write_text("".join(f"{node}\n" for node in lab.node_names))
    other = parse_request([SMALL]).encode()
    arguments = [JOB, "alice", "alice", "j", f"nodes=2,other={other}", "batch", "", "/nowhere"]
    argv = [
        "/usr/bin/env",
        "PBS_NODEFILE=/root/nodefile",
        "/var/spool/torque/mom_priv/prologue.vm",
        *arguments,
    ]
    with subprocess.Popen([*lab.enter("node1"), *argv], stderr=subprocess.PIPE):
        wait_for(lambda: all(node.guests for node in lab.status()), 60)
        assert reap(lab, "node1") == {JOB: "kept"}, "it is at work"
        lock = Path(lab.root("node1"), "run/torque-vm/locks", JOB)
        lab.run("node1", ["kill", "-KILL", str(Holder(**json.loads(lock.read_text())).pid)])
    nodefile.unlink()
    wait_for(lambda: set(leases_of(lab, JOB)) == set(MACS), 60)


def lose_guests(lab: Lab) -> None:
    """As when their nodes are switched off."""
    for node in lab.node_names:
        shell(lab, node, "for name in $(virsh -c qemu:///system list --name); do"
                         " virsh -c qemu:///system destroy $name; done")  # fmt: skip


def await_leases(lab: Lab, macs: Collection[str]) -> None:
    """Make sure that the leases of these guests are left, when the server has written its file."""
    for _ in Deadline.after(5.0).backoff(0.2):
        if set(leases_of(lab, JOB)) == set(macs):
            return
    assert set(leases_of(lab, JOB)) == set(macs)


def test_a_killed_prologues_guests_go_from_each_node_by_itself(site: Lab) -> None:
    """Running guests, keys and marker, seen while the server hangs and when it answers.

    The first node knows the leases of all, and leaves that of a guest which still runs elsewhere.
    """
    killed_prologue(site)
    before = leftovers(site)
    assert {name for things in before.values() for name in things if name.startswith("tvm-9031-a")}
    down = site.root("node1") / PLACE[1:] / "down"
    down.touch()
    assert reap(site, "node1", "--dry-run") == {JOB: "kept"}
    down.unlink()
    assert leftovers(site) == before
    assert reap(site, "node1") == {JOB: "removed"}
    assert leftovers(site) == {"node2": before["node2"]}, "its own node only"
    await_leases(site, MACS[1:])
    assert reap(site, "node2") == {JOB: "removed"}
    assert leftovers(site) == {}
    assert_nothing_left(site, JOB)
    assert reap(site, "node1") == {}


def test_leases_of_guests_that_are_gone_are_known_from_the_jobs_plan(site: Lab) -> None:
    """An epilogue that was killed behind their destruction; the first node's reaper gives back all."""
    killed_prologue(site)
    lose_guests(site)
    for node in site.node_names:
        shell(site, node, "rm -r /var/lib/torque-vm/volumes/*")
    assert set(leases_of(site, JOB)) == set(MACS)
    assert reap(site, "node1") == {JOB: "removed"}
    await_leases(site, [])
    reap(site, "node2")
    assert_nothing_left(site, JOB)
    for node in site.node_names:
        assert "tvm-" not in shell(site, node, "virsh -c qemu:///system pool-list --name"), "of no directory"


def test_after_a_restart_the_files_of_guests_are_found(site: Lab) -> None:
    """Domains, pool and run directory are gone with the power; disks, seeds and consoles are not.

    Their names and the server's tell whose leases there are.
    """
    killed_prologue(site)
    lose_guests(site)
    for node in site.node_names:
        shell(site, node, "virsh -c qemu:///system pool-destroy torque-vm")
        shell(site, node, "rm -rf /run/torque-vm/*/*")
    assert all(name.startswith("tvm-9031-a") for things in leftovers(site).values() for name in things)
    assert set(leftovers(site)) == set(site.node_names)
    stranger = site.root("node1") / "var/lib/torque-vm/volumes/tvm-notes"
    stranger.touch()
    assert reap(site, "node1") == {"9031": "removed"}
    await_leases(site, MACS[1:])
    assert reap(site, "node2") == {"9031": "removed"}
    assert leftovers(site) == {"node1": ["tvm-notes"]}
    stranger.unlink()
    assert_nothing_left(site, JOB)


def test_guests_outside_any_batch_job_are_kept(site: Lab) -> None:
    """``torque-vm boot`` gives them an id of no server; an administrator may order them away."""
    booted = command(site, "boot", "node2", "--job", "9031.adhoc", "-vm", SMALL)
    assert booted.returncode == 0, booted.stderr
    before = leftovers(site)
    assert set(reap(site, "node2").values()) == {"kept"}
    assert leftovers(site) == before
    assert command(site, "reap", "--job", "9031.adhoc", node="node2").returncode == 0
    command(site, "reap", "--job", "9031.adhoc", node="node1")
    assert leftovers(site) == {}
