"""``torque-vm doctor`` on hosts of files and libvirt's test driver: what is gathered, late, and printed."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from node_kit import NodeHost, host

from nornir_torque_vm.cli.app import outcome
from nornir_torque_vm.cli.doctor import show
from nornir_torque_vm.config.settings import load
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.doctor import guests, here, probe, system, torque
from nornir_torque_vm.doctor.here import Examination, checks_of, examine, order
from nornir_torque_vm.doctor.model import Here, Line, Mark, fail, ok, warn
from nornir_torque_vm.errors import DeadlineExceeded, HypervisorUnreachable
from nornir_torque_vm.faults import Fault
from nornir_torque_vm.install import server as servers
from nornir_torque_vm.runstate.faultrecord import FaultRecords, take_out_here

__all__ = ["host"]

TEST = {"local_uri": "test:///default", "node_uri": "test:///default", "hypervisor_default": "qemu"}


@pytest.fixture
def place(host: NodeHost) -> Here:
    """A node with everything installed, whose system files are below the test's directory."""
    host.settings_text(**TEST)
    host.run()
    for name, text in (("bridge/stp_state", "0"), ("bridge/forward_delay", "0"), ("flags", "0x1003")):
        host.give(f"sys/class/net/br0/{name}", f"{text}\n")
    settings = load(str(host.path("etc/settings.toml")))
    return Here(
        settings, os.uname().nodename, etc=str(host.path("etc")), prefix=str(host.path("opt")),
        quick=True, root=str(host.root),
    )  # fmt: skip


def lines(place: Here, *names: str) -> dict[str, Line]:
    """The lines of some checks by what they are about."""
    chosen = {name: check for name, check in checks_of(place).items() if name in names}
    assert len(chosen) == len(names)
    return {line.subject: line for line in examine(place, Deadline.after(30.0), chosen)}


def test_a_node_that_was_installed_is_in_order(place: Here) -> None:
    """Hooks, limit, bridge, libvirt; what a MOM is for the starter is one that runs."""
    found = lines(place, "hooks", "prologalarm", "bridge", "libvirt", "kvm", "libvirtd", "reaper", "space")
    assert {line.mark for name, line in found.items() if not name.endswith("_dir")} == {Mark.OK}
    (started,) = lines(place, "job starter").values()
    assert (started.mark, started.cure) == (Mark.WARN, "start pbs_mom")


def test_each_fault_of_a_node_is_a_line(place: Here, host: NodeHost) -> None:
    """Several at a time."""
    host.path("spool/mom_priv/epilogue.vm").chmod(0o777)
    host.path("spool/mom_priv/site_hook").unlink()
    host.config.write_text("$prologalarm 60\n")
    shutil.rmtree(host.path("sys"))
    found = lines(place, "hooks", "prologalarm", "bridge", "job starter")
    assert {name for name, line in found.items() if line.mark is Mark.FAIL} == {
        "hook epilogue.vm", "hook site_hook", "prologalarm", "bridge br0", "job starter",
    }  # fmt: skip
    assert "torque-vm install node --reload" in found["job starter"].cure


def test_every_bridge_that_guests_may_be_on_is_looked_at(place: Here) -> None:
    """That of their libvirt network, and that of guests whose user is root; the other one is nobody's."""
    site = dataclasses.replace(place.settings, network="default", user_image_bridge="br-user")
    found = lines(dataclasses.replace(place, settings=site), "bridge")
    assert {name: line.mark for name, line in found.items()} == {
        "bridge virbr0": Mark.FAIL, "bridge br-user": Mark.FAIL,
    }  # fmt: skip


def test_what_is_held_against_nodes_is_told(place: Here, host: NodeHost) -> None:
    """Before a node is taken out; and that this one took itself out."""
    assert lines(place, "faults")["faults"].mark is Mark.OK
    FaultRecords(place.settings.history_dir).add("node2", Fault(time.time(), "17.head", "survey", "x"), 60)
    (line,) = lines(place, "faults").values()
    assert (line.mark, line.text) == (Mark.WARN, "starts failed on node2 (1); at 3 a node is taken out")
    take_out_here(place.settings.run_dir, "torque-vm: it fails")
    found = examine(place, Deadline.after(30.0), {"faults": torque.faults})
    assert (found[0].mark, found[0].text) == (
        Mark.FAIL, "this node took itself out: torque-vm: it fails",
    )  # fmt: skip
    assert found[0].cure == f"mend it, then: torque-vm nodes --clear {place.hostname}"


def test_a_directory_that_others_can_change_fails(place: Here, host: NodeHost) -> None:
    """Its room is told as well."""
    host.path("var/volumes").chmod(0o777)
    found = examine(place, Deadline.after(30.0), {"space": system.space})
    assert next(line.mark for line in found if line.subject == "volume_dir") is Mark.FAIL
    assert any(f"chmod go-w {host.path('var/volumes')}" in line.cure for line in found)


def test_libvirt_without_the_guests_that_jobs_get(place: Here) -> None:
    """Only where it is qemu's; the test driver offers what it likes."""
    found = list(guests.libvirt(place))
    assert [line.mark for line in found] == [Mark.OK]


def test_nodes_are_opened_from_here(place: Here) -> None:
    """Each has a line of its own; one that does not let us in does not hide the others."""
    import dataclasses

    two = dataclasses.replace(place, others=("n1", "n2"))
    found = lines(two, "node n1", "node n2")
    assert {line.mark for line in found.values()} == {Mark.OK}
    wrong = dataclasses.replace(two.settings, node_uri="test:///no/such/{node}.xml")
    found = lines(dataclasses.replace(two, settings=wrong), "node n1", "node n2")
    assert {name: line.mark for name, line in found.items()} == {"node n1": Mark.FAIL, "node n2": Mark.FAIL}


def test_a_host_without_a_mom_is_not_looked_at_as_a_node(place: Here, host: NodeHost) -> None:
    """A submit host has no KVM and needs none."""
    assert place.is_node
    host.config.unlink()
    assert set(checks_of(place)) == set(here.EVERYWHERE)
    host.give("spool/mom_priv/mom.lock", "4711\n")
    assert place.is_node


def test_a_submit_host_has_its_filter_and_fresh_settings(place: Here, host: NodeHost) -> None:
    """Once it was installed, what is missing is told."""
    assert lines(place, "submit filter", "compiled settings") == {}
    host.run(
        "--prefix", f"{host.root}/opt", "--torque-home", f"{host.root}/spool", "--etc", f"{host.root}/etc",
        "--modulefiles", f"{host.root}/var", role="submit-host",
    )  # fmt: skip
    found = lines(place, "submit filter", "compiled settings")
    assert {name: line.mark for name, line in found.items()} == {
        "submit filter": Mark.OK, "compiled settings": Mark.OK,
    }  # fmt: skip
    host.path("spool/torque.cfg").write_text("")
    host.settings_text(**TEST, ram_default="1G")
    found = lines(place, "submit filter", "compiled settings")
    assert {name: line.mark for name, line in found.items()} == {
        "submit filter": Mark.FAIL, "compiled settings": Mark.WARN,
    }  # fmt: skip


@pytest.fixture
def hanging() -> Iterator[threading.Event]:
    """Lets a check that hangs go on at the test's end."""
    event = threading.Event()
    yield event
    event.set()


def test_a_check_that_hangs_is_late_and_the_others_are_there(place: Here, hanging: threading.Event) -> None:
    """Whatever else went wrong in one of them is one line."""

    def hang(_: Here) -> Iterator[Line]:
        hanging.wait()
        yield ok("never", "")

    def unreachable(_: Here) -> Iterator[Line]:
        raise HypervisorUnreachable("nobody there", hint="start it")

    def slow(_: Here) -> Iterator[Line]:
        raise DeadlineExceeded("late in opening x")

    def no_file(_: Here) -> Iterator[Line]:
        yield ok("read", Path("/nonexistent/x").read_text())

    def broken(_: Here) -> Iterator[Line]:
        yield ok("count", str(1 // 0))

    checks = {"hang": hang, "lib": unreachable, "slow": slow, "file": no_file, "broken": broken}
    found = {line.subject: line for line in examine(place, Deadline.after(0.5), checks)}
    assert {name: str(line.mark) for name, line in found.items()} == {
        "hang": "late", "lib": "fail", "slow": "late", "file": "fail", "broken": "fail",
    }  # fmt: skip
    assert found["lib"] == Line(Mark.FAIL, "lib", "nobody there", "start it")
    assert "/nonexistent/x" in found["file"].text


@pytest.mark.parametrize(
    ("marks", "code"),
    [("ok warn", 0), ("ok", 0), ("ok fail late", 1), ("late warn", 3)],
)
def test_the_exit_code_says_the_worst(marks: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Warnings are allowed; what failed goes before what was late."""
    found = [Examination("n1", tuple(Line(Mark(mark), mark, "text", "cure") for mark in marks.split()))]
    assert show(found, json_wanted=False) == code
    capsys.readouterr()
    assert show(found, json_wanted=True) == code
    assert [
        line["mark"] for line in json.loads(capsys.readouterr().out)["hosts"][0]["lines"]
    ] == marks.split()


def test_what_needs_a_hand_comes_first() -> None:
    """Otherwise in the order of the checks."""
    found = [ok("a", ""), warn("b", "", "x"), fail("c", "", "x"), ok("d", "")]
    assert [line.subject for line in order(found)] == ["c", "b", "a", "d"]


class TestCommand:
    def test_it_looks_at_this_host(
        self, place: Here, host: NodeHost, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Settings from the file that is named; one line a row, with the cure."""
        capsys.readouterr()
        outcome(["doctor", "--quick", "--settings", str(host.path("etc/settings.toml"))])
        out = capsys.readouterr().out
        assert out.startswith("HOST")
        assert "fail  image_pool: " in out
        assert "ok    hooks: " in out

    def test_settings_that_cannot_be_read_are_a_line(
        self, host: NodeHost, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Nothing else can be judged then."""
        wrong = host.give("etc/wrong.toml", "max_vms = 3\n")
        assert outcome(["doctor", "--settings", str(wrong)]) == 1
        out = capsys.readouterr().out
        assert len(out.splitlines()) == 2
        assert "max_vms_per_node" in out

    def test_nodes_that_cannot_be_asked_are_a_warning(
        self, place: Here, host: NodeHost, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """With what to do there; this host is looked at all the same."""
        host.settings_text(**TEST, node_shell_key="/nonexistent/key")
        capsys.readouterr()
        words = ["--quick", "--json", "--settings", str(host.path("etc/settings.toml"))]
        outcome(["doctor", os.uname().nodename, "no-such-node.invalid", *words])
        found = {one["host"]: one["lines"] for one in json.loads(capsys.readouterr().out)["hosts"]}
        (other,) = found["no-such-node.invalid"]
        assert (other["mark"], other["subject"]) == ("warn", "node shell")
        assert other["cure"].endswith("until then run torque-vm doctor there")
        subjects = {line["subject"]: line["mark"] for line in found[os.uname().nodename]}
        assert subjects["hooks"] == "ok"
        assert subjects["node no-such-node.invalid"] == "ok", "libvirt's test driver is everywhere"
        assert subjects["name no-such-node.invalid"] == "fail"


@pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="qemu-system-x86_64 is not installed")
class TestProbe:
    def test_the_boot_sector_says_that_it_ran(self) -> None:
        """Under emulation, which is everywhere; with KVM it is the same guest."""
        proof = probe.prove("tcg", Deadline.after(30.0))
        assert proof.ran, proof.reason

    def test_an_accelerator_that_does_not_work_is_no_proof(self) -> None:
        """The emulator's last words are the reason."""
        proof = probe.prove("no-such-accelerator", Deadline.after(30.0))
        assert not proof.ran
        assert "invalid accelerator" in proof.reason

    def test_a_guest_that_says_nothing_is_not_waited_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Within its time, or the doctor's."""
        monkeypatch.setattr(probe, "SECTOR", bytes(510) + b"\x55\xaa")
        proof = probe.prove("tcg", Deadline.after(1.0))
        assert not proof.ran
        assert "did not start within" in proof.reason


def test_a_host_without_an_emulator_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was proven."""
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert probe.prove("kvm", Deadline.after(1.0)).reason == "no emulator was found to try it with"


def test_who_may_take_nodes_out_is_told(place: Here, host: NodeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing where nobody shall, or where there is no pbsnodes; a warning where faulty nodes would stay."""
    place = dataclasses.replace(place, hostname="node1.cluster")
    settings = place.settings
    monkeypatch.setattr(servers, "ask_server", lambda: servers.Knows({}, frozenset({"root@node2"})))
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "which", lambda *_, **__: None)
        assert list(torque.operator(place)) == []
    host.give("bin/pbsnodes", "#!/bin/sh\n", 0o755)
    settings = dataclasses.replace(settings, real_qsub_on_nodes=str(host.path("bin/qsub")))
    place = dataclasses.replace(place, settings=settings)
    (line,) = torque.operator(place)
    assert (line.mark, line.cure) == (
        Mark.WARN, "torque-vm install server node1.cluster --apply, on the server",
    )  # fmt: skip
    host.run("--node-check")
    assert [line.mark for line in torque.operator(place)] == [Mark.OK]
    never = dataclasses.replace(settings, offline_after=0)
    assert list(torque.operator(dataclasses.replace(place, settings=never))) == []


@pytest.mark.parametrize(
    ("granted", "allowed"),
    [
        ("root@node1", True), ("root@node1.cluster", True), ("root@*", True), ("*@*.cluster", True),
        ("root@node12", False), ("alice@node1", False), ("root", False), ("", False),
    ],
)  # fmt: skip
def test_the_servers_operators_may_have_wildcards(granted: str, allowed: bool) -> None:
    """With or without a domain."""
    assert torque.may(granted, "node1.cluster") is allowed
