"""What a site's defaults come to after a prologue: in live domains, and in the files guests start from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hook_kit import Site
from qcow2_bytes import image_bytes
from render_kit import parse_xml

from nornir_torque_vm.qcow2 import parse_header

PACKAGES = {"sw_packages_debian": ["for-debian"], "sw_packages_redhat": ["for-redhat"]}


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Site]]:
    """Starts a job's two guests where a site has these settings."""
    monkeypatch.setattr("syslog.syslog", lambda *_: None)
    made: list[Site] = []

    def start(request: str = "ram=64M", **settings: Any) -> Site:
        made.append(Site(tmp_path, **settings))
        (tmp_path / "pool/other.qcow2").write_bytes(image_bytes())
        assert made[-1].prologue(made[-1].call(request)).ok
        return made[-1]

    yield start
    for site in made:
        site.close()


def disks(site: Site) -> list[Path]:
    """The first disk of every guest, as libvirt says."""
    sources = []
    for node in site.nodes:
        for domain in site.connect(node).listAllDomains():
            source = parse_xml(domain.XMLDesc(0)).find("devices/disk/source")
            assert source is not None
            sources.append(Path(source.get("file", "")))
    assert len(sources) == 2
    return sources


def seeds(site: Site) -> list[bytes]:
    """What the guests are told."""
    return [path.read_bytes() for path in Path(site.settings.volume_dir).glob("*/*.iso")]


@pytest.mark.proves("img", "img_default")
@pytest.mark.parametrize(
    ("request_text", "image"), [("ram=64M", "other.qcow2"), ("ram=64M:img=micro.qcow2", "micro.qcow2")]
)
def test_disks_build_on_the_image_that_counts(
    started: Callable[..., Site], request_text: str, image: str
) -> None:
    """The site's, or the one that the job names."""
    site = started(request_text, img_default="other.qcow2")
    backing = {parse_header(disk.read_bytes()).backing_file for disk in disks(site)}
    assert backing == {f"{site.settings.image_pool}/{image}"}


@pytest.mark.proves("distro", "distro_default", "sw_packages_debian", "sw_packages_redhat")
@pytest.mark.parametrize(
    ("request_text", "default", "family"),
    [
        ("ram=64M", "redhat", "redhat"),
        ("ram=64M", "debian", "debian"),
        ("ram=64M:distro=debian", "redhat", "debian"),
        ("ram=64M:distro=redhat", "debian", "redhat"),
    ],
)
def test_guests_are_told_what_is_for_their_family(
    started: Callable[..., Site], request_text: str, default: str, family: str
) -> None:
    """The image's name does not tell it: the job does, else the site."""
    site = started(request_text, distro_default=default, **PACKAGES)
    for seed in seeds(site):
        told = {name for name in ("debian", "redhat") if f"for-{name}".encode() in seed}
        assert told == {family}
    assert len(seeds(site)) == 2


@pytest.mark.proves("fs_type", "filesystem_type_default")
@pytest.mark.parametrize(
    ("request_text", "default", "place"),
    [
        ("ram=64M", "ramdisk", "memory"),
        ("ram=64M", "sharedfs", "volumes"),
        ("ram=64M:fs_type=sharedfs", "ramdisk", "volumes"),
        ("ram=64M:fs_type=ramdisk", "sharedfs", "memory"),
    ],
)
def test_disks_of_running_guests_are_where_the_job_or_the_site_says(
    started: Callable[..., Site], tmp_path: Path, request_text: str, default: str, place: str
) -> None:
    """In memory, or in the volume directory."""
    (tmp_path / "memory").mkdir()
    site = started(
        request_text, filesystem_type_default=default, ramdisk_dir=f"{tmp_path}/memory", ramdisk_mb=16
    )
    for disk in disks(site):
        assert disk.is_relative_to(tmp_path / place)
        assert disk.exists()
