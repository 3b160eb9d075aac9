"""A batch job in TORQUE's order: what follows from what its hooks and its script answer (TF 1.6, 1.8)."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from driver_kit import Nodes, nodes
from nornir_kit import eventually

from nornir_torque_vm.driver.batch import BatchJob, Outcome, Submission
from nornir_torque_vm.driver.slots import Fate
from nornir_torque_vm.errors import LabError

__all__ = ["nodes"]


@pytest.fixture(autouse=True)
def given(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What files were given to, as far as this process is concerned: needs root."""
    owners: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "fchown", lambda _fd, uid, gid: owners.append((uid, gid)))
    return owners


class Job:
    """A job whose hooks and script write down in which order they run."""

    def __init__(self, nodes: Nodes, script: str = "exit 0", hosts: int = 2, **submission: Any) -> None:
        self.nodes, self.log = nodes, nodes.folder / "log"
        self.log.touch()
        text = f'#!/bin/sh\necho job "$@" >>{self.log}\n{script}\n'
        given = Submission(text.encode(), "a job", [f"n{i + 1}" for i in range(hosts)], 2, **submission)
        self.batch = BatchJob(nodes, given, nodes.owner, 17)

    def hooks(self, **scripts: str) -> Job:
        """Install all hooks; what those do that are not named here is to succeed."""
        for slot in ("prologue", "epilogue", "prologue.parallel", "epilogue.parallel"):
            text = scripts.get(slot.replace(".", "_"), "exit 0")
            self.nodes.hook(f"{slot}.vm", f"echo {slot} $PBS_NODENUM >>{self.log}\n{text}")
        return self

    def run(self, **options: Any) -> Outcome:
        return self.batch.run(**options)

    @property
    def order(self) -> list[str]:
        return self.log.read_text().splitlines()


def test_a_job_goes_through_its_hooks_in_order(nodes: Nodes) -> None:
    """TF 1.1: sisters first at the start, and first again at the end."""
    began: list[bool] = []
    job = Job(nodes, "exit 37", arguments=["two words", "x"]).hooks()
    assert job.run(started=lambda: began.append(True)) == Outcome("17.head", "start", 37, 1)
    assert job.order == [
        "prologue.parallel 1", "prologue 0", "job two words x", "epilogue.parallel 1", "epilogue 0",
    ]  # fmt: skip
    assert began == [True]


def test_all_sisters_run_their_hook(nodes: Nodes) -> None:
    """At the same time, so in any order."""
    job = Job(nodes, hosts=4).hooks()
    job.run()
    assert sorted(job.order[:3]) == [f"prologue.parallel {number}" for number in (1, 2, 3)]
    assert sorted(job.order[-4:-1]) == [f"epilogue.parallel {number}" for number in (1, 2, 3)]


USER_SLOTS = ("prologue.user", "epilogue.user", "prologue.user.parallel", "epilogue.user.parallel")


def test_the_sites_hooks_for_users_run_beside_root_s(nodes: Nodes) -> None:
    """TF 1.1: after root's in a prologue, before it in an epilogue; a job of any type meets them."""
    job = Job(nodes).hooks()
    for slot in USER_SLOTS:
        nodes.hook(slot, f"echo {slot} >>{job.log}")
    job.run()
    assert job.order == [
        "prologue.parallel 1", "prologue.user.parallel", "prologue 0", "prologue.user", "job",
        "epilogue.user.parallel", "epilogue.parallel 1", "epilogue.user", "epilogue 0",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("slot", "fate", "status"), [("prologue.user", "abort", -2), ("prologue.user.parallel", "requeue", -3)]
)
def test_a_failing_hook_for_users_counts_as_root_s(nodes: Nodes, slot: str, fate: Fate, status: int) -> None:
    """TF 1.6."""
    nodes.hook(slot, "exit 1")
    assert Job(nodes).hooks().run() == Outcome("17.head", fate, status, 1)


def test_a_hook_that_may_not_be_run_requeues_for_ever(nodes: Nodes) -> None:
    """TF 1.2: a prologue's; an epilogue's is ignored."""
    job = Job(nodes, hosts=1).hooks()
    (nodes.home / "mom_priv/epilogue.vm").chmod(0o775)
    assert job.run().fate == "start"
    (nodes.home / "mom_priv/prologue.vm").chmod(0o775)
    assert job.run(max_starts=2) == Outcome("17.head", "requeue", -14, 2)


def test_the_epilogue_after_a_failed_sister_has_its_output_closed(nodes: Nodes) -> None:
    """TF 1.5: its prologue never ran, so there are no files for it."""
    look = f'[ -e /proc/$$/fd/1 ] || [ -e /proc/$$/fd/2 ] || touch "{nodes.folder}/closed"'
    Job(nodes).hooks(prologue="exit 1", epilogue=look).run()
    assert not (nodes.folder / "closed").exists()
    Job(nodes).hooks(prologue_parallel="exit 1", epilogue=look).run()
    assert (nodes.folder / "closed").exists()


def test_a_job_without_hooks_runs_bare(nodes: Nodes) -> None:
    """A missing file is skipped."""
    assert Job(nodes, "exit 5").run().exit_status == 5


def test_an_aborted_job_never_runs_and_its_sisters_are_told_nothing(nodes: Nodes) -> None:
    """Exit code 1: no retry, no epilogue.parallel; the mother superior's epilogue does run."""
    job = Job(nodes).hooks(prologue="exit 1")
    assert job.run(max_starts=5) == Outcome("17.head", "abort", -2, 1)
    assert job.order == ["prologue.parallel 1", "prologue 0", "epilogue 0"]


@pytest.mark.parametrize("code", [2, 255])
def test_any_other_code_requeues_and_the_driver_gives_up_in_the_end(nodes: Nodes, code: int) -> None:
    """TORQUE itself would go on for ever; each attempt ends with an epilogue."""
    job = Job(nodes, hosts=1).hooks(prologue=f"exit {code}")
    assert job.run(max_starts=3) == Outcome("17.head", "requeue", -14, 3)
    assert job.order == ["prologue 0", "epilogue 0"] * 3


def test_a_requeued_job_may_succeed(nodes: Nodes) -> None:
    """The node had been full."""
    job = Job(nodes, hosts=1).hooks(prologue='[ -e "../aux/again" ] || { touch ../aux/again; exit 2; }')
    assert job.run(max_starts=3) == Outcome("17.head", "start", 0, 2)


def test_a_prologue_killed_by_a_signal_counts_as_success(nodes: Nodes) -> None:
    """Which is why there is a marker."""
    job = Job(nodes, hosts=1).hooks(prologue="kill -9 $$")
    assert job.run().fate == "start"
    assert "job" in job.order


def test_a_prologue_that_takes_too_long_requeues(nodes: Nodes) -> None:
    """It is killed at ``$prologalarm`` and that does not count as a signal."""
    job = Job(nodes, hosts=1).hooks(prologue="exec sleep 60")
    job.batch.alarm = 0.4
    assert job.run() == Outcome("17.head", "requeue", -14, 1)


def test_a_failing_sister_requeues_before_the_mother_superior_begins(nodes: Nodes) -> None:
    """Any code of a sister, 1 included; its prologue never ran and its epilogue does."""
    job = Job(nodes).hooks(prologue_parallel="exit 1")
    assert job.run() == Outcome("17.head", "requeue", -3, 1)
    assert job.order == ["prologue.parallel 1", "epilogue 0"]


def test_what_an_epilogue_answers_is_ignored(nodes: Nodes) -> None:
    """The job is over."""
    job = Job(nodes, "exit 4").hooks(epilogue="exit 1", epilogue_parallel="exit 99")
    assert job.run() == Outcome("17.head", "start", 4, 1)


def test_a_job_that_dies_of_a_signal_has_256_added(nodes: Nodes) -> None:
    """271 for SIGTERM."""
    starter = nodes.hook("starter", "kill -TERM $$")
    job = Job(nodes, hosts=1)
    job.batch.starter = str(starter)
    assert job.run().exit_status == 271


def test_a_job_over_its_walltime_has_its_own_status(nodes: Nodes) -> None:
    """And its epilogue learns it."""
    job = Job(nodes, "sleep 60", hosts=1, walltime=1).hooks(epilogue=f'echo "${{10}}" >{nodes.folder}/status')
    assert job.run().exit_status == -11
    assert (nodes.folder / "status").read_text() == "-11\n"


def test_the_epilogue_learns_session_and_exit_status(nodes: Nodes) -> None:
    """Arguments five and ten."""
    job = Job(nodes, f"ps -o sid= -p $$ >{nodes.folder}/session; exit 3", hosts=1)
    job.hooks(epilogue=f'echo "$5 ${{10}}" >{nodes.folder}/told')
    job.run()
    session = (nodes.folder / "session").read_text().strip()
    assert (nodes.folder / "told").read_text() == f"{session} 3\n"


def test_output_is_shown_while_it_is_written(nodes: Nodes) -> None:
    """The job waits until somebody has seen its first line."""
    seen = nodes.folder / "seen"
    script = f"echo first; echo oops >&2; while [ ! -e {seen} ]; do sleep 0.05; done; echo second"
    job = Job(nodes, script, hosts=1).hooks(prologue="echo before", epilogue="echo after")
    out, err = bytearray(), bytearray()

    def show(data: bytes) -> None:
        out.extend(data)
        if b"first" in out:
            seen.touch()

    job.run(out=show, err=err.extend)
    assert out.decode() == "before\nfirst\nsecond\nafter\n"
    assert err.decode() == "oops\n"


def test_script_and_nodefile_are_where_and_whose_they_were_under_torque(
    nodes: Nodes, given: list[tuple[int, int]]
) -> None:
    """Nodefile root's and readable by all, script the user's alone; both are gone afterwards."""
    job = Job(nodes).hooks(
        prologue=f"cp -p ../aux/17.head {nodes.folder}/nodefile; cp -p jobs/17.head.SC {nodes.folder}"
    )
    job.run()
    assert (nodes.folder / "nodefile").read_text() == "n1\nn1\nn2\nn2\n"
    assert stat.S_IMODE((nodes.folder / "nodefile").stat().st_mode) == 0o644
    assert (nodes.folder / "17.head.SC").read_bytes() == job.batch.submission.script
    assert stat.S_IMODE((nodes.folder / "17.head.SC").stat().st_mode) == 0o700
    assert given == [(0, 0), (nodes.owner.uid, nodes.owner.gid)]
    assert list(nodes.home.rglob("*17.head*")) == []


def test_a_node_without_torques_directories_is_named(nodes: Nodes) -> None:
    """The lab was damaged."""
    (nodes.home / "aux").rmdir()
    with pytest.raises(LabError, match=r"node n1: .*/aux is missing; start the lab again"):
        Job(nodes).run()


def deleted(job: Job, when: str, **options: Any) -> Outcome:
    """Run a job and delete it once that line is in its log."""
    outcome: list[Outcome] = []
    thread = threading.Thread(target=lambda: outcome.append(job.run(**options)))
    thread.start()
    assert eventually(lambda: when in job.order, 20)
    job.batch.delete()
    thread.join(20)
    return outcome[0]


def test_a_job_deleted_while_it_runs_ends_by_the_signal(nodes: Nodes) -> None:
    """And is cleaned up after."""
    starter = nodes.hook("starter", f"echo job >>{nodes.folder}/log; exec sleep 60")
    job = Job(nodes, hosts=1).hooks()
    job.batch.starter = str(starter)
    assert deleted(job, "job", max_starts=3) == Outcome("17.head", "start", 271, 1)
    assert job.order == ["prologue 0", "job", "epilogue 0"]


def test_a_job_deleted_while_it_starts_is_not_started_again(nodes: Nodes) -> None:
    """The prologue ends early with a code that would requeue it."""
    job = Job(nodes, hosts=1).hooks(prologue="trap 'exit 2' TERM; while :; do sleep 0.05; done")
    assert deleted(job, "prologue 0", max_starts=5) == Outcome("17.head", "requeue", -14, 1)
    assert job.order == ["prologue 0", "epilogue 0"]


def test_a_job_deleted_during_a_prologue_that_succeeds_all_the_same_never_runs(nodes: Nodes) -> None:
    """TF 1.8: exit status 0."""
    job = Job(nodes, hosts=1).hooks(prologue="trap 'exit 0' TERM; while :; do sleep 0.05; done")
    assert deleted(job, "prologue 0") == Outcome("17.head", "abort", 0, 1)
    assert job.order == ["prologue 0", "epilogue 0"]
    assert not Path(job.batch.job.script).exists()


def test_tasks_run_beside_the_job_and_end_with_it(nodes: Nodes) -> None:
    """As a MOM's: own numbers, nothing to read, less of an environment; their output is the job's."""
    script = b"#!/bin/sh\necho up\nuntil [ -e go ]; do sleep 0.05; done\n"
    job = BatchJob(nodes, Submission(script, "job", ["n1", "n2"], 2), nodes.owner, 17)
    out: list[bytes] = []
    thread = threading.Thread(target=lambda: job.run(out=out.append))
    thread.start()
    assert eventually(lambda: b"up" in b"".join(out), 30)
    show = 'echo "$PBS_VNODENUM $PBS_NODENUM $PWD ${PBS_NODEFILE-none} ${USER-none} $(cat | wc -c)"; exit 3'
    assert job.task(["/bin/sh", "-c", show], 3).outcome == 3
    with pytest.raises(LabError, match="has no slot 4"):
        job.task(["/bin/true"], 4)
    ended: list[int | str] = []
    sleep = ["/bin/sleep", "600"]
    endless = threading.Thread(target=lambda: ended.append(job.task(sleep, 0).outcome), daemon=True)
    endless.start()
    (nodes.user_home / "go").touch()
    thread.join(30)
    endless.join(30)
    assert ended == [-15]
    assert b"".join(out).decode().split("\n")[1] == f"3 1 {nodes.user_home} none none 0"
