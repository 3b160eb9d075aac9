"""Whether hardware virtualization is believed to work."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.lab import kvm
from nornir_torque_vm.lab.kvm import Verdict


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with the micro guest, on a machine that has /dev/kvm."""
    monkeypatch.setattr(kvm, "DEVICE", tmp_path)
    (tmp_path / "images/micro").mkdir(parents=True)
    for name in ("vmlinuz", "initramfs"):
        (tmp_path / "images/micro" / name).touch()
    return tmp_path


@pytest.fixture
def qemu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A QEMU that does what the script in this file says."""
    program = tmp_path / "qemu"
    monkeypatch.setattr(kvm, "QEMU", str(program))
    return program


def behave(qemu: Path, script: str) -> None:
    """Let QEMU be this script."""
    qemu.write_text(f"#!/bin/sh\n{script}\n")
    qemu.chmod(0o755)


def test_only_the_guests_own_word_is_proof(cache: Path, qemu: Path) -> None:
    """Its init says so on the console, in whatever pieces that arrives; QEMU is then ended."""
    behave(qemu, "printf 'booting\\ntorque-vm-'; sleep 0.1; echo probe-ok; exec sleep 60")
    began = time.monotonic()
    assert kvm.probe(cache) == Verdict(proven=True)
    assert time.monotonic() - began < 5


def test_the_probe_asks_for_kvm_and_for_the_probe(cache: Path, qemu: Path) -> None:
    """With emulation as a fallback the proof would prove nothing."""
    behave(qemu, 'case "$*" in *"-accel kvm "*"-append "*torquevm.probe=1*) echo torque-vm-probe-ok ;; esac')
    said = kvm.try_guest(cache / "images/micro/vmlinuz", cache / "images/micro/initramfs", Deadline.after(5))
    assert said.proven


def test_a_qemu_that_gives_up_is_quoted(cache: Path, qemu: Path) -> None:
    """Its last line says why KVM does not work."""
    behave(qemu, "echo hello; echo 'failed to initialize kvm: Permission denied' >&2; exit 1")
    assert kvm.probe(cache) == Verdict(
        proven=False, reason="a guest with KVM did not start: failed to initialize kvm: Permission denied"
    )


def test_a_guest_that_hangs_is_given_up_in_time(
    cache: Path, qemu: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As seen with processor models that the machine cannot run: no output, no end."""
    monkeypatch.setattr(kvm, "PROBE_SECONDS", 0.3)
    behave(qemu, "exec sleep 60")
    began = time.monotonic()
    assert kvm.probe(cache) == Verdict(proven=False, reason="a guest with KVM did not start within 0.3 s")
    assert time.monotonic() - began < 5


def test_the_verdict_holds_until_the_machine_is_booted_again(
    cache: Path, qemu: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight seconds once, not at every up."""
    behave(qemu, "exit 1")
    first = kvm.probe(cache)
    behave(qemu, "echo torque-vm-probe-ok")
    assert kvm.probe(cache) == first
    monkeypatch.setattr(kvm, "_boot_id", lambda: "another boot")
    assert kvm.probe(cache).proven


def test_without_the_micro_guest_the_question_stays_open(cache: Path, qemu: Path) -> None:
    """No proof, so emulation; but nothing is remembered, and a built guest is tried."""
    behave(qemu, "echo torque-vm-probe-ok")
    kernel = cache / "images/micro/vmlinuz"
    kernel.unlink()
    assert not kvm.probe(cache).proven
    kernel.touch()
    assert kvm.probe(cache).proven


def test_a_machine_without_the_device_is_not_tried(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most virtual machines: the answer is known at once."""
    monkeypatch.setattr(kvm, "DEVICE", Path("/nonexistent/kvm"))
    assert kvm.probe(cache) == Verdict(proven=False, reason="there is no /nonexistent/kvm")


def test_a_damaged_memory_is_no_memory(cache: Path, qemu: Path) -> None:
    """Then the guest is simply tried again."""
    behave(qemu, "echo torque-vm-probe-ok")
    (cache / "kvm.json").write_text('{"boot": 1')
    assert kvm.probe(cache).proven
