"""One change of a lab at a time."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import LabError
from nornir_torque_vm.lab import lock

HOLDER = """
import sys, time
from pathlib import Path
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.lab import lock
with lock.held(Path(sys.argv[1]), Deadline.after(5)):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_holder_waits_and_is_told_who_holds_it(tmp_path: Path) -> None:
    """One line with the lab and the process that is at work; a killed holder holds nothing."""
    path = tmp_path / "lab/default.lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        expected = f"another up or down of the lab default is at work \\(process {holder.pid}\\)"
        with pytest.raises(LabError, match=expected), lock.held(path, Deadline.after(0.2)):
            pytest.fail("two hold the lock")
        holder.kill()
    with lock.held(path, Deadline.after(5)):
        assert path.exists()


def test_the_file_is_gone_afterwards_also_after_an_error(tmp_path: Path) -> None:
    """A lab that is down leaves nothing, not even its lock."""
    path = tmp_path / "default.lock"
    with pytest.raises(ZeroDivisionError), lock.held(path, Deadline.after(5)):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_lock_whose_file_was_removed_meanwhile_is_not_taken_for_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between opening and locking the last holder may remove the file; the lock on it is worth nothing."""
    path = tmp_path / "default.lock"
    real = fcntl.flock
    calls: list[int] = []

    def lose_it_first(fd: int, operation: int) -> None:
        if not calls:
            path.unlink()
        calls.append(operation)
        real(fd, operation)

    monkeypatch.setattr(fcntl, "flock", lose_it_first)
    with lock.held(path, Deadline.after(5)):
        assert path.exists()
    assert len(calls) == 2
