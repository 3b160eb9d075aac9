"""Commands of the self-test's user: bounded in time and size; the answers to them: understood or not."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path

import pytest
from selftest_kit import RECORDED

from nornir_torque_vm.accounts import caller
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.reap.qstat import NoAnswer
from nornir_torque_vm.selftest import commands
from nornir_torque_vm.selftest.answers import FORGOTTEN, Seen, parse_jobs
from nornir_torque_vm.selftest.commands import AsUser, NotRun


@pytest.fixture
def user(tmp_path: Path) -> AsUser:
    """Ourselves, at home in the test's directory."""
    return AsUser(dataclasses.replace(caller(), home=str(tmp_path)))


def test_a_command_that_hangs_is_killed_with_its_children(user: AsUser, tmp_path: Path) -> None:
    """Within its time."""
    began = time.monotonic()
    with pytest.raises(NotRun, match="sh does not answer in time"):
        user.run(["sh", "-c", "sleep 60 & echo $! >pid; wait"], Deadline.after(1))
    assert time.monotonic() - began < 20
    child = int((tmp_path / "pid").read_text())
    for _ in Deadline.after(10).backoff():
        stat = Path(f"/proc/{child}/stat")
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return
    pytest.fail("the child lives")


def test_a_command_that_never_stops_talking_is_not_listened_to(
    user: AsUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever there is of it."""
    monkeypatch.setattr(commands, "LIMIT", 1 << 17)
    with pytest.raises(NotRun, match="yes says more than 131072 bytes"):
        user.run(["yes"], Deadline.after(60))


def test_a_command_has_no_variable_and_no_terminal_of_ours(
    user: AsUser, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its input comes by a pipe, and it is in a session of its own."""
    monkeypatch.setenv("SECRET", "x")
    done = user.run(["sh", "-c", "cat; env; ps -o sid= -p $$ || true; pwd"], Deadline.after(20), "typed\n")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0] == "typed"
    assert f"HOME={tmp_path}" in lines
    assert not [line for line in lines if line.startswith("SECRET")]
    assert lines[-1] == str(tmp_path)


def test_the_exit_code_and_the_complaint_are_kept(user: AsUser) -> None:
    """The last line, without our own name before it."""
    done = user.run(["sh", "-c", "echo one >&2; echo 'torque-vm: two' >&2; exit 7"], Deadline.after(20))
    assert (done.code, done.complaint) == (7, "two")
    assert user.run(["sh", "-c", "exit 7"], Deadline.after(20)).complaint == "exit code 7"


def test_input_that_nobody_reads_is_no_error(user: AsUser) -> None:
    """The command has its own end."""
    assert user.run(["true"], Deadline.after(20), "x" * 60_000).code == 0


def test_a_home_that_is_not_there_is_told(user: AsUser, tmp_path: Path) -> None:
    """Not as the command's own exit code."""
    os.rmdir(tmp_path)  # noqa: PTH106 - the fixture's own
    with pytest.raises(NotRun, match="cannot enter the home directory"):
        user.run(["true"], Deadline.after(20))


def read(name: str, *job_ids: str) -> dict[str, Seen]:
    entry = RECORDED[name]
    return dict(parse_jobs(job_ids, entry["code"], entry["out"], entry["err"]))


@pytest.mark.parametrize(
    ("name", "job_id", "seen"),
    [
        ("queued", "4.head", Seen("Q")),
        ("running", "0.head", Seen("R", 1, None, "Job started on Mon Nov 23 at 03:11")),
        ("completed", "0.head", Seen("C", 1, 0, "Job started on Mon Nov 23 at 03:11")),
        ("refused", "4.head", Seen("C", 4, 122, "Job started on Mon Nov 23 at 03:15")),
        ("deleted", "2.head", Seen("C")),
    ],
)
def test_recorded_answers_about_a_job_are_understood(name: str, job_id: str, seen: Seen) -> None:
    """State, starts, exit status and the scheduler's word."""
    assert read(name, job_id) == {job_id: seen}
    assert seen.over == (seen.state == "C")


def test_recorded_answers_about_several_jobs_are_understood() -> None:
    """A document for each; a job that the server does not know is over."""
    assert {job: seen.state for job, seen in read("several", "0.head", "2.head").items()} == {
        "0.head": "C",
        "2.head": "Q",
    }
    found = read("several_unknown", "0.head", "999.head", "2.head")
    assert found["999.head"] == FORGOTTEN
    assert found["999.head"].over
    assert found["2.head"].state == "Q"


@pytest.mark.parametrize(
    ("code", "out", "err", "why"),
    [
        (0, "", "", "it says nothing of 5.head"),
        (0, "<Data>", "", "the answer is not XML"),
        (0, '<?xml version="1.0"?><!DOCTYPE x><Data/>', "", "the answer is not what qstat -x prints"),
        (0, "<Data><Job><Job_Id>5.head</Job_Id></Job></Data>", "", "the answer has no state"),
        (153, "", "qstat: Unknown Job Id Error 6.head\n", "qstat: Unknown Job Id Error 6.head"),
        (1, "", "qstat: cannot connect to server head\n", "qstat: cannot connect to server head"),
    ],
)
def test_what_cannot_be_understood_is_no_answer(code: int, out: str, err: str, why: str) -> None:
    """Nothing is concluded from it; unknown is another's."""
    with pytest.raises(NoAnswer) as caught:
        parse_jobs(["5.head"], code, out, err)
    assert caught.value.what == why
