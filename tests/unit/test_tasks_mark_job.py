"""A job's marker on sisters whose prologue was killed before it made one."""

from __future__ import annotations

import pathlib
import sys
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from task_kit import World, make_plan, result_of

from nornir_torque_vm.errors import InventoryError
from nornir_torque_vm.inventory.build import node_inventory
from nornir_torque_vm.storage import Kind
from nornir_torque_vm.tasks import mark_job

MODULE = sys.modules[mark_job.__module__]


class Written:
    """Storage that writes down what is put into it."""

    there: ClassVar[list[str]] = []
    seen: ClassVar[list[tuple[str, str, str, bytes]]] = []
    closed: ClassVar[list[str]] = []

    def __init__(self, _conn: Any, directory: str, *, node: str, kind: Kind) -> None:
        self.place = (directory, kind.pool)

    def names(self, prefix: str) -> list[str]:
        return [name for name in self.there if name.startswith(prefix)]

    def put(self, name: str, data: bytes) -> None:
        self.seen.append((*self.place, name, data))


def closing(_task: Any, job_id: str) -> Any:
    """A hand-over that writes down whose is closed, and after how many markers."""
    return SimpleNamespace(close=lambda: Written.closed.append(f"{job_id} {len(Written.seen)}"))


@pytest.fixture
def world(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(MODULE, "VolumeStorage", Written)
    monkeypatch.setattr(MODULE, "sealed", closing)
    monkeypatch.setattr(Written, "closed", [])
    monkeypatch.setattr(Written, "seen", [])
    monkeypatch.setattr(Written, "there", ["17[3].head2"])  # another server's job
    return World(tmp_path, make_plan(1, 1))


def test_a_node_without_the_marker_gets_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the node's own prologue would have made it."""
    monkeypatch.setattr(MODULE, "uri_of", lambda _host: "qemu:///system")
    inventory = node_inventory(world.plan.nodes, world.settings, here="elsewhere")
    results = world.nornir(inventory=inventory).run(mark_job, job_id="17[3].head")
    assert results["node1"].changed
    place = f"{world.settings.run_dir}/markers"
    assert Written.seen == [(place, "torque-vm-markers", "17[3].head", b"")]


def test_a_marker_that_is_there_stays(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replacing it would leave none for a moment."""
    monkeypatch.setattr(MODULE, "uri_of", lambda _host: "qemu:///system")
    Written.there.append("17[3].head")
    inventory = node_inventory(world.plan.nodes, world.settings, here="elsewhere")
    results = world.nornir(inventory=inventory).run(mark_job, job_id="17[3].head")
    assert not results["node1"].failed
    assert not results["node1"].changed
    assert Written.seen == []


@pytest.mark.parametrize("here", ["node1", "elsewhere"])
def test_a_pool_that_a_killed_hand_over_left_is_closed_first(
    world: World, monkeypatch: pytest.MonkeyPatch, here: str
) -> None:
    """Here too: what is handed over here would lie in it, where its owner can write it."""
    monkeypatch.setattr(MODULE, "uri_of", lambda _host: "qemu:///system")
    inventory = node_inventory(world.plan.nodes, world.settings, here=here)
    results = world.nornir(inventory=inventory).run(mark_job, job_id="17[3].head")
    assert results["node1"].changed == (here == "elsewhere")
    assert Written.closed == ["17[3].head 0"]


@pytest.mark.parametrize("here", ["node1", "elsewhere"])
def test_this_machine_and_the_test_driver_are_left_alone(world: World, here: str) -> None:
    """The hook's shell part marks here; the test driver takes no files."""
    inventory = node_inventory(world.plan.nodes, world.settings, here=here)
    results = world.nornir(inventory=inventory).run(mark_job, job_id="17.head")
    assert result_of(results, "node1") is None
    assert Written.seen == []


def test_only_a_job_id_is_taken(world: World) -> None:
    """It becomes the name of a file."""
    inventory = node_inventory(world.plan.nodes, world.settings, here="elsewhere")
    results = world.nornir(inventory=inventory).run(mark_job, job_id="../x")
    assert isinstance(results["node1"][0].exception, InventoryError)
