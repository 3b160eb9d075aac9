"""One guest under plain QEMU: an image and a seed of ours, no libvirt, no lab, loopback only."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import io
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.connections.command import CommandResult
from nornir_torque_vm.model import Guest, Image, Job, JobKeys, Node, Owner, Plan, Shape
from nornir_torque_vm.render.cloudinit.iso import seed_iso
from nornir_torque_vm.render.cloudinit.seed import seed_files
from nornir_torque_vm.sshkeys import make_job_keys

QEMU = "/usr/bin/qemu-system-x86_64"
ADDRESS = "10.0.2.15"
"""What QEMU's own DHCP server gives the only guest."""
NAME, MAC = "j1-r0", "02:00:00:00:00:01"
OWNER = Owner("alice", 2001, 2001, "people", "/home/alice", groups=(("people", 2001), ("proj", 3001)))


def make_plan() -> Plan:
    """A job of one guest."""
    guest = Guest(NAME, 0, "node1", 0, MAC, "uuid-1", "tvm-1", Shape(vcpus=1, ram=1 << 28))
    return Plan(Job("1.head", "head", OWNER), (Node("node1"),), (guest,), Image("micro", "/image"))


VIRTIO_DISK = ("-machine", "q35", "-device", "virtio-blk-pci,drive=seed")
"""Where our domains have the seed."""
CD_DRIVE = ("-machine", "pc", "-device", "ide-cd,drive=seed")
"""Where many other tools put it."""


def make_seed(plan: Plan, keys: JobKeys, more: dict[str, Any], network: dict[str, Any] | None) -> bytes:
    """The seed our renderer writes, with ``more`` keys of user-data, perhaps another network."""
    files = seed_files(plan, plan.guests[0], keys, "10.0.2.2", Settings())
    head, _, document = files["user-data"].partition("\n")
    files["user-data"] = f"{head}\n{json.dumps({**json.loads(document), **more}, ensure_ascii=False)}\n"
    if network is not None:
        files["network-config"] = json.dumps(network)
    return seed_iso(files)


@dataclasses.dataclass
class QemuGuest:
    """A running guest; ``began`` is when QEMU started, on the monotonic clock."""

    process: subprocess.Popen[bytes]
    plan: Plan
    keys: JobKeys
    port: int
    directory: Path
    began: float

    @property
    def console(self) -> str:
        """All it printed so far."""
        return (self.directory / "console.log").read_text("utf-8", "replace")

    def wait_for_ssh(self, seconds: float) -> None:
        """Return once root can log in, the host key pinned; show the console when that takes too long."""
        while time.monotonic() - self.began < seconds:
            assert self.process.poll() is None, f"QEMU ended: {self.console[-2000:]}"
            try:
                self.run("true", tries=1)
            except (OSError, EOFError, paramiko.SSHException):
                time.sleep(0.1)
            else:
                return
        raise AssertionError(f"no ssh after {seconds} s: {self.console[-2000:]}")

    def run(self, command: str, *, user: str = "root", stdin: bytes = b"", tries: int = 20) -> CommandResult:
        """Run a command over ssh as root or the job's owner, though a busy guest may be slow to answer."""
        pair = self.keys.admin if user == "root" else self.keys.user
        with contextlib.closing(self._patient_transport(tries)) as transport:
            pinned = self.keys.hosts[NAME].public.split()[1]
            transport.connect(
                hostkey=paramiko.Ed25519Key(data=base64.b64decode(pinned)),
                username=user,
                pkey=paramiko.Ed25519Key.from_private_key(io.StringIO(pair.private)),
            )
            channel = transport.open_session(timeout=60)
            channel.settimeout(60)
            channel.exec_command(command)
            channel.sendall(stdin)
            channel.shutdown_write()
            output = channel.makefile("rb").read().decode()
            return CommandResult(
                channel.recv_exit_status(), output, channel.makefile_stderr("rb").read().decode()
            )

    def _patient_transport(self, tries: int) -> paramiko.Transport:
        for _ in range(tries - 1):
            with contextlib.suppress(OSError, EOFError):
                return self._transport()
            time.sleep(0.5)
        return self._transport()

    def _transport(self) -> paramiko.Transport:
        stream = socket.create_connection(("127.0.0.1", self.port), timeout=2)
        # QEMU accepts for a guest that is not there yet: wait for the server's first word, not for long.
        with contextlib.suppress(OSError):
            if stream.recv(1, socket.MSG_PEEK):
                return paramiko.Transport(stream)
        stream.close()
        raise EOFError("closed before the server said anything")

    def power_button(self) -> None:
        """Press it, over QEMU's machine protocol."""
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(10)
            control.connect(str(self.directory / "qmp"))
            with control.makefile("rw", encoding="ascii") as stream:
                stream.readline()  # it introduces itself
                for command in ("qmp_capabilities", "system_powerdown"):
                    stream.write(json.dumps({"execute": command}) + "\n")
                    stream.flush()
                    stream.readline()


@contextlib.contextmanager
def qemu_guest(
    image: Path,
    directory: Path,
    memory: str,
    more: dict[str, Any],
    *,
    network: dict[str, Any] | None = None,
    seed_device: tuple[str, ...] = VIRTIO_DISK,
) -> Iterator[QemuGuest]:
    """Start a guest on an overlay over ``image``; it is gone afterwards, whatever happened."""
    plan, keys = make_plan(), make_job_keys([NAME])
    overlay, seed = directory / "overlay.qcow2", directory / "seed.iso"
    seed.write_bytes(make_seed(plan, keys, more, network))
    create = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(image), str(overlay)]
    subprocess.run(create, check=True, timeout=30)
    port = _free_port()
    argv = [
        QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-accel", "tcg", *seed_device,
        "-m", memory, "-qmp", f"unix:{directory}/qmp,server=on,wait=off",
        "-serial", f"file:{directory}/console.log",
        "-drive", f"file={overlay},if=none,id=disk,cache=unsafe",
        "-device", "virtio-blk-pci,drive=disk,bootindex=1",
        "-drive", f"file={seed},if=none,id=seed,format=raw,readonly=on",
        # restrict: the guest reaches nobody; one port of the loopback interface reaches its sshd.
        "-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-{ADDRESS}:22",
        "-device", f"virtio-net-pci,netdev=net,mac={plan.guests[0].mac},romfile=",
        "-object", "rng-builtin,id=rng", "-device", "virtio-rng-pci,rng=rng",
    ]  # fmt: skip
    began = time.monotonic()
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL) as process:
        try:
            yield QemuGuest(process, plan, keys, port, directory, began)
        finally:
            process.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
