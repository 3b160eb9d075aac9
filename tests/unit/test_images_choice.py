"""Which image a job boots from, and of which family it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from qcow2_bytes import image_bytes

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import Blame, ImageError, RequestError
from nornir_torque_vm.images import distro_of, family_of, image_for
from nornir_torque_vm.model import Distro, Image
from nornir_torque_vm.request import Request


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """A pool with an image whose name tells its family and one whose name does not."""
    for name in ("debian.qcow2", "micro"):
        (tmp_path / name).write_bytes(image_bytes())
    return tmp_path


@pytest.mark.parametrize(
    ("name", "distro"),
    [
        ("debian-12.qcow2", Distro.DEBIAN), ("Ubuntu.img", Distro.DEBIAN), ("my-debian", Distro.DEBIAN),
        ("centos7.qcow2", Distro.REDHAT), ("RedHat8", Distro.REDHAT), ("red-hat", Distro.REDHAT),
        ("rhel9.qcow2", Distro.REDHAT), ("rocky", Distro.REDHAT), ("almalinux", Distro.REDHAT),
        ("fedora-40", Distro.REDHAT), ("osv.qcow2", Distro.OSV), ("job-OSv", Distro.OSV),
        ("micro.qcow2", None), ("kosovo.qcow2", None), ("hosv", None), ("osvx", None),
        ("debian-on-osv", None),
    ],
)  # fmt: skip
def test_the_family_is_read_from_the_file_name(name: str, distro: Distro | None) -> None:
    """In any case of letters; a name that tells none, or two, tells nothing."""
    assert distro_of(name) is distro


def test_an_untold_family_is_the_sites_default(pool: Path) -> None:
    """And the default loses against a name that does tell, and against the catalogue."""
    site = Settings(image_pool=str(pool), distro_default=Distro.REDHAT, allow_osv=True)
    assert image_for(Request(img="micro"), site).distro is Distro.REDHAT
    assert image_for(Request(img="debian.qcow2"), site).distro is Distro.DEBIAN
    (pool / "catalogue.json").write_text('{"micro": {"distro": "osv"}}', encoding="utf-8")
    assert image_for(Request(img="micro"), site).distro is Distro.OSV
    assert family_of("micro", Request(), site) == (Distro.OSV, "the image catalogue")


def test_the_users_word_on_the_family_may_not_contradict_the_image(pool: Path) -> None:
    """It may say what the image does not."""
    site = Settings(image_pool=str(pool), allow_osv=True)
    assert image_for(Request(img="micro", distro=Distro.OSV), site).distro is Distro.OSV
    with pytest.raises(
        RequestError, match=r"^distro=osv contradicts the image, which is debian by its file name"
    ):
        image_for(Request(img="debian.qcow2", distro=Distro.OSV), site)


@pytest.mark.proves("img_default")
def test_the_image_of_a_job_is_its_own_or_the_sites(pool: Path) -> None:
    """The request goes first; without any name the user is told what to add."""
    site = Settings(image_pool=str(pool), img_default="micro", distro_default=Distro.REDHAT)
    assert image_for(Request(img="debian.qcow2"), site).name == "debian.qcow2"
    assert image_for(Request(), site) == Image("micro", f"{pool}/micro", "qcow2", 1 << 30, Distro.REDHAT)
    with pytest.raises(RequestError) as caught:
        image_for(Request(), Settings(image_pool=str(pool)))
    assert str(caught.value) == "no image was asked for and the site has no default; add img=NAME to -vm"


def test_a_bad_default_image_is_the_sites_fault(pool: Path) -> None:
    """The user did nothing wrong; the same image asked for by name is the user's."""
    site = Settings(image_pool=str(pool), img_default="gone")
    for request, blame in ((Request(), Blame.SITE), (Request(img="gone"), Blame.USER)):
        with pytest.raises(ImageError) as caught:
            image_for(request, site)
        assert caught.value.blame is blame


def test_a_default_of_a_family_that_the_site_does_not_allow_is_the_sites_fault(pool: Path) -> None:
    """Who says himself that the image is of it, or asks for it, is told that it is his."""
    site = Settings(image_pool=str(pool), img_default="micro", distro_default=Distro.OSV)
    for request, blame in (
        (Request(), Blame.SITE),
        (Request(img="micro"), Blame.USER),
        (Request(distro=Distro.OSV), Blame.USER),
    ):
        with pytest.raises(RequestError, match="this site runs no guests of OSv") as caught:
            image_for(request, site)
        assert caught.value.blame is blame
