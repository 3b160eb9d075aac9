"""From nothing to a running guest, on libvirt's test driver: phases, repetition, interruption."""

from __future__ import annotations

import pathlib
import threading
from typing import Any

import libvirt
import pytest
from task_kit import FakeDomain, FakeLibvirt, Plugged, World, first_error, make_plan, result_of

from nornir_torque_vm import deadline
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import (
    DeadlineExceeded,
    GuestError,
    HypervisorError,
    InventoryError,
)
from nornir_torque_vm.inventory.build import build_inventory
from nornir_torque_vm.phases import PHASES
from nornir_torque_vm.report import Report, Status
from nornir_torque_vm.tasks import boot_guest, destroy, prepare_image, start_guest


@pytest.fixture
def world(tmp_path: pathlib.Path) -> World:
    return World(tmp_path, make_plan(2, 2))


def ready(_host: Any) -> bool:
    """A probe for guests that cannot run anything."""
    return True


def test_a_guest_goes_through_its_phases_in_order(world: World) -> None:
    """Processors see each phase as a subtask, which is where the timeline comes from."""
    results = world.run(boot_guest, "guest", probe=ready)
    for guest in world.plan.guests:
        assert result_of(results, guest.name).address == "192.168.0.1"  # what the test driver says
        steps = [str(part.name) for part in results[guest.name]]
        assert steps == ["boot_guest", "prepare_image", "start_guest", "discover_address", "check_health"]
        assert [PHASES[step] for step in steps[1:]] == ["image", "start", "address", "health"]
    assert Report.from_results(results).ok


def test_every_guest_runs_on_its_own_node_with_its_files(world: World) -> None:
    """What libvirt and the directory show afterwards is the plan."""
    world.run(boot_guest, "guest", probe=ready)
    for node in ("node1", "node2"):
        expected = sorted(guest.domain for guest in world.plan.on(node))
        assert world.domains(node) == expected
        assert world.volumes(node) == sorted(
            f"{name}{end}" for name in expected for end in ("-seed.iso", ".qcow2")
        )


def test_the_overlay_stands_on_the_jobs_image(world: World) -> None:
    """And the domain's disk is that overlay."""
    world.run(boot_guest, "guest", probe=ready)
    folder = pathlib.Path(world.settings.volume_dir, "node1")
    overlay = folder / f"{world.plan.guests[0].domain}.qcow2"
    assert overlay.read_bytes()[:4] == b"QFI\xfb"
    assert world.plan.image.path.encode() in overlay.read_bytes()
    xml = world.connect().lookupByName(world.plan.guests[0].domain).XMLDesc(0)
    assert str(overlay) in xml


def test_booting_again_changes_nothing(world: World) -> None:
    """A running guest keeps its disk: libvirt would let us delete it."""
    world.run(boot_guest, "guest", probe=ready)
    folder = pathlib.Path(world.settings.volume_dir, "node1")
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.iterdir()}
    results = world.run(boot_guest, "guest", probe=ready)
    assert not results.failed
    assert not any(multi.changed for multi in results.values())
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.iterdir()} == before


def test_what_an_interrupted_start_left_is_replaced(world: World) -> None:
    """A half-written seed must not reach the guest."""
    folder = pathlib.Path(world.settings.volume_dir, "node1")
    folder.mkdir(parents=True)
    seed = folder / f"{world.plan.guests[0].domain}-seed.iso"
    seed.write_bytes(b"half")
    result_of(world.run(prepare_image, "guest"), "j17-r0")
    assert seed.stat().st_size > 4


def test_a_foreign_domain_of_the_guests_name_is_not_taken_for_it(world: World) -> None:
    """It is neither started nor touched; the sentence says what to do."""
    name = world.plan.guests[0].domain
    world.connect().createXML(
        f"<domain type='test'><name>{name}</name><memory>8192</memory><os><type>hvm</type></os></domain>", 0
    )
    error = first_error(world.run(start_guest, "guest"), "j17-r0")
    assert isinstance(error, HypervisorError)
    assert f"a domain {name} exists that is not this guest" in str(error)
    assert name in world.domains()


def test_what_libvirt_refuses_is_an_error_of_that_guest_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others of the run go on."""
    bad = world.plan.guests[1].domain
    real = libvirt.virConnect.createXML

    def refuse(self: Any, xml: str, flags: int = 0) -> Any:
        if bad in xml:
            raise libvirt.libvirtError("no such bridge")
        return real(self, xml, flags)

    monkeypatch.setattr(libvirt.virConnect, "createXML", refuse)
    report = Report.from_results(world.run(boot_guest, "guest", probe=ready))
    assert [entry.host for entry in report.bad] == ["j17-r1"]
    assert (report.bad[0].phase, report.bad[0].node) == ("start", "node1")
    assert "no such bridge" in report.bad[0].error


def test_a_dry_run_touches_nothing_and_shows_the_domain(world: World) -> None:
    """Each task says what it would do."""
    results = world.run(start_guest, "guest", dry_run=True)
    assert world.plan.guests[0].uuid in results["j17-r0"][0].diff
    assert world.run(prepare_image, "guest", dry_run=True)["j17-r0"].changed
    assert (world.domains(), world.volumes()) == ([], [])


def test_a_node_that_hangs_makes_its_guests_late_and_no_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run ends at its deadline; the hung call is left behind and cannot act afterwards."""
    hang = threading.Event()
    real = libvirt.virConnect.lookupByName

    def lookup(self: Any, name: str) -> Any:
        if name in {guest.domain for guest in world.plan.on("node2")}:
            hang.wait(20)
        return real(self, name)

    monkeypatch.setattr(libvirt.virConnect, "lookupByName", lookup)
    report = Report.from_results(world.run(boot_guest, "guest", 1.0, probe=ready))
    statuses = {entry.host: entry.status for entry in report.hosts}
    assert statuses == {
        "j17-r0": Status.CHANGED,
        "j17-r1": Status.CHANGED,
        "j17-r2": Status.LATE,
        "j17-r3": Status.LATE,
    }
    assert {entry.phase for entry in report.late} == {"image"}
    hang.set()
    for thread in threading.enumerate():
        if thread.name.startswith("nornir:"):
            thread.join(5)
    assert (world.domains("node2"), world.volumes("node2")) == ([], [])


def test_a_guest_that_appears_after_its_start_was_given_up_is_taken_back(world: World) -> None:
    """The one call that cannot be interrupted is createXML itself; whoever cleaned up has been and gone."""
    limit, ended = Deadline(float("inf")), []

    class Late(FakeLibvirt):
        def createXML(self, _xml: str, _flags: int) -> Any:  # noqa: N802 - libvirt's name
            limit.cancel()
            return self.domain

    domain = FakeDomain()
    domain.destroy = lambda: ended.append(True)  # type: ignore[attr-defined]
    host = world.inventory.hosts["j17-r0"]
    host.connections["libvirt"] = Plugged(Late(domain))
    token = deadline.current.set(limit)
    try:
        with pytest.raises(DeadlineExceeded):
            start_guest(_task_of(world, "j17-r0"))
    finally:
        deadline.current.reset(token)
    assert ended == [True]


def _task_of(world: World, name: str) -> Any:
    """A task object as Nornir would pass it."""
    from nornir.core.processor import Processors
    from nornir.core.task import Task

    task = Task(start_guest, world.nornir(), global_dry_run=False, processors=Processors([]))
    task.host = world.inventory.hosts[name]
    return task


def test_nothing_is_started_once_the_time_is_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline is looked at before each thing that would change the node."""
    created: list[str] = []
    monkeypatch.setattr(libvirt.virConnect, "createXML", lambda _self, xml, _flags: created.append(xml))
    tasks = [_task_of(world, "j17-r0") for _ in range(2)]
    for task in tasks:  # connected in good time
        task.host.get_connection("libvirt", task.nornir.config)
    token = deadline.current.set(Deadline(0.0))
    try:
        for function, task in zip((prepare_image, start_guest), tasks, strict=True):
            with pytest.raises(DeadlineExceeded):
                function(task)
    finally:
        deadline.current.reset(token)
    assert (created, world.volumes()) == ([], [])


def test_without_keys_there_is_no_seed(tmp_path: pathlib.Path) -> None:
    """The sentence says what is missing, before anything is written."""
    world = World(tmp_path, make_plan(1, 1))
    bare = build_inventory(world.plan, world.settings, here="elsewhere")
    results = world.nornir(inventory=bare).filter(role="guest").run(boot_guest, probe=ready)
    assert isinstance(first_error(results, "j17-r0"), InventoryError)
    assert "has no job keys" in str(first_error(results, "j17-r0"))
    assert world.volumes() == []


def test_on_a_node_the_guests_tasks_say_so(world: World) -> None:
    """A forgotten filter is the commonest mistake."""
    error = first_error(world.run(start_guest, "node"), "node1")
    assert isinstance(error, InventoryError)
    assert "nr.filter(role='guest')" in str(error)


def test_destroy_also_runs_where_the_boot_failed(world: World) -> None:
    """Nornir leaves failed hosts out of later runs; what they left behind is what has to go most."""

    def never(_host: Any) -> bool:
        raise GuestError("not today")

    nornir = world.nornir()
    booted = nornir.run(boot_and_fail_nodes, probe=never)
    assert set(booted.failed_hosts) == set(world.inventory.hosts)
    assert len(world.domains()) == 2
    assert nornir.filter(role="node").run(destroy) == {}  # the trap
    gone = nornir.filter(role="node").run(destroy, on_failed=True)
    assert not gone.failed
    assert [world.domains(node) + world.volumes(node) for node in ("node1", "node2")] == [[], []]


def boot_and_fail_nodes(task: Any, probe: Any) -> Any:
    """Boot guests; fail on nodes."""
    if task.host.get("role") == "node":
        raise HypervisorError("broken")
    return boot_guest(task, probe=probe)


QUESTIONS = [
    "lookupByName",
    "createXML",
    "interfaceAddresses",
    "state",
    "XMLDesc",
    "getAllDomainStats",
    "destroy",
    "listAllDomains",
    "getType",
    "isActive",
    "metadata",
    "info",
]


def counted(real: Any, name: str, asked: list[str]) -> Any:
    """The same function, which notes its name when it is called."""

    def call(*args: Any) -> Any:
        asked.append(name)
        return real(*args)

    return call


def test_how_many_questions_libvirt_is_asked(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand nodes at 50 ms a question: each one more costs a quarter of a second in all."""
    asked: list[str] = []
    for kind in (libvirt.virConnect, libvirt.virDomain):
        for name in QUESTIONS:
            real = getattr(kind, name, None)
            if real is not None:
                monkeypatch.setattr(kind, name, counted(real, name, asked))
    world.run(boot_guest, "guest", probe=ready)
    assert sorted(asked) == sorted(["lookupByName", "createXML", "lookupByName", "interfaceAddresses"] * 4)
    asked.clear()
    world.run(destroy, "node")
    assert sorted(asked) == sorted(["getAllDomainStats"] * 2 + ["metadata", "destroy"] * 4)
