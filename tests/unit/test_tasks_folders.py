"""Which of a guest's files lie in its folder, how that is closed, and that it goes with the guest."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import pytest
from task_kit import World, make_plan, result_of

from nornir_torque_vm.model import Distro, Plan, UserFiles
from nornir_torque_vm.reap.leftovers import find_on_node
from nornir_torque_vm.storage.folder import LocalFolder
from nornir_torque_vm.tasks import boot_guest, close_folders, destroy, prepare_image

LIMIT = 32 << 20


def planned(*, nine_p: bool = False, own: bool = False, osv: bool = False, ramdisk: int = 0) -> Plan:
    """A plan of one guest."""
    plan = make_plan(1, 1, ramdisk=ramdisk)
    image = dataclasses.replace(plan.image, own=own, distro=Distro.OSV if osv else plan.image.distro)
    return dataclasses.replace(plan, image=image, user_files=UserFiles.NINE_P if nine_p else UserFiles.NONE)


def places(world: World, root: pathlib.Path) -> dict[str, str]:
    """Kind of file → the directory it is in, below ``root``, with ``GUEST`` for the guest's folder."""
    (guest,) = world.plan.guests
    found = {}
    for path in root.rglob(f"{guest.domain}?*"):
        kind = path.name.removeprefix(guest.domain)
        found[kind] = str(path.parent.relative_to(root)).replace(guest.domain, "GUEST")
    return found


@pytest.fixture
def memory(tmp_path: pathlib.Path) -> str:
    """What the site has mounted."""
    path = tmp_path / "memory"
    path.mkdir()
    return str(path)


@pytest.mark.parametrize(
    ("kind", "disk", "seed"),
    [
        ({}, "volumes/node1", "volumes/node1"),
        ({"ramdisk": LIMIT}, "memory/node1", "volumes/node1"),
        ({"nine_p": True}, "volumes/node1/GUEST", "volumes/node1/GUEST"),
        ({"own": True}, "volumes/node1/GUEST", "volumes/node1/GUEST"),
        ({"own": True, "ramdisk": LIMIT}, "memory/node1/GUEST", "volumes/node1/GUEST"),
    ],
    ids=str,
)
def test_what_an_emulator_with_the_owners_rights_may_write_is_in_the_folder(
    tmp_path: pathlib.Path, memory: str, kind: dict[str, Any], disk: str, seed: str
) -> None:
    """What libvirt's own emulators have is not."""
    world = World(tmp_path, planned(**kind), ramdisk_dir=memory)
    assert not world.run(prepare_image, "guest").failed
    assert places(world, tmp_path) == {".qcow2": disk, "-seed.iso": seed}
    gone = result_of(world.run(destroy, "node"), "node1")
    assert gone.left == ()
    assert list(tmp_path.rglob("tvm-*")) == []


@pytest.mark.parametrize("name", ["folder alone", "with a console"])
def test_a_folder_goes_with_its_guest_and_is_found_without(tmp_path: pathlib.Path, name: str) -> None:
    """It is called as the domain, so it counts as the guest's; in a dry run too."""
    world = World(tmp_path, planned())
    (guest,) = world.plan.guests
    folder = tmp_path / "volumes/node1" / guest.domain
    folder.mkdir(parents=True)
    if name == "with a console":
        (folder / f"{guest.domain}-console.log").touch()
    found = result_of(world.run(find_on_node, "node"), "node1")
    assert [(thing.kind, thing.name, thing.slug) for thing in found] == [("volume", guest.domain, "17")]
    dry = result_of(world.run(destroy, "node", dry_run=True), "node1")
    assert (dry.volumes, folder.exists()) == ((guest.domain,), True)
    assert result_of(world.run(destroy, "node"), "node1") == dry
    assert not folder.exists()


def test_another_guests_folder_stays(tmp_path: pathlib.Path) -> None:
    """When one guest alone is destroyed, and of other jobs and other attempts."""
    world = World(tmp_path, make_plan(1, 2))
    volumes = tmp_path / "volumes/node1"
    for domain in (*(guest.domain for guest in world.plan.guests), "tvm-170-a1-r0-00000000"):
        (volumes / domain).mkdir(parents=True)
    world.nornir().filter(name="j17-r0").run(destroy)
    assert sorted(path.name for path in volumes.iterdir()) == sorted(
        [world.plan.guests[1].domain, "tvm-170-a1-r0-00000000"]
    )


@pytest.mark.parametrize(
    ("kind", "closed"),
    [
        ({}, ["volumes"]),
        ({"own": True, "ramdisk": LIMIT}, ["volumes", "memory"]),
        ({"osv": True}, []),
        ({"osv": True, "own": True}, ["volumes"]),
    ],
    ids=str,
)
def test_folders_with_files_of_the_owners_are_closed(
    tmp_path: pathlib.Path,
    memory: str,
    monkeypatch: pytest.MonkeyPatch,
    kind: dict[str, Any],
    closed: list[str],
) -> None:
    """Consoles of OSv are root's, and read on all nodes when the job ends."""
    seen: list[str] = []

    def close(self: LocalFolder) -> None:
        seen.append(pathlib.Path(self.directory).relative_to(tmp_path).parts[0])

    monkeypatch.setattr(LocalFolder, "close", close)
    world = World(tmp_path, planned(**kind), ramdisk_dir=memory)
    assert not world.run(close_folders, "guest").failed
    assert seen == closed


def test_a_guest_runs_on_with_its_folder_closed(tmp_path: pathlib.Path) -> None:
    """Closing concerns libvirt's looks only."""
    world = World(tmp_path, planned(own=True))
    world.run(boot_guest, "guest", probe=lambda _: True)
    before = sorted(tmp_path.rglob("tvm-*"))
    assert not world.run(close_folders, "guest").failed
    assert sorted(tmp_path.rglob("tvm-*")) == before
