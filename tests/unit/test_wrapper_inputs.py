"""The files a request names and the images of the pool, where a job is submitted."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from pathlib import Path
from typing import Any

import pytest
from qcow2_bytes import image_bytes

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import Blame, ImageError, RequestError, TorqueVMError
from nornir_torque_vm.model import Distro, FileRef
from nornir_torque_vm.wrapper.inputs import (
    MAX_FILE,
    absolute,
    read_script,
    read_user_files,
    working_directory,
)
from nornir_torque_vm.wrapper.poolimages import list_images, look_at_image
from nornir_torque_vm.wrapper.resolve import COMMAND_LINE, ImageFacts, gather

ALLOWED: dict[str, Any] = {"allow_user_images": True, "user_image_bridge": "br0"}
"""Settings of a site that lets users bring images."""
NO_OSV = "this site runs no guests of OSv; choose another image, or ask the site"


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's directory, and a pool beside it."""
    (tmp_path / "work").mkdir()
    (tmp_path / "pool").mkdir()
    for name in ("debian.qcow2", "plain.qcow2"):
        (tmp_path / "pool" / name).write_bytes(image_bytes())
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def read(text: str, work: Path, origin: str = COMMAND_LINE) -> Any:
    """The value of the one key in ``text`` once files have been read."""
    ((value, _origin),) = read_user_files(gather([(origin, text)]), str(work)).values()
    return value


def looked(work: Path, text: str = "", origin: str = COMMAND_LINE, **settings: Any) -> ImageFacts:
    """What is found out about the image of a job."""
    asked = read_user_files(gather([(origin, text)]), str(work))
    return look_at_image(asked, Settings(image_pool=str(work.parent / "pool"), **settings))


@pytest.mark.parametrize("key", ["vm_prologue", "vm_epilogue", "metadata", "vcpu_pinning"])
def test_a_file_travels_with_its_digest(work: Path, key: str) -> None:
    """With its absolute path; nodes compare what they find there."""
    content = b"0 0 0\n".ljust(MAX_FILE, b"\n")
    (work / "f").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    assert read(f"{key}=f", work) == FileRef(f"{work}/f", digest)
    assert read(f"{key}={work}/./f", work) == FileRef(f"{work}/f", digest)


def test_values_that_are_no_files_stay(work: Path) -> None:
    """Whether or not such a file exists."""
    (work / "true").write_text("")
    assert read("vcpu_pinning=true", work) is True
    assert read("img=debian.qcow2", work) == "debian.qcow2"
    assert read("img=./debian.qcow2", work) == f"{work}/debian.qcow2"


def test_a_file_that_cannot_be_used_is_named(work: Path) -> None:
    """With the key, where that stands, and why."""
    (work / "large").write_bytes(bytes(MAX_FILE + 1))
    os.mkfifo(work / "fifo")
    for name, why in (
        ("missing", "cannot be opened: No such file or directory"),
        (".", "is not a regular file"),
        ("fifo", "is not a regular file"),
        ("large", "has more than 1 MiB; put large data into the image"),
    ):
        with pytest.raises(RequestError) as raised:
            read(f"metadata={name}", work, "script line 3")
        assert str(raised.value) == f"script line 3: metadata names {name!r}, which {why}"


def test_a_disk_is_a_file_the_user_may_write(work: Path) -> None:
    """It is not read: disks are large."""
    (work / "disk.img").write_bytes(b"")
    assert read("disk=disk.img", work) == f"{work}/disk.img"
    for name in ("missing", "/dev/null"):
        with pytest.raises(
            RequestError, match=r"^disk names '.*', which (cannot be opened|is not a regular)"
        ):
            read(f"disk={name}", work)
    if os.geteuid() != 0:  # who may write everything
        (work / "disk.img").chmod(0o400)
        with pytest.raises(RequestError, match="cannot be opened: Permission denied"):
            read("disk=disk.img", work)


def test_links_are_followed_only_where_they_must_be(work: Path) -> None:
    """A home directory may be a link that leads elsewhere on another host."""
    (work / "real").mkdir()
    (work / "link").symlink_to("real")
    assert absolute("link/f", str(work)) == f"{work}/link/f"
    assert absolute("link/../f", str(work)) == f"{work}/f"
    assert absolute("//f", str(work)) == "/f"


def test_a_link_at_the_end_is_replaced_by_what_it_leads_to(work: Path) -> None:
    """Nodes open the file itself; directories keep the names they have here."""
    (work / "real").mkdir()
    (work / "real/f").write_bytes(b"content")
    (work / "link").symlink_to("real")
    (work / "last").symlink_to("link/second")
    (work / "real/second").symlink_to("f")
    assert read("metadata=last", work).path == f"{work}/link/f"
    (work / "loop").symlink_to("loop")
    with pytest.raises(RequestError, match=r"^metadata names 'loop', which cannot be opened: Too many"):
        read("metadata=loop", work)


def test_a_pinning_file_is_read_before_the_job_waits_for_hours(work: Path) -> None:
    """It names the line, and where the file was asked for."""
    (work / "map").write_text("# guest vcpu processors\n0 0 0\n0 1 2-1\n")
    with pytest.raises(RequestError) as raised:
        read("vcpu_pinning=map", work, "script line 3")
    assert str(raised.value) == (
        "script line 3: vcpu_pinning names 'map': line 3 of the pinning file has '2-1' for processors; "
        "a line is: guest, vcpu (or emulator), processors such as 0 or 2-3,5"
    )


def test_the_directory_is_the_one_the_user_sees(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As qsub takes it for PBS_O_WORKDIR: $PWD, if that is where we are."""
    (work.parent / "link").symlink_to("work")
    monkeypatch.setenv("PWD", f"{work.parent}/link")
    assert working_directory() == f"{work.parent}/link"
    monkeypatch.setenv("PWD", "/")
    assert working_directory() == str(work)
    (work / "gone").mkdir()
    monkeypatch.chdir(work / "gone")
    (work / "gone").rmdir()
    with pytest.raises(RequestError, match="the current directory is gone"):
        working_directory()


def test_a_script_is_a_file_that_can_be_read(work: Path) -> None:
    """Everything else is qsub's business."""
    (work / "job.sh").write_bytes(b"a\r\n\0")
    os.mkfifo(work / "fifo")
    assert read_script("job.sh") == b"a\r\n\0"
    assert [read_script(name) for name in ("missing", ".", "fifo", "a\0b")] == [None] * 4


def test_an_image_is_looked_at(work: Path) -> None:
    """Its family is told by the key, the catalogue, its name, or the site."""
    assert looked(work, "img=debian.qcow2") == ImageFacts("debian.qcow2", Distro.DEBIAN, "file name")
    default = looked(work, img_default="plain.qcow2", distro_default=Distro.REDHAT)
    assert default == ImageFacts("plain.qcow2", Distro.REDHAT, "setting distro_default")
    (work.parent / "pool/catalogue.json").write_text(
        '{"plain.qcow2": {"distro": "osv", "arch": "aarch64"}, "debian.qcow2": {}}'
    )
    assert looked(work, "img=plain.qcow2", allow_osv=True) == ImageFacts(
        "plain.qcow2", Distro.OSV, "image catalogue", "aarch64"
    )


@pytest.mark.parametrize(
    ("text", "settings", "sentence"),
    [
        (
            "",
            {},
            "no image was asked for and the site has no default; add img=NAME to -vm; qsub --list-images",
        ),
        ("img=debain.qcow2", {}, "script line 2: image 'debain.qcow2' does not exist in the image pool"),
        ("img=mine.qcow2", {}, "script line 2: image 'mine.qcow2' does not exist"),
        ("img=./mine.qcow2", {}, "script line 2: img=WORK/mine.qcow2 is a path, and the site allows"),
        (
            "img=./builds",
            ALLOWED,
            "script line 2: image 'WORK/builds' builds on another file ('/etc/shadow')",
        ),
        ("img=./no", ALLOWED, "script line 2: image 'WORK/no' cannot be opened: No such"),
        ("img=.//", ALLOWED, "script line 2: image 'WORK' is not a regular file"),
        (
            "img=./raw",
            ALLOWED,
            "script line 2: image 'WORK/raw' is not a qcow2 image",
        ),
        (
            "img=debian.qcow2,distro=osv",
            {},
            "script line 2: distro=osv contradicts the image, which is debian",
        ),
        ("img=osv.qcow2", {}, f"script line 2: {NO_OSV}"),
        ("img=plain.qcow2,distro=osv", {}, f"script line 2: {NO_OSV}"),
        ("distro=osv", {"img_default": "plain.qcow2"}, f"script line 2: {NO_OSV}"),
        ("img=./osv.qcow2", ALLOWED, f"script line 2: {NO_OSV}"),
    ],
)
def test_an_image_that_cannot_be_booted_is_the_users(
    work: Path, text: str, settings: dict[str, Any], sentence: str
) -> None:
    """He named it, or none."""
    (work / "mine.qcow2").write_bytes(image_bytes())
    (work / "raw").write_bytes(b"raw")
    for folder in (work, work.parent / "pool"):
        (folder / "osv.qcow2").write_bytes(image_bytes())
    (work / "builds").write_bytes(image_bytes(backing=b"/etc/shadow"))
    with pytest.raises(TorqueVMError) as raised:
        looked(work, text, "script line 2", **settings)
    assert str(raised.value).replace(str(work), "WORK").startswith(sentence)
    assert raised.value.blame is Blame.USER


def test_an_image_beside_the_script_is_hinted_at(work: Path) -> None:
    """A bare name is one of the pool, always."""
    (work / "mine.qcow2").write_bytes(image_bytes())
    with pytest.raises(ImageError, match=r"for the file of that name here, write img=\./mine\.qcow2"):
        looked(work, "img=mine.qcow2", **ALLOWED)
    with pytest.raises(ImageError, match="the site allows images of its pool only"):
        looked(work, "img=mine.qcow2")
    own = looked(work, "img=./mine.qcow2", **ALLOWED)
    assert own == ImageFacts(f"{work}/mine.qcow2", Distro.DEBIAN, "setting distro_default")


def test_a_missing_pool_or_default_is_the_sites(work: Path) -> None:
    """No user can mend it."""
    with pytest.raises(
        ImageError, match=r"cannot be read: No such file.*; create it or correct image_pool"
    ) as raised:
        look_at_image(gather([(COMMAND_LINE, "img=a")]), Settings(image_pool="/missing/pool"))
    assert raised.value.blame is Blame.SITE
    with pytest.raises(ImageError) as raised:
        looked(work, "vcpus=1", img_default="gone.qcow2")
    assert raised.value.blame is Blame.SITE


@pytest.mark.proves("allow_osv")
def test_a_default_that_the_site_does_not_allow_is_the_sites(work: Path) -> None:
    """Nobody asked for such guests; with its word there are some."""
    with pytest.raises(RequestError, match=f"^{re.escape(NO_OSV)}$") as raised:
        looked(work, "vcpus=1", img_default="plain.qcow2", distro_default=Distro.OSV)
    assert raised.value.blame is Blame.SITE
    site: dict[str, Any] = {"img_default": "plain.qcow2", "distro_default": Distro.OSV, "allow_osv": True}
    assert looked(work, "vcpus=1", **site).distro is Distro.OSV


@pytest.mark.proves("allow_osv")
def test_images_of_a_family_that_the_site_does_not_allow_are_listed_as_such(work: Path) -> None:
    """Not among the names that a completion offers."""
    (work.parent / "pool/my-osv").write_bytes(image_bytes())
    site = Settings(image_pool=str(work.parent / "pool"))
    (line,) = (line for line in list_images(site).splitlines() if line.startswith("my-osv"))
    assert line.endswith("cannot be used: this site runs no guests of OSv")
    assert "my-osv" not in list_images(site, names_only=True).split()
    allowed = dataclasses.replace(site, allow_osv=True)
    assert "my-osv" in list_images(allowed, names_only=True).split()


def test_images_are_listed(work: Path) -> None:
    """With what the catalogue says of them; files that are none and do not claim to be are left out."""
    pool = work.parent / "pool"
    (pool / "broken.img").write_bytes(b"")
    (pool / "catalogue.json").write_text('{"plain.qcow2": {"distro": "osv", "description": "for two"}}')
    (pool / ".hidden.qcow2").write_bytes(image_bytes())
    site = Settings(image_pool=str(pool), img_default="debian.qcow2", allow_osv=True)
    broken, *lines = list_images(site).splitlines()
    assert broken.split(maxsplit=1)[0] == "broken.img"
    assert "cannot be used: image 'broken.img' is not a qcow2 image (starts with nothing" in broken
    assert lines == [
        "debian.qcow2  1G  debian  x86_64  (default)",
        "plain.qcow2   1G  osv     x86_64  for two",
    ]
    assert list_images(site, names_only=True) == "debian.qcow2\nplain.qcow2\n"
    for file in pool.iterdir():
        file.unlink()
    assert list_images(site) == ""
    with pytest.raises(ImageError, match="the image pool /missing cannot be read"):
        list_images(Settings(image_pool="/missing"))
