"""The script that stands in for a job's own on a MOM without our job starter."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hook_kit import JOB, Site, site

from nornir_torque_vm.errors import SettingsError, StateError
from nornir_torque_vm.exitcodes import HookExit
from nornir_torque_vm.hooks.standin import replace_script, stand_in
from nornir_torque_vm.model import Owner
from nornir_torque_vm.runstate.jobstate import History

__all__ = ["site"]

ME = Owner("alice", os.getuid(), os.getgid(), "alice", "/home/alice")
OTHER = Owner("bob", os.getuid() + 1, os.getgid(), "bob", "/home/bob")


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "mom_priv/jobs/17-3.head.SC"
    path.parent.mkdir(parents=True)
    path.write_text("#!/bin/sh\necho the owner's own, and it is longer than what comes in its place\n" * 9)
    path.chmod(0o700)
    return path


@pytest.mark.parametrize(
    "sentence", ["node n1: full; try again", 'it\'s "$(id)" `id` $HOME \\ %s', "two\nlines\0", "-n"]
)
def test_it_says_one_line_and_ends_with_the_code(script: Path, sentence: str) -> None:
    """Whatever is in the sentence; nothing of the old script is run."""
    replace_script(str(script.parents[2]), str(script), ME, stand_in(sentence, 122))
    done = subprocess.run([script], capture_output=True, text=True, check=False)
    said = " ".join(sentence.replace("\0", "\\x00").split())
    assert (done.returncode, done.stdout, done.stderr) == (122, "", f"torque-vm: {said}\n")


def test_a_shell_that_has_it_open_reads_the_new_one(script: Path) -> None:
    """As with a TORQUE that gives the script as standard input; owner and mode stay."""
    before = script.stat()
    with script.open() as opened:
        replace_script(str(script.parents[2]), str(script), ME, stand_in("why", 120))
        done = subprocess.run(["sh"], stdin=opened, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (120, "torque-vm: why\n")
    assert script.read_text() == stand_in("why", 120), "nothing of the old one is left"
    after = script.stat()
    assert (after.st_ino, after.st_mode, after.st_uid) == (before.st_ino, before.st_mode, before.st_uid)


@pytest.mark.parametrize("given", ["", "/etc/passwd", "{folder}/../jobs/17.SC", "{folder}", "{folder}/no.SC"])
def test_only_a_script_of_this_moms_is_touched(script: Path, given: str) -> None:
    """Old TORQUEs name none, and an interactive job's is not there."""
    before = script.read_bytes()
    with pytest.raises(StateError):
        replace_script(str(script.parents[2]), given.format(folder=script.parent), ME, "x")
    assert script.read_bytes() == before
    assert [path.name for path in script.parent.iterdir()] == [script.name]


@pytest.mark.parametrize("kind", ["link", "hard link", "fifo", "directory"])
def test_what_is_no_file_of_its_own_is_not_written(script: Path, tmp_path: Path, kind: str) -> None:
    """Nothing that an owner could have put there leads elsewhere, or keeps the hook."""
    target = tmp_path / "target"
    target.write_text("kept")
    script.unlink()
    if kind == "link":
        script.symlink_to(target)
    elif kind == "hard link":
        script.hardlink_to(target)
    elif kind == "fifo":
        os.mkfifo(script)
    else:
        script.mkdir()
    with pytest.raises(StateError):
        replace_script(str(script.parents[2]), str(script), ME, "x")
    assert target.read_text() == "kept"


def test_somebody_elses_script_is_not_written(script: Path) -> None:
    """A job that has the id of another server's."""
    before = script.read_bytes()
    with pytest.raises(StateError, match="is not the script of bob"):
        replace_script(str(script.parents[2]), str(script), OTHER, "x")
    assert script.read_bytes() == before


def test_without_a_job_starter_a_batch_jobs_own_script_is_replaced(site: Site) -> None:
    """In the end, when there will be no other attempt: what the MOM then starts says why."""
    script = Path(site.settings.torque_home, "mom_priv/jobs/17-3.head.SC")
    script.parent.mkdir()
    script.write_text("#!/bin/sh\necho on bare metal\n")
    script.chmod(0o700)
    site.configure_mom()
    for exit_code in (HookExit.REQUEUE,) * 3 + (HookExit.START,):
        with pytest.raises(SettingsError, match="job starter"):
            site.prologue(site.call(script=str(script)))
        latest = History.latest(site.settings.history_dir, JOB).attempt
        verdict = site.history("verdict.json", latest)
        assert verdict["hook_exit"] == exit_code
        if exit_code is HookExit.REQUEUE:
            assert "bare metal" in script.read_text()
    assert (verdict["run_exit"], verdict["refused"], site.left()) == (122, True, [])
    done = subprocess.run([script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (122, "")
    assert done.stderr == f"torque-vm: {verdict['sentence']}\n"
    assert "has no job starter" in done.stderr
