"""The shell files that a MOM starts: marker, hand-over, and what they pass on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nornir_torque_vm.sitekit import hook_text

SHELLS = [
    words for words in (["sh"], ["bash", "--posix"], ["busybox", "sh"], ["dash"]) if shutil.which(words[0])
]
"""``/bin/sh`` of Debian, of the Red Hat family, and of small systems."""
EXTERNAL = [words for words in SHELLS if "busybox" not in words]
"""Those that look for every program on the PATH."""
JOB = "17[3].head"
ARGUMENTS = [
    JOB,
    "alice",
    "users",
    "x;y$(id)`w`&| \"'",
    "nodes=1,other=vm1:ram=1G",
    "batch",
    "",
    "/path/17.SC",
]

RECORDER = f"""#!{sys.executable} -I
import json, os, sys
umask = os.umask(0)
seen = {{"argv": sys.argv[1:], "env": dict(os.environ), "stdin": sys.stdin.read(), "umask": umask}}
with open(os.path.join(os.path.dirname(__file__), "seen.json"), "w") as file:
    json.dump(seen, file)
sys.exit(42)
"""


class Kit:
    """Hooks installed in a directory, with a Python that writes down how it was started."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.run_dir, self.bin = folder, folder / "run dir", folder / "bin"
        self.bin.mkdir()
        for name in ("sleep", "logger"):  # neither waits nor tells the machine's own log
            (self.bin / name).write_text(f'#!/bin/sh\necho {name} "$@" >>"${{0%/*}}/said"\n')
            (self.bin / name).chmod(0o755)
        self.python = folder / "fake python"
        self.python.write_text(RECORDER)
        self.python.chmod(0o755)

    def run(
        self, name: str, *arguments: str, shell: list[str] | None = None, **options: object
    ) -> subprocess.CompletedProcess[str]:
        """Run a hook as a MOM would, but with any shell."""
        path = self.folder / name
        path.write_text(hook_text(name, python=str(self.python), run_dir=str(self.run_dir)))
        given = {
            "env": {"PATH": f"{self.bin}:/bin:/usr/bin", "LANG": "C.UTF-8"},
            "stdin": subprocess.DEVNULL,
            **options,
        }
        argv = [*(shell or ["sh"]), str(path), *arguments]
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60, **given)  # type: ignore[call-overload,no-any-return]

    @property
    def seen(self) -> dict[str, object] | None:
        """How Python was started; None when it was not."""
        import json

        path = self.folder / "seen.json"
        return json.loads(path.read_text()) if path.exists() else None

    def gave_up(self, done: subprocess.CompletedProcess[str], why: str) -> bool:
        """Whether a hook told log and owner, and waited: TORQUE starts the job again at once."""
        said = (self.bin / "said").read_text().splitlines()
        log = f"logger -p daemon.err -t torque-vm prologue job={JOB} {why}"
        return said == [log, "sleep 10"] and done.stderr == f"torque-vm: {why}\n" and done.returncode == 2

    @property
    def marker(self) -> Path:
        return self.run_dir / "markers" / JOB

    @property
    def handover(self) -> Path:
        return self.run_dir / "handover" / JOB


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path)


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_the_prologue_marks_the_job_before_python_starts(kit: Kit, shell: list[str]) -> None:
    """Everybody may see that there is a marker: the job starter runs as the user."""
    assert kit.run("prologue.vm", *ARGUMENTS, shell=shell, umask=0o077).returncode == 42
    assert kit.marker.is_file()
    assert kit.marker.stat().st_mode & 0o777 == 0o644
    for folder in (kit.run_dir, kit.marker.parent, kit.handover.parent):
        assert folder.stat().st_mode & 0o777 == 0o755, folder


@pytest.mark.parametrize("name", ["prologue", "epilogue"])
def test_a_hook_hands_everything_on_as_it_is(kit: Kit, name: str) -> None:
    """Arguments are hostile text; what is not TORQUE's business is a fixed PATH, a umask, no input."""
    done = kit.run(f"{name}.vm", *ARGUMENTS, stdin=None, input="not for Python")
    assert (done.returncode, done.stdout, done.stderr) == (42, "", "")
    assert kit.seen is not None
    assert kit.seen["argv"] == ["-I", "-m", f"nornir_torque_vm.hooks.{name}", *ARGUMENTS]
    assert (kit.seen["stdin"], kit.seen["umask"]) == ("", 0o077)
    environment = dict(kit.seen["env"])  # type: ignore[call-overload]
    assert environment["PATH"] == "/usr/sbin:/usr/bin:/sbin:/bin"
    assert environment["LANG"] == "C.UTF-8"


def test_an_old_hand_over_goes_with_the_new_marker(kit: Kit) -> None:
    """The guests of an earlier attempt are never entered, even if Python is killed at once."""
    kit.handover.mkdir(parents=True)
    (kit.handover / "given").write_text("old")
    kit.run("prologue.vm", *ARGUMENTS)
    assert not kit.handover.exists()


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
@pytest.mark.parametrize("job_id", [None, "", "../17.head", "a/b", "..", "."])
def test_what_can_be_no_job_id_is_requeued(kit: Kit, job_id: str | None, shell: list[str]) -> None:
    """It would become a path; and 1, which aborts jobs, is the code of a shell's own errors."""
    given = [] if job_id is None else [job_id, *ARGUMENTS[1:]]
    assert kit.run("prologue.vm", *given, shell=shell).returncode == 2
    assert kit.seen is None
    files = {path.name for path in kit.folder.rglob("*") if path.is_file() and path.parent != kit.bin}
    assert files == {kit.python.name, "prologue.vm"}


@pytest.mark.parametrize("shell", EXTERNAL, ids=" ".join)
@pytest.mark.parametrize("obstacle", ["run dir", "run dir/markers", f"run dir/markers/{JOB}/x"])
def test_a_marker_that_cannot_be_made_requeues_the_job(kit: Kit, obstacle: str, shell: list[str]) -> None:
    """Without it a killed prologue would let the job run on bare metal."""
    path = kit.folder / obstacle
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("in the way")
    done = kit.run("prologue.vm", *ARGUMENTS, shell=shell)
    where = f"{kit.run_dir} of {os.uname().nodename}"
    assert kit.gave_up(done, f"the job cannot be marked in {where}: root has to own it, and it needs room")
    assert kit.seen is None


@pytest.mark.parametrize("shell", EXTERNAL, ids=" ".join)
def test_a_hand_over_that_cannot_be_removed_requeues_the_job(kit: Kit, shell: list[str]) -> None:
    """Else a job whose prologue is killed would enter somebody's guests."""
    (kit.handover / "x").mkdir(parents=True)
    assert kit.run("prologue.vm", *ARGUMENTS, shell=shell).returncode == 2
    assert kit.seen is None


def test_a_python_that_is_gone_requeues_the_job(kit: Kit) -> None:
    """Somebody removed the installation."""
    kit.python.unlink()
    done = kit.run("prologue.vm", *ARGUMENTS)
    where = f"{kit.python} of {os.uname().nodename}"
    assert kit.gave_up(done, f"{where} cannot be executed: install the package there again")


def test_an_epilogue_whose_python_is_gone_says_so(kit: Kit) -> None:
    """By the shell's own code and words, which the MOM logs; the reaper does the rest."""
    kit.python.unlink()
    assert kit.run("epilogue.vm", *ARGUMENTS).returncode in {126, 127}


@pytest.mark.parametrize("shell", SHELLS, ids=lambda words: words[0])
def test_the_node_check_takes_a_node_out_while_the_word_is_there(tmp_path: Path, shell: list[str]) -> None:
    """One line that begins with ERROR; silence in all other cases, which for a MOM is good health."""
    kit = Kit(tmp_path)
    assert kit.run("node_check", shell=shell).stdout == ""
    kit.run_dir.mkdir()
    (kit.run_dir / "out").write_text("torque-vm: 3 failed \\x `id` $(id); put back\nsecond\n")
    done = kit.run("node_check", shell=shell)
    assert (done.stdout, done.stderr) == ("ERROR torque-vm: 3 failed \\x `id` $(id); put back\n", "")
    moved = kit.run_dir.rename(tmp_path / "elsewhere")
    kit.run_dir.symlink_to(moved)
    assert kit.run("node_check", shell=shell).stdout == ""
