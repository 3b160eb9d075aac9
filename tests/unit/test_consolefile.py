"""The file with a failed job's consoles: where it goes, and that nothing of a user's leads root anywhere."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_torque_vm.accounts import caller
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.consolefile import leave as module
from nornir_torque_vm.consolefile.leave import LIMIT, leave, text_of, write_as_owner
from nornir_torque_vm.consolefile.place import Place, file_name, place_of
from nornir_torque_vm.errors import StorageError
from nornir_torque_vm.model import Owner
from nornir_torque_vm.runstate.history import History

NOBODY = Owner("nobody", 65534, 65534, "nogroup", "/nonexistent")


@pytest.mark.parametrize(
    ("output", "directory", "path"),
    [
        ("head:/home/alice/spectra.o17", "/project", "/home/alice/spectra.vm17-3"),
        ("/home/alice/out/", "", "/home/alice/out/spectra.vm17-3"),
        ("", "/project", "/project/spectra.vm17-3"),
        ("head:/x", "", "/spectra.vm17-3"),
    ],
)
def test_it_is_beside_the_jobs_output(output: str, directory: str, path: str) -> None:
    """As the server tells it, else where the job was submitted."""
    place = place_of(output, directory, "spectra", "17[3].head", 1)
    assert place is not None
    assert place.path == path


def test_a_later_attempts_has_its_number() -> None:
    """So none is written over another."""
    place = place_of("", "/w", "job", "17.head", 3)
    assert place == ("/w", "job.vm17.3")


@pytest.mark.parametrize(
    "output",
    ["head:/dev/null", "head:relative/x", "head:/a/../etc/x", "head:", "h:/a\n/x", "h:/proc/self/x", "x"],
)
def test_there_is_no_place_in_odd_directories(output: str) -> None:
    """None is better than a guess."""
    assert place_of(output, "", "job", "17.head", 1) is None


@given(st.text(max_size=300))
def test_any_job_name_is_one_harmless_file_name(name: str) -> None:
    """No slash, no leading dot or dash, not too long, printable."""
    made = file_name(name)
    assert made
    assert made[0] not in ".-+"
    assert len(made) <= 100
    assert made.isascii()
    assert not set(made) & set("/\0\n ;$`'\"")


@given(st.text(), st.text())
def test_any_directory_is_absolute_or_none(output: str, directory: str) -> None:
    """Whatever the job says of itself."""
    place = place_of(output, directory, "job", "17.head", 1)
    assert place is None or (place.path.startswith("/") and ".." not in place.path.split("/"))


def test_it_is_the_owners_alone_and_whole(tmp_path: Path) -> None:
    """Mode 0600, with all that was given."""
    write_as_owner(Place(str(tmp_path), "job.vm1"), b"x" * LIMIT, caller())
    made = tmp_path / "job.vm1"
    assert made.read_bytes() == b"x" * LIMIT
    assert stat.S_IMODE(made.stat().st_mode) == 0o600


@pytest.mark.parametrize("there", ["file", "link", "directory", "fifo"])
def test_nothing_that_is_there_is_touched(tmp_path: Path, there: str) -> None:
    """Neither a file of that name nor what a link leads to."""
    made, target = tmp_path / "job.vm1", tmp_path / "target"
    if there == "file":
        made.write_text("mine")
    elif there == "link":
        made.symlink_to(target)
    elif there == "fifo":
        os.mkfifo(made)
    else:
        made.mkdir()
    with pytest.raises(StorageError, match="File exists"):
        write_as_owner(Place(str(tmp_path), "job.vm1"), b"text", caller())
    assert not target.exists()
    assert there != "file" or made.read_text() == "mine"


def test_a_directory_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    """In one line."""
    with pytest.raises(StorageError) as caught:
        write_as_owner(Place(f"{tmp_path}/none", "job.vm1"), b"text", caller())
    assert str(caught.value) == (
        f"{tmp_path}/none/job.vm1 cannot be written as {caller().name}: No such file or directory"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_it_is_written_with_the_owners_rights(tmp_path: Path) -> None:
    """Not with root's: neither into root's directory nor as root's file."""
    home, ours = tmp_path / "home", tmp_path / "ours"
    for above in (tmp_path, *tmp_path.parents):
        if not above.stat().st_mode & 0o001:
            above.chmod(0o755)
    for folder in (home, ours):
        folder.mkdir(0o755)
    os.chown(home, NOBODY.uid, NOBODY.gid)
    write_as_owner(Place(str(home), "job.vm1"), b"text", NOBODY)
    made = (home / "job.vm1").stat()
    assert (made.st_uid, made.st_gid) == (NOBODY.uid, NOBODY.gid)
    with pytest.raises(StorageError, match="Permission denied"):
        write_as_owner(Place(str(ours), "job.vm1"), b"text", NOBODY)
    (home / "away").symlink_to(ours)
    with pytest.raises(StorageError, match="Permission denied"):
        write_as_owner(Place(str(home / "away"), "job.vm1"), b"text", NOBODY)
    assert list(ours.iterdir()) == []


@pytest.fixture
def history(tmp_path: Path) -> History:
    """Of a job of which a guest said something."""
    made = History.next_attempt(tmp_path / "history", "17.head")
    made.write_console("j17-r0", b"Linux\x1b[2J boots\r\nKernel panic - not syncing\n")
    made.write_cloud_init("j17-r1", b"no such package\n")
    return made


def test_it_says_why_and_what_each_guest_said(history: History) -> None:
    """Without anything a terminal would act on."""
    assert text_of(history, "the guest died") == (
        "job 17.head, attempt 1: the guest died\n\n"
        "==> cloud-init in j17-r1 <==\nno such package\n\n"
        "==> console of j17-r0 <==\nLinux boots\nKernel panic - not syncing\n"
    )


def test_nothing_is_left_where_nothing_was_said_or_wanted(
    history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No empty file; and none at all where the site wants none."""
    monkeypatch.setattr(module, "output_path", lambda *_: "")
    place = str(tmp_path)
    assert leave(Settings(console_file=False), history, "job", place, caller(), "why") == ""
    silent = History.next_attempt(tmp_path / "history", "18.head")
    assert leave(Settings(), silent, "job", place, caller(), "why") == ""
    assert leave(Settings(), history, "job", "", caller(), "why") == ""
    assert leave(Settings(), history, "job", place, caller(), "why") == f"{place}/job.vm17"
