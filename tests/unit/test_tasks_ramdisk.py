"""Disks in the node's memory: where they are, what they may take, that they go; and what disks are on."""

from __future__ import annotations

import dataclasses
import pathlib
import shutil

import pytest
from task_kit import RAM, World, first_error, make_plan, result_of

from nornir_torque_vm.errors import StorageError
from nornir_torque_vm.inventory.build import build_inventory
from nornir_torque_vm.qcow2 import parse_header
from nornir_torque_vm.reap.leftovers import find_on_node
from nornir_torque_vm.tasks import boot_guest, destroy, prepare_image, survey

LIMIT = 32 << 20


@pytest.fixture
def memory(tmp_path: pathlib.Path) -> pathlib.Path:
    """What the site has mounted."""
    path = tmp_path / "memory"
    path.mkdir()
    return path


@pytest.fixture
def world(tmp_path: pathlib.Path, memory: pathlib.Path) -> World:
    return World(tmp_path, make_plan(1, 2, ramdisk=LIMIT), ramdisk_dir=str(memory))


def files(folder: pathlib.Path) -> list[str]:
    """Kinds of the files of guests that are in a directory."""
    return sorted({path.name.rpartition("-")[2].partition(".")[2] for path in folder.rglob("tvm-*")})


def test_only_the_disk_is_in_memory_and_as_large_as_it_may_become(
    world: World, memory: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """Seed and console stay where they are read; a hole takes no memory."""
    world.run(boot_guest, "guest", probe=lambda _: True)
    assert files(memory) == ["qcow2"]
    assert files(tmp_path / "volumes") == ["iso"]
    disks = list(memory.rglob("*.qcow2"))
    assert [(disk.stat().st_size, disk.stat().st_blocks < 1000) for disk in disks] == [(LIMIT, True)] * 2


def test_the_survey_counts_what_disks_may_take(world: World) -> None:
    """Like the guests' memory: what a guest may write is not left for others."""
    before = result_of(world.run(survey, "node"), "node1")
    assert before.ramdisk > 0
    world.run(boot_guest, "guest", probe=lambda _: True)
    after = result_of(world.run(survey, "node"), "node1")
    assert (after.guests_ramdisk, after.guests_memory) == (2 * LIMIT, 2 * (RAM + LIMIT))
    assert after.memory_free == before.memory_free - 2 * (RAM + LIMIT)


def test_a_node_without_the_directory_has_no_room_for_any_and_does_the_rest(
    world: World, memory: pathlib.Path
) -> None:
    """Its other jobs need no such file system; nothing is put on the disk instead."""
    memory.rmdir()
    assert result_of(world.run(survey, "node"), "node1").ramdisk == 0
    assert result_of(world.run(destroy, "node"), "node1").volumes == ()
    results = world.run(prepare_image, "guest")
    assert isinstance(first_error(results, "j17-r0"), StorageError)
    assert not memory.exists()


@pytest.mark.parametrize("started", [True, False])
def test_what_is_in_memory_goes_with_the_rest(world: World, memory: pathlib.Path, *, started: bool) -> None:
    """Whether or not the guests came to life."""
    if started:
        world.run(boot_guest, "guest", probe=lambda _: True)
    else:
        world.run(prepare_image, "guest")
    assert len(list(memory.rglob("*.qcow2"))) == 2
    gone = result_of(world.run(destroy, "node"), "node1")
    assert len(gone.volumes) == 4
    assert list(memory.rglob("tvm-*")) == []


def test_the_reaper_finds_what_is_in_memory(world: World, memory: pathlib.Path) -> None:
    """Though nothing else of the job is left."""
    world.run(prepare_image, "guest")
    for path in pathlib.Path(world.settings.volume_dir).rglob("tvm-*"):
        path.unlink()
    found = result_of(world.run(find_on_node, "node"), "node1")
    assert [thing.name for thing in found] == sorted(path.name for path in memory.rglob("tvm-*"))
    assert len(found) == 2


NAME = f"{'0' * 64}.qcow2"


@pytest.fixture
def copies(tmp_path: pathlib.Path) -> pathlib.Path:
    """A node's copies of images, with one."""
    path = tmp_path / "copies/node1"
    path.mkdir(parents=True)
    (path / NAME).write_bytes(b"copy")
    (path / NAME).chmod(0o444)
    return path


def test_the_survey_finds_the_nodes_own_copy(tmp_path: pathlib.Path, copies: pathlib.Path) -> None:
    """If root alone could have made it; whatever is wrong with it, the pool's own will do."""
    world = World(tmp_path, make_plan(), image_cache=str(tmp_path / "copies"))

    def found(name: str) -> str:
        return str(result_of(world.run(survey, "node", copy=name), "node1").copy)

    assert found(NAME) == f"{copies}/{NAME}"
    assert found("") == found(f"{'1' * 64}.qcow2") == ""
    (copies / NAME).chmod(0o666)
    assert found(NAME) == ""
    (copies / NAME).chmod(0o444)
    copies.chmod(0o777)
    assert found(NAME) == ""
    shutil.rmtree(copies.parent)
    assert found(NAME) == ""


def test_a_disk_is_made_on_the_copy_that_the_plan_names(world: World, memory: pathlib.Path) -> None:
    """Of one node; on the others it is on the pool's."""
    first, second = world.plan.guests
    guests = (dataclasses.replace(first, base="/copies/one.qcow2"), second)
    plan = dataclasses.replace(world.plan, guests=guests)
    world.inventory = build_inventory(plan, world.settings, keys=world.keys, here="elsewhere")
    world.run(prepare_image, "guest")
    disks = [next(memory.rglob(f"{guest.domain}*")).read_bytes() for guest in guests]
    based = [parse_header(disk).backing_file for disk in disks]
    assert based == ["/copies/one.qcow2", plan.image.path]
