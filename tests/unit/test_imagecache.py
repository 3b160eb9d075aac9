"""Copies of images on a node: complete and right or not there, within a limit, and never those in use."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import libvirt
import pytest

from nornir_torque_vm.baseimages import copying
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import DeadlineExceeded, ImageError, StateError, StorageError
from nornir_torque_vm.imagecache import cache as module
from nornir_torque_vm.imagecache.cache import LOCK, RECENT, ImageCache
from nornir_torque_vm.imagecache.filling import in_use, see_to_copy
from nornir_torque_vm.imagecache.naming import copy_name
from nornir_torque_vm.model import Image
from nornir_torque_vm.qcow2 import overlay_bytes

MIB = 1 << 20


class Place:
    """A pool with images of a MiB each, and a directory for copies of them."""

    def __init__(self, folder: Path) -> None:
        self.pool, self.copies = folder / "pool", folder / "copies"
        self.pool.mkdir()
        self.cache = ImageCache(str(self.copies), 100 * MIB)

    def image(self, name: str, data: bytes | None = None) -> str:
        """Put an image into the pool; return the name its copy has."""
        content = os.urandom(MIB) if data is None else data
        (self.pool / name).write_bytes(content)
        return f"{hashlib.sha256(content).hexdigest()}.qcow2"

    def want(self, name: str, image: str, *in_use: str, deadline: Deadline | None = None) -> str:
        until = deadline or Deadline.after(60.0)
        return self.cache.want(name, str(self.pool / image), in_use, until)

    def age(self, name: str, seconds: float) -> None:
        then = time.time() - seconds
        os.utime(self.copies / name, (then, then))

    @property
    def there(self) -> set[str]:
        return {path.name for path in self.copies.iterdir()} - {LOCK}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_copy_is_the_image_and_nobodys_to_change(place: Place) -> None:
    """Emulators read it, whoever they run as; the directory can be passed, not listed."""
    name = place.image("a", b"x" * 300_000 + b"\0" * MIB + b"y")
    assert place.want(name, "a").startswith(f"copied {place.pool}/a, ")
    assert (place.copies / name).read_bytes() == (place.pool / "a").read_bytes()
    assert (place.copies / name).stat().st_mode & 0o777 == 0o444
    assert (place.copies / name).stat().st_blocks * 512 < MIB, "zeros take no room"
    assert place.copies.stat().st_mode & 0o777 == 0o711


def test_it_is_made_once(place: Place) -> None:
    """The second time it is only noted that it was wanted."""
    name = place.image("a")
    place.want(name, "a")
    place.age(name, 5000)
    (place.pool / "a").unlink()
    assert place.want(name, "a") == ""
    assert time.time() - (place.copies / name).stat().st_mtime < 60


def test_what_the_catalogue_does_not_say_is_not_kept(place: Place) -> None:
    """An image that was exchanged, or a pool that reads wrongly."""
    name = place.image("a")
    other = place.image("a")
    with pytest.raises(ImageError, match=f"its sha256 is {other.partition('.')[0]}; torque-vm image verify"):
        place.want(name, "a")
    assert place.there == set()


def test_those_wanted_longest_ago_make_room_but_never_those_in_use_or_wanted_just_now(place: Place) -> None:
    """In that order, and no more of them than necessary."""
    names = {image: place.image(image) for image in "abcde"}
    for image, age in zip("abcd", (9000, 8000, 7000, 10), strict=True):
        place.want(names[image], image)
        place.age(names[image], RECENT + age if image != "d" else age)
    place.cache = ImageCache(str(place.copies), 4 * MIB + MIB // 2)
    place.want(names["e"], "e", names["a"])
    assert place.there == {names[image] for image in "acde"}
    place.age(names["e"], RECENT + 1)
    place.cache = ImageCache(str(place.copies), MIB)
    with pytest.raises(StorageError, match="raise image_cache_mb"):
        place.want(place.image("f"), "f", names["a"], names["c"], names["e"])
    assert place.there == {names[image] for image in "acde"}


def test_a_full_disk_is_told_and_keeps_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence; the guests go on with the pool."""
    name = place.image("a")

    def full(*_: Any) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "copy", full)
    with pytest.raises(StorageError, match=r"cannot be copied to .*: No space left on device$"):
        place.want(name, "a")
    assert place.there == set()


def test_the_time_ends(place: Place) -> None:
    """In the middle of a copy; nothing stays."""
    deadline = Deadline.after(60)
    deadline.cancel()
    with pytest.raises(DeadlineExceeded):
        place.want(place.image("a"), "a", deadline=deadline)
    assert place.there == set()


def test_a_copy_that_is_killed_leaves_nothing_and_no_lock(place: Place) -> None:
    """By SIGKILL, with everything written but the last byte."""
    name = place.image("a")
    reached = multiprocessing.get_context("fork").Event()

    def hang() -> None:
        real = copying.copy

        def slow(source: int, target: int, tell: Any) -> str:
            real(source, target, tell)
            reached.set()
            time.sleep(60)
            return ""

        setattr(module, "copy", slow)  # noqa: B010 - imported there, not offered
        place.want(name, "a")

    child = multiprocessing.get_context("fork").Process(target=hang)
    child.start()
    assert reached.wait(30)
    assert place.want(name, "a") == "another copy is being made"
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert place.there == set()
    assert place.want(name, "a").startswith("copied ")


@pytest.mark.parametrize("how", ["link", "writable"])
def test_a_directory_that_others_may_change_is_not_used(place: Place, how: str) -> None:
    """Whoever could put a file there could choose what others boot."""
    name = place.image("a")
    if how == "link":
        place.copies.symlink_to(place.pool)
    else:
        place.copies.mkdir()
        place.copies.chmod(0o777)
    with pytest.raises(StateError):
        place.want(name, "a")


def catalogue(place: Place, **entries: Any) -> None:
    (place.pool / "catalogue.json").write_text(json.dumps(entries))


def site(place: Place, **more: Any) -> Settings:
    return Settings(
        image_pool=str(place.pool), image_cache=str(place.copies), local_uri="test:///default", **more
    )


def test_only_images_whose_digest_is_known_have_copies(place: Place) -> None:
    """And that are the pool's, by themselves; none where the site has no cache."""
    digest = place.image("a").partition(".")[0]
    catalogue(place, a={"sha256": digest}, b={})
    image = Image("a", f"{place.pool}/a")
    assert copy_name(image, site(place)) == f"{digest}.qcow2"
    assert copy_name(dataclasses.replace(image, format="raw"), site(place)) == f"{digest}.raw"
    for other in (
        dataclasses.replace(image, name="b"), dataclasses.replace(image, own=True),
        dataclasses.replace(image, backing=("/p",)),
    ):  # fmt: skip
        assert copy_name(other, site(place)) == ""
    assert copy_name(image, Settings(image_pool=str(place.pool))) == ""


def test_a_jobs_request_names_the_image_and_nothing_else(place: Place) -> None:
    """By its name in the pool, or the default; a path of the user's is nobody's business here."""
    name = place.image("a", overlay_bytes("/nowhere", "raw", MIB)[:65536] + b"\0" * MIB)
    header = bytearray((place.pool / "a").read_bytes())
    header[8:20] = bytes(12)  # no backing file
    name = place.image("a", bytes(header))
    catalogue(place, a={"sha256": name.partition(".")[0]})
    for resources in ("nodes=1", "other=vm1:img=/etc/passwd", "other=vm1"):
        assert see_to_copy(resources, site(place), "node1") == ""
    assert not place.copies.exists()
    assert see_to_copy("nodes=1,other=vm1:img=a", site(place), "node1").startswith("copied ")
    assert place.there == {name}
    assert see_to_copy("other=vm1", site(place, img_default="a"), "node1") == ""
    with pytest.raises(ImageError):
        see_to_copy("other=vm1:img=b", site(place), "node1")


def test_what_domains_are_on_is_in_use(place: Place) -> None:
    """Wherever in their chains; files elsewhere are not ours."""
    conn = libvirt.open("test:///default")
    domain = conn.createXML(
        "<domain type='test'><name>one</name><memory>8192</memory><os><type>hvm</type></os><devices>"
        "<disk type='file'><source file='/v/o'/><backingStore type='file'><format type='qcow2'/>"
        f"<source file='{place.copies}/base'/><backingStore/></backingStore><target dev='vda'/></disk>"
        "</devices></domain>"
    )
    try:
        assert in_use(site(place), "node1") == {"base"}
    finally:
        domain.destroy()
        conn.close()
