"""``torque-vm jobs`` and ``torque-vm job`` on a site's own history."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import libvirt
import pytest
from cli_kit import Said
from hook_kit import JOB, USER, Site, cut_off, site
from test_gueststats import RECORDED

from nornir_torque_vm.cli.app import outcome
from nornir_torque_vm.errors import GuestError, RequestError, TorqueVMError
from nornir_torque_vm.runstate.joblock import job_lock

__all__ = ["site"]

Run = Callable[..., Said]


@pytest.fixture
def run(site: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs ``torque-vm`` with the site's settings; every guest has the recorded figures."""
    monkeypatch.setenv("TORQUE_VM_SETTINGS", str(site.settings_file))
    monkeypatch.setattr(
        libvirt.virConnect,
        "domainListGetStats",
        lambda _conn, domains, *_: [(one, RECORDED) for one in domains],
    )

    def run(*words: str) -> Said:
        capsys.readouterr()
        code = outcome(words)
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return run


def refused(site: Site, job_id: str = "16.head") -> None:
    """A job whose request nobody understands."""
    with pytest.raises(RequestError):
        site.prologue(site.call("nonsense", job_id=job_id))


def states(said: Said) -> list[tuple[str, int, str]]:
    return [(one["job"], one["attempt"], one["state"]) for one in said.json["jobs"]]


def backdate(site: Site, record: str, seconds: float) -> None:
    """Make an attempt begin that much earlier."""
    path = Path(site.settings.history_dir, record, "job.json")
    kept = json.loads(path.read_text())
    path.write_text(json.dumps({**kept, "began": kept["began"] - seconds}))


def test_jobs_are_listed_newest_first_with_what_became_of_them(site: Site, run: Run) -> None:
    """One that runs, one that is over, one that was refused, by owner and with the reason."""
    refused(site)
    site.prologue(site.call(job_id="15.head"))
    site.epilogue(site.call(job_id="15.head"))
    site.prologue()
    backdate(site, "15.head.1", 100.0)
    said = run("jobs")
    assert said.code == 0
    assert [line.split()[:6] for line in said.out.splitlines()[1:]] == [
        [JOB, "1", USER.pw_name, "running", "node[1-2]", "2"],
        ["16.head", "1", USER.pw_name, "refused", "-", "-"],
        ["15.head", "1", USER.pw_name, "over", "node[1-2]", "2"],
    ]
    assert "damaged VM request" in said.out.splitlines()[2]
    first, second, third = run("jobs", "--json").json["jobs"]
    assert 0 < first["ready_after"] < 20
    assert third["ready_after"] > 100
    assert second["ready_after"] is None
    assert first["began"] >= second["began"] > third["began"]


def test_each_attempt_has_its_line(site: Site, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that was requeued shows why, and what came then."""
    with monkeypatch.context() as patch:
        cut_off(patch, "node2")
        site.prologue()
    site.prologue()
    assert states(run("jobs", "--json")) == [(JOB, 2, "running"), (JOB, 1, "site")]
    assert run("jobs", "--json", "--failed").json["jobs"][0]["sentence"].startswith("node2, survey: ")


def test_a_prologue_that_is_at_work_is_starting_and_one_that_was_killed_unfinished(
    site: Site, run: Run
) -> None:
    """The job's lock tells: it ends with its process."""
    site.prologue()
    Path(site.settings.history_dir, f"{JOB}.1", "verdict.json").unlink()
    with job_lock(site.settings.run_dir, JOB, attempt=1):
        assert states(run("jobs", "--json")) == [(JOB, 1, "starting")]
    assert states(run("jobs", "--json")) == [(JOB, 1, "unfinished")]


def test_without_run_state_a_job_that_was_ready_has_an_unknown_end(site: Site, run: Run) -> None:
    """A mother superior that was reset has an empty /run."""
    site.prologue()
    shutil.rmtree(site.settings.run_dir)
    assert states(run("jobs", "--json")) == [(JOB, 1, "ready")]


def test_jobs_are_chosen_by_fate_owner_and_number(site: Site, run: Run) -> None:
    """All conditions hold together."""
    refused(site)
    site.prologue()
    assert states(run("jobs", "--json", "--failed")) == [("16.head", 1, "refused")]
    assert states(run("jobs", "--json", "--limit", "1")) == [(JOB, 1, "running")]
    assert len(run("jobs", "--json", "--all", "--user", USER.pw_name).json["jobs"]) == 2
    assert run("jobs", "--user", "nobody-here") == Said(4, "", "torque-vm: no such job is on record here\n")
    assert run("jobs", "--all", "--limit", "3").code == 2


def test_twenty_are_shown_unless_all_are_wanted(site: Site, run: Run) -> None:
    """A long history does not scroll away what just happened."""
    for number in range(22):
        Path(site.settings.history_dir, f"{number}.head.1").mkdir(parents=True)
    assert len(run("jobs", "--json").json["jobs"]) == 20
    assert len(run("jobs", "--json", "--all").json["jobs"]) == 22


def test_no_history_is_no_job(site: Site, run: Run) -> None:
    """A node that has never been mother superior; looking makes no directory."""
    assert run("jobs").code == 4
    assert run("job", "17") == Said(
        4, "", "torque-vm: job 17 is not on record here; its mother superior has it\n"
    )
    assert not Path(site.settings.history_dir).exists()


def test_what_is_not_a_record_and_what_is_damaged_does_not_hide_the_rest(site: Site, run: Run) -> None:
    """Half a file, a stray file, a directory of somebody else."""
    site.prologue()
    log = Path(site.settings.history_dir)
    (log / f"{JOB}.1/verdict.json").write_text("{")
    (log / f"{JOB}.1/plan.json").write_bytes(b"\xff")
    (log / f"{JOB}.1/job.json").write_text("[]")
    (log / "5.head.1").write_text("a file")
    (log / "lost+found").mkdir()
    assert states(run("jobs", "--json")) == [(JOB, 1, "unfinished")]
    assert run("job", JOB).code == 0


def test_all_about_one_job(site: Site, run: Run) -> None:
    """Request, plan, verdict, timeline, what each guest used, teardown, and where it lies."""
    site.prologue()
    site.epilogue()
    said = run("job", "17")
    assert said.code == 0
    text = " ".join(said.out.split())
    for words in (
        "job 17.head, attempt 1: over",
        "name job.sh",
        f"owner {USER.pw_name}",
        "guests ready after",
        "request ram=64M",
        "plan 2 guests on node[1-2]; each: 1 vCPU, 64.0M of memory",
        "verdict ok",
        "teardown all removed",
        f"record {site.settings.history_dir}/17.head.1",
        "seconds image start address health run destroy total",
        "j17-r1 node2 4.3 253.2M 192.0M 18.0M 4.0K 12.7K 7.1K",
    ):
        assert words in text
    assert "no figures" not in text


def test_all_about_one_job_for_programs(site: Site, run: Run) -> None:
    """Exact numbers, whole files."""
    site.prologue()
    site.epilogue()
    found = run("job", f"{JOB}.1", "--json").json
    assert found["verdict"]["outcome"] == "ok"
    assert [one["net_sent"] for one in found["figures"]["guests"]] == [7220, 7220]
    assert {row["guest"] for row in found["timeline"]["guests"]} == {"j17-r0", "j17-r1"}
    assert found["plan"]["image"]["name"] == "micro.qcow2"
    assert found["teardown"]["ok"] is True
    assert found["record"] == f"{site.settings.history_dir}/17.head.1"
    assert found["figures_missing"] == []


def test_a_refused_job_says_why_and_that_it_had_no_guests(site: Site, run: Run) -> None:
    """And whether its owner has read it."""
    refused(site)
    text = " ".join(run("job", "16").out.split())
    assert "attempt 1: refused" in text
    assert "request none that can be read" in text
    assert "verdict refused; its owner was told" in text
    assert "why the job carries a damaged VM request" in text
    assert "no figures of its guests: none was ever started" in text
    assert "teardown nothing was started" in text


def test_hostile_text_is_shown_as_text(site: Site, run: Run) -> None:
    """A job's name, queue and resources are the user's to choose."""
    evil = "x\x1b[31m\nroot 0\udcff"
    site.prologue(site.call(job_name=evil, queue=evil))
    for words in (("jobs",), ("job", "17")):
        assert run(*words).out.replace("\n", "").isprintable()
    assert run("job", "17", "--json").json["name"] == evil
    assert (
        run("job", "\x1b[2J").err
        == "torque-vm: job \\x1b[2J is not on record here; its mother superior has it\n"
    )


def test_what_is_roots_stays_roots(site: Site, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line that says so, and code 1."""
    site.prologue()
    real = os.open

    def forbid(path: Any, *words: Any, **more: Any) -> int:
        if str(path) == site.settings.history_dir:
            raise PermissionError(13, "Permission denied")
        return real(path, *words, **more)

    monkeypatch.setattr(os, "open", forbid)
    monkeypatch.setattr("nornir_torque_vm.records.os.geteuid", lambda: 1000)
    said = run("jobs")
    assert (said.code, said.out) == (1, "")
    assert said.err == (
        f"torque-vm: cannot open {site.settings.history_dir}: Permission denied; "
        "what is kept of jobs is for root alone\n"
    )


def test_an_attempt_is_recorded_before_anything_can_go_wrong(site: Site, run: Run) -> None:
    """Even when the MOM has no job starter, its owner is known."""
    site.configure_mom()
    with pytest.raises(TorqueVMError):
        site.prologue()
    assert states(run("jobs", "--json", "--user", USER.pw_name)) == [(JOB, 1, "site")]


def test_a_running_jobs_guests_are_asked_what_they_have_used_until_now(site: Site, run: Run) -> None:
    """Nobody has to wait for its end; nothing is kept of it."""
    site.prologue()
    said = run("job", JOB, "--json").json
    assert [(one["guest"], one["net_sent"]) for one in said["figures"]["guests"]] == [
        ("j17-r0", 7220), ("j17-r1", 7220),
    ]  # fmt: skip
    assert said["figures_missing"] == []
    assert not Path(site.settings.history_dir, f"{JOB}.1", "stats.json").exists()


def test_a_job_that_was_requeued_tells_all_its_attempts(
    site: Site, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When each began and what it came to, whichever is shown."""
    with monkeypatch.context() as patch:
        cut_off(patch, "node2")
        site.prologue()
    site.prologue()
    said = run("job", f"{JOB}.1")
    assert re.search(r"^attempts  1 site \(.*\), 2 running \(.*\)$", said.out, re.MULTILINE)
    told = run("job", JOB, "--json").json["attempts"]
    assert [(one["attempt"], one["state"]) for one in told] == [(1, "site"), (2, "running")]
    refused(site, "18.head")
    assert "attempts" not in run("job", "18.head").out


def test_a_start_that_failed_in_its_guests_tells_what_they_used(site: Site, run: Run) -> None:
    """Asked right before they were removed."""

    def breaks(_host: Any) -> bool:
        raise GuestError("the guest says no")

    site.prologue(probe=breaks)
    said = run("job", JOB, "--json").json
    assert said["state"] == "site"
    assert [one["guest"] for one in said["figures"]["guests"]] == ["j17-r0", "j17-r1"]
    assert "the guest says no" in said["sentence"]
