"""A job's marker and hand-over on sisters whose epilogue never ran."""

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
from nornir_torque_vm.tasks import forget_job

MODULE = sys.modules[forget_job.__module__]


class Removed:
    """Storage that writes down what is removed from it."""

    seen: ClassVar[list[tuple[str, str, str]]] = []

    def __init__(self, _conn: Any, directory: str, *, node: str, kind: Kind) -> None:
        self.place = (node, directory, kind.pool)

    def remove(self, name: str) -> bool:
        self.seen.append((self.place[1], self.place[2], name))
        return True


@pytest.fixture
def world(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(MODULE, "VolumeStorage", Removed)
    monkeypatch.setattr(Removed, "seen", [])
    return World(tmp_path, make_plan(1, 1))


@pytest.mark.parametrize("withdrawn", [True, False])
def test_both_go_the_marker_last(world: World, monkeypatch: pytest.MonkeyPatch, withdrawn: bool) -> None:
    """A task of the job would be refused until the end; a hand-over that only its node can remove stays."""
    monkeypatch.setattr(MODULE, "uri_of", lambda _host: "qemu:///system")

    def withdraw(job_id: str) -> bool:
        Removed.seen.append(("hand-over", "", job_id))
        return withdrawn

    monkeypatch.setattr(
        MODULE, "sealed", lambda _task, job_id: SimpleNamespace(withdraw=lambda: withdraw(job_id))
    )
    inventory = node_inventory(world.plan.nodes, world.settings, here="elsewhere")
    results = world.nornir(inventory=inventory).run(forget_job, job_id="17[3].head")
    assert results["node1"].changed
    run_dir = world.settings.run_dir
    assert Removed.seen == [
        ("hand-over", "", "17[3].head"),
        (f"{run_dir}/markers", "torque-vm-markers", "17[3].head"),
    ]


@pytest.mark.parametrize("here", ["node1", "elsewhere"])
def test_this_machine_and_the_test_driver_are_left_alone(world: World, here: str) -> None:
    """Run state here is files, removed as such; the test driver has none."""
    inventory = node_inventory(world.plan.nodes, world.settings, here=here)
    results = world.nornir(inventory=inventory).run(forget_job, job_id="17.head")
    assert result_of(results, "node1") is None
    assert Removed.seen == []


def test_only_a_job_id_is_taken(world: World) -> None:
    """It becomes the name of a file."""
    inventory = node_inventory(world.plan.nodes, world.settings, here="elsewhere")
    results = world.nornir(inventory=inventory).run(forget_job, job_id="../x")
    assert isinstance(results["node1"][0].exception, InventoryError)
