"""From failed starts to a node that is out: once, never because of a user, and never the whole cluster."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hook_kit import Site, cut_off, site
from offline_kit import Server

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import GuestError, TorqueVMError
from nornir_torque_vm.faults import Fault
from nornir_torque_vm.hooks import offlining
from nornir_torque_vm.hooks.offlining import Offlining, same_host
from nornir_torque_vm.hooks.prologue import Prologue, conclude
from nornir_torque_vm.pbsnodes import NodesUnknown, Pbsnodes, parse_nodes
from nornir_torque_vm.runstate.faultrecord import FaultRecords, out_here

__all__ = ["site"]


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(offlining, "log", lambda *words: lines.append(words[-1]))
    return lines


def changed(site: Site, **values: Any) -> Settings:
    """The site's settings with other values."""
    return dataclasses.replace(site.settings, **values)


def start(site: Site, server: Server, job_id: str = "17.head", **parameters: Any) -> None:
    """One start of a job, to the end of its hook."""
    settings = changed(site, real_qsub_on_nodes=server.qsub)
    deadline = Deadline.after(20)
    conclude(Prologue(site.call(job_id=job_id), settings, deadline, **parameters), deadline.at - 20)


@pytest.mark.proves("offline_after")
def test_a_node_that_fails_time_after_time_is_taken_out_once(
    site: Site, server: Server, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    """After offline_after failed starts, with a note; the count begins anew then."""
    cut_off(monkeypatch, "node2")
    for _ in range(2):
        start(site, server)
        assert server.out() == {}
    start(site, server)
    (found,) = server.out().items()
    assert found[0] == "node2"
    assert "3 failed starts since" in found[1]
    assert "17.head" in found[1]
    assert logged == [f"node2 was taken out: {found[1]}"]
    assert FaultRecords(site.settings.history_dir).all() == {}
    server.ask().put_back("node2")
    start(site, server, "18.head")
    assert server.out() == {}


def test_a_good_start_counts_its_nodes_anew(
    site: Site, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Faults that come and go do not add up."""
    for job_id in ("1.head", "2.head"):
        with monkeypatch.context() as patch:
            cut_off(patch, "node2")
            start(site, server, job_id)
            start(site, server, job_id)
        start(site, server, job_id, probe=lambda _host: True)
        assert FaultRecords(site.settings.history_dir).all() == {}
        site.epilogue(site.call(job_id=job_id))
    assert server.out() == {}


def test_users_mistakes_take_no_node_out(site: Site, server: Server) -> None:
    """Nor guests that never get ready, on all nodes alike."""

    def breaks(_host: Any) -> bool:
        raise GuestError("the guest says no")

    settings, call = site.settings, site.call("cpus=4")
    for _ in range(4):
        conclude(Prologue(call, settings, Deadline.after(20)), Deadline.after(20).at - 20)
        start(site, server, probe=breaks)
    assert FaultRecords(settings.history_dir).all() == {}


def test_an_administrators_own_mark_and_note_stay(
    site: Site, server: Server, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    """A job that was there already still fails."""
    server.ask().take_out("node2", "new disk on Monday")
    cut_off(monkeypatch, "node2")
    for _ in range(3):
        start(site, server)
    assert server.out() == {"node2": "new disk on Monday"}
    assert logged == ["node2 failed 3 times and is offline already"]


@pytest.mark.proves("max_offline_nodes")
def test_no_more_nodes_are_taken_out_than_the_site_allows(
    site: Site, server: Server, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    """When all fail it is not the nodes; those that people took out do not count."""
    for name in ("node1", "node3"):
        server.ask().take_out(name, "torque-vm: something they share")
    site.settings = changed(site, max_offline_nodes=2)
    cut_off(monkeypatch, "node2")
    for _ in range(3):
        start(site, server)
    assert sorted(server.out()) == ["node1", "node3"]
    assert "node1, node3 were taken out before it; look for what they share" in logged[-1]


def test_nothing_is_taken_out_where_the_site_says_never(
    site: Site, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have a watchman of its own; what was seen is kept all the same."""
    site.settings = changed(site, offline_after=0)
    cut_off(monkeypatch, "node2")
    for _ in range(4):
        start(site, server)
    assert server.out() == {}
    assert len(FaultRecords(site.settings.history_dir).all()["node2"]) == 4


def test_without_the_right_a_line_says_how_to_give_it(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    """TORQUE's pbsnodes ends with 0 also when the server refuses."""
    server = Server(tmp_path, right=False)
    cut_off(monkeypatch, "node2")
    for _ in range(3):
        start(site, server)
    assert server.out() == {}
    assert "node2 failed 3 times and stays in use" in logged[-1]
    assert "Unauthorized Request; torque-vm install server prints the line" in logged[-1]


@pytest.mark.parametrize("checked", [True, False])
def test_without_the_right_a_node_takes_itself_out_where_its_mom_runs_our_check(
    site: Site, tmp_path: Path, logged: list[str], checked: bool
) -> None:
    """Only itself: nobody can leave the word on another."""
    script = site.folder / "torque/mom_priv/check"
    script.write_text("/opt/torque-vm/hooks/node_check\n" if checked else "true\n")
    starter = f"$job_starter {site.folder}/torque/mom_priv/job_starter"
    site.configure_mom(starter, f"$node_check_script {script}")
    server = Server(tmp_path, right=False)
    one = Offlining(site.call(), site.settings, Deadline.after(20), host="node2.example.org")
    one.server = server.ask()
    for job in range(3):
        for node in ("node1", "node2"):
            one.count(node, Fault(float(job), f"{job}.head", "start", "no room"))
    assert ("3 failed starts" in out_here(site.settings.run_dir)) is checked
    assert any("node1 failed 3 times and stays in use" in line for line in logged)
    assert any("node2 was taken out" in line for line in logged) is checked


def test_a_server_that_is_not_there_changes_nothing(site: Site, logged: list[str]) -> None:
    """The job's end is decided already."""
    one = Offlining(site.call(), site.settings, Deadline.after(5))
    one.server = Pbsnodes("/nonexistent/pbsnodes", Deadline.after(5))
    for job in range(3):
        one.count("node2", Fault(float(job), f"{job}.head", "start", "x"))
    assert "/nonexistent/pbsnodes cannot be run" in logged[-1]
    one.server = Pbsnodes("", Deadline.after(5))
    with pytest.raises(NodesUnknown, match="there is no pbsnodes on this node"):
        one.server.states()


def test_an_error_here_does_not_change_how_the_hook_ends(
    site: Site, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    """Whatever it is."""

    def broken(*_: object) -> None:
        raise TorqueVMError("the record is on fire")

    monkeypatch.setattr(FaultRecords, "add", broken)
    cut_off(monkeypatch, "node2")
    report = site.prologue()
    Offlining(site.call(), site.settings, Deadline.after(5)).judge(report)
    assert logged == ["faulty nodes are not counted: the record is on fire"]


@pytest.mark.parametrize("text", ["", "no", '<!DOCTYPE d [<!ENTITY e "x">]><Data>&e;</Data>'])
def test_only_what_pbsnodes_prints_is_believed(text: str) -> None:
    """A document type would bring entities."""
    with pytest.raises(NodesUnknown):
        parse_nodes(text)


def test_a_node_is_known_by_its_short_name_too() -> None:
    """TORQUE and the system may differ in that."""
    assert same_host("node1", "node1.example.org")
    assert not same_host("node1", "node12")
