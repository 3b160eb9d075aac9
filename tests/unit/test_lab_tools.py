"""Programs the lab needs, and the ssh server that is only unpacked."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from nornir_torque_vm.errors import LabError
from nornir_torque_vm.lab import tools
from nornir_torque_vm.lab.tools import Sshd


@pytest.fixture
def no_sshd(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without an ssh server of its own."""
    monkeypatch.setattr(tools, "INSTALLED_SSHD", Path("/nonexistent/sshd"))


def unpacked(directory: Path, version: str) -> Path:
    """A directory like an unpacked package, with a program that runs."""
    program = directory / f"openssh-server_{version}" / "usr/sbin/sshd"
    program.parent.mkdir(parents=True)
    shutil.copy("/bin/true", program)
    return program.parents[2]


def test_missing_programs_are_named_with_their_packages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """All at once, and as the command that mends it, without what would start a daemon."""
    monkeypatch.setattr(tools, "PATH", str(tmp_path))
    for name in tools.PACKAGES:
        if name not in {"libvirtd", "virtlogd", "dnsmasq"}:
            (tmp_path / name).touch(0o755)
    assert sorted(tools.missing()) == ["dnsmasq", "libvirtd", "virtlogd"]
    with pytest.raises(LabError) as caught:
        tools.require()
    assert str(caught.value) == (
        "dnsmasq, libvirtd, virtlogd not found; "
        "apt-get install --no-install-recommends dnsmasq-base libvirt-daemon"
    )


def test_an_installed_sshd_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is downloaded."""
    monkeypatch.setattr(tools, "INSTALLED_SSHD", Path("/bin/true"))
    assert tools.sshd(tmp_path / "tools") == Sshd("/bin/true")


def test_an_unpacked_sshd_is_used_again(
    no_sshd: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without network, with its own libraries; one that does not run here is passed over."""
    monkeypatch.setattr(tools, "_download", lambda directory: pytest.fail("no need to download"))
    good = unpacked(tmp_path, "1")
    (good / "lib").mkdir()
    (good / "lib/libwrap.so.0").touch()
    (tmp_path / "openssh-server_2/usr/sbin").mkdir(parents=True)
    assert tools.sshd(tmp_path) == Sshd(
        "/run/lab/tools/openssh-server_1/usr/sbin/sshd", "/run/lab/tools/openssh-server_1/lib"
    )


def test_a_download_that_fails_says_why_and_leaves_nothing(
    no_sshd: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last line of apt's own words, and what to do."""
    real = subprocess.run

    def offline(argv: list[str], **rest: object) -> subprocess.CompletedProcess[str]:
        script = "echo Reading...; echo E: Failed to fetch it; exit 100"
        return real(["sh", "-c", script], **rest)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(subprocess, "run", offline)
    with pytest.raises(LabError) as caught:
        tools.sshd(tmp_path)
    assert "download openssh-server: E: Failed to fetch it; check the network" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_download_is_unpacked_with_the_libraries_it_lacks(
    no_sshd: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It appears under its version in one step, and only when it is complete."""
    wanted: list[str] = []

    def fetch(package: str, directory: Path, tree: Path) -> Path:
        wanted.append(package)
        assert not list(tmp_path.glob("openssh-server_*"))
        if package == "openssh-server":
            (tree / "usr/sbin").mkdir(parents=True)
            shutil.copy("/bin/true", tree / "usr/sbin/sshd")
        else:
            (tree / "usr/lib").mkdir()
            (tree / "usr/lib/libwrap.so.0").touch()
        return directory / f"{package}_1.2_amd64.deb"

    monkeypatch.setattr(tools, "_fetch", fetch)
    monkeypatch.setattr(tools, "unresolved", lambda tree: ["libwrap.so.0"])
    found = tools.sshd(tmp_path)
    assert wanted == ["openssh-server", "libwrap0"]
    assert found.path == "/run/lab/tools/openssh-server_1.2_amd64/usr/sbin/sshd"
    assert found.libraries == "/run/lab/tools/openssh-server_1.2_amd64/usr/lib"
    assert [entry.name for entry in tmp_path.iterdir()] == ["openssh-server_1.2_amd64"]


def test_libraries_that_are_not_there_are_found_out(tmp_path: Path) -> None:
    """By the loader's own account; a tree without the program lacks the program."""
    assert tools.unresolved(unpacked(tmp_path, "1")) == []
    assert tools.unresolved(tmp_path) == ["sshd"]
