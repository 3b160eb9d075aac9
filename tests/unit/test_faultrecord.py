"""What a mother superior holds against nodes: kept for a time, whole, bounded, root's alone."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest

from nornir_torque_vm.errors import StateError
from nornir_torque_vm.faults import Fault
from nornir_torque_vm.runstate import faultrecord
from nornir_torque_vm.runstate.faultrecord import (
    KEPT,
    FaultRecords,
    out_here,
    put_back_here,
    take_out_here,
)


def fault(at: float, job_id: str = "17.head") -> Fault:
    return Fault(at, job_id, "survey", "it does not answer")


@pytest.fixture
def records(tmp_path: Path) -> FaultRecords:
    return FaultRecords(tmp_path / "log")


def test_faults_count_for_a_time(records: FaultRecords) -> None:
    """Those that are older, or from a clock that was far ahead, do not."""
    for at in (100.0, 150.0, 900.0):
        records.add("n1", fault(at), 60)
    assert [one.at for one in records.all()["n1"]] == [900.0]
    assert [one.at for one in records.add("n1", fault(890.0), 60)] == [890.0, 900.0]
    assert [one.at for one in records.add("n1", fault(20.0), 60)] == [20.0]


def test_faults_that_do_not_count_any_more_are_not_told_and_go(records: FaultRecords) -> None:
    """Also of a node that never came back; at the next fault of any."""
    records.add("n1", fault(100.0), 60)
    assert list(records.counting(60, now=150.0)) == ["n1"]
    assert records.counting(60, now=200.0) == {}
    assert list(records.all()) == ["n1"]
    records.add("n2", fault(200.0), 60)
    assert list(records.all()) == ["n2"]


def test_each_node_has_its_own_and_is_forgotten_alone(records: FaultRecords) -> None:
    """After a good start, or by an administrator."""
    records.add("n1", fault(1.0), 60)
    records.add("n2", fault(1.0), 60)
    assert records.forget(["n2", "n3"]) == ("n2",)
    assert list(records.all()) == ["n1"]


def test_looking_and_forgetting_make_nothing(records: FaultRecords) -> None:
    """A good start on good nodes costs nothing."""
    assert records.all() == {}
    assert records.forget(["n1"]) == ()
    assert not records.directory.exists()


def test_what_is_kept_is_bounded_and_roots_alone(records: FaultRecords) -> None:
    """However often a node fails."""
    for at in range(KEPT + 5):
        found = records.add("n1", fault(float(at)), 10_000)
    assert (len(found), found[-1].at) == (KEPT, KEPT + 4.0)
    folder = records.directory / "nodes"
    assert [(path.stat().st_mode & 0o777) for path in (records.directory, folder, folder / "n1.json")] == [
        0o700, 0o700, 0o600,
    ]  # fmt: skip


def test_two_prologues_at_once_lose_no_fault(records: FaultRecords) -> None:
    """Jobs of one node fail together when the node does."""

    def fail(job: int) -> None:
        for at in range(10):
            records.add("n1", fault(float(at), f"{job}.head"), 60)

    threads = [threading.Thread(target=fail, args=(job,)) for job in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(records.all()["n1"]) == 40


def test_a_lock_that_is_never_given_back_ends_in_words(
    records: FaultRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in a prologue that hangs."""
    monkeypatch.setattr(faultrecord, "LOCK_SECONDS", 0.1)
    records.add("n1", fault(1.0), 60)
    fd = os.open(records.directory / "nodes", os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        with pytest.raises(StateError, match=r"keeps .*/nodes locked"):
            records.add("n1", fault(2.0), 60)
    finally:
        os.close(fd)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 2}', '{"version": 1, "faults": [{"at": "x"}]}'])
def test_a_damaged_record_counts_as_none(records: FaultRecords, text: str) -> None:
    """The next fault makes it anew."""
    records.add("n1", fault(1.0), 60)
    (records.directory / "nodes/n1.json").write_text(text)
    assert records.all() == {"n1": ()}
    assert len(records.add("n1", fault(2.0), 60)) == 1


def test_a_node_can_be_taken_out_by_itself_and_put_back(tmp_path: Path) -> None:
    """One line, for the node check."""
    run = tmp_path / "run"
    assert out_here(run) == ""
    assert not put_back_here(run)
    assert not run.exists()
    take_out_here(run, "torque-vm: it fails")
    assert out_here(run) == "torque-vm: it fails"
    assert (run / "out").stat().st_mode & 0o777 == 0o600
    assert put_back_here(run)
    assert out_here(run) == ""
