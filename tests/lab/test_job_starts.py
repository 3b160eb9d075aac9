"""Jobs whose start is disturbed or refused, by the embedded driver: the same as on a real TORQUE."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from driving import SMALL, Job, leftovers, wait_for
from remains import assert_nothing_left, domains, leases_of

from nornir_torque_vm.driver import session
from nornir_torque_vm.driver.deploy import deploy_hooks
from nornir_torque_vm.exitcodes import RunExit
from nornir_torque_vm.lab import Lab

pytestmark = pytest.mark.lab

MOM_PRIV = "var/spool/torque/mom_priv"
MARKED = 'exec "$PYTHON" -I -m nornir_torque_vm.hooks.prologue'
"""Where prologue.vm has made the marker."""
BARE = 'echo "on $(uname -n)"'


def id_of(job: Job) -> str:
    """The id of a job that was started."""
    assert job.session.job is not None
    return job.session.job.job.job_id


def in_background(job: Job, starts: int = 1) -> threading.Thread:
    thread = threading.Thread(target=lambda: job.session.run(job.submission, max_starts=starts))
    thread.start()
    return thread


def test_two_jobs_on_one_node_have_nothing_of_each_other(lab: Lab) -> None:
    """The end of one is no end of the other."""
    jobs = [Job(lab, "uname -n; while echo on; do sleep 1; done", f"{SMALL},vms_per_node=2") for _ in "12"]
    threads = [in_background(job) for job in jobs]
    wait_for(lambda: all("on" in job.lines for job in jobs), 180)
    names = [domains(lab, id_of(job)) for job in jobs]
    assert [{node: len(found) for node, found in name.items()} for name in names] == [{"node1": 2}] * 2
    assert [job.lines[0] for job in jobs] == [f"j{id_of(job).partition('.')[0]}-r0" for job in jobs]
    leases = [leases_of(lab, id_of(job)) for job in jobs]
    assert [len(set(held.values())) for held in leases] == [2, 2]
    jobs[0].session.cancel()
    threads[0].join(60)
    assert_nothing_left(lab, id_of(jobs[0]))
    assert leases_of(lab, id_of(jobs[1])) == leases[1]
    assert domains(lab, id_of(jobs[1])) == names[1]
    before = len(jobs[1].lines)
    wait_for(lambda: len(jobs[1].lines) > before, 30)
    jobs[1].session.cancel()
    threads[1].join(60)
    assert_nothing_left(lab, id_of(jobs[1]))
    assert leftovers(lab) == {}


def test_a_job_deleted_in_its_prologue_never_runs(lab: Lab) -> None:
    """Its guests are being started on two nodes."""
    job = Job(lab, BARE, nodes=2)
    thread = in_background(job)
    wait_for(lambda: job.session.job is not None and len(domains(lab, id_of(job))) == 2, 120)
    job.session.cancel()
    thread.join(120)
    assert (thread.is_alive(), job.lines) == (False, [])
    assert_nothing_left(lab, id_of(job))


@pytest.fixture
def dying(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has node1's next prologue killed where a line begins; later ones are not."""

    def at(line: str) -> None:
        (lab.root("node1") / "root/once").touch()

        def deploy(root: Path) -> str:
            starter = deploy_hooks(root)
            path = root / MOM_PRIV / "prologue.vm"
            text = path.read_text().replace(line, f"rm /root/once && kill -KILL $$\n{line}", 1)
            path.chmod(0o700)
            path.write_text(text)
            return starter

        monkeypatch.setattr(session, "deploy_hooks", deploy)

    return at


def test_a_prologue_that_is_killed_before_its_marker(lab: Lab, dying: Callable[[str], None]) -> None:
    """To TORQUE a success, and nothing tells the starter: the job is kept from starting, and tried again."""
    dying("PYTHON=")
    job = Job(lab, BARE)
    ended = job.session.run(job.submission, max_starts=2)
    assert job.lines == [f"on j{id_of(job).partition('.')[0]}-r0"]
    assert (ended.outcome.fate, ended.outcome.starts, ended.exit_code) == ("start", 2, 0)
    assert_nothing_left(lab, id_of(job))


def test_a_prologue_that_is_killed_after_its_marker(lab: Lab, dying: Callable[[str], None]) -> None:
    """Before Python runs: the marker alone makes the starter refuse."""
    dying(MARKED)
    job = Job(lab, BARE)
    ended = job.run()
    assert (ended.outcome.fate, ended.exit_code, job.lines) == ("start", RunExit.SITE, [])
    assert "its guests were not started, or are gone" in job.errors
    assert_nothing_left(lab, id_of(job))


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ((), "carries no VM request"),
        (("other=vm9:ram=192M",), "'vm9'"),
        (("other=vm1:img=../../../etc/passwd",), "key img is '../../../etc/passwd'"),
        (("other=vm1:vcpus=99:ram=192M",), "ask for at most vcpus="),
    ],
    ids=["none", "version", "path", "shape"],
)
def test_a_request_that_nobody_checked_is_refused_by_the_node(
    lab: Lab, resources: tuple[str, ...], words: str
) -> None:
    """One sentence in the error file, the user's exit code."""
    job = Job(lab, BARE, nodes=2)
    job.submission = dataclasses.replace(job.submission, resources=resources)
    ended = job.run()
    assert (ended.outcome.fate, ended.exit_code, job.lines) == ("start", RunExit.REFUSED, [])
    (line,) = job.errors.splitlines()
    assert line.startswith("torque-vm: ")
    assert words in line
    assert_nothing_left(lab, id_of(job))


def test_without_a_job_starter_nothing_of_the_job_runs(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The MOM starts the script itself; what is there then says why, and ends as the starter would."""
    configs = {}

    def deploy(root: Path) -> None:
        deploy_hooks(root)
        config = root / MOM_PRIV / "config"
        configs[config] = config.read_text()
        config.write_text("")

    monkeypatch.setattr(session, "deploy_hooks", deploy)
    path = lab.root("node1") / "etc/torque-vm/settings.toml"
    before = path.read_text()
    path.write_text(f"max_requeues = 0\n{before}")
    try:
        job = Job(lab, BARE, nodes=2)
        ended = job.run()
    finally:
        path.write_text(before)
        for config, text in configs.items():
            config.write_text(text)
    assert (ended.outcome.fate, ended.exit_code, job.lines) == ("start", RunExit.SITE, [])
    (line,) = job.errors.splitlines()
    assert line.startswith("torque-vm: pbs_mom of this node has no job starter; install")
    assert_nothing_left(lab, id_of(job))
