"""What a lab shall be: which hosts there are, and what makes a host a new one."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from nornir_torque_vm.lab import files, spec
from nornir_torque_vm.lab.blueprint import Blueprint
from nornir_torque_vm.lab.layout import HEAD, HEAD_NODE, SWITCH, LabPaths, lab_nodes
from nornir_torque_vm.lab.pki import LabKeys, NodeKeys
from nornir_torque_vm.lab.tools import Sshd
from nornir_torque_vm.lab.torque import Torque
from nornir_torque_vm.model import KeyPair

NODES = lab_nodes(2)
PAIR = KeyPair("private", "ssh-ed25519 PUBLIC name")
KEYS = LabKeys(
    made=0.0,
    authority="authority",
    authority_key="key",
    root=PAIR,
    nodes={host.name: NodeKeys("certificate", "key", PAIR) for host in (*NODES, HEAD_NODE)},
)
TORQUE = Torque(("/opt/torque/bin", "/opt/torque/sbin"))


@pytest.fixture
def plain(tmp_path: Path) -> Blueprint:
    """A lab without a TORQUE."""
    return Blueprint(
        "test", LabPaths(tmp_path, "test"), NODES, 4, tmp_path / "pool", KEYS, Sshd("/usr/sbin/sshd"),
        settings=files.settings(kvm=False, image="", changes={}), kvm=False,
    )  # fmt: skip


@pytest.fixture
def batch(plain: Blueprint) -> Blueprint:
    """The same with one."""
    return dataclasses.replace(plain, torque=TORQUE)


def changed(before: Blueprint, after: Blueprint) -> set[str]:
    """The hosts that would be built anew."""
    old, new = before.orders(), after.orders()
    return {name for name in old if old[name].text() != new[name].text()}


def test_only_a_lab_with_a_torque_has_a_head(plain: Blueprint, batch: Blueprint) -> None:
    """It is on the switch like the nodes and has no libvirtd."""
    assert set(plain.orders()) == {SWITCH, "node1", "node2"} == {SWITCH, *plain.wired}
    assert set(batch.orders()) == {SWITCH, HEAD, "node1", "node2"} == {SWITCH, *batch.wired}
    head, node = batch.orders()[HEAD], batch.orders()["node1"]
    assert [daemon.name for daemon in head.daemons] == ["trqauthd", "pbs_server", "pbs_sched"]
    assert not head.has("libvirtd")
    assert node.has("libvirtd")
    assert node.has("pbs_mom")
    assert not plain.orders()["node1"].has("pbs_mom")


def test_the_head_and_the_nodes_have_one_home(batch: Blueprint, plain: Blueprint) -> None:
    """A job's output is where its owner submitted it; hosts without a batch system have their own."""

    def home(made: spec.HostSpec) -> str:
        return next(argv[-2] for argv in made.setup if argv[-1] == "/home" and "--bind" in argv)

    assert {home(batch.orders()[name]) for name in (HEAD, "node1", "node2")} == {
        f"{spec.STAGE}{batch.paths.shared}/home"
    }
    assert home(plain.orders()["node1"]) != home(plain.orders()["node2"])


def test_starting_a_torque_leaves_the_switch_alone(plain: Blueprint, batch: Blueprint) -> None:
    """Its leases are still true."""
    assert changed(plain, batch) == {"node1", "node2"}


def test_a_host_is_new_when_its_daemons_would_start_otherwise(batch: Blueprint, plain: Blueprint) -> None:
    """Other nodes or slots: another server; another time limit for hooks: other MOMs; neither without."""
    assert changed(batch, dataclasses.replace(batch, slots=2)) == {HEAD}
    assert changed(batch, dataclasses.replace(batch, nodes=(*NODES, *lab_nodes(3)[2:]))) == {HEAD}
    limited = files.settings(kvm=False, image="", changes={"prologalarm": 120})
    assert changed(batch, dataclasses.replace(batch, settings=limited)) == {"node1", "node2"}
    assert changed(plain, dataclasses.replace(plain, slots=2, settings=limited)) == set()


def test_the_head_is_known_by_name_and_can_reach_the_nodes(batch: Blueprint) -> None:
    """Settings and credentials are there for whoever submits or administers."""
    made = {file.path: file.text for file in batch._files(HEAD)}
    assert {"/etc/torque-vm/settings.toml", "/etc/torque-vm/ssh/known_hosts"} <= set(made)
    assert "/etc/torque-vm/ssh/sshd_config" not in made
    for name in (SWITCH, HEAD, "node1"):
        hosts = next(file.text for file in batch._files(name) if file.path == "/etc/hosts")
        assert "10.89.0.10 head\n" in hosts


def test_what_daemons_change_is_written_once(batch: Blueprint, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second ``up`` must not give a running server its first database, nor a MOM its first config."""
    owners: dict[Path, int] = {}
    monkeypatch.setattr(os, "chown", lambda path, uid, gid: owners.update({path: uid}))
    orders = batch.orders()
    batch.write(orders, orders)
    spool = batch.paths.files(HEAD) / "var/spool/torque"
    config = batch.paths.files("node1") / "var/spool/torque/mom_priv/config"
    (spool / "server_priv/serverdb").write_text("jobs and all")
    config.write_text("$job_starter /somewhere\n")
    settings = batch.paths.files("node1") / "etc/torque-vm/settings.toml"
    settings.write_text("lost")
    batch.write(orders, ["node2"])
    assert (spool / "server_priv/serverdb").read_text() == "jobs and all"
    assert config.read_text() == "$job_starter /somewhere\n"
    assert settings.read_text() == batch.settings, "what only the lab writes is put right"
    batch.write(orders, ["node1"])
    assert "$pbsserver head\n" in config.read_text()
    assert owners[batch.paths.shared / "home/alice"] == 2001
