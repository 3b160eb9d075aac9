"""The history: one directory per attempt, kept for a while, without secrets."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import jobs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_torque_vm.errors import InventoryError, StateError
from nornir_torque_vm.plan import plan_from_json
from nornir_torque_vm.report import HostReport, Report
from nornir_torque_vm.runstate import history as history_module
from nornir_torque_vm.runstate.history import History
from nornir_torque_vm.timeline import Span, Timeline

JOB = "17[3].head"
DAY = 86_400


def names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


def test_attempts_are_counted_from_one(tmp_path: Path) -> None:
    """Each begins its own record; ten comes after nine."""
    attempts = [History.next_attempt(tmp_path / "log", JOB).attempt for _ in range(11)]
    assert attempts == list(range(1, 12))
    assert (tmp_path / "log" / "17[3].head.11").is_dir()
    assert History.latest(tmp_path / "log", JOB).attempt == 11


def test_jobs_with_similar_ids_do_not_meet(tmp_path: Path) -> None:
    """Not those of another server, nor one whose id is the start of another's."""
    for job_id in ("17.head", "17.head.org", "17.head.1", "17", "17[1].head"):
        assert History.next_attempt(tmp_path, job_id).attempt == 1
        assert History.latest(tmp_path, job_id).path == tmp_path / f"{job_id}.1"


def test_attempts_that_begin_at_the_same_time_get_different_numbers(tmp_path: Path) -> None:
    """An orphaned prologue and its successor, say."""
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(History.next_attempt(tmp_path, JOB).attempt))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(1, 9))


def test_a_number_that_was_taken_meanwhile_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list of records was read before somebody else made theirs."""
    for _ in range(2):
        History.next_attempt(tmp_path, JOB)
    monkeypatch.setattr(history_module, "_last_attempt", lambda *_: 0)
    assert History.next_attempt(tmp_path, JOB).attempt == 3


def test_the_latest_of_nothing_is_the_first(tmp_path: Path) -> None:
    """An epilogue may run for a job whose prologue never did; it makes no directory by asking."""
    assert History.latest(tmp_path, JOB).attempt == 1
    assert names(tmp_path) == []


def test_plans_reports_and_timelines_are_kept_as_json(tmp_path: Path) -> None:
    """For root alone; the directory too."""
    history = History.next_attempt(tmp_path / "log", JOB)
    history.write("plan", jobs.plan())
    history.write("report", Report((HostReport("a", data={"key": "secret"}),)))
    history.write("timeline", Timeline((Span("a", "run", 0.0, 1.0),)))
    assert names(history.path) == ["plan.json", "report.json", "timeline.json"]
    assert plan_from_json((history.path / "plan.json").read_text()) == jobs.plan()
    assert json.loads((history.path / "report.json").read_text())["ok"] is True
    assert "secret" not in (history.path / "report.json").read_text()
    assert json.loads((history.path / "timeline.json").read_text())["wall"]["total"] == 1.0
    assert {(history.path / name).stat().st_mode & 0o777 for name in names(history.path)} == {0o600}
    assert history.path.stat().st_mode & 0o777 == history.path.parent.stat().st_mode & 0o777 == 0o700


def test_a_record_can_be_written_without_having_been_begun(tmp_path: Path) -> None:
    """The epilogue's case again."""
    History.latest(tmp_path, JOB).write("teardown", Report())
    assert names(tmp_path / "17[3].head.1") == ["teardown.json"]


def test_events_of_several_hooks_follow_each_other(tmp_path: Path) -> None:
    """Appended to one file, whole lines from whoever has it open; closed afterwards."""
    history = History.next_attempt(tmp_path, JOB)
    with history.events() as first, history.events() as second:
        for fd, line in ((first, b"1\n"), (second, b"2\n"), (first, b"3\n")):
            os.write(fd, line)
        assert os.get_inheritable(first) is False
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.write(first, b"4\n")
    with history.events() as third:
        os.write(third, b"5\n")
    assert (history.path / "events.jsonl").read_bytes() == b"1\n2\n3\n5\n"
    assert (history.path / "events.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_link_in_place_of_the_events_is_not_followed(tmp_path: Path) -> None:
    """Nor is anything else written through."""
    history = History.next_attempt(tmp_path, JOB)
    (history.path / "events.jsonl").symlink_to(tmp_path / "victim")
    with pytest.raises(StateError, match=r"^cannot write .*/events.jsonl: Too many levels"), history.events():
        pass
    assert not (tmp_path / "victim").exists()


@pytest.mark.parametrize(("length", "kept"), [(10, 10), (65536, 65536), (65537, 65536), (0, 0)])
def test_of_a_console_the_last_64_kibibytes_are_kept(tmp_path: Path, length: int, kept: int) -> None:
    """The end is where the trouble is."""
    content = (bytes(range(256)) * 257)[:length]
    history = History.next_attempt(tmp_path, JOB)
    history.write_console("j17-3-r0", content)
    assert (history.path / "console-j17-3-r0.log").read_bytes() == content[length - kept :]


def test_a_record_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """A file in place of the directory; a job id that is no name."""
    (tmp_path / "log").touch()
    with pytest.raises(StateError, match=r"^cannot open .*/log: Not a directory$"):
        History.next_attempt(tmp_path / "log", JOB)
    (tmp_path / "17[3].head.1").touch()
    with pytest.raises(StateError, match=r"^cannot open .*/17\[3\].head.1: Not a directory$"):
        History.latest(tmp_path, JOB).write("report", Report())
    with pytest.raises(StateError, match=r"^cannot create .*: File name too long$"):
        History.next_attempt(tmp_path, f"17.{'x' * 253}")
    with pytest.raises(InventoryError):
        History(tmp_path, "../17", 1)


def aged(directory: Path, name: str, days: float, now: float) -> None:
    (directory / name).mkdir()
    (directory / name / "plan.json").touch()
    os.utime(directory / name, (now - days * DAY, now - days * DAY))


def test_old_records_go_and_young_ones_stay(tmp_path: Path) -> None:
    """By when something was last added; exactly ``days`` old is not older."""
    now = 1_800_000_000.0
    for number, days in enumerate((0, 29.9, 30, 30.1, 400), start=1):
        aged(tmp_path, f"{number}.head.1", days, now)
    assert History.prune(tmp_path, 30, now) == ("4.head.1", "5.head.1")
    assert names(tmp_path) == ["1.head.1", "2.head.1", "3.head.1"]
    assert History.prune(tmp_path, 30, now) == ()


def test_the_present_is_the_default_now(tmp_path: Path) -> None:
    """Two records, one of today."""
    aged(tmp_path, "1.head.1", 0, 1_000_000_000.0)
    (tmp_path / "2.head.1").mkdir()
    assert History.prune(tmp_path, 30) == ("1.head.1",)


def test_only_records_are_pruned(tmp_path: Path) -> None:
    """What an administrator or another program keeps there is none of our business."""
    now = 1_800_000_000.0
    for name in ("notes", "17.head", "17.head.x", "x17.head.1", ".17.head.1", "17[3.head.1"):
        aged(tmp_path, name, 400, now)
    (tmp_path / "18.head.1").write_text("a file")
    os.utime(tmp_path / "18.head.1", (0, 0))
    (tmp_path / "19.head.1").symlink_to(tmp_path / "notes")
    os.utime(tmp_path / "19.head.1", (0, 0), follow_symlinks=False)
    before = names(tmp_path)
    assert History.prune(tmp_path, 30, now) == ()
    assert names(tmp_path) == before
    for name in ("17.1", "17[3].head.12", "17.head.org.1"):
        aged(tmp_path, name, 400, now)
    assert History.prune(tmp_path, 30, now) == ("17.1", "17.head.org.1", "17[3].head.12")


def test_a_record_that_goes_meanwhile_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two epilogues may prune at the same time."""
    aged(tmp_path, "1.head.1", 400, 1_800_000_000.0)
    real = os.stat

    def gone(*args: object, **kwargs: object) -> os.stat_result:
        if args == ("1.head.1",):
            raise FileNotFoundError
        return real(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "stat", gone)
    assert History.prune(tmp_path, 30, 1_800_000_000.0) == ()


@given(
    st.integers(0, 10**9),
    st.one_of(st.none(), st.integers(0, 10**6)),
    st.sampled_from(["", ".head", ".a-b.org"]),
)
def test_every_record_we_make_is_one_that_is_pruned(
    tmp_path_factory: pytest.TempPathFactory, number: int, index: int | None, server: str
) -> None:
    """Whatever the job id looks like."""
    directory = tmp_path_factory.mktemp("log")
    job_id = f"{number}{'' if index is None else f'[{index}]'}{server}"
    record = History.next_attempt(directory, job_id)
    os.utime(record.path, (0, 0))
    assert History.prune(directory, 30) == (record.path.name,)


def test_what_earlier_attempts_came_to(tmp_path: Path) -> None:
    """Oldest first; one without a verdict, or with a damaged one, is left out."""
    for attempt, text in ((1, '{"outcome": "late"}'), (2, None), (3, "{"), (4, '{"outcome": "busy"}')):
        (tmp_path / f"17.head.{attempt}").mkdir(mode=0o700)
        if text is not None:
            (tmp_path / f"17.head.{attempt}" / "verdict.json").write_text(text)
    assert History(tmp_path, "17.head", 5).earlier_outcomes() == ("late", "busy")
    assert History(tmp_path, "17.head", 4).earlier_outcomes() == ("late",)
    assert History(tmp_path, "17.head", 1).earlier_outcomes() == ()
    assert History(tmp_path, "18.head", 5).earlier_outcomes() == ()
