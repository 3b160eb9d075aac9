"""The file that a MOM starts every task with: a plain job must not notice it."""

from __future__ import annotations

import json
import os
import pty
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from nornir_torque_vm.hooks.startercheck import why_not
from nornir_torque_vm.sitekit import starter_text

JOB = "17[3].head"
SHOW = f"""#!{sys.executable} -I
import json, os, resource, sys
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
wanted = ("SigBlk", "SigIgn", "SigPnd", "Umask", "NoNewPrivs", "Threads")
fds = sorted(int(fd) for fd in os.listdir("/proc/self/fd"))
with open("/proc/self/environ", "rb") as file:
    environ = file.read().decode("latin-1").split("\\0")
seen = {{
    "argv": open("/proc/self/cmdline", encoding="latin-1").read().split("\\0"),
    "environ": environ, "cwd": os.getcwd(),
    "status": [status[name].strip() for name in wanted if name != "Umask" or name in status],
    "fds": fds, "limits": [resource.getrlimit(n) for n in range(16)],
    "pid": [os.getpgrp() == os.getpid(), os.getsid(0) == os.getpid(), os.nice(0)],
    "exe": os.readlink("/proc/self/exe"),
}}
print(json.dumps(seen))
"""
HOSTILE = {
    "LC_ALL": "xx_YY.UTF-8", "PERL5OPT": "-Mno::such", "PERL5LIB": "/nonexistent", "PERL_UNICODE": "SDA",
    "PERLIO": ":bogus", "PERL5DB": "die", "PERL_SIGNALS": "unsafe", "PWD": "/elsewhere", "SHLVL": "7",
    "BASH_FUNC_f%%": "() {  echo f\n}", "EMPTY": "", "LATIN": "\udce9", "PERL_BADLANG": "0", "IFS": "x",
    "LD_LIBRARY_PATH": "/nonexistent", "_": "x",
}  # fmt: skip


class Starter:
    """The starter installed in a directory, for a node on which one job is marked."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.run_dir = folder, folder / "run dir"
        self.python = folder / "fake python"
        self.show = folder / "show"
        for path in (self.python, self.show):
            path.write_text(SHOW)
            path.chmod(0o755)
        (self.run_dir / "markers").mkdir(parents=True)
        (self.run_dir / "markers" / JOB).touch()
        self.path = self.install()

    def install(self, config: str = "") -> Path:
        path = self.folder / "job_starter"
        path.write_text(starter_text(python=str(self.python), run_dir=str(self.run_dir), mom_config=config))
        path.chmod(0o755)
        return path

    def run(
        self, argv: Sequence[str], env: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run the starter as a MOM runs it: argv is what it runs bare, with the starter before it."""
        return bare([str(self.path), *argv], {"PBS_JOBID": "18.head", **(env or {})}, **options)


def bare(argv: Sequence[str], env: Mapping[str, str], **options: Any) -> subprocess.CompletedProcess[str]:
    given = {"stdin": subprocess.DEVNULL, "start_new_session": True, "cwd": "/usr", **options}
    return subprocess.run(
        list(argv), env={"PATH": "/usr/bin:/bin", **env}, capture_output=True, text=True, check=False,
        timeout=30, **given,
    )  # fmt: skip


@pytest.fixture
def starter(tmp_path: Path) -> Starter:
    return Starter(tmp_path)


def test_a_plain_task_finds_everything_as_without_the_starter(starter: Starter) -> None:
    """Environment byte by byte, arguments, descriptors, limits, signals, session; and nothing is said."""
    words = [str(starter.show), "two words", "", "*", "\udcff"]
    fd, other = os.pipe()
    limits = (resource.RLIMIT_CORE, (0, 0))
    options: dict[str, Any] = {
        "pass_fds": (fd, other), "umask": 0o027, "preexec_fn": lambda: resource.setrlimit(*limits)
    }  # fmt: skip
    environment = {"PBS_JOBID": "18.head", **HOSTILE}
    try:
        without = bare(words, environment, **options)
        given = starter.run(words, HOSTILE, **options)
    finally:
        os.close(fd)
        os.close(other)
    assert (given.returncode, given.stderr) == (0, without.stderr)
    expected, seen = json.loads(without.stdout), json.loads(given.stdout)
    assert sorted(seen.pop("environ")) == sorted(expected.pop("environ"))
    assert seen == expected


@pytest.mark.parametrize("folder", ["markers", "handover"])
def test_either_of_marker_and_hand_over_tells_a_job_with_guests(starter: Starter, folder: str) -> None:
    """A sister's prologue may have been killed before it marked; one job's are nothing to another's."""
    (starter.run_dir / "markers" / JOB).unlink()
    (starter.run_dir / "handover").mkdir()
    if folder == "markers":
        (starter.run_dir / folder / "19.head").touch()
    else:  # not open to its owner yet
        (starter.run_dir / folder / "19.head").mkdir(mode=0o700)
    for job, program in (("19.head", starter.python), ("18.head", starter.show), ("", starter.show)):
        done = starter.run([str(starter.show)], {"PBS_JOBID": job})
        assert str(program) in json.loads(done.stdout)["argv"][:3], job


def test_perls_variable_for_locales_is_not_left_behind(starter: Starter) -> None:
    """It was never there; one that the user set stays."""
    assert "PERL_BADLANG" not in starter.run(["/usr/bin/env"], {"LC_ALL": "xx"}).stdout
    assert "PERL_BADLANG=0" in starter.run(["/usr/bin/env"], {"PERL_BADLANG": "0"}).stdout


@pytest.mark.parametrize("job_id", ["18.head", "", None])
def test_a_job_without_a_marker_needs_no_python(starter: Starter, job_id: str | None) -> None:
    """The whole installation may be gone, and so may the run directory."""
    starter.python.unlink()
    starter.run_dir.rename(starter.folder / "gone")
    env = {} if job_id is None else {"PBS_JOBID": job_id}
    done = bare([str(starter.path), "/bin/sh", "-c", "echo $0; exit 7", "zero"], env)
    assert (done.returncode, done.stdout, done.stderr) == (7, "zero\n", "")


LOGIN = "echo $0; shopt -q login_shell && echo login\n"
SHELL = {"SHELL": "/bin/bash", "PBS_ENVIRONMENT": "PBS_BATCH"}


@pytest.mark.parametrize(
    ("config", "expected"),
    [("", "-bash\nlogin\n"), ("$source_login_batch no\n$source_login_interactive yes\n", "bash\n")],
)
def test_a_batch_job_gets_the_shell_that_pbs_mom_would_have_started(
    starter: Starter, config: str, expected: str
) -> None:
    """``-bash``, or ``bash`` where the MOM's config says so; the script comes on a pipe."""
    starter.install(config)
    done = starter.run(["/bin/bash"], SHELL, stdin=None, input=LOGIN)
    assert done.stdout == expected


def test_a_batch_job_gets_it_too_where_torque_was_built_otherwise(starter: Starter) -> None:
    """With the script as standard input, or as argument (and then no input)."""
    with tempfile.TemporaryFile("w+") as script:
        script.write(LOGIN)
        script.seek(0)
        assert starter.run(["/bin/bash"], SHELL, stdin=script).stdout == "-bash\nlogin\n"
    path = starter.folder / "17.head.SC"
    path.write_text("shopt -q login_shell && echo login\n")
    assert starter.run(["/bin/bash", str(path)], SHELL).stdout == "login\n"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("", "-bash on"),
        ("$source_login_batch no\n", "-bash on"),
        ("$source_login_interactive no\n", "bash off"),
    ],
)
@pytest.mark.parametrize("words", [[], ["-c", "echo $0 $(shopt login_shell | cut -f2)"]])
def test_an_interactive_job_gets_the_shell_that_pbs_mom_would_have_started(
    starter: Starter, config: str, expected: str, words: list[str]
) -> None:
    """Also for ``-I -x command``: pbs_mom puts ``-c`` after the same ``-bash``."""
    starter.install(config)
    ours, theirs = pty.openpty()
    os.write(ours, b"echo $0 $(shopt login_shell | cut -f2); exit\n")
    try:
        done = starter.run(
            ["/bin/bash", *words], {**SHELL, "PBS_ENVIRONMENT": "PBS_INTERACTIVE"}, stdin=theirs
        )  # fmt: skip
    finally:
        os.close(ours)
        os.close(theirs)
    assert expected in done.stdout


def test_a_task_that_is_a_shell_is_no_login_shell(starter: Starter) -> None:
    """``pbsdsh bash``: nothing comes in, so it is no batch job's."""
    assert starter.run(["/bin/bash", "-c", "echo $0"], SHELL).stdout == "/bin/bash\n"


@pytest.mark.parametrize(
    ("words", "env", "sentence"),
    [
        (["nothing/here"], {}, "PBS: nothing/here: No such file or directory\n"),
        (["/etc/passwd"], {}, "PBS: /etc/passwd: Permission denied\n"),
        (["/no/shell"], {"SHELL": "/no/shell"}, "PBS: exec of shell '/no/shell' failed\n"),
    ],
)
def test_what_cannot_be_executed_is_told_in_torques_words(
    starter: Starter, words: list[str], env: dict[str, str], sentence: str
) -> None:
    """And ends with its exit code, 254."""
    done = starter.run(words, env, stdin=None, input="")
    assert (done.returncode, done.stderr) == (254, sentence)


def test_a_task_is_looked_for_on_the_path(starter: Starter) -> None:
    """``pbsdsh hostname``: pbs_mom uses execvp."""
    assert starter.run(["show", "x"], {"PATH": f"{starter.folder}:/bin"}).returncode == 0


def test_a_marked_job_goes_to_the_job_starter_with_its_own_command(starter: Starter) -> None:
    """Python learns where the hand-overs are; the rest is the task's own."""
    done = starter.run(["/bin/bash", "-l"], {"PBS_JOBID": JOB, "ODD": "a\n b "})
    seen = json.loads(done.stdout)
    program = "from nornir_torque_vm.hooks.job_starter import main; raise SystemExit(main())"
    # The interpreter line of the stand-in stands before what the starter gave it.
    assert seen["argv"][3:] == ["-I", "-c", program, str(starter.run_dir), "11", "/bin/bash", "-l", ""]
    assert "ODD=a\n b " in seen["environ"]


def test_a_marked_job_whose_python_is_gone_is_refused(starter: Starter) -> None:
    """Never bare metal; one sentence, and the code of a site's failure."""
    starter.python.unlink()
    done = starter.run(["/bin/echo", "bare metal"], {"PBS_JOBID": JOB})
    assert (done.returncode, done.stdout) == (122, "")
    assert done.stderr == (
        f"torque-vm: job {JOB}: {starter.python} cannot be started on this node: No such file or directory\n"
    )


def test_it_costs_little(starter: Starter) -> None:
    """Less than a third of what Python needs to start; the measured limit stands in the benchmark."""

    def cost(argv: list[str]) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        for _ in range(40):
            subprocess.run(argv, check=True, env={"PATH": "/usr/bin:/bin"})
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert cost([str(starter.path), "/bin/true"]) < cost(["python3", "-I", "-S", "-c", ""]) / 2


class TestCheck:
    def test_a_starter_that_plain_jobs_do_not_notice_passes(self, starter: Starter) -> None:
        """It is tried, not only looked at."""
        assert why_not(starter.path) is None

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("#!/nonexistent/perl\nexec 1;\n", "cannot be started: "),
            ("#!/usr/bin/env -S /nonexistent/perl\n", "ends with 127"),
            ('#!/bin/sh\nexec "$@"\n', "changes the environment of plain jobs"),
            ('#!/bin/sh\nexec env A=1 "$@"\n', "changes the environment of plain jobs"),
            ("#!/bin/sh\nexit 0\n", "does not start it"),
            ('#!/bin/sh\necho >&2 noise\nexec "$@"\n', "says something: noise"),
        ],
    )
    def test_what_they_would_notice_is_told(self, starter: Starter, text: str, sentence: str) -> None:
        """In a sentence for whoever installs or looks after it."""
        starter.path.write_text(text)
        assert sentence in (why_not(starter.path) or "")

    @pytest.mark.parametrize("mode", [0o600, 0o700, 0o777])
    def test_others_have_to_execute_it_and_must_not_write_it(self, starter: Starter, mode: int) -> None:
        """It runs with the rights of any user of the node."""
        starter.path.chmod(mode)
        assert "mode" in (why_not(starter.path) or "")

    def test_one_that_is_missing_is_named(self, tmp_path: Path) -> None:
        """The MOM would ignore its line and run VM jobs bare."""
        assert str(tmp_path / "none") in (why_not(tmp_path / "none") or "")
