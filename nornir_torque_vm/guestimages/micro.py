"""The micro guest: Debian's cloud kernel, busybox, dropbear and a NoCloud reader, all in an initramfs.

What it does after the kernel stands in ``micro_root/init``. It is meant for fast loops: the same
seed, the same ssh, the same signs of readiness as a real image, in a fraction of the time.

``micro-files`` is the same with Debian's other kernel and the modules that mount users' files: the cloud
kernel has no 9p, and the modules for NFS would make each boot of ``micro`` longer.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path

from nornir_torque_vm.errors import ImageBuildError
from nornir_torque_vm.guestimages import apt, cpio, disk, modules
from nornir_torque_vm.guestimages.recipe import HERE, Product, Recipe, Workplace
from nornir_torque_vm.guestimages.tool import run

KERNEL = "linux-image-cloud-amd64"
FILES_KERNEL = "linux-image-amd64"
PACKAGES = (
    "busybox-static", "dropbear-bin",
    "libc6", "libcrypt1", "libgmp10", "libtomcrypt1", "libtommath1", "zlib1g",
)  # fmt: skip
PROGRAMS = ("usr/sbin/dropbear", "usr/bin/dbclient", "usr/bin/dropbearkey", "usr/bin/dropbearconvert")
LIBRARIES = (
    "libc.so.6", "libcrypt.so.1", "libgmp.so.10", "libtomcrypt.so.1", "libtommath.so.1", "libz.so.1",
)  # fmt: skip
LIBRARY_DIRECTORIES = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")
LOADER = "ld-linux-x86-64.so.2"

MODULES = {
    # virtio_rng early: without it dropbear's key tools wait about a second for randomness.
    "MODULES_DISK": ("virtio_pci", "virtio_blk", "virtio_rng"),
    "MODULES_NET": ("virtio_net",),
    "MODULES_SEED": ("isofs",),
    "MODULES_OTHER_DISKS": ("virtio_scsi", "ata_piix", "sr_mod", "sd_mod"),
    "MODULES_LATE": ("virtio_console", "button", "evdev", "pvpanic_mmio"),
}
"""Variable of init → the modules it loads at that point."""
FILES_MODULES = {
    **MODULES,
    "MODULES_9p": ("9pnet_virtio", "9p"),
    "MODULES_nfs4": ("nfsv4",),
    "MODULES_virtiofs": ("virtiofs",),
    "MODULES_ext4": ("crc32c_generic", "ext4"),
}
"""The same for ``micro-files``; ``modprobe`` there loads what is named after its argument."""

KERNEL_ARGUMENTS = "console=ttyS0 quiet cryptomgr.notests no_timer_check"
"""Without the crypto self-tests the kernel is 0.3 s faster under emulation; nothing else on its command
line made a difference that could be measured. Without the timer check it does not panic where a busy
machine emulates the guest too slowly ("IO-APIC + timer doesn't work!"); under KVM it skips that anyway."""
DIRECTORIES = {
    "dev": 0o755, "etc/ssh": 0o755, "home": 0o755, "mnt": 0o755, "proc": 0o755, "root": 0o700, "run": 0o755,
    "sys": 0o755, "tmp": 0o1777, "var/log": 0o755, "var/tmp": 0o1777,
}  # fmt: skip
LINKS = {"sbin": "bin", "lib64": "lib", "var/run": "../run"}
_EXECUTABLE = ("init", "bin/", "usr/bin/", "usr/sbin/", "etc/acpi/", "usr/lib/micro/lease")
_TIMEOUT = 120.0


def packages(kernel: str) -> tuple[apt.Package, ...]:
    """What the image would be made of now."""
    return apt.candidates([apt.kernel_package(kernel), *PACKAGES])


def make(place: Workplace, loaded: Mapping[str, tuple[str, ...]]) -> Product:
    """Build the image in ``place``.

    :param loaded: the modules it has, as :data:`MODULES`.
    """
    place.progress("micro: fetching packages")
    system = place.directory / "system"
    apt.unpack(apt.fetch(place.packages, place.downloads), system)
    kernel = _only(system / "boot", "vmlinuz-*")

    place.progress("micro: making the initramfs")
    plain, packed = place.directory / "initramfs.cpio", place.directory / "initramfs"
    plain.write_bytes(cpio.archive(initramfs(system, loaded)))
    # lz4 and an uncompressed qcow2 are the fastest to boot: gzip, zstd and qcow2's own compression save
    # up to 4 MB and cost up to 0.4 s of each boot. -l: the old frame format, the only one the kernel unpacks.
    run(["lz4", "-l", "-9", "--force", "--quiet", plain, packed], timeout=_TIMEOUT)

    place.progress("micro: making the disk")
    config = place.directory / "syslinux.cfg"
    config.write_text(disk.syslinux_config(KERNEL_ARGUMENTS), "ascii")
    raw, image = place.directory / "micro.raw", place.directory / "micro.qcow2"
    disk.write_boot_disk(raw, {"vmlinuz": kernel, "initramfs": packed, "syslinux.cfg": config})
    disk.convert(raw, image, compress=False)
    return Product(image, {"vmlinuz": kernel, "initramfs": packed})


def initramfs(system: Path, loaded: Mapping[str, tuple[str, ...]]) -> list[cpio.Entry]:
    """All of the guest's root file system.

    :param system: directory the packages are unpacked in.
    :param loaded: as for :func:`make`.
    """
    own = list(_own_files())
    taken = {Path(entry.path).name for entry in own}
    busybox = system / "bin/busybox"
    applets = run([busybox, "--list"], timeout=_TIMEOUT).split()
    return [
        *own,
        *_modules(system, loaded),
        *_programs(system),
        # Debian's busybox gives its root rights up at once, except in ping and su, which need them.
        cpio.file("bin/busybox", busybox.read_bytes(), 0o4755),
        *(cpio.link(f"bin/{name}", "busybox") for name in applets if name not in taken and name != "busybox"),
        *(cpio.directory(path, permissions) for path, permissions in DIRECTORIES.items()),
        *(cpio.link(path, target) for path, target in LINKS.items()),
        # The kernel opens it for process 1 before anything could be mounted.
        cpio.character_device("dev/console", 5, 1),
    ]


def _own_files() -> Iterator[cpio.Entry]:
    root = HERE / "micro_root"
    for path in sorted(root.rglob("*")):
        if path.is_file():
            name = path.relative_to(root).as_posix()
            yield cpio.file(name, path.read_bytes(), 0o755 if name.startswith(_EXECUTABLE) else 0o644)


def _modules(system: Path, loaded: Mapping[str, tuple[str, ...]]) -> Iterator[cpio.Entry]:
    files = {modules.canonical(path.stem): path for path in (system / "lib/modules").rglob("*.ko")}

    def read(name: str) -> bytes:
        if name not in files:
            raise ImageBuildError(f"the kernel package has no module {name}")
        return files[name].read_bytes()

    lists = {variable: modules.load_order(wanted, read) for variable, wanted in loaded.items()}
    script = "".join(f'{variable}="{" ".join(order)}"\n' for variable, order in lists.items())
    yield cpio.file("usr/lib/micro/modules.sh", script.encode())
    for name in sorted({name for order in lists.values() for name in order}):
        yield cpio.file(f"lib/modules/{name}.ko", modules.unsigned(read(name)))


def _programs(system: Path) -> Iterator[cpio.Entry]:
    for path in PROGRAMS:
        yield cpio.file(path, (system / path).read_bytes(), 0o755)
    for name in (*LIBRARIES, LOADER):
        found = [system / place / name for place in LIBRARY_DIRECTORIES if (system / place / name).exists()]
        if not found:
            raise ImageBuildError(
                f"the packages have no {name}", hint=f"expected in {', '.join(LIBRARY_DIRECTORIES)}"
            )
        yield cpio.file(f"lib/{name}", found[0].read_bytes(), 0o755)


def _only(directory: Path, pattern: str) -> Path:
    found = list(directory.glob(pattern))
    if len(found) != 1:
        raise ImageBuildError(f"expected one {pattern} in the kernel package, found {len(found)}")
    return found[0]


_SOURCES = ("micro.py", "micro_root", "cpio.py", "disk.py", "modules.py")
RECIPE = Recipe(
    name="micro",
    sources=_SOURCES,
    options={"kernel arguments": KERNEL_ARGUMENTS},
    packages=functools.partial(packages, KERNEL),
    make=functools.partial(make, loaded=MODULES),
)
FILES_RECIPE = Recipe(
    name="micro-files",
    sources=_SOURCES,
    options={"kernel arguments": KERNEL_ARGUMENTS},
    packages=functools.partial(packages, FILES_KERNEL),
    make=functools.partial(make, loaded=FILES_MODULES),
)
