"""Pools of hand-overs that were being made when their makers were killed."""

from __future__ import annotations

import pathlib
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from task_kit import World, make_plan, result_of

from nornir_torque_vm.inventory.build import node_inventory
from nornir_torque_vm.reap.pools import close_pools

MODULE = sys.modules[close_pools.__module__]
NAMES = (
    "torque-vm", "torque-vm-handover", "torque-vm-markers", "default", "torque-vm-handover-no-job",
    "torque-vm-handover-17[3].head", "torque-vm-handover-18.head", "torque-vm-handover-18.head+open",
    "torque-vm-handover-19.head+open",
)  # fmt: skip


def test_those_without_their_directory_are_given_up(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hand-over that is being made has its directory first; pools of others are not ours."""
    world, closed = World(tmp_path, make_plan(1, 1)), list[str]()
    (pathlib.Path(world.settings.run_dir) / "handover/17[3].head").mkdir(parents=True)
    pools = [SimpleNamespace(name=lambda name=name: name) for name in NAMES]
    conn = SimpleNamespace(listAllStoragePools=lambda: pools)

    def sealed(_task: Any, job_id: str) -> Any:
        return SimpleNamespace(close=lambda: closed.append(job_id))

    inventory = node_inventory(world.plan.nodes, world.settings, here="elsewhere")
    assert result_of(world.nornir(inventory=inventory).run(close_pools), "node1") is None
    monkeypatch.setattr(MODULE, "uri_of", lambda _host: "qemu:///system")
    monkeypatch.setattr(MODULE, "connection", lambda _task: conn)
    monkeypatch.setattr(MODULE, "sealed", sealed)
    assert result_of(world.nornir(inventory=inventory).run(close_pools), "node1") == ["18.head", "19.head"]
    assert closed == ["18.head", "19.head"]
