"""The command line itself: one line per error, a distinct exit code, nothing imported in vain."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import click
import pytest

from nornir_torque_vm import __version__
from nornir_torque_vm.cli import app
from nornir_torque_vm.cli.app import COMMANDS, outcome
from nornir_torque_vm.errors import (
    BusyError,
    DeadlineExceeded,
    InventoryError,
    LabError,
    RequestError,
    StorageError,
)

Raising = Callable[[BaseException], None]


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch) -> Raising:
    """Makes all commands raise."""

    def make(error: BaseException) -> None:
        def body() -> None:
            raise error

        monkeypatch.setattr(app.LazyGroup, "get_command", lambda *_: click.Command("x", callback=body))

    return make


@pytest.mark.parametrize(
    ("words", "what", "where"),
    [
        (["gusts"], "there is no command 'gusts': did you mean guests?", ""),
        (["--verbose"], "No such option '--verbose'", ""),
        (["guests", "--nod"], "No such option '--nod'", " guests"),
        (["lab", "up", "--nodes", "x"], "Invalid value for '--nodes': 'x' is not", " lab up"),
        (["destroy", "node1"], "say which: --job ID or --all", " destroy"),
    ],
)
def test_a_mistake_in_the_command_line_is_one_line_and_code_two(
    words: list[str], what: str, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says what is wrong and where to read on."""
    assert outcome(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"torque-vm: {what}")
    assert line.endswith(f"; see torque-vm{where} --help")


@pytest.mark.parametrize("words", [["run"], ["run", "--nodes", "0", "job.sh"], ["demo", "--fast"]])
def test_a_mistake_when_running_a_job_is_no_exit_code_of_a_job(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A job may end with 2; ours begin at 120."""
    assert outcome(words) == 120
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    ("error", "code", "job_code"),
    [
        (RequestError("no"), 2, 120),
        (InventoryError("no"), 2, 122),
        (BusyError("full"), 1, 121),
        (DeadlineExceeded("late"), 3, 123),
        (LabError("no lab"), 1, 124),
        (StorageError("no space"), 1, 122),
        (ZeroDivisionError("oops"), 1, 125),
    ],
)
def test_errors_have_the_codes_of_their_class(
    raising: Raising, error: Exception, code: int, job_code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """For administrators' commands, and for those that run a job."""
    raising(error)
    assert (outcome(["guests"]), outcome(["run"])) == (code, job_code)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("torque-vm: ") and str(error) in line for line in lines)


def test_a_traceback_is_shown_on_request_only(raising: Raising, capsys: pytest.CaptureFixture[str]) -> None:
    """And an unforeseen error says how to request it."""
    raising(ZeroDivisionError("oops"))
    outcome(["guests"])
    assert (
        capsys.readouterr().err == "torque-vm: unexpected ZeroDivisionError: oops; see it with --traceback\n"
    )
    assert outcome(["--traceback", "guests"]) == 1
    assert capsys.readouterr().err.startswith("Traceback (most recent call last):")


def test_an_interrupt_ends_with_the_signals_code(
    raising: Raising, capsys: pytest.CaptureFixture[str]
) -> None:
    """128 + SIGINT, as shells say it."""
    raising(KeyboardInterrupt())
    assert outcome(["guests"]) == 130
    assert capsys.readouterr().err.strip() == "torque-vm: interrupted"


@pytest.mark.parametrize(("value", "code"), [(None, 0), (7, 7), ("text", 0)])
def test_what_a_command_returns_is_the_exit_code(
    value: object, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that returns nothing went well."""
    monkeypatch.setattr(app.LazyGroup, "get_command", lambda *_: click.Command("x", callback=lambda: value))
    assert outcome(["guests"]) == code


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Its help is at hand, and the short one of the list has a full stop."""
    assert outcome([name, "--help"]) == 0
    assert f"torque-vm {name}" in capsys.readouterr().out
    assert COMMANDS[name][1].endswith(".")


def test_without_a_command_all_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """On stderr and with code 2, since nothing was done."""
    assert outcome([]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert all(f"  {name} " in said.err for name in COMMANDS)


def test_the_list_of_commands_imports_none_of_them() -> None:
    """It is what a newcomer sees first, so it is there at once."""
    code = (
        "import sys; from nornir_torque_vm.cli.app import outcome\n"
        "outcome(['--help']); outcome(['--version']); print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    assert "click" in loaded
    assert loaded & {"nornir", "libvirt", "paramiko", "netmiko", "rich", "jinja2", "cryptography"} == set()


def test_the_package_can_be_run_where_the_script_is_not_on_the_path() -> None:
    """``python -m nornir_torque_vm.cli`` is ``torque-vm``."""
    argv = [sys.executable, "-I", "-m", "nornir_torque_vm.cli", "--version"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout == f"torque-vm, version {__version__}\n"


def piped(body: str, command: str) -> subprocess.CompletedProcess[str]:
    """Run the end of a command line in a shell that does something with its output."""
    code = f"import sys; from nornir_torque_vm.cli import app\n{body}"
    argv = ["bash", "-c", f'set -o pipefail; "$@" {command}', "bash", sys.executable, "-I", "-c", code]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)


LONG = """
import click
app.LazyGroup.get_command = lambda *_: click.Command("x", callback=lambda: print({text!r} * {times}))
app.run(["guests"])
"""


@pytest.mark.parametrize("times", [1, 100_000])
def test_a_reader_who_leaves_early_gets_no_traceback(times: int) -> None:
    """``torque-vm guests | head -0``, with output that fits into a buffer and with more: as SIGPIPE."""
    done = piped(LONG.format(text="long line\n", times=times), "| (exec <&-; sleep 0.5)")
    assert (done.returncode, done.stderr) == (141, "")


def test_a_full_disk_is_said_in_one_line() -> None:
    """Output that is lost is an error, not a success."""
    done = piped(LONG.format(text="x", times=1), ">/dev/full")
    assert done.returncode == 1
    assert done.stderr == (
        "torque-vm: unexpected OSError: [Errno 28] No space left on device; see it with --traceback\n"
    )


@pytest.mark.parametrize("command", ["2>&-", ">&- 2>&-", "2>/dev/full"])
def test_the_code_is_right_when_nobody_can_be_told_why(command: str) -> None:
    """Standard error closed or on a full disk; the sentence must not land in the output instead."""
    done = piped("app.run(['gusts'])", command)
    assert (done.returncode, done.stdout) == (2, "")


def test_a_thread_that_hangs_does_not_keep_the_command() -> None:
    """A frozen libvirtd must not outlast the deadline."""
    body = (
        "import threading; threading.Thread(target=threading.Event().wait).start()\n"
        "app.outcome = lambda _: 3\napp.run(['guests'])"
    )
    assert piped(body, "").returncode == 3
