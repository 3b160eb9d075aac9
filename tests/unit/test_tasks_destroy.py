"""Destroy: everything of the job, nothing else, however often, whatever happened before."""

from __future__ import annotations

import dataclasses
import pathlib
import threading
import time
from typing import Any

import libvirt
import pytest
from task_kit import JOB, World, first_error, libvirt_error, make_plan, result_of

from nornir_torque_vm import deadline
from nornir_torque_vm.errors import DeadlineExceeded, HypervisorError, InventoryError, StorageError
from nornir_torque_vm.inventory.build import build_inventory, node_inventory
from nornir_torque_vm.inventory.records import guests_inventory
from nornir_torque_vm.storage.local import LocalStorage
from nornir_torque_vm.tasks import boot_guest, destroy, ending, list_guests
from nornir_torque_vm.tasks.parallel import in_parallel
from nornir_torque_vm.tasks.selection import of_job

FOREIGN = (
    "<domain type='test'><name>{name}</name>{metadata}<memory>8192</memory><os><type>hvm</type></os></domain>"
)


def booted(tmp_path: pathlib.Path, nodes: int = 1, per_node: int = 2, **settings: Any) -> World:
    world = World(tmp_path, make_plan(nodes, per_node), **settings)
    assert not world.run(boot_guest, "guest", probe=lambda _: True).failed
    return world


@pytest.fixture
def world(tmp_path: pathlib.Path) -> World:
    return booted(tmp_path)


def test_what_was_removed_is_listed(world: World) -> None:
    """Domains and files, by name."""
    domains, volumes = world.domains(), world.volumes()
    results = world.run(destroy, "node")
    gone = result_of(results, "node1")
    assert (sorted(gone.domains), sorted(gone.volumes)) == (domains, volumes)
    assert results["node1"].changed
    assert (world.domains(), world.volumes()) == ([], [])


def test_a_second_time_is_a_success_without_change(world: World) -> None:
    """Epilogue, reaper and an impatient administrator may all come."""
    world.run(destroy, "node")
    results = world.run(destroy, "node")
    assert result_of(results, "node1").domains == ()
    assert not results["node1"].changed


def test_a_dry_run_lists_and_leaves(world: World) -> None:
    """And says that there would be a change."""
    before = world.domains(), world.volumes()
    results = world.run(destroy, "node", dry_run=True)
    assert (
        sorted(result_of(results, "node1").domains),
        sorted(result_of(results, "node1").volumes),
    ) == before
    assert results["node1"].changed
    assert (world.domains(), world.volumes()) == before


@pytest.mark.parametrize("job_id", ["17.head", "17"])
def test_a_job_id_is_enough(world: World, job_id: str) -> None:
    """No plan, no state file: libvirt is asked what there is."""
    bare = node_inventory(world.plan.nodes, world.settings, here="elsewhere")
    results = world.nornir(inventory=bare).run(destroy, job_id=job_id)
    assert len(result_of(results, "node1").domains) == 2
    assert (world.domains(), world.volumes()) == ([], [])


ANOTHER_PACKAGE = '<metadata><job xmlns="urn:else:1" id="17.head"/></metadata>'
ANOTHER_SERVER = (
    '<metadata><job xmlns="urn:nornir-torque-vm:1" server="other" id="17.other" attempt="1" owner="bob"'
    ' nonce="0" rank="9" guest="j17-r9"/></metadata>'
)


@pytest.mark.parametrize(
    ("name", "metadata"),
    [
        ("web", ""),
        ("tvm-17-a1-r7-0000aaaa", ""),
        ("tvm-17-a1-r8-0000aaaa", ANOTHER_PACKAGE),
        ("tvm-17-a1-r9-0000aaaa", ANOTHER_SERVER),
    ],
)
def test_foreign_domains_and_their_files_are_never_touched(world: World, name: str, metadata: str) -> None:
    """Neither by a name like ours, nor by somebody else's metadata, nor by another server's job."""
    world.connect().createXML(FOREIGN.format(name=name, metadata=metadata), 0)
    folder = pathlib.Path(world.settings.volume_dir, "node1")
    theirs = folder / (f"{name}.qcow2" if "urn:nornir" in metadata else "web.qcow2")
    theirs.write_bytes(b"theirs")
    world.run(destroy, "node", job_id="17.head")
    assert world.domains() == [name]
    assert theirs.read_bytes() == b"theirs"


def test_only_the_plans_own_attempt_goes(tmp_path: pathlib.Path) -> None:
    """The prologue of a second start must not lose to what it finds, nor destroy more than its own."""
    world = booted(tmp_path)
    again = make_plan(1, 1, dataclasses.replace(JOB, attempt=2, nonce="feedbeef"))
    second = build_inventory(again, world.settings, keys=world.keys, here="elsewhere")
    nornir = world.nornir(inventory=second)
    nornir.filter(role="guest").run(boot_guest, probe=lambda _: True)
    assert len(world.domains()) == 3
    nornir.filter(role="node").run(destroy)
    assert world.domains() == sorted(guest.domain for guest in world.plan.guests)
    world.run(destroy, "node", job_id="17.head", attempt=2)
    assert len(world.domains()) == 2
    world.run(destroy, "node", job_id="17.head", attempt=1)
    assert world.domains() == []


def test_on_a_guest_it_is_that_guest_alone(world: World) -> None:
    """Found by list_guests, chosen by a filter, removed with its files."""
    found = result_of(world.run(list_guests, "node"), "node1")
    inventory = guests_inventory(found, world.settings, here="elsewhere")
    results = world.nornir(inventory=inventory).filter(role="guest", rank=0).run(destroy)
    first, second = world.plan.guests
    assert result_of(results, "j17-r0").domains == (first.domain,)
    assert world.domains() == [second.domain]
    assert all(name.startswith(second.domain) for name in world.volumes())


def test_only_guests_that_are_named_go(world: World) -> None:
    """Found before, by whoever waited since; what came meanwhile has another name."""
    first, second = (guest.domain for guest in world.plan.guests)
    results = world.run(destroy, "node", job_id="17.head", domains=[second, "tvm-17-a9-r0-0000aaaa"])
    assert result_of(results, "node1").domains == (second,)
    assert world.domains() == [first]
    assert {name.startswith(first) for name in world.volumes()} == {True}


def test_files_without_a_domain_go_too(world: World) -> None:
    """A start that was killed between the disk and the domain left them."""
    for domain in world.connect().listAllDomains():
        domain.destroy()
    assert world.volumes()
    results = world.run(destroy, "node", job_id="17.head")
    assert results["node1"].changed
    assert world.volumes() == []


def test_a_guest_that_ends_meanwhile_is_a_success(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the question and the act it may have shut down."""
    real = libvirt.virDomain.destroy

    def destroy_twice(self: Any) -> Any:
        real(self)
        return real(self)

    monkeypatch.setattr(libvirt.virDomain, "destroy", destroy_twice)
    result_of(world.run(destroy, "node"), "node1")
    assert (world.domains(), world.volumes()) == ([], [])


def test_the_files_of_a_guest_that_ended_by_itself_go_too(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anybody could look whose it was; its name says enough for files without a domain."""
    real, ending_now = libvirt.virDomain.metadata, world.plan.guests[0].domain

    def look(self: Any, *args: Any) -> Any:
        if self.name() == ending_now:
            self.destroy()
        return real(self, *args)

    monkeypatch.setattr(libvirt.virDomain, "metadata", look)
    result_of(world.run(destroy, "node"), "node1")
    assert (world.domains(), world.volumes()) == ([], [])


def test_a_guest_that_cannot_be_destroyed_keeps_its_files_and_fails_the_node(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other guests go all the same; the result says what did."""
    stuck = world.plan.guests[0].domain
    real = libvirt.virDomain.destroy

    def refuse(self: Any) -> Any:
        if self.name() == stuck:
            raise libvirt_error(9, "Failed to terminate process 4711 with SIGKILL")
        return real(self)

    monkeypatch.setattr(libvirt.virDomain, "destroy", refuse)
    results = world.run(destroy, "node")
    error = first_error(results, "node1")
    assert isinstance(error, HypervisorError)
    assert (error.code, error.node) == (9, "node1")
    assert results["node1"][0].result.domains == (world.plan.guests[1].domain,)
    assert world.domains() == [stuck]
    assert [name.startswith(stuck) for name in world.volumes()] == [True, True]


def test_several_failures_are_counted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line for all of them."""

    def refuse(_self: Any) -> Any:
        raise libvirt_error(9, "no")

    monkeypatch.setattr(libvirt.virDomain, "destroy", refuse)
    error = first_error(world.run(destroy, "node"), "node1")
    assert str(error) == "node node1: 2 guests could not be destroyed, the first because: no"


def test_guests_may_be_given_time_to_shut_down(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test driver's guests obey at once, so nothing is left to destroy."""
    pressed: list[str] = []
    real = libvirt.virDomain.shutdown

    def press(self: Any) -> Any:
        pressed.append(self.name())
        return real(self)

    monkeypatch.setattr(libvirt.virDomain, "shutdown", press)
    began = time.monotonic()
    world.run(destroy, "node", graceful=10.0)
    assert sorted(pressed) == sorted(guest.domain for guest in world.plan.guests)
    assert world.domains() == []
    assert time.monotonic() - began < 5.0


def test_a_guest_that_ignores_the_power_button_is_destroyed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the time it was given, and no later."""
    monkeypatch.setattr(libvirt.virDomain, "shutdown", lambda _self: 0)
    began = time.monotonic()
    result_of(world.run(destroy, "node", graceful=0.3), "node1")
    assert 0.3 <= time.monotonic() - began < 2.0
    assert world.domains() == []


def test_twenty_guests_of_a_node_are_destroyed_side_by_side(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ending a guest takes libvirt 0.2 s; twenty of them must not take 4 s."""
    world = booted(tmp_path, 1, 20)
    real, together, most = libvirt.virDomain.destroy, [0], [0]
    lock = threading.Lock()

    def slow(self: Any) -> Any:
        with lock:
            together[0] += 1
            most[0] = max(most[0], together[0])
        time.sleep(0.2)
        with lock:
            together[0] -= 1
        return real(self)

    monkeypatch.setattr(libvirt.virDomain, "destroy", slow)
    began = time.monotonic()
    assert len(result_of(world.run(destroy, "node"), "node1").domains) == 20
    assert time.monotonic() - began < 1.5
    assert most[0] == 20
    assert (world.domains(), world.volumes()) == ([], [])


def test_no_more_connections_are_made_than_the_settings_allow(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five requests to each: with one connection, five at a time."""
    world = booted(tmp_path, 1, 8, max_connections_per_node=1)
    running, most, lock = [0], [0], threading.Lock()
    real = libvirt.virDomain.destroy

    def slow(self: Any) -> Any:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.05)
        with lock:
            running[0] -= 1
        return real(self)

    monkeypatch.setattr(libvirt.virDomain, "destroy", slow)
    result_of(world.run(destroy, "node"), "node1")
    assert most[0] == 5


@pytest.mark.parametrize("guests", [2, 7])
def test_guests_go_even_where_files_cannot_be_listed(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, guests: int
) -> None:
    """A broken storage is an error, and no reason to let a guest run on."""
    world = booted(tmp_path, 1, guests)

    def refuse(_self: Any, _prefix: str) -> Any:
        raise StorageError("the file system is gone")

    monkeypatch.setattr(LocalStorage, "names", refuse)
    assert isinstance(first_error(world.run(destroy, "node"), "node1"), StorageError)
    assert world.domains() == []


def test_a_connection_that_cannot_be_opened_costs_only_time(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others take its guests."""
    world = booted(tmp_path, 1, 20)

    def refuse(_uri: str, _node: str) -> Any:
        raise HypervisorError("too many connections")

    monkeypatch.setattr(ending, "lease", refuse)
    assert len(result_of(world.run(destroy, "node"), "node1").domains) == 20


def test_a_node_is_late_when_its_guests_do_not_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run returns at its deadline, and the files of a guest that may still run stay."""
    release = threading.Event()
    monkeypatch.setattr(libvirt.virDomain, "destroy", lambda _self: release.wait(20))
    began = time.monotonic()
    error = first_error(world.run(destroy, "node", seconds=0.5), "node1")
    assert isinstance(error, DeadlineExceeded)
    assert time.monotonic() - began < 1.0
    assert len(world.volumes()) == 4
    release.set()


def test_without_job_and_plan_nothing_is_destroyed(world: World) -> None:
    """A bare list of nodes says nothing about whose guests are meant."""
    bare = node_inventory(world.plan.nodes, world.settings, here="elsewhere")
    error = first_error(world.nornir(inventory=bare).run(destroy), "node1")
    assert isinstance(error, InventoryError)
    assert "give job_id" in str(error)
    assert len(world.domains()) == 2


def test_a_domain_that_could_not_be_looked_at_in_time_counts_as_still_there() -> None:
    """So that its files stay, whatever becomes of the hung question."""
    release = threading.Event()

    class Hung:
        def metadata(self, *_: object) -> str:
            release.wait(20)
            return ""

    names = [f"tvm-17-a1-r{rank}-0000aaaa" for rank in range(6)]  # more than one connection serves
    run = ending.Ending("node1", of_job(JOB))
    token = deadline.current.set(deadline.Deadline.after(0.1))
    try:
        run.run(dict.fromkeys(names, Hung()), "test:///default", 5, lambda: None)
    finally:
        deadline.current.reset(token)
        release.set()
    assert {name: type(error) for name, error in run.failures.items()} == dict.fromkeys(
        names, DeadlineExceeded
    )
    assert isinstance(run.error(), DeadlineExceeded)


class TestInParallel:
    """Blocking calls side by side, within the deadline of the thread that asks."""

    def test_each_item_has_its_own_outcome(self) -> None:
        """None for good, else the exception."""

        def work(item: int) -> None:
            if item % 2:
                raise ValueError(item)

        outcome = in_parallel(work, range(6), 3, "test")
        assert [outcome[item] is None for item in range(6)] == [True, False] * 3

    def test_nothing_to_do_is_done(self) -> None:
        """No thread is started for an empty list."""
        assert in_parallel(print, [], 3, "test") == {}

    def test_threads_see_the_callers_deadline(self) -> None:
        """Otherwise they would act after the run was judged."""
        limit, seen = deadline.Deadline.after(60), []
        token = deadline.current.set(limit)
        try:
            in_parallel(lambda _: seen.append(deadline.current.get()), range(4), 2, "test")
        finally:
            deadline.current.reset(token)
        assert seen == [limit] * 4

    def test_what_is_not_over_in_time_is_late(self) -> None:
        """And does not keep the caller."""
        release = threading.Event()
        token = deadline.current.set(deadline.Deadline.after(0.1))
        began = time.monotonic()
        try:
            outcome = in_parallel(lambda item: release.wait(20) if item else None, [0, 1], 2, "test")
        finally:
            deadline.current.reset(token)
            release.set()
        assert time.monotonic() - began < 1.0
        assert outcome[0] is None
        assert isinstance(outcome[1], DeadlineExceeded)
