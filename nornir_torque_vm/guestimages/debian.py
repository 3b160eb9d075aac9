"""A real Debian 12: systemd, cloud-init, OpenSSH, guest agent, Open MPI; what a site's image is like.

mmdebstrap puts the system together from the package sources this machine's apt uses, so a site with a
mirror of its own uses that; ``debian_setup.sh`` makes a guest image of it.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable
from pathlib import Path

from nornir_torque_vm.errors import ImageBuildError
from nornir_torque_vm.guestimages import apt, disk
from nornir_torque_vm.guestimages.recipe import HERE, Product, Recipe, Workplace
from nornir_torque_vm.guestimages.tool import run

SUITE = "bookworm"
PACKAGES = (
    "apt", "cloud-init", "initramfs-tools", "iproute2", "iputils-ping", "libnss-myhostname",
    "linux-image-cloud-amd64", "lz4", "netbase", "openmpi-bin", "openssh-server", "python3",
    "qemu-guest-agent", "sudo", "systemd-sysv", "systemd-timesyncd", "tzdata", "udev",
)  # fmt: skip
"""What is asked for; what these depend on comes with them, what they recommend does not."""
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/info/*", "/usr/share/man/*", "/usr/share/locale/*")

ROOT_SIZE = 3 << 30
"""Bytes of the root file system: about 2 GB are free."""
KERNEL_ARGUMENTS = (
    "console=ttyS0 quiet no_timer_check root=LABEL=root rootfstype=ext4 rootflags=noatime rw fsck.mode=skip"
    " net.ifnames=0 cryptomgr.notests"
)
"""The disk is fresh at each boot: nothing to check, and writable from the start."""
_SETUP = HERE / "debian_setup.sh"
_FILES = HERE / "debian_root"
_BOOTSTRAP_TIMEOUT = 1800.0
_QUERY_TIMEOUT = 60.0
_STEPS = re.compile(r"I: (.*)")
_FALLBACK_SOURCES = (
    f"deb http://deb.debian.org/debian {SUITE} main",
    f"deb http://deb.debian.org/debian-security {SUITE}-security main",
)


def packages() -> tuple[apt.Package, ...]:
    """What the image would be made of now."""
    return apt.closure(PACKAGES)


def parse_sources(text: str) -> tuple[str, ...]:
    """Lines of sources.list out of what ``apt-get indextargets`` says: ``URI SUITE COMPONENT ORIGIN`` a line.

    Only Debian's own suites of this release; sources of other software are none of the guest's business.
    """
    lines: dict[str, None] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) == 4 and words[3] == "Debian" and words[1].split("-")[0] == SUITE:
            lines[f"deb {words[0]} {words[1]} {words[2]}"] = None
    return tuple(lines)


def parse_apt_options(text: str) -> tuple[str, ...]:
    """The options of this machine's apt that decide how it fetches, out of what ``apt-config dump`` says."""
    wanted = re.compile(r'Acquire::(https?::Proxy(::\S+)?|Check-Valid-Until|Check-Date) "[^"]*";')
    return tuple(line for line in text.splitlines() if wanted.fullmatch(line))


def bootstrap_command(tree: Path, sources: Iterable[str], apt_options: Iterable[str]) -> list[str | Path]:
    """The mmdebstrap call that fills the directory ``tree``."""
    return [
        "mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory",
        f"--include={','.join(PACKAGES)}",
        *(f"--aptopt={option}" for option in apt_options),
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT),
        "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        # mmdebstrap gives this line to a shell, with the tree as $1.
        f'--customize-hook=sh {shlex.quote(str(_SETUP))} "$1" {shlex.quote(str(_FILES))}',
        SUITE, tree, *sources,
    ]  # fmt: skip


def make(place: Workplace) -> Product:
    """Build the image in ``place``.

    :raises ImageBuildError: not root, besides what the tools themselves may run into.
    """
    if os.geteuid() != 0:
        raise ImageBuildError("the image debian can only be built by root", hint="its files have many owners")
    tree = place.directory / "tree"

    def tell(line: str) -> None:
        found = _STEPS.fullmatch(line)
        if found is not None:
            place.progress(f"debian: {found.group(1)}")

    query = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME) $(COMPONENT) $(ORIGIN)"]
    sources = parse_sources(run([*query, "Created-By: Packages"], timeout=_QUERY_TIMEOUT))
    options = parse_apt_options(run(["apt-config", "dump"], timeout=_QUERY_TIMEOUT))
    command = bootstrap_command(tree, sources or _FALLBACK_SOURCES, options)
    run(command, timeout=_BOOTSTRAP_TIMEOUT, progress=tell)

    place.progress("debian: making the disk")
    kernel = _take(tree / "boot", "vmlinuz-*", place.directory / "vmlinuz")
    initramfs = _take(tree / "boot", "initrd.img-*", place.directory / "initramfs")
    config = place.directory / "syslinux.cfg"
    config.write_text(disk.syslinux_config(KERNEL_ARGUMENTS), "ascii")
    raw, image = place.directory / "debian.raw", place.directory / "debian.qcow2"
    files = {"vmlinuz": kernel, "initramfs": initramfs, "syslinux.cfg": config}
    disk.write_boot_disk(raw, files, disk.RootTree(tree, ROOT_SIZE))
    disk.convert(raw, image, compress=False)
    return Product(image)


def _take(directory: Path, pattern: str, target: Path) -> Path:
    """Move the one file that matches out of the tree: it belongs on the boot partition."""
    found = list(directory.glob(pattern))
    if len(found) != 1:
        raise ImageBuildError(f"expected one {pattern} in the image's /boot, found {len(found)}")
    return found[0].rename(target)


RECIPE = Recipe(
    name="debian",
    sources=("debian.py", "debian_setup.sh", "debian_root", "disk.py"),
    options={"suite": SUITE, "kernel arguments": KERNEL_ARGUMENTS, "root size": str(ROOT_SIZE)},
    packages=packages,
    make=make,
)
