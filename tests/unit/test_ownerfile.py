"""Files of a job's owner on a node: read with the owner's rights, and believed only by their digest."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from nornir_torque_vm import ownerfile, ownerread
from nornir_torque_vm.accounts import caller, owner_named
from nornir_torque_vm.config.fields import show
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import InventoryError, RequestError, StorageError, TorqueVMError
from nornir_torque_vm.model import FileRef, Owner
from nornir_torque_vm.ownerfile import read_as_owner

CONTENT = b"0 0 0\n" * 100
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")


@pytest.fixture
def owner() -> Owner:
    """Somebody else for root, ourselves for everybody else."""
    return owner_named("nobody") if os.geteuid() == 0 else caller()


@pytest.fixture
def home(tmp_path: Path, owner: Owner) -> Path:
    """A directory of the owner's that the owner can reach."""
    if os.geteuid() == 0:
        os.chown(tmp_path, owner.uid, owner.gid)
        for above in (tmp_path.parent, tmp_path.parent.parent):
            above.chmod(0o755)
    (tmp_path / "map").write_bytes(CONTENT)
    return tmp_path


def ref(path: Path, content: bytes = CONTENT) -> FileRef:
    return FileRef(str(path), hashlib.sha256(content).hexdigest())


def ids(owner: Owner) -> list[str]:
    return [str(owner.uid), str(owner.gid), ""]


def refused(kind: type[TorqueVMError], named: FileRef, owner: Owner, seconds: float = 30.0) -> str:
    with pytest.raises(kind) as caught:
        read_as_owner("vcpu_pinning", named, owner, Deadline.after(seconds))
    assert type(caught.value) is kind
    return str(caught.value)


def test_the_content_is_what_was_submitted(home: Path, owner: Owner) -> None:
    """To the last byte the limit allows."""
    assert read_as_owner("metadata", ref(home / "map"), owner, Deadline.after(30)) == CONTENT
    exact = read_as_owner("metadata", ref(home / "map"), owner, Deadline.after(30), limit=len(CONTENT))
    assert exact == CONTENT


def test_a_file_that_changed_is_not_used(home: Path, owner: Owner) -> None:
    """Not one byte of it, and nothing of it is in the message."""
    (home / "map").write_bytes(CONTENT + b"secret")
    assert refused(RequestError, ref(home / "map"), owner) == (
        f"vcpu_pinning names {show(str(home / 'map'))}, which has changed since the job was submitted; "
        "submit it again"
    )


def test_a_file_that_is_too_large_is_not_read(home: Path, owner: Owner) -> None:
    """Whatever its size says: a file can grow while it is read."""
    with pytest.raises(RequestError, match=r"has more than 599 bytes$"):
        read_as_owner("metadata", ref(home / "map"), owner, Deadline.after(30), limit=len(CONTENT) - 1)
    done = subprocess.run(
        [sys.executable, "-I", ownerread.__file__, "5", "/proc/self/status", *ids(owner)],
        capture_output=True, check=False,
    )  # fmt: skip
    assert (done.returncode, len(done.stdout)) == (ownerread.TOO_LARGE, 6)


def test_what_is_no_regular_file_holds_nobody_up(home: Path, owner: Owner) -> None:
    """A FIFO nobody writes to, a directory, a device."""
    os.mkfifo(home / "fifo")
    for path in (home / "fifo", home, Path("/dev/zero")):
        assert refused(RequestError, ref(path), owner).endswith("which is not a regular file")


def test_a_link_in_place_of_the_file_is_not_followed(home: Path, owner: Owner) -> None:
    """The submission named what it led to then."""
    (home / "link").symlink_to("map")
    assert refused(RequestError, ref(home / "link"), owner).endswith(
        f"cannot be opened here by {owner.name}: {os.strerror(40)}"
    )


def test_a_file_that_is_not_there_is_named(home: Path, owner: Owner) -> None:
    """With what to do."""
    assert refused(RequestError, ref(home / "gone"), owner) == (
        f"vcpu_pinning names {show(str(home / 'gone'))}, which cannot be opened here by {owner.name}: "
        "No such file or directory; it has to be there on the job's first node too"
    )


@as_root
def test_what_only_root_can_read_stays_secret(home: Path, owner: Owner) -> None:
    """Even for somebody who knows its digest: it is the owner who opens."""
    (home / "map").chmod(0o600)
    os.chown(home / "map", 0, 0)
    assert "Permission denied" in refused(RequestError, ref(home / "map"), owner)


@as_root
def test_the_reader_has_the_owners_rights_and_nothing_of_ours(home: Path, owner: Owner) -> None:
    """Ids, groups, descriptors, environment, directory: seen from inside, by a file that is its own state."""
    grouped = Owner(owner.name, owner.uid, owner.gid, owner.group, owner.home, groups=(("a", 4711),))
    held = os.open("/etc/shadow", os.O_RDONLY)
    os.set_inheritable(held, True)
    try:
        with ownerfile._child("/proc/self/status", grouped, str(1 << 16), subprocess.PIPE) as process:
            status = ownerfile._all_of(process, 1 << 16, Deadline.after(30))
    finally:
        os.close(held)
    assert status is not None
    facts = dict(line.split(":\t", 1) for line in status.decode().splitlines())
    assert facts["Uid"].split() == [str(owner.uid)] * 4
    assert facts["Gid"].split() == [str(owner.gid)] * 4
    assert facts["Groups"].split() == ["4711"]
    assert int(facts["CapEff"], 16) == 0


@as_root
def test_no_descriptor_of_ours_can_be_named(home: Path, owner: Owner) -> None:
    """A path through /proc leads to descriptors of the reader alone."""
    held = os.open("/etc/hostname", os.O_RDONLY)
    os.set_inheritable(held, True)
    try:
        said = refused(RequestError, FileRef(f"/proc/self/fd/{held}", "0" * 64), owner)
    finally:
        os.close(held)
    assert os.strerror(2) in said or os.strerror(40) in said


def test_nobody_reads_for_somebody_else_without_being_root(
    home: Path, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a command that a user starts."""
    monkeypatch.setattr(os, "geteuid", lambda: owner.uid + 1)
    assert f"can be read by root and by {owner.name} only" in refused(
        InventoryError, ref(home / "map"), owner
    )


def test_a_file_system_that_does_not_answer_ends_in_time(
    home: Path, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The site's fault; the reader is gone."""
    started: list[int] = []
    real = subprocess.Popen

    def hung(words: list[str], **options: object) -> object:
        process = real([sys.executable, "-c", "import time; time.sleep(60)"], **options)  # type: ignore[call-overload]
        started.append(process.pid)
        return process

    monkeypatch.setattr(subprocess, "Popen", hung)
    before = time.monotonic()
    said = refused(StorageError, ref(home / "map"), owner, seconds=0.5)
    assert "is its file system there on this node?" in said
    assert time.monotonic() - before < 10
    assert not Path("/proc", str(started[0])).exists()


def test_a_reader_that_the_owner_kills_or_forges_convinces_nobody(
    home: Path, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs with the owner's uid, so it is the owner's: only the digest counts."""
    real = subprocess.Popen
    code = ""

    def instead(_: list[str], **options: object) -> object:
        return real([sys.executable, "-c", code], **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "Popen", instead)
    for kind, what in (
        (StorageError, "import os; os.kill(os.getpid(), 9)"),
        (RequestError, "print('0 0 63')"),
        (StorageError, "raise SystemExit(7)"),
        (RequestError, "print('x' * (2 << 20))"),
    ):
        code = what
        refused(kind, ref(home / "map"), owner)


def test_a_file_that_changes_all_the_time_is_its_old_self_or_refused(home: Path, owner: Owner) -> None:
    """Never a mixture."""
    stop = threading.Event()

    def change() -> None:
        while not stop.is_set():
            (home / "map").write_bytes(b"9 9 9\n" * 100)
            (home / "map").write_bytes(CONTENT)

    writer = threading.Thread(target=change)
    writer.start()
    try:
        for _ in range(5):
            with contextlib.suppress(RequestError):
                assert read_as_owner("metadata", ref(home / "map"), owner, Deadline.after(30)) == CONTENT
    finally:
        stop.set()
        writer.join()


def test_the_reader_brings_nothing_of_ours_along(owner: Owner) -> None:
    """What it imports runs as root still."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-X", "importtime", ownerread.__file__, "9", "/dev/null", *ids(owner)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == ownerread.NOT_REGULAR
    names = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "os" in names
    assert not {name for name in names if name.startswith(("nornir", "subprocess", "site", "logging"))}


@as_root
def test_the_owner_cannot_debug_the_reader(owner: Owner) -> None:
    """Nor read its memory: to the kernel it stays root's once it has given up root's rights."""
    code = (
        "import sys, time; sys.path.insert(0, sys.argv[1]); import ownerread as it; "
        "it.become(int(sys.argv[2]), int(sys.argv[3]), []); print('became', flush=True); time.sleep(60)"
    )
    words = [sys.executable, "-I", "-S", "-c", code, str(Path(ownerread.__file__).parent), *ids(owner)[:2]]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as reader:
        try:
            assert reader.stdout is not None
            assert reader.stdout.readline() == b"became\n"
            assert Path(f"/proc/{reader.pid}/mem").stat().st_uid == 0
        finally:
            reader.kill()
