"""Running a script in guests: how it ended, whose fault that is, and that hooks go on in time."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hook_kit import JOB, Site, ready
from nornir.core.task import Result, Task
from task_kit import Plugged, World, first_error, make_plan, result_of

from nornir_torque_vm import engine as engine_module
from nornir_torque_vm.connections.command import CommandResult
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import Blame, NotHealthy, ScriptFailed
from nornir_torque_vm.exitcodes import Outcome, outcome_of
from nornir_torque_vm.guestscripts.script import GuestScript, Kind
from nornir_torque_vm.hooks import guestscripts as hook_module
from nornir_torque_vm.hooks.guestscripts import run_epilogues
from nornir_torque_vm.render.guestscript import FOLDER
from nornir_torque_vm.report import Report
from nornir_torque_vm.runstate.jobstate import History, JobState
from nornir_torque_vm.tasks import run_guest_script
from nornir_torque_vm.tasks.run_guest_script import ScriptRun


class Shell:
    """Root's commands in a guest, run here below a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.timeouts: list[float | None] = []

    def run(self, command: str, stdin: bytes = b"", timeout: float | None = None) -> CommandResult:
        """Run one."""
        self.timeouts.append(timeout)
        text = command.replace(FOLDER, str(self.folder)).replace("chown 0:0", f"chown {os.geteuid()}")
        done = subprocess.run(["sh", "-c", text], input=stdin, capture_output=True, timeout=60, check=False)
        return CommandResult(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path, make_plan(1, 2))
    for name in ("j17-r0", "j17-r1"):
        made.inventory.hosts[name].connections["guest_ssh"] = Plugged(Shell(tmp_path / name))
    return made


def run(world: World, text: str, kind: Kind = Kind.GUEST_PROLOGUE, seconds: float = 20.0) -> Any:
    script = GuestScript(kind, f"#!/bin/sh\n{text}\n".encode())
    return world.run(run_guest_script, "guest", script=script, limit=seconds, name=str(kind))


def test_what_a_script_printed_is_in_the_result(world: World) -> None:
    """Of each guest its own."""
    results = run(world, "echo rank $VM_RANK of $VM_COUNT; echo complaint >&2")
    for rank in (0, 1):
        said = result_of(results, f"j17-r{rank}")
        assert (said.kind, said.status, said.output) == (
            "guest_prologue", 0, f"rank {rank} of 2\ncomplaint\n",
        )  # fmt: skip
    assert {entry.phase for entry in Report.from_results(results).hosts} == {"guest-prologue"}


def test_a_script_that_fails_says_where_and_why_and_its_output_is_kept(world: World) -> None:
    """The last line of what it complained about."""
    results = run(world, "echo begun; [ $VM_RANK = 0 ] || { echo first >&2; echo no licence >&2; exit 3; }")
    assert result_of(results, "j17-r0").status == 0
    error = first_error(results, "j17-r1")
    assert str(error) == "node node1, guest j17-r1: it ended with exit status 3: no licence"
    assert results["j17-r1"][0].result == ScriptRun(
        "guest_prologue", 3, results["j17-r1"][0].result.seconds, "begun\nfirst\nno licence\n"
    )
    (sentence,) = Report.from_results(results).sentences()
    assert sentence == "j17-r1 on node1, guest-prologue: it ended with exit status 3: no licence"


def test_the_blame_is_that_of_the_scripts_author(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job whose own script fails is refused; the site's is tried again."""
    assert outcome_of(Report.from_results(run(world, "exit 1"))) is Outcome.SITE

    def no_su(self: Shell, command: str, **_: Any) -> CommandResult:
        return CommandResult(0 if "cat >" in command else 1)

    monkeypatch.setattr(Shell, "run", no_su)
    results = run(world, "exit 1", Kind.VM_PROLOGUE)
    error = first_error(results, "j17-r0")
    assert isinstance(error, ScriptFailed)
    assert error.blame is Blame.USER
    assert outcome_of(Report.from_results(results)) is Outcome.REFUSED


def test_a_script_over_its_limit_is_its_authors_fault(world: World) -> None:
    """And ends before the deadline does, so that there is a verdict."""
    results = run(world, "echo waiting for godot >&2; sleep 60", seconds=1)
    assert str(first_error(results, "j17-r0")).endswith("it was ended after 1 s: waiting for godot")


def test_the_limit_gives_way_to_the_deadline(world: World) -> None:
    """Of the hook: the scripts' limit is what is left, not what the settings say."""
    script = GuestScript(Kind.GUEST_PROLOGUE, b"true")
    world.run(run_guest_script, "guest", seconds=20.0, script=script, limit=9000.0)
    shell = world.inventory.hosts["j17-r0"].connections["guest_ssh"].connection
    assert 5.0 < shell.timeouts[-1] <= 20.0


def test_a_guest_without_room_for_the_script_is_not_its_authors_fault(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script never ran."""
    full = CommandResult(1, "", "sh: write error: No space left on device\n")
    monkeypatch.setattr(Shell, "run", lambda *_args, **_more: full)
    error = first_error(run(world, "true", Kind.VM_PROLOGUE), "j17-r0")
    assert type(error) is NotHealthy
    assert "vm_prologue cannot be put into it: exit status 1: sh: write error: No space left" in str(error)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, guest_script_timeout=20.0)
    yield made
    made.close()


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Guests and scripts, in the order they ran; one fails whose text says so."""
    order: list[str] = []

    def fake(task: Task, script: GuestScript, limit: float) -> Result:
        assert limit == 20.0
        order.append(f"{script.kind} {task.host.name}")
        said = ScriptRun(str(script.kind), 0, 0.1, f"hello from {task.host.name}\n")
        if task.host.name.encode() in script.content:
            error = ScriptFailed("it ended with exit status 9", blame=script.kind.blame)
            return Result(host=task.host, result=said, failed=True, exception=error)
        return Result(host=task.host, result=said, changed=True)

    def booted(task: Task, **_: Any) -> Result:
        task.host.hostname = f"127.0.0.{1 + task.host['rank']}"
        return Result(host=task.host)

    def introduced(task: Task, **_: Any) -> Result:
        return Result(host=task.host)

    monkeypatch.setattr(engine_module, "run_guest_script", fake)
    monkeypatch.setattr(engine_module, "boot_guest", booted)
    monkeypatch.setattr(engine_module, "publish_roster", introduced)
    return order


def scripts_in(site: Site, monkeypatch: pytest.MonkeyPatch, failing: Kind | None = None) -> None:
    """Have jobs come with all four scripts; one fails on the second guest."""
    scripts = [GuestScript(kind, b"j17-r1" if kind is failing else b"") for kind in Kind]
    monkeypatch.setattr("nornir_torque_vm.hooks.starting.scripts_of", lambda *_: tuple(scripts))


def kept(site: Site) -> list[str]:
    return sorted(path.name for path in Path(site.settings.history_dir, f"{JOB}.1").glob("*.log"))


def test_scripts_run_in_all_guests_one_after_the_other_before_the_job_and_after_it(
    site: Site, ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they printed is in the history; nothing of them is left in the run state."""
    scripts_in(site, monkeypatch)
    assert site.prologue(probe=None).ok  # type: ignore[arg-type]
    assert [line.split()[0] for line in ran] == ["guest_prologue"] * 2 + ["vm_prologue"] * 2
    ran.clear()
    assert site.epilogue().ok
    assert [line.split()[0] for line in ran] == ["vm_epilogue"] * 2 + ["guest_epilogue"] * 2
    assert kept(site) == sorted(f"{kind}-j17-r{rank}.log" for kind in Kind for rank in (0, 1))
    assert site.history("scripts.json")["ok"] is True
    assert site.left() == []


@pytest.mark.parametrize(
    ("failing", "outcome", "last"),
    [(Kind.GUEST_PROLOGUE, "site", Kind.GUEST_PROLOGUE), (Kind.VM_PROLOGUE, "refused", Kind.VM_PROLOGUE)],
)
def test_a_failing_prologue_script_keeps_the_job_from_running(
    site: Site, ran: list[str], monkeypatch: pytest.MonkeyPatch, failing: Kind, outcome: str, last: Kind
) -> None:
    """The first that fails is the last that runs, and nothing is left."""
    scripts_in(site, monkeypatch, failing)
    report = site.prologue(probe=None)  # type: ignore[arg-type]
    assert not report.ok
    assert ran[-1].startswith(str(last))
    verdict = site.history("verdict.json")
    assert verdict["outcome"] == outcome
    phase = str(failing).replace("_", "-")
    assert verdict["sentence"].endswith(f"j17-r1 on node2, {phase}: it ended with exit status 9")
    assert f"{failing}-j17-r1.log" in kept(site)
    assert site.domains() + site.volumes() == []
    ran.clear()
    site.epilogue()
    assert ran == [], "there was no job, so there is nothing after it"
    assert site.left() == []


def test_a_failing_epilogue_script_is_reported_and_stops_nothing(
    site: Site, ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The site's runs all the same, the guests go, syslog has the sentence."""
    lines: list[str] = []
    monkeypatch.setattr("nornir_torque_vm.hooks.epilogue.log", lambda *words: lines.append(words[-1]))
    scripts_in(site, monkeypatch, Kind.VM_EPILOGUE)
    site.prologue(probe=None)  # type: ignore[arg-type]
    ran.clear()
    assert site.epilogue().ok
    assert [line.split()[0] for line in ran] == ["vm_epilogue"] * 2 + ["guest_epilogue"] * 2
    assert "; j17-r1 on node2, vm-epilogue: it ended with exit status 9" in lines[0]
    assert site.history("scripts.json")["ok"] is False
    assert site.left() == []


def test_an_epilogue_that_runs_again_runs_no_script_again(
    site: Site, ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restarted pbs_mom may; the first one may have been killed meanwhile."""
    scripts_in(site, monkeypatch)
    site.prologue(probe=None)  # type: ignore[arg-type]
    ran.clear()
    state, history = JobState.find(site.settings.run_dir, JOB), History.latest(site.settings.history_dir, JOB)
    assert run_epilogues(site.settings, Deadline.after(20), state, history) == []
    assert len(ran) == 4
    assert run_epilogues(site.settings, Deadline.after(20), state, history) == []
    assert len(ran) == 4


def test_scripts_leave_the_time_that_removing_the_guests_needs(
    site: Site, ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long their own limit: what is late is reported, and the rest not even begun."""
    scripts_in(site, monkeypatch)
    site.prologue(probe=None)  # type: ignore[arg-type]

    def slow(task: Task, **_: Any) -> Result:
        time.sleep(10)
        return Result(host=task.host)

    monkeypatch.setattr(engine_module, "run_guest_script", slow)
    state, history = JobState.find(site.settings.run_dir, JOB), History.latest(site.settings.history_dir, JOB)
    began = time.monotonic()
    failed = run_epilogues(site.settings, Deadline.after(2), state, history)
    assert time.monotonic() - began < 1.9
    assert [sentence.partition(":")[0] for sentence in failed] == [
        "j17-r[0-1] on node[1-2], vm-epilogue", "j17-r[0-1] on node[1-2], guest-epilogue",
    ]  # fmt: skip


def test_what_goes_wrong_with_the_scripts_never_keeps_guests_alive(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it is."""
    site.prologue(probe=ready)
    monkeypatch.setattr(hook_module, "_run", lambda *_: 1 / 0)
    assert site.epilogue().ok
    assert site.left() == []
