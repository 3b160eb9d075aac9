"""Starting and removing guests by hand, on nodes of libvirt's test driver."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from cli_kit import BOTH, Run, boot, probed, run
from hook_kit import JOB, USER, Site, cut_off, site

from nornir_torque_vm.errors import GuestError
from nornir_torque_vm.runstate.joblock import job_lock
from nornir_torque_vm.runstate.jobstate import JobState

__all__ = ["run", "site"]


def test_boot_starts_guests_and_says_how_to_remove_them(site: Site, run: Run) -> None:
    """Before it waits for them, so that an interrupted command has said it as well."""
    said = boot(run)
    assert said.code == 0
    assert said.rows == [
        ["j5-r0", "node1", "192.168.0.1", "changed"],
        ["j5-r1", "node2", "192.168.0.1", "changed"],
    ]
    assert said.err == "torque-vm: job 5.adhoc; remove it with: torque-vm destroy --job 5.adhoc\n"
    assert len(site.domains()) == 2
    state = JobState.find(site.settings.run_dir, "5.adhoc")
    assert state is not None
    assert state.job.owner.name == USER.pw_name
    assert state.keys() is not None


def test_boot_makes_up_a_job_id(site: Site, run: Run) -> None:
    """One that no batch server gives."""
    said = run("boot", "node1", "-vm", "ram=64M")
    assert said.code == 0
    assert ".adhoc;" in said.err


def test_boot_again_under_the_same_id_is_refused(site: Site, run: Run) -> None:
    """Guests of the same MAC addresses on one network would disturb each other."""
    boot(run)
    before = site.domains()
    said = boot(run)
    assert (said.code, said.err) == (
        2,
        "torque-vm: job 5.adhoc has guests; torque-vm destroy --job 5.adhoc\n",
    )
    assert site.domains() == before


@pytest.mark.parametrize(
    ("request_text", "code", "sentence"),
    [
        ("cpus=1", 2, "unknown -vm key 'cpus'"),
        ("ram=64M,vcpus=99", 2, "vcpus=99 is more than the 16 processors"),
        ("img=other.qcow2", 2, "does not exist in the image pool"),
        ("vm_epilogue=/nowhere/file", 2, "vm_epilogue names '/nowhere/file', which cannot be opened"),
        ("vms_per_node=99", 2, "the site allows 8 guests on a node"),
    ],
)
def test_a_request_that_cannot_be_met_starts_nothing(
    site: Site, run: Run, request_text: str, code: int, sentence: str
) -> None:
    """One line; the request is the caller's to mend."""
    said = run("boot", "node1", "-vm", request_text)
    assert said.code == code
    assert sentence in said.err
    assert len(said.err.splitlines()) == 1
    assert site.left() == []


def test_boot_reads_the_keys_as_a_submission_does(site: Site, run: Run, tmp_path: Path) -> None:
    """Files of the caller are read, and what has no effect is said; the site's limits hold."""
    (tmp_path / "user-data").write_text("#cloud-config\n")
    said = boot(run, "-vm", f"metadata={tmp_path}/user-data,VCPUS=2,unclot=on")
    assert said.code == 0
    off, _ = said.err.splitlines()
    assert off == "torque-vm: the site has switched unclot off: unclot=true is ignored"
    assert [guest["vcpus"] for guest in run("guests", *BOTH, "--json").json["guests"]] == [2, 2]


def test_boot_says_what_only_jobs_have(site: Site, run: Run, tmp_path: Path) -> None:
    """Nobody shall look for a script's effect."""
    (tmp_path / "script").write_text("true\n")
    said = boot(run, "-vm", f"vm_epilogue={tmp_path}/script")
    assert said.code == 0
    assert said.err.startswith("torque-vm: only jobs have vm_epilogue: guests started here have not\n")


def test_boot_stops_at_a_node_that_does_not_answer(
    site: Site, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is started elsewhere."""
    cut_off(monkeypatch, "node2")
    said = boot(run)
    assert said.code == 1
    assert said.err.startswith("torque-vm: node2, survey: ")
    assert site.left() == []


def test_guests_that_fail_stay_for_a_look_and_can_be_destroyed(
    site: Site, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unlike a job's: whoever boots by hand wants to see why."""

    def no(_host: Any) -> bool:
        raise GuestError("no")

    probed(monkeypatch, no)
    said = boot(run, "--json")
    assert said.code == 1
    assert [(host["host"], host["status"], host["phase"]) for host in said.json["hosts"]] == [
        ("j5-r0", "failed", "health"), ("j5-r1", "failed", "health"),
    ]  # fmt: skip
    assert len(site.domains()) == 2
    assert run("destroy", "--job", "5.adhoc").code == 0
    assert site.left() == []


def test_late_guests_are_code_three(site: Site, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the time that was given."""
    probed(monkeypatch, lambda _: False)
    began = time.monotonic()
    said = boot(run, "--timeout", "1")
    assert said.code == 3
    assert time.monotonic() - began < 5
    assert "late" in said.err or "not healthy after" in said.err


def test_destroy_without_nodes_asks_the_jobs_plan(site: Site, run: Run) -> None:
    """On its mother superior the job's id is enough; run state goes with the guests."""
    site.prologue()
    names = site.domains()
    said = run("destroy", "--job", JOB)
    assert said.code == 0
    assert sorted(row[1] for row in said.rows) == names
    assert site.left() == []


def test_destroy_elsewhere_needs_the_nodes(site: Site, run: Run) -> None:
    """This host has no plan of that job; with nodes it does its work all the same."""
    site.prologue()
    JobState.forget(site.settings.run_dir, JOB)
    said = run("destroy", "--job", JOB)
    assert said.code == 2
    assert said.err == f"torque-vm: the nodes of job {JOB} are not known here; name them, or use --nodefile\n"
    assert run("destroy", *BOTH, "--job", JOB).code == 0
    assert site.domains() == []


def test_destroy_where_the_run_state_is_somebody_elses_asks_for_the_nodes(site: Site, run: Run) -> None:
    """An administrator who is not root here; or a directory that anybody may write."""
    Path(site.settings.run_dir).mkdir(mode=0o777)
    Path(site.settings.run_dir).chmod(0o777)
    said = run("destroy", "--job", JOB)
    assert said.code == 2
    assert "can be written by others" in said.err
    assert said.err.endswith("; name them\n")


def test_destroy_makes_no_run_directory(site: Site, run: Run) -> None:
    """On an administrator's own machine there is none."""
    assert run("destroy", *BOTH, "--job", JOB).code == 0
    assert not Path(site.settings.run_dir).exists()


def test_destroying_what_is_not_there_is_a_success(site: Site, run: Run) -> None:
    """It may be run again."""
    said = run("destroy", *BOTH, "--job", JOB)
    assert (said.code, said.out.count("nothing was there")) == (0, 2)


def test_destroy_on_some_nodes_keeps_the_job_known(site: Site, run: Run) -> None:
    """The rest of its guests still has to be found."""
    site.prologue()
    assert run("destroy", "node1", "--job", JOB).code == 0
    assert len(site.domains()) == 1
    assert run("destroy", "--job", JOB).code == 0
    assert site.left() == []


def test_destroy_with_a_node_out_of_reach_keeps_the_job_known(
    site: Site, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second run, when it is back, needs no more words."""
    site.prologue()
    with monkeypatch.context() as patch:
        cut_off(patch, "node2")
        assert run("destroy", "--job", JOB).code == 1
    assert len(site.domains()) == 1
    assert run("destroy", "--job", JOB).code == 0
    assert site.left() == []


def test_destroy_all_takes_every_job_and_says_what_went(site: Site, run: Run) -> None:
    """A node's line names the guests of all jobs."""
    site.prologue()
    boot(run)
    names = site.domains()
    said = run("destroy", *BOTH, "--all", "--json")
    assert said.code == 0
    assert sorted(name for host in said.json["hosts"] for name in host["data"]["domains"]) == names
    assert site.left() == []
    assert run("destroy", *BOTH, "--all").code == 0


def test_destroy_all_reports_nodes_that_could_not_be_asked(
    site: Site, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No guest was seen there, which says nothing."""
    cut_off(monkeypatch, "node2")
    assert run("destroy", *BOTH, "--all").code == 1
    cut_off(monkeypatch, "node1")
    assert run("destroy", *BOTH, "--all").code == 5


def test_destroy_with_a_filter_takes_those_guests_alone(site: Site, run: Run) -> None:
    """Not the whole job of which they are."""
    site.prologue()
    boot(run)
    said = run("destroy", *BOTH, "--job", JOB, "--filter", "rank=1")
    assert said.code == 0
    assert [row[:2] for row in said.rows] == [["j17-r1", "node2"]]
    assert [row[0] for row in run("guests", *BOTH).rows] == ["j17-r0", "j5-r0", "j5-r1"]
    assert JobState.find(site.settings.run_dir, JOB) is not None
    assert run("destroy", *BOTH, "--all", "--filter", f"owner={USER.pw_name}").code == 0
    assert site.domains() == []


def test_destroy_waits_for_whoever_is_at_work_on_the_job(site: Site, run: Run) -> None:
    """A prologue that goes on would start what was just removed."""
    site.prologue()
    with job_lock(site.settings.run_dir, JOB):
        said = run("destroy", "--job", JOB, "--timeout", "0.3")
    assert said.code == 1
    assert f"job {JOB}: process {os.getpid()} (attempt 0) is still at work on it" in said.err
    assert len(site.domains()) == 2
