"""The dynamic I/O manager as IOcm's back end: recorded command lines, and what becomes of the daemon."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from hook_kit import Site
from nornir.core.inventory import ConnectionOptions
from nornir.core.task import Result, Task
from task_kit import JOB as OTHER
from task_kit import Plugged, World, make_plan

from nornir_torque_vm.components import dim
from nornir_torque_vm.config.settings import loads
from nornir_torque_vm.connections.command import CommandResult
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.engine import Engine
from nornir_torque_vm.errors import SettingsError
from nornir_torque_vm.inventory.build import node_inventory
from nornir_torque_vm.model import Node
from nornir_torque_vm.reap.reaper import Fate, Reaper
from nornir_torque_vm.report import Report
from nornir_torque_vm.tasks import start_guest
from nornir_torque_vm.tasks.node_command import must_on_node, on_node

pytestmark = pytest.mark.skipif(not shutil.which("pgrep"), reason="needs pgrep (procps)")

ASK = "ram=64M:iocm=true:iocm_min_cores=0:iocm_max_cores=2"
CREATE = 'echo "{}" >"$2"'
START = "setsid sh -c '{trap}while :; do sleep 0.1; done' io_manager.py -s \"$2\" >/dev/null 2>&1 &"


class Dim:
    """The manager's programs, which write down how they are called."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder / "dim", folder / "calls"
        self.folder.mkdir()
        self.program("create_configuration_file.py", CREATE)
        self.program("start_io_manager.py", START.replace("{trap}", ""))
        self.program("stop_io_manager.py", "")  # as root's does

    def program(self, name: str, text: str) -> None:
        """Write one, as shell text."""
        path = self.folder / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >>{self.log}\n{text}\n')
        path.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        """How they were called."""
        return self.log.read_text().splitlines() if self.log.exists() else []

    def managers(self, run_dir: str) -> list[int]:
        """Daemons with a configuration in this directory."""
        done = subprocess.run(
            ["pgrep", "-f", f"[{run_dir[0]}]{run_dir[1:]}/iocm/"], capture_output=True, text=True, check=False
        )
        return [int(pid) for pid in done.stdout.split()]


@pytest.fixture(autouse=True)
def logged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sentences hooks write to syslog."""
    lines: list[str] = []
    for hook in ("prologue", "epilogue"):
        monkeypatch.setattr(f"nornir_torque_vm.hooks.{hook}.log", lambda *words: lines.append(words[-1]))
    monkeypatch.setattr(dim, "ACCOUNT", str(os.geteuid()))
    monkeypatch.setattr("nornir_torque_vm.inventory.build.is_local", lambda node, here: True)
    return lines


@pytest.fixture
def programs(tmp_path: Path) -> Dim:
    return Dim(tmp_path)


def make_site(tmp_path: Path, **more: Any) -> Site:
    return Site(
        tmp_path, nodes=("node1",), local_uri=f"test://{tmp_path}/node1.xml", iocm_enabled=True,
        iocm_backend="dim", iocm_dim_dir=str(tmp_path / "dim"), iocm_dim_interface="eth0,eth1", **more,
    )  # fmt: skip


@pytest.fixture
def site(tmp_path: Path, programs: Dim) -> Iterator[Site]:
    made = make_site(tmp_path)
    yield made
    made.close()
    for pid in programs.managers(made.settings.run_dir):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.proves("iocm_backend", "iocm_dim_dir", "iocm_dim_interface")
def test_the_manager_runs_while_the_job_does(site: Site, programs: Dim) -> None:
    """Configured for the guests that run, with the user's numbers; nothing is left after."""
    assert site.prologue(site.call(ASK)).ok
    (file,) = Path(site.settings.run_dir, "iocm").iterdir()
    assert programs.calls == [
        f"create_configuration_file.py --config {file} --min 0 --max 2 16 eth0,eth1",
        f"start_io_manager.py --config {file}",
    ]
    assert len(programs.managers(site.settings.run_dir)) == 1
    assert site.epilogue().ok
    assert programs.calls[2:] == ["stop_io_manager.py "]
    assert programs.managers(site.settings.run_dir) == []
    assert site.left() == []


def test_a_job_without_it_calls_nothing(site: Site, programs: Dim) -> None:
    """Neither at its start nor at its end."""
    assert site.prologue(site.call("ram=64M")).ok
    assert site.epilogue().ok
    assert programs.calls == []


@pytest.mark.parametrize("policy", ["abort", "warn"])
@pytest.mark.parametrize(
    ("program", "text", "sentence"),
    [
        ("create_configuration_file.py", "echo no vhost >&2; exit 3",
         "iocm-start: {dir}/create_configuration_file.py ended with 3: no vhost"),
        ("start_io_manager.py", "exit 1",
         "iocm-start: {dir}/start_io_manager.py ended with 1: it said nothing"),
        ("start_io_manager.py", "exit 0", "iocm-verify: the dynamic I/O manager does not run"),
    ],
)  # fmt: skip
def test_a_program_that_fails_is_told_and_nothing_is_left(
    tmp_path: Path, programs: Dim, logged: list[str], policy: str, program: str, text: str, sentence: str
) -> None:
    """The start fails, or the job runs without, as the site says."""
    site = make_site(tmp_path, component_failure=[f"iocm={policy}"])
    programs.program(program, text)
    assert site.prologue(site.call(ASK)).ok is (policy == "warn")
    assert sentence.format(dir=programs.folder) in logged[-1]
    assert len(site.domains()) == (policy == "warn")
    assert site.epilogue().ok
    assert site.left() == []
    site.close()


def test_a_manager_that_does_not_listen_is_killed(
    site: Site, programs: Dim, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while to end by itself."""
    monkeypatch.setattr(dim, "TERM_SECONDS", 0.3)
    programs.program("start_io_manager.py", START.replace("{trap}", 'trap "" TERM; '))
    assert site.prologue(site.call(ASK)).ok
    assert site.epilogue().ok
    assert programs.managers(site.settings.run_dir) == []
    assert site.left() == []


def test_one_that_cannot_be_ended_keeps_the_job_remembered(
    site: Site, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    """The next one who cleans up tries again."""
    assert site.prologue(site.call(ASK)).ok
    with monkeypatch.context() as patched:
        patched.setattr(dim, "_gone", lambda *_: False)
        assert not site.epilogue().ok
    assert "not cleaned up: node1, iocm-stop: the dynamic I/O manager cannot be ended" in logged[-1]
    assert site.domains() == []
    assert site.epilogue().ok
    assert site.left() == []


def test_after_a_crash_between_start_and_stop_reap_ends_it(site: Site, programs: Dim) -> None:
    """Nothing else of the job is left: its configuration tells."""
    assert site.prologue(site.call(ASK)).ok
    for domain in site.connect("node1").listAllDomains():
        domain.destroy()
    for folder in ("jobs", "handover", "markers", "locks"):
        shutil.rmtree(Path(site.settings.run_dir, folder), ignore_errors=True)
    shutil.rmtree(site.settings.volume_dir)
    (case,) = Reaper(site.settings, Deadline.after(20), grace=0.0, node="node1").run_for("17.head").cases
    assert case.fate is Fate.REMOVED, case.reason
    assert programs.managers(site.settings.run_dir) == []
    assert site.left() == []


def test_it_takes_no_other_jobs_guests(site: Site, programs: Dim, tmp_path: Path) -> None:
    """It would move all guests of the node."""
    plan = make_plan(1, 1, dataclasses.replace(OTHER, id="18.head"))
    other = World(tmp_path, plan, local_uri=site.settings.local_uri)
    assert not other.run(start_guest, "guest").failed
    (sentence,) = site.prologue(site.call(ASK)).sentences()
    assert "takes all guests of a node, and those of job 18.head are there" in sentence
    assert programs.calls == []


def test_the_back_end_needs_its_programs() -> None:
    """Said when the settings are read."""
    with pytest.raises(SettingsError, match="iocm_backend is dim and there is no iocm_dim_dir"):
        loads('iocm_enabled = true\niocm_backend = "dim"\n')


class Shell:
    """A node's shell that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[list[str]] = []

    def run(self, command: Sequence[str], timeout: float | None = None) -> CommandResult:
        self.told.append(list(command))
        return CommandResult(0, "said\n")


def say(task: Task) -> Result:
    """Run a command."""
    return Result(host=task.host, result=on_node(task, ["printf", "%s", "$HOME; x"]).stdout)


def test_commands_reach_other_nodes_by_their_shell(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here they are run as they are: no shell reads them."""
    engine, shell = Engine(site.settings, Deadline.after(20)), Shell()
    near = engine.run(node_inventory([Node("node1")], site.settings), say)
    assert near["node1"][0].result == "$HOME; x"
    monkeypatch.setattr("nornir_torque_vm.inventory.build.is_local", lambda node, here: False)
    inventory = node_inventory([Node("node1")], site.settings)
    inventory.hosts["node1"].connection_options["node_shell"] = ConnectionOptions()
    inventory.hosts["node1"].connections["node_shell"] = Plugged(shell)
    assert engine.run(inventory, say)["node1"][0].result == "said\n"
    assert shell.told == [["printf", "%s", "$HOME; x"]]


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["/nowhere/at/all"], "cannot run /nowhere/at/all: No such file or directory"),
        (["sh", "-c", "echo a; echo b >&2; exit 7"], "sh ended with 7: b"),
        (["sleep", "30"], "sleep did not end in time"),
    ],
)
def test_a_command_that_fails_says_why(
    site: Site, monkeypatch: pytest.MonkeyPatch, argv: list[str], sentence: str
) -> None:
    """In one line, with the node."""
    monkeypatch.setattr("nornir_torque_vm.tasks.node_command.PATIENCE", 0.2)

    def fail(task: Task) -> Result:
        must_on_node(task, argv)
        return Result(host=task.host)

    results = Engine(site.settings, Deadline.after(20)).run(
        node_inventory([Node("node1")], site.settings), fail
    )
    (entry,) = Report.from_results(results).bad
    assert (entry.what, entry.error) == (sentence, f"node node1: {sentence}")


def test_a_command_that_not_even_a_signal_ends_is_not_waited_for(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that hangs in a dead file system."""
    started: list[subprocess.Popen[bytes]] = []
    usual = subprocess.Popen

    def kept(*words: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(usual(*words, **options))
        return started[-1]

    def stuck(task: Task) -> Result:
        must_on_node(task, ["sleep", "20"])
        return Result(host=task.host)

    with monkeypatch.context() as patched:
        patched.setattr("nornir_torque_vm.tasks.node_command.PATIENCE", 0.2)
        patched.setattr("nornir_torque_vm.tasks.node_command.LAST_WAIT", 0.2, raising=False)
        patched.setattr("os.killpg", lambda *_: None)
        patched.setattr("subprocess.Popen", kept)
        began = time.monotonic()
        engine = Engine(site.settings, Deadline.after(60))
        said = engine.run(node_inventory([Node("node1")], site.settings, here="node1"), stuck)["node1"][0]
    (process,) = started
    assert process.poll() is None
    process.kill()
    process.wait()
    assert "sleep did not end in time" in str(said.exception)
    assert time.monotonic() - began < 15


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_setuid_program_that_a_user_started_is_no_manager(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is root's, with the user's words; a manager that cannot be ended fails the end of a job."""

    def here(_: Any, argv: Sequence[str]) -> CommandResult:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        return CommandResult(done.returncode, done.stdout, done.stderr)

    monkeypatch.setattr(dim, "on_node", here)
    file, task = f"{tmp_path}/iocm/tvm-17-a1-0badcafe-dim.json", cast(Task, None)
    for uid, ours in ((65534, False), (0, True)):
        with subprocess.Popen(
            ["io_manager.py", "-", file], executable="/bin/cat", stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            preexec_fn=functools.partial(os.setresuid, uid, 0, 0),  # noqa: PLW1509 - no thread of ours
        ) as child:  # fmt: skip
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(b"\n")
            child.stdin.flush()
            child.stdout.readline()
            assert dim._running(task, file) == ([str(child.pid)] if ours else [])
            child.communicate(b"")
