"""``torque-vm lab`` where no lab is up."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from nornir_torque_vm.cli.lab import lab, table
from nornir_torque_vm.errors import LabError
from nornir_torque_vm.lab import Lab, NodeStatus


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No lab of this machine is touched."""
    monkeypatch.setenv("TORQUE_VM_CACHE", str(tmp_path))
    return tmp_path


def test_a_table_has_aligned_columns_and_says_what_is_wrong() -> None:
    """No guests is a dash, a node that does not answer shows why."""
    nodes = [NodeStatus("node1", "10.89.0.11", ("a", "b")), NodeStatus("node10", "10.89.0.20", error="gone")]
    assert table(nodes).splitlines() == [
        "node    address     libvirtd  guests",
        "node1   10.89.0.11  ok        a b",
        "node10  10.89.0.20  gone      -",
    ]


def test_a_table_shows_the_state_of_nodes_of_a_torque() -> None:
    """Only where there is one; a node that is down there is not in order."""
    nodes = [
        NodeStatus("node1", "10.89.0.11", ("a", "b"), torque="job-exclusive"),
        NodeStatus("node2", "10.89.0.12", torque="down"),
    ]
    assert table(nodes).splitlines() == [
        "node   address     libvirtd  torque         guests",
        "node1  10.89.0.11  ok        job-exclusive  a b",
        "node2  10.89.0.12  ok        down           -",
    ]
    assert [node.ok for node in nodes] == [True, False]


def test_a_torque_that_is_not_there_is_told_before_anything_is_built(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line that says what to do; nothing of the lab exists then."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("nornir_torque_vm.lab.tools.require", lambda: None)
    monkeypatch.setenv("PATH", str(cache))
    with pytest.raises(LabError, match=r"no TORQUE on the PATH: pbs_server, .*; build one"):
        Lab(torque=True).up()
    assert list(cache.iterdir()) == []


def test_status_of_no_lab_is_said_and_not_zero() -> None:
    """A script can ask whether the lab is up."""
    said = CliRunner().invoke(lab, ["status", "--name", "none"])
    assert (said.exit_code, said.stderr) == (1, "the lab none is not up\n")
    said = CliRunner().invoke(lab, ["status", "--name", "none", "--json"])
    assert said.exit_code == 1
    assert json.loads(said.stdout) == {"name": "none", "up": False, "nodes": []}


def test_a_shell_in_no_lab_is_refused_in_one_line() -> None:
    """And the line says how to get one."""
    said = CliRunner().invoke(lab, ["shell", "node1"])
    assert str(said.exception) == "the lab default is not up; torque-vm lab up"


@pytest.mark.parametrize("arguments", [["up", "--nodes", "0"], ["up", "--nodes", "65"], ["shell"]])
def test_wrong_usage_is_exit_code_two(arguments: list[str]) -> None:
    """Click's own code, as everywhere in this command."""
    assert CliRunner().invoke(lab, arguments).exit_code == 2


@pytest.mark.parametrize("action", ["up", "down"])
def test_changing_a_lab_needs_root_and_touches_nothing_without(
    action: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line instead of the kernel's many ways to say no."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabError, match="the lab needs root"):
        getattr(Lab(), action)()
    assert list(cache.iterdir()) == []


def test_a_lab_that_is_not_there_has_what_a_new_one_would_have() -> None:
    """Two nodes of four slots unless the caller says otherwise."""
    assert Lab().node_names == ("node1", "node2")
    assert Lab(nodes=3).node_names == ("node1", "node2", "node3")
    assert (Lab().slots, Lab(slots=2).slots) == (4, 2)
