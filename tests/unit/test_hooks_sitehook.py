"""The limit of the site's prologue, and what is left of it when it is over."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mom_kit import JOB, MomPriv

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.hooks import sitehook
from nornir_torque_vm.hooks.clock import began
from nornir_torque_vm.hooks.sitehook import given_environment, run_site_hook, site_limit, site_prologue

HANGS = """#!/bin/sh
sleep TOKEN & sleep TOKEN &
(trap '' TERM HUP INT; while :; do sleep TOKEN; done) &
setsid sleep TOKEN &
echo $! >"$1"
sleep TOKEN
"""


class Hanging:
    """A hook that hangs, with several processes, one of which leaves the session."""

    def __init__(self, folder: Path) -> None:
        self.token = f"4711.{secrets.randbelow(10**9)}"
        self.path, self.told = folder / "hangs", folder / "pid"
        self.path.write_text(HANGS.replace("TOKEN", self.token))
        self.path.chmod(0o500)

    @property
    def escaped(self) -> int:
        """The process that left."""
        return int(self.told.read_text())

    def alive(self) -> set[int]:
        """Processes of the hook that still exist."""
        found = set()
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if {self.token.encode(), str(self.path).encode()} & set(path.read_bytes().split(b"\0")):
                    found.add(int(path.parent.name))
        return found

    def ready(self) -> bool:
        """Whether all of it runs, and the one that leaves has left."""
        with contextlib.suppress(OSError, ValueError):
            return len(self.alive()) >= 7 and os.getsid(self.escaped) == self.escaped
        return False

    def left(self) -> set[int]:
        """Those that exist when the killed ones have had time to end."""
        end = time.monotonic() + 5
        while len(self.alive()) > 1 and time.monotonic() < end:
            time.sleep(0.02)
        return self.alive()


@pytest.fixture
def hangs(tmp_path: Path) -> Iterator[Hanging]:
    made = Hanging(tmp_path)
    yield made
    for pid in made.alive():
        os.kill(pid, signal.SIGKILL)


def test_one_that_is_over_its_limit_goes_with_its_whole_session(hangs: Hanging) -> None:
    """At once, as a MOM kills; what left the session stays, as it does for a MOM."""
    start = time.monotonic()
    assert run_site_hook(str(hangs.path), [str(hangs.told)], {b"PATH": b"/usr/bin:/bin"}, 0.7) is None
    assert 0.7 <= time.monotonic() - start < 5
    assert hangs.left() == {hangs.escaped}


@pytest.mark.parametrize(
    ("end", "code"), [("exit 0", 0), ("exit 1", 1), ("exit 37", 37), ("kill -9 $$", 0), ("kill -TERM $$", 0)]
)
def test_a_signal_counts_as_success_as_it_does_for_a_mom(tmp_path: Path, end: str, code: int) -> None:
    """TF 1.6; an exit code is passed on as it is."""
    path = tmp_path / "hook"
    path.write_text(f"#!/bin/sh\n{end}\n")
    path.chmod(0o500)
    assert run_site_hook(str(path), [], {}, 20) == code


def test_one_over_its_limit_requeues_the_job_and_says_why(
    hangs: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As TORQUE does with a prologue it has to kill."""
    said: list[tuple[str, ...]] = []
    monkeypatch.setattr(sitehook, "load", lambda: Settings(site_hook_timeout=1.0))
    monkeypatch.setattr(sitehook, "tell", lambda *words: said.append(words))
    with subprocess.Popen(["sleep", "60"]) as shell:
        assert site_prologue(shell.pid, str(hangs.path), [str(hangs.told), JOB]) == 2
        shell.kill()
    assert said == [("prologue", JOB, f"the site's own {hangs.told} took more than 1 s")]


def test_one_that_is_not_there_any_more_requeues(tmp_path: Path) -> None:
    """Python's own exit code, 1, would abort the job."""
    argv = [sys.executable, "-I", "-m", "nornir_torque_vm.hooks.sitehook", str(os.getpid()), "/nonexistent"]
    done = subprocess.run([*argv, "/site", JOB], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "/nonexistent" in done.stderr


@pytest.mark.parametrize(
    ("timeout", "spent", "expected"), [(60.0, 0.0, 60.0), (60.0, 200.0, 40.0), (60.0, 500.0, 0.0)]
)
def test_it_has_its_own_limit_within_the_guests_time(timeout: float, spent: float, expected: float) -> None:
    """The time to undo what a failed start made is never the site's to use."""
    assert site_limit(Settings(timeout=240.0, site_hook_timeout=timeout), spent) == expected


def test_sigterm_takes_the_sites_hook_too(hangs: Hanging) -> None:
    """Nobody would wait for it any more."""
    argv = [sys.executable, "-I", "-m", "nornir_torque_vm.hooks.sitehook", str(os.getpid()), str(hangs.path)]
    with subprocess.Popen([*argv, str(hangs.told), JOB], start_new_session=True) as process:
        while not hangs.ready():
            assert process.poll() is None
            time.sleep(0.02)
        process.terminate()
        assert process.wait(10) == 2
    assert hangs.left() == {hangs.escaped}


def test_the_environment_is_what_the_process_was_started_with() -> None:
    """Not what it has made of it since."""
    argv = ["sh", "-c", "PATH=/changed; export MORE=1; echo begun; read line"]
    given = {"A": "b=c\nd", "PATH": "/usr/bin:/bin", "E": ""}
    with subprocess.Popen(argv, env=given, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = given_environment(process.pid)
    assert found == {name.encode(): value.encode() for name, value in given.items()}


def test_a_hook_began_when_its_process_did() -> None:
    """Whatever it ran before it became a Python; a process that is gone began now."""
    code = "import time; from nornir_torque_vm.hooks.clock import began; print(time.monotonic() - began())"
    argv = ["sh", "-c", f'sleep 0.5; exec {sys.executable} -I -c "$1"', "sh", code]
    start = time.monotonic()
    spent = float(subprocess.run(argv, capture_output=True, check=True, text=True).stdout)
    assert 0.5 <= spent <= time.monotonic() - start + 0.02
    assert abs(began(1 << 30) - time.monotonic()) < 0.5


def test_the_epilogue_that_came_meanwhile_ends_the_prologue(tmp_path: Path) -> None:
    """A qdel while the site's prologue works: nobody would remove what ours starts after that."""
    mom = MomPriv(tmp_path)
    mom.write("prologue", f"#!/bin/sh\nrm '{mom.marker}'\n", 0o500)
    assert mom.run(mom.ours("prologue"), "prologue") == 2
    assert mom.order == []
