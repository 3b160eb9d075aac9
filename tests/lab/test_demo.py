"""The demo: exit 0 every time, and whatever happens to it, nothing of it stays."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from driving import SMALL, TORQUE_VM, wait_for

from nornir_torque_vm.lab import Lab
from nornir_torque_vm.lab.layout import cache_dir

pytestmark = pytest.mark.lab

CACHED = {"images", "tools", "kvm.json"}
"""What a cache is for; all else is a lab."""


@pytest.fixture
def cache(micro: Path, tmp_path: Path) -> Iterator[Path]:
    """A cache of its own, with the images and tools that exist: so the demo's lab is no other test's."""
    own = tmp_path / "cache"
    own.mkdir()
    (own / "images").symlink_to(cache_dir() / "images")
    if (cache_dir() / "tools").exists():
        shutil.copytree(cache_dir() / "tools", own / "tools", symlinks=True)
    yield own
    Lab(cache=own).down()


@contextlib.contextmanager
def demo(cache: Path) -> Iterator[subprocess.Popen[str]]:
    """Start ``torque-vm demo`` in a session of its own, in a pipe; it does not outlive its test."""
    process = subprocess.Popen(
        [*TORQUE_VM, "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "TORQUE_VM_CACHE": str(cache)}, start_new_session=True,
    )  # fmt: skip
    with process:
        try:
            yield process
        finally:
            process.kill()


def traces(cache: Path) -> list[str]:
    """Processes, namespaces and mounts that know of the cache, and files in it that were not there."""
    found = [path.name for path in cache.iterdir() if path.name not in CACHED]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
            mounts = (process / "mountinfo").read_bytes()
        except OSError:  # it ended meanwhile
            continue
        if str(cache).encode() in words:
            found.append(words.replace(b"\0", b" ").decode())
        elif str(cache).encode() in mounts:
            found.append(f"mount namespace of {process.name}")
    return found


def booting(cache: Path) -> bool:
    """Whether a guest of the demo exists."""
    return any(node.guests for node in Lab(cache=cache).status())


def test_the_demo_shows_every_guest_answering_and_where_its_time_went(cache: Path) -> None:
    """In a pipe: plain lines on stderr, the job's output and the timeline on stdout, exit code 0, twice."""
    for _ in range(2):
        with demo(cache) as process:
            out, err = process.communicate(timeout=180)
        assert process.returncode == 0, err
        for guest in ("j1-r0", "j1-r1", "j1-r2", "j1-r3"):
            assert f"{guest} answers from inside" in out
            assert f"{guest}: ok after" in err
        headline = next(line for line in out.splitlines() if line.startswith("seconds"))
        assert {"image", "start", "address", "health", "run", "destroy"} <= set(headline.split())
        assert "\x1b" not in out + err, "no terminal, no escape codes"
        assert traces(cache) == []


def test_ctrl_c_in_the_middle_of_the_boot_cleans_up(cache: Path) -> None:
    """The job is deleted in order, the lab goes, the exit code says interrupted."""
    with demo(cache) as process:
        wait_for(lambda: booting(cache), 90)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=90)
    assert process.returncode == 130, err
    assert traces(cache) == []


def test_after_kill_9_one_lab_down_removes_everything(cache: Path) -> None:
    """Nobody can clean up after SIGKILL but the next command."""
    with demo(cache) as process:
        wait_for(lambda: booting(cache), 90)
        process.kill()
        process.communicate(timeout=30)
    done = subprocess.run(
        [*TORQUE_VM, "lab", "down"], env={**os.environ, "TORQUE_VM_CACHE": str(cache)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert traces(cache) == []


def test_run_passes_output_and_exit_code_through(cache: Path, tmp_path: Path) -> None:
    """The job's stdout is ours, its exit code too; our own begin at 120."""
    script = tmp_path / "job.sh"
    script.write_text("#!/bin/sh\necho to stdout; echo to stderr >&2; exit 7\n")
    done = subprocess.run(
        [*TORQUE_VM, "run", "--quiet", "-vm", SMALL, str(script)], capture_output=True, text=True,
        env={**os.environ, "TORQUE_VM_CACHE": str(cache)}, timeout=120, check=False,
    )  # fmt: skip
    assert (done.stdout, done.returncode) == ("to stdout\n", 7)
    assert done.stderr == "to stderr\n"
    assert traces(cache) == []
    status = subprocess.run(
        [*TORQUE_VM, "lab", "status", "--json"], capture_output=True, text=True,
        env={**os.environ, "TORQUE_VM_CACHE": str(cache)}, timeout=30, check=False,
    )  # fmt: skip
    assert json.loads(status.stdout)["up"] is False
