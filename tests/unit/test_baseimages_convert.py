"""Files of other kinds become images, by a qemu-img that can read what everybody can, and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from qcow2_bytes import image_bytes

from nornir_torque_vm.baseimages import convert
from nornir_torque_vm.baseimages.convert import converted
from nornir_torque_vm.deadline import NEVER, Deadline
from nornir_torque_vm.errors import DeadlineExceeded, ImageError
from nornir_torque_vm.qcow2 import HEADER_BYTES, parse_header

needs_qemu_img = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed")
MARK = b"what is on the disk"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory that everybody can reach, and a place for what is made."""
    for folder in (tmp_path, *list(tmp_path.parents)[:3]):
        if folder != Path("/tmp") and str(folder).startswith("/tmp/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    (tmp_path / "pool").mkdir(0o755)
    (tmp_path / "disk").write_bytes(MARK.ljust(1 << 20, b"\0"))
    return tmp_path


def qemu_img(*words: str | Path) -> None:
    subprocess.run(["qemu-img", *words], check=True, capture_output=True)


def header_of(files: Path, name: str, kind: str = "") -> tuple[object, bytes]:
    """The header of what a file became, and the first bytes of its disk."""
    with converted(str(files / name), kind, str(files / "pool"), NEVER) as fd:
        target = files / "copy.qcow2"
        target.write_bytes(Path(f"/proc/self/fd/{fd}").read_bytes())
        header = parse_header(os.pread(fd, HEADER_BYTES, 0))
    qemu_img("convert", "-f", "qcow2", "-O", "raw", target, files / "back")
    assert list((files / "pool").iterdir()) == []
    return header, (files / "back").read_bytes()[: len(MARK)]


@needs_qemu_img
@pytest.mark.parametrize("kind", ["raw", "vmdk", "vdi", "vpc", "qcow2"])
def test_a_disk_of_each_kind_becomes_a_self_contained_image(files: Path, kind: str) -> None:
    """Its content is the same; nothing is left beside it."""
    qemu_img("convert", "-f", "raw", "-O", kind, files / "disk", files / "other")
    header, start = header_of(files, "other", kind)
    assert (header.backing_file, header.data_file, start) == ("", "", MARK)  # type: ignore[attr-defined]


@needs_qemu_img
def test_an_image_that_builds_on_another_is_joined_with_it(files: Path) -> None:
    """qcow2 need not be said: its own header is believed."""
    qemu_img("create", "-f", "qcow2", "-F", "raw", "-b", "disk", files / "upper")
    header, start = header_of(files, "upper")
    assert (header.backing_file, start) == ("", MARK)  # type: ignore[attr-defined]


def test_no_format_is_guessed(files: Path) -> None:
    """Neither that of the file nor that of what it builds on: guests could write what would be guessed."""
    (files / "guess").write_bytes(image_bytes(backing=b"disk"))
    for name, why in (("disk", "say what it is: --from"), ("guess", "without saying of what format")):
        with pytest.raises(ImageError, match=why), converted(str(files / name), "", str(files), NEVER):
            pass


def test_an_image_that_builds_on_the_network_is_refused(files: Path) -> None:
    """qemu-img would connect to it."""
    (files / "net").write_bytes(image_bytes(backing=b"nbd://127.0.0.1/x", fmt=b"raw"))
    with pytest.raises(ImageError, match="which is no file"), converted(str(files / "net"), "", "/", NEVER):
        pass


@needs_qemu_img
@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
@pytest.mark.parametrize("how", ["backing", "extent", "itself"])
def test_what_not_everybody_may_read_does_not_become_part_of_an_image(files: Path, how: str) -> None:
    """An image somebody offers could name root's files; each user could boot what came of it."""
    secret = files / "secret"
    secret.write_bytes(b"secret".ljust(1 << 16, b"\0"))
    secret.chmod(0o600)
    kind = {"backing": "qcow2", "extent": "vmdk", "itself": "raw"}[how]
    if how == "backing":
        qemu_img("create", "-f", "qcow2", "-F", "raw", "-b", secret, files / "bad")
    elif how == "extent":
        (files / "bad").write_text(
            "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"
            f'createType="monolithicFlat"\nRW 128 FLAT "{secret}" 0\n'
        )
    path = secret if how == "itself" else files / "bad"
    with (
        pytest.raises(ImageError, match=r"Permission denied.*nobody's rights"),
        converted(str(path), kind, str(files / "pool"), NEVER),
    ):
        pass
    assert list((files / "pool").iterdir()) == []
    secret.chmod(0o644)
    with converted(str(path), kind, str(files / "pool"), NEVER):
        "else it was refused for another reason"


def test_a_conversion_that_never_ends_is_ended(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that hangs, or a file made for that."""
    program = files / "slow"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setattr(convert, "PROGRAM", str(program))
    with (
        pytest.raises(DeadlineExceeded, match="see --timeout"),
        converted(str(files / "disk"), "raw", str(files / "pool"), Deadline.after(0.3)),
    ):
        pass
    assert list((files / "pool").iterdir()) == []


def test_a_missing_qemu_img_is_told(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the package it is in."""
    monkeypatch.setattr(convert, "PROGRAM", "no-such-qemu-img")
    with (
        pytest.raises(ImageError, match="apt install qemu-utils"),
        converted(str(files / "disk"), "raw", str(files / "pool"), NEVER),
    ):
        pass
