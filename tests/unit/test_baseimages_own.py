"""Images of users: looked at with the owner's rights, and given to an emulator that has no others."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
from qcow2_bytes import image_bytes
from render_kit import parse_xml, plan_of

from nornir_torque_vm.baseimages.own import job_image, not_opened
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.deadline import NEVER, Deadline
from nornir_torque_vm.errors import ImageError, RequestError, SettingsError, StorageError, TorqueVMError
from nornir_torque_vm.model import Distro, Image, Owner
from nornir_torque_vm.render.domain import GuestVolumes, domain_xml
from nornir_torque_vm.request import Request

ALICE = Owner("alice", 2001, 2001, "people", "/home/alice")
SITE = Settings(allow_user_images=True, user_image_bridge="br-user", bridge="br0")
VOLUMES = GuestVolumes("/v/overlay", "/v/seed", "/v/console")
root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """An image of alice's, in a directory that everybody may pass through."""
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(folder.stat().st_mode | 0o055)
    file = tmp_path / "my-centos.qcow2"
    file.write_bytes(image_bytes(5 << 30))
    if os.geteuid() == 0:
        os.chown(file, ALICE.uid, ALICE.gid)
    file.chmod(0o600)
    return file


def image(
    path: Path | str, settings: Settings = SITE, owner: Owner = ALICE, distro: Distro | None = None
) -> Image:
    return job_image(Request(img=str(path), distro=distro), settings, owner, Deadline.after(20))


@root
def test_an_image_of_the_owner_is_known_by_its_header(own: Path) -> None:
    """Its family is told as for images of the pool."""
    expected = Image("my-centos.qcow2", str(own), "qcow2", 5 << 30, Distro.REDHAT, own=True)
    assert image(own) == expected
    with pytest.raises(RequestError, match="distro=osv contradicts the image, which is redhat"):
        image(own, distro=Distro.OSV)


@root
def test_whether_guests_may_be_osv_is_the_sites_word_here_too(own: Path) -> None:
    """As for images of the pool."""
    other = own.rename(own.with_name("my-osv.qcow2"))
    with pytest.raises(RequestError, match=r"^this site runs no guests of OSv; choose another image"):
        image(other)
    assert image(other, dataclasses.replace(SITE, allow_osv=True)).distro is Distro.OSV


@root
def test_what_the_owner_may_not_read_is_not_looked_at(own: Path, tmp_path: Path) -> None:
    """Whoever names it: by its path, or by a link of the owner's."""
    os.chown(own, 0, 0)
    link = tmp_path / "link"
    link.symlink_to(own)
    for path in (own, link):
        with pytest.raises(RequestError, match="cannot be opened here by alice: Permission denied"):
            image(path)
    os.chown(own, ALICE.uid, ALICE.gid)
    assert image(link).path == str(link)


@root
@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (image_bytes(backing=b"/etc/shadow"), "builds on another file ('/etc/shadow')"),
        (image_bytes(backing=b"debian.qcow2"), "builds on another file ('debian.qcow2')"),
        (image_bytes(features=4, data_file=b"/x"), "keeps its data in another file ('/x')"),
        (image_bytes(crypt=1), "is encrypted"),
        (image_bytes(1 << 60), "more than 16T"),
        (image_bytes()[:0x1FFFF], "is cut off"),
        (b"a raw disk", "is not a qcow2 image"),
    ],
)
def test_an_image_that_leads_to_other_files_is_refused(own: Path, content: bytes, cause: str) -> None:
    """A sentence for its owner: the emulator could open them with the owner's rights only."""
    own.write_bytes(content)
    with pytest.raises(ImageError) as caught:
        image(own)
    assert cause in str(caught.value)
    assert "\n" not in str(caught.value)


@root
@pytest.mark.timeout(30)
def test_a_file_that_is_none_holds_nobody(own: Path, tmp_path: Path) -> None:
    """A FIFO, a directory, a device."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    fifo.chmod(0o666)
    for path in (fifo, tmp_path, Path("/dev/null")):
        with pytest.raises(RequestError, match=r"is not a regular file$"):
            image(path)


def test_it_is_the_sites_to_allow(own: Path) -> None:
    """And to say where guests are in which the user is root; nothing is opened before."""
    with pytest.raises(RequestError, match="the site allows images of its pool only"):
        image(own, dataclasses.replace(SITE, allow_user_images=False))
    with pytest.raises(SettingsError, match="set user_image_bridge"):
        image(own, dataclasses.replace(SITE, user_image_bridge=""))


def test_jobs_of_root_boot_images_of_the_pool_only(own: Path) -> None:
    """An emulator with root's rights would open whatever lies there by then."""
    with pytest.raises(RequestError, match="jobs of root boot images of the pool only"):
        image(own, owner=dataclasses.replace(ALICE, name="root", uid=0))


def test_the_emulator_has_the_owners_rights_and_the_image_stays_as_it_is() -> None:
    """The whole chain is written down; the card is where the site has said."""
    plan = plan_of(1, image=Image("own.qcow2", "/home/alice/own.qcow2", virtual_size=1 << 30, own=True))
    settings = dataclasses.replace(SITE, network="site-net")
    found = parse_xml(domain_xml(plan, plan.guests[0], VOLUMES, settings))
    (label,) = found.findall("seclabel")
    assert label.attrib == {"type": "static", "model": "dac", "relabel": "yes"}
    owner = plan.job.owner
    assert label.findtext("label") == f"+{owner.uid}:+{owner.gid}"
    (layer,) = found.findall("devices/disk/backingStore/source")
    assert layer.get("file") == "/home/alice/own.qcow2"
    (kept,) = layer.findall("seclabel")
    assert kept.attrib == {"model": "dac", "relabel": "no"}
    assert found.find("devices/interface[@type='bridge']/source[@bridge='br-user']") is not None
    assert found.find("devices/interface[@type='network']") is None


SAID = "internal error: qemu unexpectedly closed the monitor: -blockdev {}: Could not open '/h/own': {}"


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (SAID.format("{...}", "Permission denied"), ImageError),
        (SAID.format("{...}", "No such file or directory"), ImageError),
        (SAID.format("{...}", "Stale file handle"), StorageError),
        (SAID.format("{...}", "Input/output error"), StorageError),
        (SAID.format("{...}", "Permission denied").replace("/h/own", "/v/overlay"), None),
        ("internal error: no bridge", None),
    ],
)
def test_an_image_that_one_node_cannot_open_is_told_as_such(
    said: str, kind: type[TorqueVMError] | None
) -> None:
    """It is the user's to mend, unless the file system is at fault."""
    own = Image("own", "/h/own", own=True)
    found = not_opened(own, ALICE, said, node="node2", guest="j1-r1")
    assert type(found) is (kind or type(None))
    if found is not None:
        assert str(found).startswith(
            "node node2, guest j1-r1: image '/h/own' cannot be opened here by alice: "
        )
    assert not_opened(dataclasses.replace(own, own=False), ALICE, said, node="", guest="") is None


def test_images_of_the_pool_are_looked_up_as_ever(tmp_path: Path) -> None:
    """A name has no slash."""
    (tmp_path / "debian.qcow2").write_bytes(image_bytes())
    site = Settings(image_pool=str(tmp_path))
    assert job_image(Request(img="debian.qcow2"), site, ALICE, NEVER).own is False
