"""The hooks as programs: argv, environment, signals, descriptors, and what they import."""

from __future__ import annotations

import dataclasses
import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hook_kit import JOB, USER, Site, ready, site

from nornir_torque_vm.config import settings as settings_module
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.driver import slots
from nornir_torque_vm.driver.slots import JobFacts
from nornir_torque_vm.hooks import epilogue, frame, prologue
from nornir_torque_vm.hooks.arguments import HookCall

__all__ = ["site"]

HOOKS = {"prologue": prologue, "epilogue": epilogue}


def facts(site: Site) -> JobFacts:
    """The job as the driver knows it."""
    return JobFacts(
        JOB, "head", USER.pw_name, "users", "/nonexistent", "/bin/sh", "job", site.nodes, 1,
        "nodes=2:ppn=1,other=vm1:ram=64M", "/nonexistent", "/nonexistent", "/", "head",
    )  # fmt: skip


def mark(site: Site) -> None:
    """What the hook's shell part does first."""
    markers = Path(site.settings.run_dir, "markers")
    markers.mkdir(parents=True, exist_ok=True)
    (markers / JOB).touch()


def environment(site: Site, slot: str) -> dict[str, str]:
    """What the hook gets of a MOM, with this site's nodefile."""
    return {**slots.environment(slot, facts(site)), "PBS_NODEFILE": str(site.nodefile)}


def main(site: Site, slot: str, monkeypatch: pytest.MonkeyPatch, arguments: list[str] | None = None) -> int:
    """Run a hook's ``main`` in this process, where the nodes are; return its exit code."""

    class Left(BaseException):
        pass

    def leave(code: int) -> None:
        raise Left(int(code))

    with monkeypatch.context() as patch:
        patch.setattr(settings_module, "DEFAULT_PATH", str(site.settings_file))
        patch.setattr(os, "environ", environment(site, slot))
        given = slots.arguments(slot, facts(site)) if arguments is None else arguments
        patch.setattr(sys, "argv", [slot, *given])
        patch.setattr(frame, "leave", leave)
        patch.setattr(prologue, "hook_began", time.monotonic)
        patch.setattr(signal, "signal", lambda *_: None)
        patch.setattr(prologue, "Prologue", functools.partial(prologue.Prologue, probe=ready))
        with pytest.raises(Left) as left:
            HOOKS[slot].main()
    code: int = left.value.args[0]
    return code


def test_prologue_and_epilogue_understand_what_a_mom_hands_them(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recorded argv and environment lead to guests, and back to nothing."""
    mark(site)
    assert main(site, "prologue", monkeypatch) == 0
    assert len(site.domains()) == 2
    assert main(site, "epilogue", monkeypatch) == 0
    assert site.left() == []


@pytest.mark.parametrize("slot", HOOKS)
def test_a_hook_started_by_hand_says_who_should_start_it(
    site: Site, slot: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No argument at all; and it is not the user's fault."""
    assert main(site, slot, monkeypatch, []) == 2
    assert capsys.readouterr().err.startswith(f"torque-vm: the {slot} was given 0 arguments")


def test_a_settings_file_with_a_mistake_requeues_and_names_it(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing was started, so nothing is removed. It waits: TORQUE would start the job again at once."""
    monkeypatch.setattr(prologue, "UNREADABLE_PAUSE", 0.3)
    site.settings_file.write_text("timeuot = 3\n")
    began = time.monotonic()
    assert main(site, "prologue", monkeypatch) == 2
    assert time.monotonic() - began >= 0.3
    assert "timeuot" in capsys.readouterr().err
    assert not Path(site.settings.history_dir).exists()


def concluded(site: Site, call: HookCall | None = None, alarm: float = 300.0) -> tuple[int, float]:
    """Exit code of a prologue whose guests do not get ready, and how long it took."""
    settings = dataclasses.replace(site.settings, requeue_pause=1.0, prologalarm=alarm)
    began = time.monotonic()
    chosen = prologue.Prologue(call or site.call(), settings, Deadline.after(0.5), probe=lambda _: False)
    code = prologue.conclude(chosen, began)
    return code, time.monotonic() - began


@pytest.mark.proves("requeue_pause")
def test_a_requeued_job_is_given_back_after_a_pause_with_one_line(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    """TF 1.6: TORQUE starts it again at once, 18 times in 8 seconds."""
    code, took = concluded(site)
    assert code == 2
    assert took >= 1.0, "the pause alone"
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("torque-vm: j17-r[0-1] on node[1-2], ")
    assert site.left() == []


def test_an_interactive_job_is_given_up_without_a_pause(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """TF 1.6: TORQUE does not start it again, and somebody waits at the terminal."""
    pauses: list[float] = []
    monkeypatch.setattr(prologue, "pause", pauses.append)
    monkeypatch.setattr(prologue, "for_owner", list)
    assert concluded(site)[0] == 2
    monkeypatch.setattr(os, "isatty", lambda fd: fd == 2)
    assert concluded(site)[0] == 2
    assert pauses[0] > 0
    assert pauses[1] <= 0


@pytest.mark.proves("prologalarm")
def test_the_pause_ends_before_the_mom_would_kill_the_hook(site: Site) -> None:
    """A killed prologue counts as success."""
    alarm = settings_module.KILL_MARGIN + prologue.LAST_WORDS + 0.7
    site.settings = dataclasses.replace(site.settings, teardown_margin=0.01)
    assert concluded(site, alarm=alarm)[1] < 1.4


def test_a_refused_job_leaves_the_word_to_the_job_starter(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its owner reads the sentence once, and at once."""
    code, took = concluded(site, site.call("vcpus=17"))
    assert (code, capsys.readouterr().err) == (0, "")
    assert took < 1
    assert site.left() == [f"handover/{JOB}/given"]


def program(site: Site, slot: str, before: str = "") -> list[str]:
    """A hook as a process of its own, with this site's settings and no line in the system's log."""
    code = (
        "import sys, syslog\n"
        "from nornir_torque_vm.config import settings\n"
        f"settings.DEFAULT_PATH = {str(site.settings_file)!r}\n"
        "syslog.syslog = lambda *_: None\n"
        f"from nornir_torque_vm.hooks import {slot} as hook\n"
        f"{before}\nhook.main()"
    )
    return [sys.executable, "-I", "-c", code, *slots.arguments(slot, facts(site))]


def test_the_epilogue_works_with_its_output_closed(site: Site) -> None:
    """TF 1.5: so it is started when a sister's prologue failed. Nothing it writes may land in a volume."""
    closed = ["sh", "-c", 'exec "$@" 1>&- 2>&-', "sh", *program(site, "epilogue")]
    done = subprocess.run(closed, env=environment(site, "epilogue"), check=False, timeout=60)
    assert done.returncode == 0
    assert site.history("teardown.json")["summary"] == "2 ok"
    assert {event["task"] for event in site.history("events.jsonl")} == {"destroy"}


def test_sigterm_ends_the_prologue_early_and_clean(site: Site) -> None:
    """Guests that do not get ready; qdel; requeue long before the time is up, and nothing is left."""
    never = "import functools; hook.Prologue = functools.partial(hook.Prologue, probe=lambda _: False)"
    mark(site)
    process = subprocess.Popen(
        program(site, "prologue", never), env=environment(site, "prologue"), stderr=subprocess.PIPE, text=True
    )
    events = Path(site.settings.history_dir, f"{JOB}.1/events.jsonl")
    end = time.monotonic() + 15
    while not (events.is_file() and events.read_text().count('"step_start","task":"check_health"') == 2):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=15)
    assert process.returncode == 2
    assert len(err.splitlines()) == 1, err
    assert site.history("verdict.json")["outcome"] == "cancelled"
    assert site.left() == [f"markers/{JOB}"]


def imported_by(module: str) -> set[str]:
    """Top-level names of the modules that importing one adds to a bare Python."""
    code = f"import sys; before = set(sys.modules); import {module}; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_the_job_starter_needs_no_library() -> None:
    """It runs for every task of every job, as the user: standard library only."""
    assert imported_by("nornir_torque_vm.hooks.job_starter") <= {"nornir_torque_vm", *sys.stdlib_module_names}


@pytest.mark.parametrize("slot", HOOKS)
def test_a_hook_imports_nothing_before_it_needs_it(slot: str) -> None:
    """Some libraries it has no use for at all; others only when there is somebody to talk to."""
    unused, later = {"click", "netmiko", "nornir_utils", "rich"}, {"cryptography", "libvirt", "paramiko"}
    found = imported_by(f"nornir_torque_vm.hooks.{slot}")
    assert "nornir" in found
    assert found & (unused | later) == set()
