"""``torque-vm nodes``: what is held against nodes, which are out, and putting them back."""

from __future__ import annotations

import dataclasses
import json
import os
import time
import tomllib
from collections.abc import Callable

import pytest
from cli_kit import Said
from hook_kit import Site, site
from offline_kit import Server

from nornir_torque_vm.cli.app import outcome
from nornir_torque_vm.faults import Fault
from nornir_torque_vm.runstate.faultrecord import FaultRecords, out_here, take_out_here

__all__ = ["site"]

Run = Callable[..., Said]


@pytest.fixture
def server(site: Site) -> Server:
    return Server(site.folder)


@pytest.fixture
def run(
    site: Site, server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Run:
    """Runs ``torque-vm nodes`` with the site's settings."""
    site.settings = dataclasses.replace(site.settings, real_qsub_on_nodes=server.qsub)
    kept = tomllib.loads(site.settings_file.read_text()) | {"real_qsub_on_nodes": server.qsub}
    site.settings_file.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in kept.items()))
    monkeypatch.setenv("TORQUE_VM_SETTINGS", str(site.settings_file))

    def run(*words: str) -> Said:
        capsys.readouterr()
        code = outcome(["nodes", *words])
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return run


def hold(site: Site, node: str, count: int = 1) -> None:
    """Have something held against a node."""
    for number in range(count):
        fault = Fault(time.time() - 60 + number, f"{number}.head", "survey", "libvirt\x1b is gone")
        FaultRecords(site.settings.history_dir).add(node, fault, 3600)


def test_nothing_held_is_a_line_and_a_code_of_its_own(run: Run) -> None:
    """As for jobs."""
    said = run()
    assert (said.code, said.out) == (4, "")
    assert "nothing is held against any node here" in said.err


def test_faults_and_nodes_that_are_out_are_told(run: Run, site: Site, server: Server) -> None:
    """Also those that another mother superior took out; those of people are theirs."""
    hold(site, "node2", 2)
    server.ask().take_out("node3", "torque-vm: 3 failed starts")
    server.ask().take_out("node1", "new disk")
    said = run()
    assert said.code == 0
    rows = [line.split() for line in said.out.splitlines()]
    assert [row[:3] for row in rows[1:]] == [["node2", "2", "-"], ["node3", "0", "yes"]]
    assert "1.head" in said.out
    assert "libvirt\\x1b is gone" in said.out
    found = run("--json").json["nodes"]
    assert [one["out"] for one in found] == [None, "torque-vm: 3 failed starts"]
    assert [fault["job_id"] for fault in found[0]["faults"]] == ["0.head", "1.head"]


@pytest.mark.proves("offline_within")
def test_faults_that_do_not_count_any_more_are_not_told(run: Run, site: Site) -> None:
    """The site says for how long they do."""
    hold(site, "node2")  # a minute ago
    assert run().code == 0
    with site.settings_file.open("a") as file:
        file.write("offline_within = 60\n")
    assert run().code == 4


def test_a_node_that_took_itself_out_is_told_and_put_back(run: Run, site: Site) -> None:
    """By its own check, where the server does not take its word."""
    host = os.uname().nodename
    take_out_here(site.settings.run_dir, "torque-vm: it fails")
    assert run("--json").json["nodes"] == [
        {"node": host, "weight": 0, "out": "torque-vm: it fails", "faults": []}
    ]
    assert run("--clear", host).out == f"{host}: its node check is content\n"
    assert out_here(site.settings.run_dir) == ""


def test_clearing_forgets_and_puts_back_what_we_took_out(run: Run, site: Site, server: Server) -> None:
    """And nothing that people took out."""
    hold(site, "node2")
    server.ask().take_out("node2", "torque-vm: 3 failed starts")
    server.ask().take_out("node1", "new disk")
    said = run("--clear", "node2", "--clear", "node1", "--clear", "node3")
    assert said.code == 0
    assert said.out.splitlines() == [
        "node2: its faults are forgotten, it is in use again",
        "node1: nothing was held against it here",
        "node3: nothing was held against it here",
    ]
    assert server.out() == {"node1": "new disk"}
    assert FaultRecords(site.settings.history_dir).all() == {}


def test_a_server_that_refuses_to_put_a_node_back_is_an_error(run: Run, site: Site, server: Server) -> None:
    """The faults are forgotten all the same."""
    hold(site, "node2")
    server.ask().take_out("node2", "torque-vm: 3 failed starts")
    server.allow(right=False)
    said = run("--clear", "node2")
    assert (said.code, said.out) == (1, "node2: its faults are forgotten\n")
    assert "node2 is still out" in said.err
    assert "Unauthorized Request" in said.err


def test_without_a_server_the_record_is_shown(run: Run, site: Site, server: Server) -> None:
    """And a line says what is missing."""
    hold(site, "node2")
    server.program.write_text("#!/bin/sh\necho 'pbsnodes: cannot connect to server head' >&2\nexit 1\n")
    said = run()
    assert (said.code, "node2" in said.out) == (0, True)
    assert "which nodes are out cannot be told: no server answers: pbsnodes: cannot connect" in said.err


def test_only_nodes_can_be_cleared(run: Run) -> None:
    """The name becomes a file's."""
    assert run("--clear", "../../etc/passwd").code == 2
