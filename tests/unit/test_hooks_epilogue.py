"""The epilogue: whatever a job had, it goes; what cannot go now is remembered."""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from pathlib import Path

import pytest
from hook_kit import JOB, Site, cut_off, site

from nornir_torque_vm.errors import InventoryError, StateError
from nornir_torque_vm.exitcodes import HookExit, hook_exit
from nornir_torque_vm.runstate.joblock import job_lock
from nornir_torque_vm.runstate.jobstate import JobState

__all__ = ["site"]


@pytest.fixture(autouse=True)
def logged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sentences the epilogue writes to syslog."""
    lines: list[str] = []
    monkeypatch.setattr("nornir_torque_vm.hooks.epilogue.log", lambda *words: lines.append(words[-1]))
    return lines


def mark(site: Site) -> None:
    """What the shell part of the prologue does first."""
    folder = Path(site.settings.run_dir, "markers")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / JOB).touch()


@pytest.mark.proves("run_dir", "history_dir", "volume_dir")
def test_after_a_job_nothing_is_left_but_its_history(site: Site, logged: list[str]) -> None:
    """Guests, disks, seeds, keys, hand-over and marker are gone on every node."""
    mark(site)
    site.prologue()
    assert len(site.volumes()) == 4
    report = site.epilogue()
    assert report.ok
    assert hook_exit(report) == 0
    assert site.left() == []
    assert site.history("teardown.json")["ok"] is True
    assert site.history("verdict.json")["outcome"] == "ok"
    (line,) = logged
    assert line.startswith("guests removed from 2 nodes; guests=2 cpu_seconds=")


def test_its_events_follow_those_of_the_prologue(site: Site) -> None:
    """One file tells the whole story of an attempt: the timeline is made of it."""
    site.prologue()
    before = len(site.history("events.jsonl"))
    site.epilogue()
    added = site.history("events.jsonl")[before:]
    ended = [event for event in added if event["event"] == "host_end"]
    assert sorted((event["host"], event["phase"], event["status"]) for event in ended) == [
        ("node1", "destroy", "changed"), ("node2", "destroy", "changed"),
    ]  # fmt: skip


def test_twice_is_as_good_as_once(site: Site) -> None:
    """A restarted pbs_mom may run it again."""
    site.prologue()
    site.epilogue()
    again = site.epilogue()
    assert again.ok
    assert not any(entry.changed for entry in again.hosts)
    assert site.left() == []


def test_without_run_state_the_nodefile_says_where_to_look(site: Site) -> None:
    """After a reboot of the mother superior /run is empty; the guests of other nodes are not gone."""
    site.prologue()
    shutil.rmtree(site.settings.run_dir)
    assert site.epilogue().ok
    assert site.left() == []


def test_the_plan_goes_before_the_nodefile(site: Site) -> None:
    """What was started counts, whatever the file says by now."""
    site.prologue()
    site.nodefile.write_text("node1\n")
    assert site.epilogue().ok
    assert site.left() == []


def test_neither_plan_nor_nodefile_is_an_error_with_a_sentence(site: Site) -> None:
    """When a sister failed, the prologue never ran here (TF 1.6)."""
    with pytest.raises(InventoryError, match="no nodefile is named"):
        site.epilogue(site.call(nodefile=""))


def test_other_jobs_keep_their_guests(site: Site) -> None:
    """Also a job of the same number of another server, and an array's member."""
    others = ["17.other", "17[1].head", "117.head"]
    for name in others:
        assert site.prologue(site.call(job_id=name)).ok
    before = site.domains()
    site.prologue()
    assert site.epilogue().ok
    assert site.domains() == before
    assert len(before) == 2 * len(others)
    assert all(JobState.find(site.settings.run_dir, name) for name in others)


def test_with_a_node_out_of_reach_the_job_is_remembered(
    site: Site, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    """The other nodes are clean; plan and marker stay, so that a later destroy knows the nodes."""
    mark(site)
    site.prologue()
    with monkeypatch.context() as patch:
        cut_off(patch, "node2")
        report = site.epilogue()
    assert [entry.host for entry in report.failed] == ["node2"]
    assert hook_exit(report) == HookExit.REQUEUE  # which means nothing to TORQUE here
    assert [sentence for sentence in logged if "not cleaned up: node2" in sentence] == logged
    assert [name for name in site.domains() if "-r0-" in name] == []
    state = JobState.find(site.settings.run_dir, JOB)
    assert state is not None
    assert f"markers/{JOB}" in site.run_state()
    assert site.epilogue().ok
    assert site.left() == []


@pytest.mark.proves("history_days")
def test_old_records_go_and_young_ones_stay(site: Site) -> None:
    """History is kept for ``history_days``, counted from the last thing written."""
    site.prologue(site.call(job_id="1.head"))
    site.prologue(site.call(job_id="2.head"))
    site.settings = dataclasses.replace(site.settings, history_days=3)
    for name, days in (("1.head.1", 3.1), ("2.head.1", 2.9)):
        ago = time.time() - days * 86400
        os.utime(Path(site.settings.history_dir, name), (ago, ago))
    site.epilogue()
    assert sorted(path.name for path in Path(site.settings.history_dir).iterdir()) == [
        "17.head.1",
        "2.head.1",
    ]


def test_it_waits_for_whoever_is_at_work_on_the_job(site: Site) -> None:
    """A prologue that still starts guests would outlive their destruction."""
    site.prologue()
    with job_lock(site.settings.run_dir, JOB), pytest.raises(StateError, match="still at work"):
        site.epilogue(seconds=0.3)
    assert len(site.domains()) == 2
