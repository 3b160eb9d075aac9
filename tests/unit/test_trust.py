"""Who could change what a path leads to: the file, the directories above it, and the links on the way."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from nornir_torque_vm.trust import exposure

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who gives files away")
NOBODY = 65534


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A file of ours, in directories of ours."""
    path = tmp_path / "site" / "script"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\n")
    return path


def test_what_is_ours_all_the_way_is_not_exposed(tmp_path: Path, script: Path) -> None:
    """Links of ours too, also those that lead over several others, and upwards."""
    (tmp_path / "first").symlink_to("second/../second/script")
    (tmp_path / "second").symlink_to(script.parent)
    assert exposure(str(script)) == ""
    assert exposure(str(tmp_path / "first")) == ""
    assert exposure(f"{tmp_path}/second/.././/site/script") == ""


@pytest.mark.parametrize("link", ["the file", "a directory"])
def test_a_link_in_a_directory_of_others_can_lead_elsewhere_tomorrow(
    tmp_path: Path, script: Path, link: str
) -> None:
    """What it leads to now is of no importance."""
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "link").symlink_to(script if link == "the file" else script.parent)
    path = f"{theirs}/link" if link == "the file" else f"{theirs}/link/script"
    assert exposure(path) == ""
    theirs.chmod(0o777)
    assert exposure(path) == f"{theirs} can be written by others (mode 0777)"
    theirs.chmod(0o755)
    os.chown(theirs, NOBODY, NOBODY)
    assert exposure(path) == f"{theirs} belongs to uid {NOBODY}, not to root"
    (tmp_path / "ours").symlink_to(path)
    assert exposure(str(tmp_path / "ours")) == f"{theirs} belongs to uid {NOBODY}, not to root"


def test_a_link_of_others_in_a_sticky_directory(tmp_path: Path, script: Path) -> None:
    """Nobody else can replace it there, but its owner."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / "link").symlink_to(script)
    assert exposure(str(shared / "link")) == ""
    os.chown(shared / "link", NOBODY, NOBODY, follow_symlinks=False)
    assert exposure(str(shared / "link")) == f"{shared}/link belongs to uid {NOBODY}, not to root"


def test_the_nearest_reason_is_told(tmp_path: Path, script: Path) -> None:
    """The file itself before what is above it."""
    script.parent.chmod(0o777)
    assert exposure(str(script)) == f"{script.parent} can be written by others (mode 0777)"
    script.chmod(0o666)
    assert exposure(str(script)) == f"{script} can be written by others (mode 0666)"


def test_what_is_not_there_cannot_be_judged(tmp_path: Path) -> None:
    """Nor what leads in a circle."""
    with pytest.raises(FileNotFoundError):
        exposure(str(tmp_path / "none"))
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(OSError, match="circle") as caught:
        exposure(str(tmp_path / "circle"))
    assert caught.value.errno == errno.ELOOP


@pytest.mark.parametrize("target", ["round", "round/round"])
def test_links_that_lead_on_and_on_have_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    """Whoever owns one can make a circle of it after the first look."""
    (tmp_path / "round").symlink_to(target)
    monkeypatch.setattr(os, "stat", lambda _path: None)
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        exposure(str(tmp_path / "round"))
