"""A site on the lab's TORQUE whose starts fail as a test wants it, and what is known of them afterwards."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from driving import leftovers
from torque_kit import configure_mom, eventually, qsub, restore_mom, settings

from nornir_torque_vm.driver.deploy import HOOKS, deploy_hooks
from nornir_torque_vm.lab import HEAD, Lab
from nornir_torque_vm.lab.files import SPOOL, USER

REQUEST = "other=vm1:vcpus=1:ram=192M"
BROKEN = {"local_uri": "qemu+unix:///system?socket=/nonexistent"}
"""A node whose own libvirt cannot be reached; only its own prologues notice."""
SECONDS = 240.0
SCRIPT = 'uname -n | tee -a "$HOME/where-it-ran"\n'
PAUSE = 2.0


@pytest.fixture
def site(torque_lab: Lab) -> Iterator[Lab]:
    """A site with hooks that tries a start again twice, after a pause; nothing is left in the end."""
    lab = torque_lab
    before = {node: (mom_priv(lab, node) / "config").read_text() for node in lab.node_names}
    values = {"max_requeues": 2, "requeue_pause": PAUSE, "offline_after": 0}
    where = lab.root(HEAD) / USER.home[1:] / "where-it-ran"
    where.unlink(missing_ok=True)
    try:
        lab.run(HEAD, ["qmgr", "-c", "set server query_other_jobs = True"])
        with settings(lab, values):
            for node in lab.node_names:
                configure_mom(lab, node, f"$job_starter {deploy_hooks(lab.root(node))}")
            yield lab
            eventually(lambda: swept(lab) == {}, 90)
    finally:
        lab.run(HEAD, ["qmgr", "-c", "unset server query_other_jobs"])
        for node, text in before.items():
            restore_mom(lab, node, text)
            for name in (*HOOKS, "job_starter"):
                (mom_priv(lab, node) / name).unlink(missing_ok=True)
            for path in (lab.root(node) / "var/log/torque-vm/nodes").glob("*"):
                path.unlink()


def mom_priv(lab: Lab, node: str) -> Path:
    return lab.root(node) / SPOOL[1:] / "mom_priv"


def torque_vm(lab: Lab, node: str, *words: str, check: bool = True) -> Any:
    """Run ``torque-vm … --json`` on a node."""
    argv = [sys.executable, "-I", "-m", "nornir_torque_vm.cli", *words, "--json"]
    done = lab.run(node, argv, check=check, seconds=60)
    return json.loads(done.stdout or "{}")


def attempts(lab: Lab, node: str, job: str) -> list[dict[str, Any]]:
    """The attempts of a job on record on a node, oldest first."""
    found = torque_vm(lab, node, "jobs", "--all", check=False).get("jobs", [])
    return sorted((one for one in found if one["job"] == job), key=lambda one: int(one["attempt"]))


def submit(lab: Lab, nodes: str, script: str = SCRIPT) -> str:
    return qsub(lab, ["-T", "vm", "-l", f"nodes={nodes},{REQUEST}"], stdin=script)


def swept(lab: Lab) -> dict[str, list[str]]:
    """What is left after one more reaper on each node that has anything: what an epilogue could not remove.

    While a node's libvirt does not answer nobody can.
    """
    for node in leftovers(lab):
        torque_vm(lab, node, "reap", "--grace", "0", check=False)
    return leftovers(lab)


def on_metal(lab: Lab) -> list[str]:
    """Names of the nodes on which the script ran: guests here have a home of their own."""
    path = lab.root(HEAD) / USER.home[1:] / "where-it-ran"
    return path.read_text().split() if path.exists() else []
