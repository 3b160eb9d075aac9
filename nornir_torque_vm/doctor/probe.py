"""Starting a guest without an operating system: a boot sector that says it ran, and nothing else."""

from __future__ import annotations

import dataclasses
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from nornir_torque_vm.deadline import Deadline

EMULATORS = ("qemu-system-x86_64", "/usr/libexec/qemu-kvm", "kvm")
"""Where distributions have it."""
SECONDS = 8.0
TEXT = b"torque-vm-probe-ok"
FLOPPY = 1440 * 1024
# org 7c00: cld; xor ax,ax; mov ds,ax; mov si,TEXT; next: lodsb; test al,al; jz end; out e9,al; jmp next;
# end: hlt; jmp end. Port e9 is QEMU's debug console.
_CODE = bytes.fromhex("fc31c08ed8be147cac84c07404e6e9ebf7f4ebfd")
SECTOR = (_CODE + TEXT + b"\0").ljust(510, b"\0") + b"\x55\xaa"


@dataclasses.dataclass(frozen=True, slots=True)
class Proof:
    """Whether a guest ran, after how many seconds, or why not, in half a sentence."""

    ran: bool
    reason: str = ""
    seconds: float = 0.0


def prove(accelerator: str, deadline: Deadline) -> Proof:
    """Start the guest and wait until it says that it runs, for at most :data:`SECONDS`.

    :param accelerator: ``kvm`` or ``tcg``.
    """
    emulator = next((path for name in EMULATORS if (path := shutil.which(name))), None)
    if emulator is None:
        return Proof(ran=False, reason="no emulator was found to try it with")
    limit, began = Deadline.after(deadline.clamp(SECONDS)), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="torque-vm-") as folder:
        disk = Path(folder, "floppy")
        disk.write_bytes(SECTOR.ljust(FLOPPY, b"\0"))
        argv = [
            emulator, "-accel", accelerator, *(("-cpu", "host") if accelerator == "kvm" else ()),
            "-m", "16", "-nodefaults", "-no-user-config", "-display", "none", "-debugcon", "stdio",
            "-drive", f"if=floppy,format=raw,readonly=on,file={disk}", "-boot", "a",
        ]  # fmt: skip
        with subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=folder
        ) as guest:
            try:
                said = _listen(guest, limit)
            finally:
                guest.kill()
    if TEXT in said:
        return Proof(ran=True, seconds=time.monotonic() - began)
    if limit.remaining() <= 0.0:
        return Proof(ran=False, reason=f"a guest did not start within {SECONDS:g} s")
    last = said.decode(errors="replace").strip().splitlines() or ["no message"]
    return Proof(ran=False, reason=f"a guest did not start: {last[-1].strip()}")


def _listen(guest: subprocess.Popen[bytes], limit: Deadline) -> bytes:
    """Collect what the guest and the emulator say until the proof, the guest's end or the deadline."""
    assert guest.stdout is not None  # noqa: S101 - Popen was given a pipe; for the type checker
    said = b""
    while TEXT not in said and select.select([guest.stdout], [], [], limit.remaining())[0]:
        data = os.read(guest.stdout.fileno(), 65536)
        if not data:
            break
        said += data
    return said
