"""Micro guests with one thing wrong, for a lab's pool: made of the parts of the real one."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from nornir_torque_vm.guestimages import cpio, disk
from nornir_torque_vm.guestimages.micro import KERNEL_ARGUMENTS
from nornir_torque_vm.lab import Lab
from nornir_torque_vm.lab.layout import cache_dir

PANICS = "rdinit=/nowhere root=/dev/none"
"""The kernel finds neither an init nor a root file system, before any driver of ours is loaded."""
POWERS_OFF = b"#!/bin/sh\nprintf '\\033]0;title\\007\\033[31mgoing down\\033[0m\\n'\nexec poweroff -f\n"
"""An init that prints a line with terminal escapes and turns the guest off."""
ENDS_AT_ONCE = b"#!/bin/sh\n"
"""A program that does nothing, and well."""


@contextlib.contextmanager
def in_pool(lab: Lab, work: Path) -> Iterator[Callable[..., str]]:
    """Yields what makes an image in a lab's pool, as :func:`make` does; it is gone afterwards."""
    path = lab.pool / f"broken-{lab.name}.qcow2"
    try:
        yield lambda **how: make(cache_dir() / "images/micro", path, work, **how)
    finally:
        path.unlink(missing_ok=True)


def make(
    parts: Path, image: Path, work: Path, *, arguments: str = "", programs: Mapping[str, bytes] | None = None
) -> str:
    """Make the image and return its name.

    :param parts: directory of the micro guest's kernel and initramfs.
    :param arguments: more words for the kernel.
    :param programs: path in the guest → what stands there instead of the guest's own.
    """
    packed = parts / "initramfs"
    if programs:
        packed = work / "initramfs"
        whole = subprocess.run(
            ["lz4", "-d", "-c", parts / "initramfs"], check=True, capture_output=True
        ).stdout
        # a later archive's files go before an earlier one's (the kernel's early-userspace/buffer-format)
        own = [cpio.file(name, text, 0o755) for name, text in programs.items()]
        packed.write_bytes(whole + cpio.archive(own))
    config, raw = work / "syslinux.cfg", work / "disk.raw"
    config.write_text(disk.syslinux_config(f"{KERNEL_ARGUMENTS} {arguments}"), "ascii")
    disk.write_boot_disk(raw, {"vmlinuz": parts / "vmlinuz", "initramfs": packed, "syslinux.cfg": config})
    disk.convert(raw, image, compress=False)
    image.chmod(0o444)
    return image.name
