"""The lock of a job: one holder at a time, whoever it is, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nornir_torque_vm.deadline import Deadline, current
from nornir_torque_vm.errors import InventoryError, StateError
from nornir_torque_vm.runstate import joblock
from nornir_torque_vm.runstate.joblock import EVERY_ATTEMPT, Holder, holder, job_lock, start_time

JOB = "17[3].head"

HOLD = """
import signal, sys, time
from nornir_torque_vm.runstate.joblock import job_lock
if sys.argv[3:] == ["deaf"]:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
with job_lock(sys.argv[1], sys.argv[2], attempt=7):
    print("held", flush=True)
    time.sleep(60)
"""


@contextlib.contextmanager
def prologue(folder: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds the lock for attempt 7."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, folder, JOB, *words], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def soon() -> Deadline:
    return Deadline.after(0.2)


def test_the_lock_names_its_holder_and_goes_with_it(tmp_path: Path) -> None:
    """Pid, start time and attempt while it is held; no file afterwards."""
    with job_lock(tmp_path, JOB, attempt=2):
        me = holder(tmp_path, JOB)
        assert me == Holder(os.getpid(), start_time(os.getpid()), 2)
        assert me.alive()
        file = tmp_path / "locks" / JOB
        assert file.stat().st_mode & 0o777 == 0o600
        assert json.loads(file.read_text()) == {"pid": me.pid, "start_time": me.start_time, "attempt": 2}
    assert holder(tmp_path, JOB) is None
    assert list((tmp_path / "locks").iterdir()) == []


def test_the_lock_goes_when_its_holder_fails(tmp_path: Path) -> None:
    """An exception inside is passed on."""
    with pytest.raises(ZeroDivisionError), job_lock(tmp_path, JOB):
        raise ZeroDivisionError
    with job_lock(tmp_path, JOB, deadline=soon()):
        pass


def test_a_second_holder_waits_until_its_deadline_and_says_for_whom(tmp_path: Path) -> None:
    """Threads count as holders too: each call opens the file anew."""
    with job_lock(tmp_path, JOB, attempt=2):
        began = time.monotonic()
        with pytest.raises(StateError) as caught, job_lock(tmp_path, JOB, deadline=soon()):
            pass
        assert 0.2 <= time.monotonic() - began < 1.5
    assert str(caught.value) == (
        f"job 17[3].head: process {os.getpid()} (attempt 2) is still at work on it; "
        "wait for it to end, then try again"
    )


def test_the_threads_own_deadline_counts_when_none_is_given(tmp_path: Path) -> None:
    """Otherwise a forgotten argument would wait for ever."""
    token = current.set(soon())
    try:
        with job_lock(tmp_path, JOB), pytest.raises(StateError), job_lock(tmp_path, JOB):
            pass
    finally:
        current.reset(token)


def test_a_holder_without_a_record_is_still_a_holder(tmp_path: Path) -> None:
    """Between taking the lock and writing the record there is a moment."""
    with job_lock(tmp_path, JOB):
        (tmp_path / "locks" / JOB).write_text("{}")
        with (
            pytest.raises(StateError, match="another process is still at work"),
            job_lock(tmp_path, JOB, deadline=soon()),
        ):
            pass


def test_a_free_lock_is_taken_even_when_the_time_is_up(tmp_path: Path) -> None:
    """Cleaning up has to go on after a deadline."""
    with job_lock(tmp_path, JOB, deadline=Deadline.after(0)):
        assert holder(tmp_path, JOB) is not None


def test_locks_of_different_jobs_do_not_meet(tmp_path: Path) -> None:
    """Nor do those of the same number on two servers."""
    with job_lock(tmp_path, "17.head"), job_lock(tmp_path, "17.other"), job_lock(tmp_path, "18.head"):
        assert len(list((tmp_path / "locks").iterdir())) == 3


def test_whoever_waits_gets_the_lock_when_it_is_free(tmp_path: Path) -> None:
    """Although the file was removed meanwhile, and of several waiters one at a time."""
    inside: list[int] = []
    most: list[int] = []

    def work(number: int) -> None:
        with job_lock(tmp_path, JOB, deadline=Deadline.after(30)):
            inside.append(number)
            most.append(len(inside))
            time.sleep(0.01)
            inside.remove(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 8
    assert holder(tmp_path, JOB) is None


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_was_removed_before_it_could_be_locked_is_not_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, replaced: bool
) -> None:
    """The last holder removes its file; to lock that one would be to hold nothing."""
    real = fcntl.flock
    tries: list[int] = []

    def too_late(fd: int, operation: int) -> None:
        if not tries:
            (tmp_path / "locks" / JOB).unlink()
            if replaced:
                (tmp_path / "locks" / JOB).touch()
        tries.append(fd)
        real(fd, operation)

    monkeypatch.setattr(fcntl, "flock", too_late)
    with job_lock(tmp_path, JOB, deadline=soon()):
        assert len(tries) == 2
        mine = holder(tmp_path, JOB)
        assert mine is not None
        assert mine.pid == os.getpid()


def test_a_killed_holder_leaves_a_record_and_no_lock(tmp_path: Path) -> None:
    """The next one takes over at once; from the record one sees that the process is gone."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path, JOB], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        other = holder(tmp_path, JOB)
        assert other is not None
        assert (other.pid, other.attempt, other.alive()) == (process.pid, 7, True)
        with (
            pytest.raises(StateError, match=rf"process {process.pid} \(attempt 7\)"),
            job_lock(tmp_path, JOB, deadline=soon()),
        ):
            pass
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert not other.alive()
    assert holder(tmp_path, JOB) == other
    with job_lock(tmp_path, JOB, attempt=8, deadline=soon()):
        mine = holder(tmp_path, JOB)
        assert mine is not None
        assert (mine.pid, mine.attempt) == (os.getpid(), 8)


def test_a_used_pid_of_another_process_is_not_the_holder() -> None:
    """Pids come round again; start times do not."""
    assert start_time(os.getpid()) > 0
    assert not Holder(os.getpid(), start_time(os.getpid()) + 1, 1).alive()


def test_the_start_time_is_read_behind_a_hostile_command_name() -> None:
    """A process may call itself ``a) b (c``."""
    rename = "import ctypes, time; ctypes.CDLL(None).prctl(15, b'a) 1 2 (', 0, 0, 0)"
    script = f"{rename}; print(flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        assert start_time(process.pid) >= start_time(os.getpid())
    finally:
        process.kill()
        process.communicate()
    assert start_time(process.pid) == 0


@pytest.mark.parametrize(
    "content", ["", "null", "{", '{"pid": 1}', '{"pid":1,"start_time":2,"attempt":3,"x":4}']
)
def test_a_damaged_record_is_nobody(tmp_path: Path, content: str) -> None:
    """It holds no lock either."""
    (tmp_path / "locks").mkdir(mode=0o700)
    (tmp_path / "locks" / JOB).write_text(content)
    assert holder(tmp_path, JOB) is None
    with job_lock(tmp_path, JOB, deadline=soon()):
        assert holder(tmp_path, JOB) is not None


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    """Whatever it points at stays as it is."""
    (tmp_path / "locks").mkdir(mode=0o700)
    (tmp_path / "victim").write_text("safe")
    (tmp_path / "locks" / JOB).symlink_to(tmp_path / "victim")
    with (
        pytest.raises(StateError, match=r"cannot lock .*: Too many levels of symbolic links"),
        job_lock(tmp_path, JOB, deadline=soon()),
    ):
        pass
    assert (tmp_path / "victim").read_text() == "safe"


@pytest.mark.parametrize("job_id", ["", "..", "17/../18", "x"])
def test_only_job_ids_are_locked(tmp_path: Path, job_id: str) -> None:
    """The id becomes a file name."""
    with pytest.raises(InventoryError), job_lock(tmp_path, job_id):
        pass
    with pytest.raises(InventoryError):
        holder(tmp_path, job_id)


@pytest.mark.parametrize("attempt", [EVERY_ATTEMPT, 8])
def test_an_epilogue_and_a_newer_attempt_make_an_older_prologue_leave(tmp_path: Path, attempt: int) -> None:
    """It is asked, and leaves in its own order."""
    with prologue(tmp_path) as older:
        with job_lock(tmp_path, JOB, attempt=attempt, deadline=Deadline.after(20), take_over=True):
            assert older.wait(timeout=5) == 3
            mine = holder(tmp_path, JOB)
            assert mine is not None
            assert mine.pid == os.getpid()
        assert holder(tmp_path, JOB) is None


def test_a_prologue_that_does_not_leave_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its grace, not before."""
    monkeypatch.setattr(joblock, "GRACE", 0.5)
    with prologue(tmp_path, "deaf") as older:
        began = time.monotonic()
        with job_lock(tmp_path, JOB, deadline=Deadline.after(20), take_over=True):
            assert older.wait(timeout=5) == -signal.SIGKILL
            assert time.monotonic() - began >= 0.5


@pytest.mark.parametrize("attempt", [6, 7])
def test_an_older_attempt_and_its_equal_wait(tmp_path: Path, attempt: int) -> None:
    """What is late is what has to go; the newer one works on undisturbed."""
    with prologue(tmp_path) as newer:
        with (
            pytest.raises(StateError, match="is still at work"),
            job_lock(tmp_path, JOB, attempt=attempt, deadline=soon(), take_over=True),
        ):
            pass
        assert newer.poll() is None


def test_nobody_takes_over_unasked(tmp_path: Path) -> None:
    """An administrator's command waits for a prologue."""
    with prologue(tmp_path) as busy:
        with pytest.raises(StateError, match="is still at work"), job_lock(tmp_path, JOB, deadline=soon()):
            pass
        assert busy.poll() is None


def test_an_epilogue_never_has_to_leave() -> None:
    """What removes guests is not to be stopped half way; a new attempt waits for it."""
    epilogue = Holder(1, 1, EVERY_ATTEMPT)
    assert not epilogue.yields_to(EVERY_ATTEMPT)
    assert not epilogue.yields_to(9)


def test_a_process_that_only_has_the_pid_of_the_holder_is_left_alone(tmp_path: Path) -> None:
    """The record may be older than the machine's last reboot."""
    with prologue(tmp_path) as stranger:
        Holder(stranger.pid, start_time(stranger.pid) - 1, 1).send(signal.SIGKILL)
        Holder(2**22 + 1, 1, 1).send(signal.SIGKILL)
        time.sleep(0.1)
        assert stranger.poll() is None
