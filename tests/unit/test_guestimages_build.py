"""When an image is built, what is kept, and what a failure leaves: with a recipe that takes no time."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
from pathlib import Path

import pytest

from nornir_torque_vm import guestimages
from nornir_torque_vm.errors import ImageBuildError
from nornir_torque_vm.guestimages import apt, recipe


@dataclasses.dataclass
class Kitchen:
    """A recipe whose packages and outcome a test sets, and what became of it."""

    cache: Path
    packages: tuple[apt.Package, ...] = (apt.Package("busybox", "1", "busybox_1.deb"),)
    content: bytes = b"image"
    broken: str = ""
    unknown: str = ""
    """What apt says when it cannot name versions."""
    lists: str = "monday"
    source: str = "tool.py"
    built: int = 0
    asked: int = 0
    said: list[str] = dataclasses.field(default_factory=list)

    def current(self, name: str) -> recipe.Recipe:
        """The recipe, as it stands now."""
        return recipe.Recipe(name, (self.source,), {"size": "small"}, self.ask, self.make)

    def ask(self) -> tuple[apt.Package, ...]:
        """Stands for apt."""
        self.asked += 1
        if self.unknown:
            raise ImageBuildError(self.unknown)
        return self.packages

    def make(self, place: recipe.Workplace) -> recipe.Product:
        """Stands for all the tools."""
        self.built += 1
        image, kernel = place.directory / "out.qcow2", place.directory / "k"
        image.write_bytes(self.content)
        kernel.write_bytes(b"kernel")
        if self.broken:
            raise ImageBuildError(self.broken)
        return recipe.Product(image, {"vmlinuz": kernel})

    def build(self, *, force: bool = False) -> Path:
        """What the tests are about."""
        return guestimages.build("micro", self.cache, progress=self.said.append, force=force)


@pytest.fixture
def kitchen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kitchen:
    """An empty cache."""
    made = Kitchen(tmp_path)
    monkeypatch.setattr(guestimages, "recipe_of", made.current)
    monkeypatch.setattr(apt, "lists_state", lambda: made.lists)
    return made


def test_the_image_is_where_the_lab_looks_and_nobody_can_write_it(kitchen: Kitchen) -> None:
    """Pool and kept files have mode 0444; nothing of the work stays."""
    path = kitchen.build()
    assert path == kitchen.cache / "images/pool/micro.qcow2"
    assert path.read_bytes() == b"image"
    assert path.stat().st_mode & 0o7777 == 0o444
    beside = kitchen.cache / "images/micro"
    assert (beside / "vmlinuz").stat().st_mode & 0o7777 == 0o444
    assert sorted(entry.name for entry in beside.iterdir()) == ["lock", "recipe.json", "vmlinuz"]
    assert json.loads((beside / "recipe.json").read_text())["record"]["packages"] == {"busybox": "1"}


def test_nothing_is_built_twice_and_apt_is_not_even_asked(kitchen: Kitchen) -> None:
    """A demo that runs again pays for nothing."""
    kitchen.build()
    kitchen.build()
    assert (kitchen.built, kitchen.asked) == (1, 1)


def test_new_lists_with_the_same_versions_build_nothing(kitchen: Kitchen) -> None:
    """And are asked once only."""
    kitchen.build()
    kitchen.lists = "tuesday"
    kitchen.build()
    kitchen.build()
    assert (kitchen.built, kitchen.asked) == (1, 2)


def test_a_new_version_builds_again(kitchen: Kitchen) -> None:
    """A security update of the kernel reaches the image once apt's lists know it."""
    kitchen.build()
    kitchen.lists, kitchen.content = "tuesday", b"newer"
    kitchen.packages = (apt.Package("busybox", "2", "busybox_2.deb"),)
    assert kitchen.build().read_bytes() == b"newer"


def test_a_changed_recipe_builds_again(kitchen: Kitchen) -> None:
    """Whoever edits the guest's init wants to see it run."""
    kitchen.build()
    kitchen.source = "apt.py"
    kitchen.build()
    assert kitchen.built == 2
    assert "micro: building (changed)" in kitchen.said


@pytest.mark.parametrize("damage", ["gone", "other size", "no record"])
def test_an_image_that_is_not_the_recorded_one_is_built_again(kitchen: Kitchen, damage: str) -> None:
    """Removed, overwritten, or the build died before it could say what it made."""
    path = kitchen.build()
    if damage == "no record":
        (kitchen.cache / "images/micro/recipe.json").write_text("{")
    else:
        path.unlink()
    if damage == "other size":
        path.write_bytes(b"something else")
    assert kitchen.build().read_bytes() == b"image"
    assert kitchen.built == 2


def test_force_builds_in_any_case(kitchen: Kitchen) -> None:
    """For those who doubt."""
    kitchen.build()
    kitchen.build(force=True)
    assert kitchen.built == 2


def test_a_failed_build_leaves_the_image_before_it(kitchen: Kitchen) -> None:
    """And nothing of its own; the next attempt builds."""
    path = kitchen.build()
    kitchen.source, kitchen.broken, kitchen.content = "apt.py", "mcopy failed with code 1: full", b"half"
    with pytest.raises(ImageBuildError, match="mcopy failed with code 1: full"):
        kitchen.build()
    assert path.read_bytes() == b"image"
    assert not list((kitchen.cache / "images/micro").glob("work-*"))
    kitchen.broken, kitchen.content = "", b"whole"
    assert kitchen.build().read_bytes() == b"whole"


def test_what_a_killed_build_left_is_removed(kitchen: Kitchen) -> None:
    """SIGKILL runs no cleanup; the next build does."""
    stale = kitchen.cache / "images/micro/work-dead"
    stale.mkdir(parents=True)
    (stale / "big").write_bytes(b"x")
    kitchen.build()
    assert not stale.exists()


def test_without_apts_lists_the_image_before_serves(kitchen: Kitchen) -> None:
    """A machine that lost its network can still test; it is said."""
    kitchen.build()
    kitchen.lists, kitchen.unknown = "tuesday", "apt-get failed"
    kitchen.build()
    assert kitchen.built == 1
    assert kitchen.said[-1] == "micro: using the image from before: apt-get failed"


@pytest.mark.parametrize("why", ["nothing there", "recipe changed", "forced"])
def test_without_apts_lists_nothing_new_can_be_built(kitchen: Kitchen, why: str) -> None:
    """And the error is apt's own."""
    if why != "nothing there":
        kitchen.build()
    kitchen.lists, kitchen.unknown = "tuesday", "apt-get failed"
    if why == "recipe changed":
        kitchen.source = "apt.py"
    with pytest.raises(ImageBuildError, match="apt-get failed"):
        kitchen.build(force=why == "forced")


def test_two_builds_at_once_wait_and_not_for_ever(kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is the kernel's: it ends with whoever holds it."""
    monkeypatch.setattr(guestimages, "LOCK_SECONDS", 0.3)
    kitchen.build()
    handle = os.open(kitchen.cache / "images/micro/lock", os.O_RDWR)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(ImageBuildError, match=r"another build of the image micro was not done after 0\.3 s"):
        kitchen.build()
    assert "micro: waiting for another build of it" in kitchen.said
    os.close(handle)
    assert kitchen.build().exists()


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """Not a traceback out of mkdir."""
    (tmp_path / "images").write_text("a file")
    with pytest.raises(ImageBuildError, match="the image cache cannot be written: "):
        guestimages.build("micro", tmp_path)


def test_an_unknown_image_names_those_there_are(tmp_path: Path) -> None:
    """A typing error costs one look."""
    names = "micro, micro-files and debian"
    with pytest.raises(ImageBuildError, match=f"no recipe for an image 'mikro'; there are {names}"):
        guestimages.build("mikro", tmp_path)


@pytest.mark.parametrize("name", guestimages.NAMES)
def test_every_source_of_a_recipe_exists(name: str) -> None:
    """A source that was renamed would silently stop to matter."""
    made = guestimages.recipe_of(name)
    assert made.name == name
    digests = recipe.source_digests(made.sources)
    for source in made.sources:
        assert any(path == source or path.startswith(f"{source}/") for path in digests)
