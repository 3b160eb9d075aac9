"""Hooks on real nodes: the site's own beside ours, what sisters mark and forget, and their safety net."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from driving import SMALL, Job, leftovers, shell, wait_for

from nornir_torque_vm.driver import session
from nornir_torque_vm.driver.deploy import deploy_hooks
from nornir_torque_vm.exitcodes import RunExit
from nornir_torque_vm.lab import Lab

pytestmark = pytest.mark.lab

MOM_PRIV = "var/spool/torque/mom_priv"
SLOTS = ("prologue", "prologue.parallel", "epilogue", "epilogue.parallel")
LOG = "root/site-hooks"


@pytest.fixture
def site(lab: Lab) -> Iterator[Callable[..., None]]:
    """Puts hooks of the site's on all nodes; each notes its slot and how many guests its node has."""

    def put(slot: str, text: str = "", name: str = "") -> None:
        for node in lab.node_names:
            path = lab.root(node) / MOM_PRIV / (name or slot)
            count = "virsh -c qemu:///system list --name | grep -c tvm-"
            path.write_text(f"#!/bin/sh\necho {slot} $({count}) >>/{LOG}\n{text}\n")
            path.chmod(0o500)

    yield put
    for node in lab.node_names:
        root = lab.root(node)
        for path in (root / MOM_PRIV).iterdir():
            if path.name in SLOTS or path.name.endswith(".site"):
                path.unlink()
        (root / LOG).unlink(missing_ok=True)


def noted(lab: Lab, node: str) -> list[str]:
    path = lab.root(node) / LOG
    return path.read_text().splitlines() if path.exists() else []


def nothing_left(lab: Lab) -> bool:
    nets = (shell(lab, node, "pgrep -f [h]ooks.safetynet || true").split() for node in lab.node_names)
    return leftovers(lab) == {} and not any(nets)


def test_the_sites_hooks_run_around_the_guests_lives(lab: Lab, site: Callable[..., None]) -> None:
    """Before any is started, and after all are gone; a sister's epilogue comes before that (TF 1.1)."""
    for slot in SLOTS:
        site(slot)
    job = Job(lab, "echo inside", nodes=2)
    assert job.run().exit_code == 0
    assert job.lines == ["inside"]
    assert noted(lab, "node1") == ["prologue 0", "epilogue 0"]
    assert noted(lab, "node2") == ["prologue.parallel 0", "epilogue.parallel 1"]
    assert leftovers(lab) == {}
    wait_for(lambda: nothing_left(lab), 30)


@pytest.mark.parametrize(("code", "fate"), [(1, "abort"), (37, "requeue")])
def test_the_sites_prologue_decides_before_anything_is_started(
    lab: Lab, site: Callable[..., None], code: int, fate: str
) -> None:
    """Its code is TORQUE's to judge; what sisters had marked is forgotten by the epilogue."""
    site("prologue", f"exit {code}")
    job = Job(lab, "echo never", nodes=2)
    ended = job.run()
    assert (ended.outcome.fate, job.lines, ended.verdict) == (fate, [], {})
    assert leftovers(lab) == {}


def test_as_plain_hooks_they_serve_jobs_with_guests_and_no_others(
    lab: Lab, site: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where TORQUE has no -T; the site's own are behind them."""

    def deploy(root: Path) -> str:
        starter = deploy_hooks(root)
        for slot in SLOTS:
            (root / MOM_PRIV / f"{slot}.vm").rename(root / MOM_PRIV / slot)
        return starter

    monkeypatch.setattr(session, "deploy_hooks", deploy)
    for slot in SLOTS:
        site(slot, name=f"{slot}.site")
    job = Job(lab, "hostname", nodes=2, job_type="")
    job.run()
    assert re.fullmatch(r"j\d+-r0", job.lines[0])
    assert leftovers(lab) == {}
    plain = Job(lab, "hostname", nodes=2, job_type="")
    plain.submission = type(plain.submission)(
        b"#!/bin/sh\nhostname\n", "plain", lab.node_names, 2, job_type=""
    )
    plain.run()
    assert plain.lines == ["node1"]
    assert noted(lab, "node1") == ["prologue 0", "epilogue 0"] * 2
    assert noted(lab, "node2")[2:] == ["prologue.parallel 0", "epilogue.parallel 0"]


@pytest.fixture
def impatient(lab: Lab) -> Iterator[None]:
    """Sisters wait two seconds for the mother superior."""
    path = lab.root("node2") / "etc/torque-vm/settings.toml"
    before = path.read_text()
    path.write_text(f"sister_grace = 2\n{before}")
    yield
    path.write_text(before)


@pytest.mark.proves("sister_grace")
def test_a_sister_removes_what_its_mother_superior_leaves(
    lab: Lab, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which died before its epilogue; its own guests are the reaper's, those of other nodes are gone."""

    def deploy(root: Path) -> str:
        starter = deploy_hooks(root)
        if root == lab.root("node1"):
            (root / MOM_PRIV / "epilogue.vm").unlink()
        return starter

    monkeypatch.setattr(session, "deploy_hooks", deploy)
    job = Job(lab, "true", f"{SMALL},vms_per_node=2", nodes=2)
    ended = job.run()
    try:
        assert (ended.exit_code, job.errors) == (0, "")
        assert {"node1", "node2"} == set(leftovers(lab))
        wait_for(lambda: "node2" not in leftovers(lab), 30)
        assert [
            name for name in leftovers(lab)["node1"] if re.fullmatch(r"tvm-\d+-a\d+-r\d-[0-9a-f]{8}", name)
        ]
    finally:
        monkeypatch.undo()
        for node in lab.node_names:
            deploy_hooks(lab.root(node))
        argv = [ended.outcome.job_id, "alice", "alice", "j", "0", "", "", "batch", "", "0", "/nowhere"]
        nodefile = lab.root("node1") / "root/nodefile"
        nodefile.write_text("node1\nnode2\n")
        lab.run("node1", [f"/{MOM_PRIV}/epilogue.vm", *argv], env={"PBS_NODEFILE": "/root/nodefile"})
        nodefile.unlink()
    assert leftovers(lab) == {}


@pytest.mark.proves("site_hook_timeout")
def test_a_prologue_of_the_sites_that_hangs_is_ended_in_time(lab: Lab, site: Callable[..., None]) -> None:
    """As TORQUE ends one: requeue; here before there is no time left to clean up."""
    site("prologue", "sleep 4711")
    path = lab.root("node1") / "etc/torque-vm/settings.toml"
    before = path.read_text()
    path.write_text(f"site_hook_timeout = 2\n{before}")
    try:
        job = Job(lab, "echo never")
        ended = job.run()
    finally:
        path.write_text(before)
    assert (ended.outcome.fate, ended.exit_code) == ("requeue", RunExit.SITE)
    assert "/var/spool/torque/mom_priv/prologue took more than 2 s" in job.errors
    assert shell(lab, "node1", "pgrep -f '[s]leep 4711' || true") == ""
    assert leftovers(lab) == {}
