"""Pools whose directories are gone: their makers were killed, or somebody has removed the files."""

from __future__ import annotations

import pathlib
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from task_kit import World, make_plan, result_of

from nornir_torque_vm.inventory.build import node_inventory
from nornir_torque_vm.reap.pools import close_pools
from nornir_torque_vm.storage import RAMDISK, Kind

MODULE = sys.modules[close_pools.__module__]
NAMES = (
    "torque-vm", "torque-vm-handover", "torque-vm-markers", "default", "torque-vm-handover-no-job",
    "torque-vm-handover-17[3].head", "torque-vm-handover-18.head", "torque-vm-handover-18.head+open",
    "torque-vm-handover-19.head+open", "torque-vm-ramdisk", "torque-vm-tvm-1-a1-r0-00000000",
    "torque-vm-tvm-2-a1-r0-00000000", "torque-vm-tvm-3-a1-r0-00000000-filling",
    "torque-vm-ramdisk-tvm-1-a1-00000000-n0", "torque-vm-ramdisk-tvm-4-a1-r0-00000000",
)  # fmt: skip


def test_those_without_their_directory_are_given_up(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hand-over that is being made has its directory first; pools of others are not ours."""
    world, closed = World(tmp_path, make_plan(1, 1), ramdisk_dir=str(tmp_path / "memory")), list[str]()
    (tmp_path / "volumes/tvm-1-a1-r0-00000000").mkdir(parents=True)
    (tmp_path / "memory/tvm-1-a1-00000000-n0").mkdir(parents=True)
    (pathlib.Path(world.settings.run_dir) / "handover/17[3].head").mkdir(parents=True)
    pools = [SimpleNamespace(name=lambda name=name: name) for name in NAMES]
    conn = SimpleNamespace(listAllStoragePools=lambda: pools)

    def sealed(_task: Any, job_id: str) -> Any:
        return SimpleNamespace(close=lambda: closed.append(job_id))

    def folder_of(_task: Any, name: str, kind: Kind) -> Any:
        assert (kind is RAMDISK) == name.startswith("tvm-4")
        return SimpleNamespace(dispose=lambda: closed.append(name))

    inventory = node_inventory(world.plan.nodes, world.settings, here="elsewhere")
    assert result_of(world.nornir(inventory=inventory).run(close_pools), "node1") is None
    monkeypatch.setattr(MODULE, "uri_of", lambda _host: "qemu:///system")
    monkeypatch.setattr(MODULE, "connection", lambda _task: conn)
    monkeypatch.setattr(MODULE, "sealed", sealed)
    monkeypatch.setattr(MODULE, "folder_of", folder_of)
    gone = [
        "18.head", "19.head",
        "tvm-2-a1-r0-00000000", "tvm-3-a1-r0-00000000", "tvm-4-a1-r0-00000000",
    ]  # fmt: skip
    assert result_of(world.nornir(inventory=inventory).run(close_pools), "node1") == gone
    assert closed == gone
