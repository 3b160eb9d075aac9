"""Whether hardware virtualization works here: only a guest that ran is proof.

/dev/kvm may exist, even be opened, and still no guest gets anywhere.
"""

from __future__ import annotations

import dataclasses
import json
import os
import select
import subprocess
from pathlib import Path

from nornir_torque_vm.config.textfile import write_text
from nornir_torque_vm.deadline import Deadline

DEVICE = Path("/dev/kvm")
QEMU = "/usr/bin/qemu-system-x86_64"
NO_CORE_FILE = ("/usr/bin/prlimit", "--core=0")
"""Where KVM is broken QEMU may abort, and its core file would lie around."""
PROBE_SECONDS = 8.0
PROOF = b"torque-vm-probe-ok"
"""What the micro guest's init prints on the console when the kernel command line asks for it."""
COMMAND_LINE = "console=ttyS0 panic=-1 torquevm.probe=1"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a guest ran with KVM, and why not, in half a sentence."""

    proven: bool
    reason: str = ""


def probe(cache: Path) -> Verdict:
    """Return the verdict for this boot of the machine; start a guest when there is none yet.

    Takes up to :data:`PROBE_SECONDS` the first time. Without the micro guest's kernel the answer is no,
    and the question stays open.
    """
    if not DEVICE.exists():
        return Verdict(proven=False, reason=f"there is no {DEVICE}")
    kernel, initramfs = cache / "images/micro/vmlinuz", cache / "images/micro/initramfs"
    known = _recall(cache / "kvm.json")
    if known is not None:
        return known
    if not (kernel.exists() and initramfs.exists()):
        return Verdict(proven=False, reason="the micro guest is not built, so it was not tried")
    verdict = try_guest(kernel, initramfs, Deadline.after(PROBE_SECONDS))
    _remember(cache / "kvm.json", verdict)
    return verdict


def try_guest(kernel: Path, initramfs: Path, deadline: Deadline) -> Verdict:
    """Start the guest with KVM and wait until it says that it runs."""
    argv = [
        *NO_CORE_FILE, QEMU, "-accel", "kvm", "-cpu", "host", "-m", "256",
        "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio",
        "-kernel", str(kernel), "-initrd", str(initramfs), "-append", COMMAND_LINE,
    ]  # fmt: skip
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as guest:
        try:
            console = _listen(guest, deadline)
        finally:
            guest.kill()
    if PROOF in console:
        return Verdict(proven=True)
    if deadline.remaining() <= 0.0:
        return Verdict(proven=False, reason=f"a guest with KVM did not start within {PROBE_SECONDS:g} s")
    last = console.decode(errors="replace").strip().splitlines() or ["no message"]
    return Verdict(proven=False, reason=f"a guest with KVM did not start: {last[-1].strip()}")


def _listen(guest: subprocess.Popen[bytes], deadline: Deadline) -> bytes:
    """Collect the console until the proof, the guest's end or the deadline."""
    assert guest.stdout is not None  # noqa: S101 -- Popen was given a pipe; for the type checker
    console = b""
    while PROOF not in console:
        if not select.select([guest.stdout], [], [], deadline.remaining())[0]:
            break
        data = os.read(guest.stdout.fileno(), 65536)
        if not data:
            break
        console += data
    return console


def _recall(path: Path) -> Verdict | None:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        if known["boot"] == _boot_id():
            return Verdict(bool(known["proven"]), str(known["reason"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _remember(path: Path, verdict: Verdict) -> None:
    write_text(path, json.dumps({"boot": _boot_id()} | dataclasses.asdict(verdict)), 0o644)


def _boot_id() -> str:
    return BOOT_ID.read_text(encoding="ascii").strip()
