"""The guest images, really booted: what a seed asks for is there, and the host key is the pinned one."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from qemu_guest import ADDRESS, CD_DRIVE, MAC, NAME, OWNER, QEMU, QemuGuest, qemu_guest

from nornir_torque_vm.guestimages import build
from nornir_torque_vm.lab.layout import cache_dir
from nornir_torque_vm.render.roster import roster_script

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

PATIENCE = 120
"""Seconds; a machine with other work takes many times the three that one guest alone needs."""
RESULT = "/run/cloud-init/result.json"
WISHES: dict[str, Any] = {
    "write_files": [
        {"path": "/etc/deep/text", "content": "it's $HOME \"ü\" 😀\n", "permissions": "0640"},
        {"path": "/home/alice/late", "content": base64.b64encode(b"\0\xff").decode(), "encoding": "b64",
         "owner": "alice:people", "permissions": "0600", "defer": True},
    ],
    "runcmd": [["sh", "-c", 'echo "$0" $(id -un alice) > /run/ran', "it's me"]],
}  # fmt: skip


@pytest.fixture(scope="module", params=["micro", pytest.param("debian", marks=pytest.mark.guest)])
def guest(
    request: pytest.FixtureRequest, lab_possible: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[QemuGuest]:
    """One guest of each image, for all questions about it."""
    name: str = request.param
    image = build(name, cache_dir())
    memory, patience = ("192", PATIENCE) if name == "micro" else ("512", 400)
    with qemu_guest(image, tmp_path_factory.mktemp(name), memory, WISHES) as running:
        running.wait_for_ssh(patience)
        running.run(f"n={patience}; until [ -s {RESULT} ] || [ $n = 0 ]; do n=$((n-1)); sleep 1; done")
        yield running


def text(guest: QemuGuest, command: str, user: str = "root") -> str:
    """What a command prints that has to succeed."""
    said = guest.run(command, user=user)
    assert said.rc == 0, said
    return said.stdout


def test_cloud_init_says_that_all_went_well(guest: QemuGuest) -> None:
    """The file our health check reads, with the seed's disk and no errors."""
    result = json.loads(text(guest, f"cat {RESULT}"))["v1"]
    assert result["errors"] == []
    assert result["datasource"].startswith("DataSourceNoCloud [seed=/dev/vd")
    assert guest.run("test -s /var/lib/cloud/instance/boot-finished").rc == 0


def test_the_guest_has_its_name_and_address(guest: QemuGuest) -> None:
    """The name from the seed, the address from DHCP on the card with the seed's MAC address."""
    assert text(guest, "hostname") == f"{NAME}\n"
    assert f"inet {ADDRESS}/24" in text(guest, "ip addr show eth0")


def test_the_owner_exists_with_the_same_numbers(guest: QemuGuest) -> None:
    """uid, gid and groups as on the nodes, a shell, a home of their own, and no password."""
    assert text(guest, "id -u; id -g; id -gn; id -Gn; pwd", user="alice").split("\n") == [
        "2001", "2001", "people", "people proj", OWNER.home, "",
    ]  # fmt: skip
    assert text(guest, "getent group 3001").startswith("proj:x:3001:")
    assert text(guest, "grep -E '^(root|alice):[!*]' /etc/shadow | wc -l").strip() == "2"


def test_files_are_written_as_asked(guest: QemuGuest) -> None:
    """Any text and any bytes, mode and owner; deferred ones after the accounts exist."""
    assert text(guest, "cat /etc/deep/text") == WISHES["write_files"][0]["content"]
    assert text(guest, "stat -c '%a %U' /etc/deep/text") == "640 root\n"
    assert text(guest, "base64 /home/alice/late") == "AP8=\n"
    assert text(guest, "stat -c '%a %U %G' /home/alice/late") == "600 alice people\n"


def test_commands_run_last_and_with_their_words(guest: QemuGuest) -> None:
    """Words of the seed reach the program unchanged."""
    assert text(guest, "cat /run/ran") == "it's me alice\n"


def test_no_other_host_key_is_there(guest: QemuGuest) -> None:
    """The public half is the one we pinned; the image brought none of its own."""
    assert text(guest, "cat /etc/ssh/*.pub").split()[:2] == guest.keys.hosts[NAME].public.split()[:2]


def test_guests_reach_each_other_after_the_roster(guest: QemuGuest) -> None:
    """The owner logs in to a guest of the job by name; a host nobody pinned is refused, not asked about."""
    script = roster_script(guest.plan, {NAME: ADDRESS}, guest.keys)
    said = guest.run("sh -s", stdin=script.encode())
    assert (said.rc, said.stdout) == (0, "")
    assert text(guest, f"ssh -o BatchMode=yes {NAME} 'hostname; id -un'", user="alice") == f"{NAME}\nalice\n"
    unknown = guest.run("ssh -o BatchMode=yes -o StrictHostKeyChecking=yes localhost true", user="alice")
    assert unknown.rc == 255
    assert "localhost" in unknown.stderr


@pytest.mark.parametrize(
    "command",
    ["nproc", "free", "date +%s", "env", "ping -c 1 -W 2 127.0.0.1", "echo hi | base64 | base64 -d",
     "tar -cf - /etc/hostname | tar -tf -", "setsid sleep 0", "bash -c 'kill -0 $$'"],
)  # fmt: skip
def test_what_job_scripts_take_for_granted_is_there(guest: QemuGuest, command: str) -> None:
    """As the job's owner, not only as root."""
    said = guest.run(command, user="alice")
    assert said.rc == 0, said


def test_the_micro_guest_powers_off_in_order(lab_possible: None, micro: Path, tmp_path: Path) -> None:
    """On the power button, which is what an orderly shutdown through libvirt presses."""
    with qemu_guest(micro, tmp_path, "192", {}) as running:
        running.wait_for_ssh(PATIENCE)
        running.run("n=0; until pidof acpid || [ $n = 50 ]; do n=$((n+1)); sleep 0.1; done")
        running.power_button()
        assert running.process.wait(30) == 0


def test_the_micro_guest_takes_a_cd_drive_and_a_fixed_address(
    lab_possible: None, micro: Path, tmp_path: Path
) -> None:
    """Other tools attach seeds that way, and sites without DHCP write addresses into them."""
    card = {"match": {"macaddress": MAC}, "addresses": [f"{ADDRESS}/24"], "gateway4": "10.0.2.2"}
    network = {"version": 2, "ethernets": {"any": card}}
    with qemu_guest(micro, tmp_path, "192", {}, network=network, seed_device=CD_DRIVE) as running:
        running.wait_for_ssh(PATIENCE)
        assert "[seed=/dev/sr0]" in text(running, f"cat {RESULT}")
        assert "default via 10.0.2.2" in text(running, "ip route")
        assert running.run("pidof udhcpc").rc != 0


def test_the_micro_guest_without_a_seed_says_so(lab_possible: None, micro: Path, tmp_path: Path) -> None:
    """In its console, where one looks then: nobody could log in to read result.json."""
    overlay = tmp_path / "overlay.qcow2"
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(micro), str(overlay)], check=True
    )
    argv = [
        QEMU, "-nodefaults", "-display", "none", "-accel", "tcg", "-m", "192", "-serial", "stdio",
        "-drive", f"file={overlay},if=virtio", "-nic", "none",
    ]  # fmt: skip
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                lines.append(line.decode(errors="replace"))
                if "is ready" in lines[-1]:
                    break
        finally:
            process.kill()
    assert "micro: error: no disk with the label cidata was found\n" in [
        line.replace("\r", "") for line in lines
    ]


def test_the_probe_of_hardware_virtualization_gets_its_answer(lab_possible: None, micro: Path) -> None:
    """Kernel and initramfs beside the recipe, started directly, say so and power off."""
    kept = cache_dir() / "images/micro"
    argv = [
        QEMU, "-nodefaults", "-no-reboot", "-display", "none", "-accel", "tcg", "-m", "192",
        "-serial", "stdio", "-kernel", str(kept / "vmlinuz"), "-initrd", str(kept / "initramfs"),
        "-append", "console=ttyS0 quiet panic=-1 torquevm.probe=1",
    ]  # fmt: skip
    said = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    assert re.search(r"^torque-vm-probe-ok\r?$", said.stdout, re.MULTILINE)
