"""The prologue, from nodefile to guests on libvirt's test driver, or to nothing: every way it can end."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import libvirt
import pytest
from hook_kit import JOB, USER, Site, cut_off, ready, site

from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.engine import Boot, Engine
from nornir_torque_vm.errors import (
    Cancelled,
    DeadlineExceeded,
    GuestError,
    ImageError,
    InventoryError,
    RequestError,
    SettingsError,
    StateError,
    StorageError,
)
from nornir_torque_vm.exitcodes import HookExit, RunExit, hook_exit
from nornir_torque_vm.hooks.prologue import Prologue
from nornir_torque_vm.model import Node
from nornir_torque_vm.report import Failure, HostReport, Report, Status
from nornir_torque_vm.runstate.handover import read_handover
from nornir_torque_vm.runstate.joblock import holder, job_lock
from nornir_torque_vm.runstate.jobstate import History, JobState
from nornir_torque_vm.storage.folder import LocalFolder

__all__ = ["site"]


def never(_host: Any) -> bool:
    """A guest that does not get ready."""
    return False


def breaks(_host: Any) -> bool:
    """A guest that will never get ready."""
    raise GuestError("the guest says no")


def test_a_good_start_hands_the_guests_over(site: Site) -> None:
    """One guest on each node runs; the owner finds addresses and key, and TORQUE starts the job."""
    report = site.prologue()
    assert report.ok
    assert hook_exit(report) == HookExit.START
    assert len(site.domains()) == 2
    given = read_handover(site.settings.run_dir, JOB)
    assert [(guest.name, guest.node) for guest in given.guests] == [("j17-r0", "node1"), ("j17-r1", "node2")]
    assert {guest.address for guest in given.guests} == {"192.168.0.1"}  # what the test driver says
    assert given.user == USER.pw_name
    path = Path(site.settings.run_dir, "handover", JOB, "given")
    assert (path.stat().st_mode & 0o777, path.stat().st_uid) == (0o400, os.geteuid())


def test_the_history_tells_what_was_planned_done_and_judged(site: Site) -> None:
    """Plan, events, report and verdict are there when the job is long gone; no key is."""
    site.prologue()
    assert [guest["name"] for guest in site.history("plan.json")["guests"]] == ["j17-r0", "j17-r1"]
    events = site.history("events.jsonl")
    assert {event["job"] for event in events} == {JOB}
    assert {event["task"] for event in events} >= {"survey", "boot_guest", "start_guest", "check_health"}
    assert site.history("report.json")["ok"] is True
    assert site.history("verdict.json") == {
        "outcome": "ok", "hook_exit": 0, "run_exit": 0, "sentence": "", "refused": False,
    }  # fmt: skip
    kept = "".join(path.read_text() for path in Path(site.settings.history_dir).rglob("*") if path.is_file())
    assert "PRIVATE KEY" not in kept


def test_the_lock_is_free_afterwards(site: Site) -> None:
    """The epilogue needs it."""
    site.prologue()
    with job_lock(site.settings.run_dir, JOB, deadline=Deadline.after(0)):
        assert holder(site.settings.run_dir, JOB) is not None


@pytest.mark.parametrize(
    ("request_text", "error"),
    [
        ("", RequestError),
        ("cpus=4", RequestError),
        ("ram=64M:vcpus=17", RequestError),
        ("vms_per_node=9", RequestError),
        ("img=missing.qcow2", ImageError),
    ],
)
def test_what_the_user_can_mend_is_told_by_the_job_starter(
    site: Site, request_text: str, error: type[Exception]
) -> None:
    """An aborted job's output is never delivered (TF 1.6), so the job is started to say why, and ends.

    A marked job without a request, an unknown key, an impossible shape, an image that is not there.
    """
    with pytest.raises(error) as caught:
        site.prologue(site.call(request_text))
    verdict = site.history("verdict.json")
    assert (verdict["outcome"], verdict["hook_exit"], verdict["run_exit"]) == ("refused", 0, 120)
    assert (verdict["sentence"], verdict["refused"]) == (str(caught.value), True)
    assert site.left() == [f"handover/{JOB}/given"]
    with pytest.raises(RequestError) as told:
        read_handover(site.settings.run_dir, JOB)
    assert str(told.value) == str(caught.value)
    assert site.epilogue().ok
    assert site.left() == []


def test_a_refused_job_of_nobody_is_aborted(site: Site) -> None:
    """There is no account that a refusal could be given to."""
    with pytest.raises(RequestError):
        site.prologue(site.call("cpus=4", user="no-such-user"))
    assert site.history("verdict.json")["hook_exit"] == HookExit.ABORT
    assert site.left() == []


@pytest.mark.proves("torque_home")
@pytest.mark.parametrize("line", ["", "$job_starter /bin/sh", "$job_starter /nonexistent"])
def test_no_guest_is_started_where_the_mom_has_no_job_starter_of_ours(site: Site, line: str) -> None:
    """The job would run beside its guests, on bare metal. In the end it is aborted: nobody can say why."""
    site.configure_mom(line)
    for exit_code in (HookExit.REQUEUE,) * 3 + (HookExit.ABORT,):
        with pytest.raises(SettingsError, match="job starter"):
            site.prologue()
        latest = History.latest(site.settings.history_dir, JOB).attempt
        assert site.history("verdict.json", latest)["hook_exit"] == exit_code
    assert site.left() == []


@pytest.mark.proves("max_requeues")
def test_what_the_site_cannot_mend_is_tried_a_limited_number_of_times(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TORQUE itself would try for ever. In the end the user reads what the site failed at."""
    cut_off(monkeypatch, "node2")
    for attempt in (1, 2, 3):
        assert not site.prologue().ok
        assert site.history("verdict.json", attempt)["hook_exit"] == HookExit.REQUEUE
    assert not site.prologue().ok
    verdict = site.history("verdict.json", 4)
    assert (verdict["hook_exit"], verdict["run_exit"], verdict["refused"]) == (0, 122, True)
    with pytest.raises(StateError, match=r"node2, survey: .*; given up after 4 attempts$"):
        read_handover(site.settings.run_dir, JOB)


def test_a_full_node_requeues_the_job_and_blames_nobody(tmp_path: Path) -> None:
    """Guests of another job are there; the job will fit when they are gone."""
    site = Site(tmp_path, ["node1"], max_vms_per_node=1)
    try:
        assert site.prologue(site.call(job_id="16.head")).ok
        before = site.domains()
        with pytest.raises(Exception, match="1 guests are there and 1 more would exceed 1") as caught:
            site.prologue()
        assert hook_exit(caught.value) == HookExit.REQUEUE
        assert site.history("verdict.json")["outcome"] == "busy"
        assert site.domains() == before, "the other job's guests stay"
    finally:
        site.close()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"nodefile": ""}, "no nodefile is named"),
        ({"nodefile": "/nonexistent"}, "the nodefile /nonexistent cannot be read"),
        ({"user": "no-such-user"}, "there is no account 'no-such-user'"),
    ],
)
def test_what_the_site_has_to_mend_requeues_the_job(
    site: Site, changes: dict[str, str], sentence: str
) -> None:
    """A broken nodefile or directory service is not the user's fault."""
    with pytest.raises(InventoryError, match=sentence) as caught:
        site.prologue(site.call(**changes))
    assert hook_exit(caught.value) == HookExit.REQUEUE
    assert site.history("verdict.json")["run_exit"] == 122
    assert site.left() == []


@pytest.mark.parametrize("text", ["", "node1\nnode'2\n", "node1\n../node2\n"])
def test_a_nodefile_nobody_can_use_is_refused_before_any_node_is_asked(site: Site, text: str) -> None:
    """Host names go into URIs and file names."""
    site.nodefile.write_text(text)
    with pytest.raises(InventoryError):
        site.prologue()
    assert site.left() == []


def test_an_unreachable_node_fails_the_survey_and_is_named(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line says which node; nothing is started on the others."""
    cut_off(monkeypatch, "node2")
    report = site.prologue()
    assert hook_exit(report) == HookExit.REQUEUE
    assert [entry.host for entry in report.failed] == ["node2"]
    assert site.history("verdict.json")["sentence"].startswith("node2, survey: ")
    assert capsys.readouterr().err == "", "what is said to the user is decided at the end"
    assert site.left() == []


def test_late_guests_requeue_the_job_and_leave_nothing(site: Site) -> None:
    """The deadline is for being ready; removing has a time of its own."""
    report = site.prologue(probe=never, seconds=1.0)
    assert {entry.status for entry in report.hosts} == {Status.LATE}
    assert hook_exit(report) == HookExit.REQUEUE
    assert site.history("verdict.json")["outcome"] == "late"
    assert site.history("report.json")["summary"] == "2 late"
    assert site.left() == []


def test_the_owner_of_a_job_whose_guests_were_late_to_the_last_is_told_so(tmp_path: Path) -> None:
    """Late has an exit code of its own, whoever gives it."""
    site = Site(tmp_path, max_requeues=0)
    try:
        site.prologue(probe=never, seconds=1.0)
        with pytest.raises(
            DeadlineExceeded, match=r"^j17-r\[0-1\] on node\[1-2\], health: not healthy after"
        ):
            read_handover(site.settings.run_dir, JOB)
    finally:
        site.close()


def test_one_failed_guest_takes_the_others_with_it(site: Site) -> None:
    """Also the nodes whose guest failed are cleaned: Nornir itself would leave those out."""

    def on_node2(host: Any) -> bool:
        return breaks(host) if host["node"] == "node2" else True

    report = site.prologue(probe=on_node2)
    assert [entry.error for entry in report.failed] == ["the guest says no"]
    assert hook_exit(report) == HookExit.REQUEUE
    assert site.left() == []


@pytest.mark.parametrize("found", [Status.CHANGED, Status.FAILED])
def test_no_guest_is_started_before_every_sister_is_marked(
    site: Site, monkeypatch: pytest.MonkeyPatch, found: Status
) -> None:
    """A sister's own prologue that was killed counts as a success; one that cannot be marked has no job."""
    seen: list[tuple[list[str], list[str]]] = []

    def mark(_engine: Engine, nodes: Sequence[Node], job_id: str) -> Report:
        assert job_id == JOB
        seen.append(([node.name for node in nodes], site.domains() + site.volumes()))
        why = Failure("HypervisorUnreachable", "no answer", "node node2: no answer")
        failure = why if found is Status.FAILED else None
        return Report((HostReport("node2", "node2", "node", found, failure=failure),))

    monkeypatch.setattr(Engine, "mark", mark)
    report = site.prologue()
    assert seen == [(["node1", "node2"], [])]
    assert hook_exit(report) == (HookExit.START if found is Status.CHANGED else HookExit.REQUEUE)
    assert len(site.domains()) == (2 if found is Status.CHANGED else 0)


def test_nothing_is_handed_over_before_every_guests_folder_is_closed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the job's first line its owner may write into what is there."""
    order: list[str] = []
    real = Engine.hand_over

    def close(self: LocalFolder) -> None:
        order.append(f"close on {Path(self.directory).parent.name}")

    def hand_over(self: Engine, *words: Any) -> Report:
        order.append("hand over")
        return real(self, *words)

    monkeypatch.setattr(LocalFolder, "close", close)
    monkeypatch.setattr(Engine, "hand_over", hand_over)
    assert site.prologue().ok
    assert sorted(order[:2]) == ["close on node1", "close on node2"]
    assert order[2:] == ["hand over"]


def test_a_folder_that_cannot_be_closed_fails_the_start(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is handed over, and everything goes."""

    def close(self: LocalFolder) -> None:
        if "/node2/" in self.directory:
            raise StorageError("it hangs", node="node2")

    monkeypatch.setattr(LocalFolder, "close", close)
    report = site.prologue()
    assert not report.ok
    assert report.sentences() == ("j17-r1 on node2, close: it hangs",)
    assert site.left() == []


def test_a_sister_that_is_lost_at_the_end_hides_nobody_elses_result(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its guest got ready, so did the others; what failed is the hand-over, and the site is to blame."""

    def lost(*_: object) -> Report:
        gone = Failure("HypervisorUnreachable", "no answer", "node node2: no answer")
        return Report((HostReport("node2", "node2", "hand-over", Status.FAILED, failure=gone),))

    monkeypatch.setattr(Engine, "hand_over", lost)
    assert hook_exit(site.prologue()) == HookExit.REQUEUE
    kept = {host["host"]: host["status"] for host in site.history("report.json")["hosts"]}
    assert kept == {"j17-r0": "changed", "j17-r1": "changed", "node2": "failed"}
    verdict = site.history("verdict.json")
    assert (verdict["outcome"], verdict["sentence"]) == ("site", "node2, hand-over: no answer")
    assert site.left() == []


def test_an_error_nobody_foresaw_leaves_nothing_either(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here after the guests have started."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(JobState, "hand_over", broken)
    with pytest.raises(ZeroDivisionError) as caught:
        site.prologue()
    assert hook_exit(caught.value) == HookExit.REQUEUE
    assert site.history("verdict.json")["sentence"] == "unexpected ZeroDivisionError: oops"
    assert site.left() == []


def test_trouble_with_cleaning_up_does_not_change_the_verdict(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user's mistake ends the job, whatever else goes wrong afterwards."""
    logged: list[str] = []
    monkeypatch.setattr("nornir_torque_vm.hooks.prologue.log", lambda *words: logged.append(words[-1]))

    def broken(_: object) -> None:
        raise StateError("the run directory is on fire")

    monkeypatch.setattr(JobState, "remove", broken)
    with pytest.raises(RequestError):
        site.prologue(site.call("vcpus=17"))
    assert site.history("verdict.json")["run_exit"] == RunExit.REFUSED
    (line,) = logged
    assert line.endswith("; not cleaned up: the run directory is on fire")


def test_a_start_that_fails_keeps_what_its_guests_used(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked before they are removed; one that never had a plan asks nobody."""
    asked: list[int] = []

    def answer(_conn: object, domains: list[Any], *_: object) -> list[Any]:
        asked.append(len(domains))
        return [(one, {"vcpu.0.time": 2_000_000_000}) for one in domains]

    monkeypatch.setattr(libvirt.virConnect, "domainListGetStats", answer)
    with pytest.raises(RequestError):
        site.prologue(site.call("vcpus=17"))
    assert asked == []
    assert not site.prologue(probe=breaks).ok
    kept = site.history("stats.json", attempt=2)
    assert [(one["guest"], one["cpu_seconds"]) for one in kept["guests"]] == [
        ("j17-r0", 2.0),
        ("j17-r1", 2.0),
    ]
    assert site.left() == []
    assert site.epilogue().ok
    assert site.history("stats.json", attempt=2) == kept, "the epilogue finds no guest and changes nothing"


def test_what_could_not_be_removed_keeps_its_plan(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The epilogue and ``torque-vm destroy --job`` have to know where to look."""

    def then_cut_off(_host: Any) -> bool:
        cut_off(monkeypatch, "node2")
        return breaks(_host)

    assert not site.prologue(probe=then_cut_off).ok
    assert [name.rpartition("/")[2] for name in site.run_state()] == ["keys.json", "plan.json"]
    monkeypatch.undo()
    assert site.epilogue().ok
    assert site.left() == []


def test_a_second_attempt_has_its_own_history_and_replaces_what_was_left(site: Site) -> None:
    """TORQUE requeues; the attempts are counted here, because it does not tell."""
    site.prologue(probe=breaks)
    assert site.prologue().ok
    assert (
        site.history("plan.json", attempt=1)["job"]["nonce"] != site.history("plan.json", 2)["job"]["nonce"]
    )
    assert site.history("verdict.json", 2)["outcome"] == "ok"
    assert all("-a2-" in name for name in site.domains())


def test_a_second_attempt_removes_what_a_killed_first_one_left(site: Site) -> None:
    """Its guests would fill the nodes, and its hand-over would open guests that are no longer the job's."""
    site.prologue()
    first = site.domains()
    assert site.prologue().ok
    assert len(site.domains()) == 2
    assert not set(site.domains()) & set(first)
    assert {name.partition("-a")[2][0] for name in site.volumes()} == {"2"}


def test_another_mother_superior_removes_what_the_killed_one_left(site: Site) -> None:
    """It knows of no attempt. The guests of both would have the same MAC addresses."""
    site.prologue()
    first = site.domains()
    shutil.rmtree(site.settings.history_dir)
    shutil.rmtree(site.settings.run_dir)
    assert site.prologue().ok
    assert len(site.domains()) == 2
    assert not set(site.domains()) & set(first)


def test_a_second_attempt_does_not_start_beside_what_it_cannot_remove(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that does not answer may still run the first one's guests."""
    site.prologue()
    cut_off(monkeypatch, "node2")
    report = site.prologue()
    assert [entry.host for entry in report.failed] == ["node2"]
    assert site.domains() == [name for name in site.domains() if "-a1-" in name]


def test_nobody_starts_a_job_that_somebody_else_is_at_work_on(site: Site) -> None:
    """A restarted pbs_mom starts the prologue again while the first one still runs (TF 1.8)."""
    with (
        job_lock(site.settings.run_dir, JOB),
        pytest.raises(StateError, match="still at work on it") as caught,
    ):
        site.prologue(seconds=0.3)
    assert hook_exit(caught.value) == HookExit.REQUEUE
    assert site.domains() == []


def test_a_cancelled_start_ends_early_and_clean(site: Site) -> None:
    """SIGTERM makes the deadline due: long before its time, in the hook's own order."""
    deadline = Deadline.after(20)

    def then_cancel(_host: Any) -> bool:
        deadline.cancel()
        return False

    report = Prologue(site.call(), site.settings, deadline, probe=then_cancel).run()
    assert deadline.at - time.monotonic() > 10
    assert {entry.status for entry in report.hosts} == {Status.CANCELLED}
    assert hook_exit(report) == HookExit.REQUEUE
    assert site.history("verdict.json")["outcome"] == "cancelled"
    assert site.left() == []


def test_a_job_deleted_at_the_last_moment_is_not_handed_over(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before every side effect the prologue looks whether it is still wanted."""
    deadline, boot = Deadline.after(20), Engine.boot

    def boot_then_cancel(*args: Any, **parameters: Any) -> Boot:
        booted = boot(*args, **parameters)
        deadline.cancel()
        return booted

    monkeypatch.setattr(Engine, "boot", boot_then_cancel)
    with pytest.raises(DeadlineExceeded):
        Prologue(site.call(), site.settings, deadline, probe=ready).run()
    assert site.left() == []


def test_a_job_that_ended_before_its_prologue_got_the_lock_gets_no_guests(site: Site) -> None:
    """A qdel at once: the epilogue was there first, and nobody would end what is started now."""
    marker = site.folder / "marker"
    prologue = Prologue(site.call(), site.settings, Deadline.after(20), probe=ready, marker=marker)
    with pytest.raises(Cancelled, match="the job ended before its guests were started"):
        prologue.run()
    assert site.history("verdict.json")["hook_exit"] == HookExit.REQUEUE
    assert site.left() == []
    marker.touch()
    assert Prologue(site.call(), site.settings, Deadline.after(20), probe=ready, marker=marker).run().ok
