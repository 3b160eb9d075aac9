"""Run state: survives the prologue, is found by the job id, and goes without a trace."""

from __future__ import annotations

import dataclasses
import os
import stat
import subprocess
import tempfile
from pathlib import Path

import jobs
import pytest
from jobs import saved, started

from nornir_torque_vm.accounts import caller
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import NoAddress, StateError
from nornir_torque_vm.identity import job_tag
from nornir_torque_vm.runstate.handover import HandOver, Refusal, read_handover
from nornir_torque_vm.runstate.joblock import holder
from nornir_torque_vm.runstate.jobstate import JobState, given, refuse_job, withdraw

JOB = "17[3].head"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")


def mark(run_dir: Path, job_id: str = JOB) -> Path:
    """What the shell part of the prologue does first."""
    (run_dir / "markers").mkdir(exist_ok=True, mode=0o755)
    marker = run_dir / "markers" / job_id
    marker.touch()
    return marker


def files(run_dir: Path) -> list[str]:
    """Everything but directories."""
    return sorted(str(path.relative_to(run_dir)) for path in run_dir.rglob("*") if not path.is_dir())


def test_what_is_saved_is_there_again(tmp_path: Path) -> None:
    """Plan and keys after saving, addresses after the hand-over; for whoever makes the same state object."""
    state = JobState(tmp_path / "run", jobs.job())
    assert (state.plan(), state.keys(), state.addresses()) == (None, None, {})
    plan = jobs.plan()
    state.save(plan, jobs.keys(plan))
    again = JobState(str(tmp_path / "run"), jobs.job())
    assert (again.plan(), again.keys(), again.addresses()) == (plan, jobs.keys(plan), {})
    state.hand_over(plan, jobs.keys(plan), jobs.addresses(plan))
    assert again.addresses() == {"j17-3-r0": "10.0.0.1", "j17-3-r1": "10.0.0.2"}


def test_looking_creates_nothing(tmp_path: Path) -> None:
    """An administrator's inventory on another machine leaves no directories behind."""
    run = tmp_path / "run"
    state = JobState(run, jobs.job())
    assert JobState.find(run, JOB) is None
    assert state.plan() is None
    state.remove()
    JobState.forget(run, JOB)
    assert not run.exists()


def test_everything_is_roots_and_nobody_else_can_read_it(tmp_path: Path) -> None:
    """But for the way to the hand-over, which its owner has to pass without being able to list it."""
    started(tmp_path / "run")
    tag = job_tag(jobs.job())
    modes = {
        str(path.relative_to(tmp_path)): stat.S_IMODE(path.stat().st_mode)
        for path in sorted(tmp_path.rglob("*"))
    }
    assert modes == {
        "run": 0o711,
        "run/jobs": 0o700,
        f"run/jobs/{tag}": 0o700,
        f"run/jobs/{tag}/plan.json": 0o600,
        f"run/jobs/{tag}/keys.json": 0o600,
        f"run/jobs/{tag}/addresses.json": 0o600,
        "run/handover": 0o711,
        f"run/handover/{JOB}": 0o711,
        f"run/handover/{JOB}/given": 0o400,
    }


def test_the_hand_over_is_what_the_job_starter_reads(tmp_path: Path) -> None:
    """By the job id alone."""
    started(tmp_path)
    plan = jobs.plan()
    assert read_handover(tmp_path, JOB) == HandOver.of(plan, jobs.keys(plan), jobs.addresses(plan))


@as_root
def test_the_hand_over_is_the_owners_and_only_the_owner_can_read_it() -> None:
    """Seen from processes with other uids; the marker can be seen by all."""
    owner = dataclasses.replace(jobs.job().owner, uid=2001, gid=2002)
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        run = Path(name) / "run"
        started(run, dataclasses.replace(jobs.job(), owner=owner))
        mark(run)
        file = run / "handover" / JOB / "given"
        assert (file.stat().st_uid, file.stat().st_gid) == (2001, 2002)

        def as_uid(uid: int, *command: str | Path) -> int:
            return subprocess.run(
                command, user=uid, group=uid, extra_groups=[], capture_output=True, check=False
            ).returncode

        assert as_uid(2001, "cat", file) == 0
        assert as_uid(2002, "cat", file) != 0
        for uid in (2001, 2002):
            assert as_uid(uid, "test", "-e", run / "markers" / JOB) == 0
            assert as_uid(uid, "ls", run / "handover") != 0
            assert as_uid(uid, "ls", run / "handover" / JOB) != 0
            assert as_uid(uid, "rm", "-f", file) != 0
            assert as_uid(uid, "ls", run / "jobs") != 0


def test_a_guest_without_an_address_is_not_handed_over(tmp_path: Path) -> None:
    """Nothing is written then."""
    state = saved(tmp_path)
    plan = jobs.plan()
    before = files(tmp_path)
    with pytest.raises(NoAddress):
        state.hand_over(plan, jobs.keys(plan), {})
    assert files(tmp_path) == before


def test_a_new_attempt_withdraws_the_old_ones_hand_over(tmp_path: Path) -> None:
    """Its guests are not the ones to enter."""
    started(tmp_path)
    saved(tmp_path, jobs.job(attempt=2, nonce="00000001"))
    with pytest.raises(StateError, match="its guests were not started"):
        read_handover(tmp_path, JOB)


def test_the_latest_attempt_is_found(tmp_path: Path) -> None:
    """The highest number, ten after nine; of equal numbers the plan written last."""
    for attempt in (9, 10, 2):
        saved(tmp_path, jobs.job(attempt=attempt))
    found = JobState.find(tmp_path, JOB)
    assert found is not None
    assert found.job == jobs.job(attempt=10)
    newer = saved(tmp_path, jobs.job(attempt=10, nonce="00000001"))
    os.utime(tmp_path / "jobs" / newer.tag / "plan.json", (2**31, 2**31))
    found = JobState.find(tmp_path, JOB)
    assert found is not None
    assert (found.tag, found.run_dir) == (newer.tag, tmp_path)
    os.utime(tmp_path / "jobs" / newer.tag / "plan.json", (0, 0))
    found = JobState.find(tmp_path, JOB)
    assert found is not None
    assert found.job.nonce == "0badcafe"


def test_jobs_with_the_same_number_are_told_apart(tmp_path: Path) -> None:
    """Two servers count alike; a directory's name does not hold the server's."""
    for job_id in ("17.head", "17.other", "17[3].other", "170.head"):
        saved(tmp_path, jobs.job(job_id))
    assert JobState.find(tmp_path, JOB) is None
    found = JobState.find(tmp_path, "17.other")
    assert found is not None
    assert found.job.id == "17.other"
    JobState.forget(tmp_path, "17.other")
    assert JobState.find(tmp_path, "17.other") is None
    assert JobState.find(tmp_path, "17.head") is not None
    assert len(list((tmp_path / "jobs").iterdir())) == 3


def test_a_state_that_cannot_be_read_is_not_found(tmp_path: Path) -> None:
    """Destroying goes by what libvirt says and must not stumble here; forgetting removes it."""
    saved(tmp_path)
    for attempt, content in ((2, "{"), (3, None)):
        tag = job_tag(jobs.job(attempt=attempt))
        (tmp_path / "jobs" / tag).mkdir(mode=0o700)
        if content is not None:
            (tmp_path / "jobs" / tag / "plan.json").write_text(content)
    (tmp_path / "jobs" / job_tag(jobs.job(attempt=4))).mkdir()
    (tmp_path / "jobs" / job_tag(jobs.job(attempt=4))).chmod(0o777)
    found = JobState.find(tmp_path, JOB)
    assert found is not None
    assert found.job.attempt == 1
    JobState.forget(tmp_path, JOB)
    assert list((tmp_path / "jobs").iterdir()) == []


def test_removing_an_attempt_leaves_the_marker(tmp_path: Path) -> None:
    """After a failed start the job must still not run on bare metal. Twice is fine."""
    mark(tmp_path)
    state = started(tmp_path)
    for _ in range(2):
        state.remove()
        assert files(tmp_path) == [f"markers/{JOB}"]
        assert list((tmp_path / "jobs").iterdir()) == []


def test_removing_an_old_attempt_leaves_the_new_one(tmp_path: Path) -> None:
    """A slow prologue that was overtaken cleans up after itself only."""
    old = started(tmp_path)
    new = started(tmp_path, jobs.job(attempt=2, nonce="00000001"))
    old.remove()
    assert read_handover(tmp_path, JOB).tag == new.tag
    assert (old.plan(), new.plan()) == (None, jobs.plan(new.job))


def test_a_damaged_hand_over_is_removed_by_any_attempt(tmp_path: Path) -> None:
    """It opens nothing."""
    state = started(tmp_path)
    (tmp_path / "handover" / JOB / "given").unlink()
    (tmp_path / "handover" / JOB / "given").write_text("{")
    state.remove()
    assert files(tmp_path) == []


@pytest.mark.parametrize("end", ["forget", "withdraw", "save"])
def test_whatever_is_left_of_a_hand_over_goes(tmp_path: Path, end: str) -> None:
    """A directory without a file, root's copy for libvirt; an earlier version's file; no link is followed."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "given").touch()
    folder = tmp_path / "run/handover"
    state = JobState(tmp_path / "run", jobs.job())
    for kind in ("directory", "file", "link"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{JOB}+given").touch()
        if kind == "directory":
            (folder / JOB).mkdir(mode=0o700)
        elif kind == "file":
            (folder / JOB).touch()
        else:
            (folder / JOB).symlink_to(victim)
        assert given(tmp_path / "run", JOB) is None
        if end == "forget":
            JobState.forget(tmp_path / "run", JOB)
        elif end == "withdraw":
            withdraw(tmp_path / "run", JOB)
        else:
            state.save(jobs.plan(), jobs.keys(jobs.plan()))
        assert list(folder.iterdir()) == [], kind
    assert (victim / "given").exists()


def test_forgetting_a_job_leaves_nothing(tmp_path: Path) -> None:
    """All attempts, the hand-over and the marker; other jobs are untouched. Twice is fine."""
    mark(tmp_path)
    for attempt in (1, 2):
        started(tmp_path, jobs.job(attempt=attempt))
    other = started(tmp_path, jobs.job("18.head"))
    mark(tmp_path, "18.head")
    for _ in range(2):
        JobState.forget(tmp_path, JOB)
        assert files(tmp_path) == [
            "handover/18.head/given",
            *(f"jobs/{other.tag}/{name}.json" for name in ("addresses", "keys", "plan")),
            "markers/18.head",
        ]


def test_what_a_killed_writer_left_goes_with_the_job(tmp_path: Path) -> None:
    """The hand-over is written inside the attempt's directory and moved, so no key can stay elsewhere."""
    state = saved(tmp_path)
    (tmp_path / "jobs" / state.tag / ".new-0123456789abcdef").write_text("a key, nearly handed over")
    JobState.forget(tmp_path, JOB)
    assert files(tmp_path) == []


def test_what_a_killed_refusal_left_goes_with_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It too is moved to where the owner finds it; a job without any attempt has a place for it."""

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    mark(tmp_path)
    refusal = Refusal("no such image", user=True)
    for name in ("rename", "unlink"):
        monkeypatch.setattr(os, name, killed)
    with pytest.raises(KeyboardInterrupt):
        refuse_job(tmp_path, JOB, caller(), refusal)
    monkeypatch.undo()
    assert len(files(tmp_path)) == 2
    refuse_job(tmp_path, JOB, caller(), refusal)
    assert len(files(tmp_path)) == 3
    JobState.forget(tmp_path, JOB)
    assert files(tmp_path) == []


def test_the_hand_over_appears_whole_and_with_its_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under its name there is never a file that the owner cannot read yet, or part of one."""
    state, seen = saved(tmp_path), []
    real = os.rename

    def watched(source: str, target: str, **fds: int) -> None:
        if target == "given":
            seen.append(os.stat(source, dir_fd=fds["src_dir_fd"]).st_mode & 0o777)
            assert not (tmp_path / "handover" / JOB / "given").exists()
        real(source, target, **fds)

    monkeypatch.setattr(os, "rename", watched)
    plan = jobs.plan()
    state.hand_over(plan, jobs.keys(plan), jobs.addresses(plan))
    assert seen == [0o400]


def test_the_lock_is_the_jobs_and_records_the_attempt(tmp_path: Path) -> None:
    """An older attempt of the same job has to wait for the newer one; the other way round see joblock."""
    first, second = JobState(tmp_path, jobs.job(attempt=1)), JobState(tmp_path, jobs.job(attempt=2))
    with second.lock(Deadline.after(5)):
        held = holder(tmp_path, JOB)
        assert held is not None
        assert held.attempt == 2
        with (
            pytest.raises(StateError, match=r"\(attempt 2\) is still at work"),
            first.lock(Deadline.after(0.1)),
        ):
            pass
    with first.lock(Deadline.after(5)):
        pass
