"""What surrounds every hook's work: descriptors, the exit code, one line for people, the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import syslog
from collections.abc import Iterator
from pathlib import Path

import pytest

from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import BusyError, InventoryError, RequestError
from nornir_torque_vm.hooks import frame
from nornir_torque_vm.hooks.frame import cancel_on_signal, log, run_hook
from nornir_torque_vm.report import Failure, HostReport, Report, Status

GOOD = Report((HostReport("r0"),))
LATE = Report((HostReport("r0", status=Status.LATE, failure=Failure("DeadlineExceeded", "late", "late")),))


class Left(BaseException):
    """What leaving is in these tests."""

    def __init__(self, code: int) -> None:
        self.code = int(code)


@pytest.fixture(autouse=True)
def logged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Lines for syslog; and ``leave`` raises."""

    def leave(code: int) -> None:
        raise Left(code)

    lines: list[str] = []
    monkeypatch.setattr(frame, "leave", leave)
    monkeypatch.setattr(syslog, "syslog", lambda _level, line: lines.append(line))
    return lines


def code_of(what: Report | BaseException | None) -> int:
    """The exit code of a hook whose body returns or raises that."""

    def body() -> Report | None:
        if isinstance(what, BaseException):
            raise what
        return what

    with pytest.raises(Left) as left:
        run_hook("prologue", "17.head", body)
    return left.value.code


@pytest.mark.parametrize(
    ("what", "code"),
    [
        (None, 0),
        (GOOD, 0),
        (LATE, 2),
        (Report(), 2),
        (RequestError("no"), 1),
        (BusyError("full"), 2),
        (InventoryError("which nodes?"), 2),
        (ZeroDivisionError("oops"), 2),
        (SystemExit(1), 2),
        (SystemExit(0), 2),
        (KeyboardInterrupt(), 2),
        (MemoryError(), 2),
    ],
)
def test_the_exit_code_says_what_we_mean(what: Report | BaseException | None, code: int) -> None:
    """Only a refusal aborts the job; Python's own codes (a traceback's 1) never get out."""
    assert code_of(what) == code


def test_our_errors_are_one_line_on_stderr_and_in_syslog(
    capsys: pytest.CaptureFixture[str], logged: list[str]
) -> None:
    """For a batch job stderr is the user's error file."""
    code_of(RequestError("ram=1P is too much", node="node1"))
    assert capsys.readouterr().err == "torque-vm: node node1: ram=1P is too much\n"
    assert logged == ["prologue job=17.head node node1: ram=1P is too much"]


def test_an_unforeseen_error_is_one_line_for_the_user_and_a_traceback_in_syslog(
    capsys: pytest.CaptureFixture[str], logged: list[str]
) -> None:
    """The user can do nothing with a traceback."""
    code_of(ZeroDivisionError("division\nby zero"))
    assert capsys.readouterr().err == "torque-vm: unexpected ZeroDivisionError: division by zero\n"
    assert logged[0] == "prologue job=17.head unexpected ZeroDivisionError: division by zero"
    assert logged[1] == "prologue job=17.head Traceback (most recent call last):"
    assert all(line.startswith("prologue job=17.head ") for line in logged)
    assert any("raise what" in line for line in logged)


def test_hostile_text_is_said_without_harm(capsys: pytest.CaptureFixture[str], logged: list[str]) -> None:
    """Names are bytes; syslog takes neither a NUL nor what is not UTF-8."""
    assert code_of(RequestError("not \udcff but \0")) == 1
    assert logged == ["prologue job=17.head not \\udcff but \\x00"]
    assert capsys.readouterr().err == "torque-vm: not \\udcff but \\x00\n"


def test_not_being_able_to_say_it_does_not_change_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever fails in telling."""

    def broken(*_: object) -> None:
        raise ValueError("no log today")

    monkeypatch.setattr(syslog, "syslog", broken)
    assert code_of(BusyError("full")) == 2
    assert code_of(RequestError("no")) == 1


@pytest.fixture
def handlers() -> Iterator[None]:
    """Puts the signal handlers back."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.usefixtures("handlers")
def test_a_signal_makes_the_deadline_due(number: signal.Signals) -> None:
    """The hook ends in its own order, with everything removed."""
    deadline = Deadline.after(60)
    cancel_on_signal(deadline)
    assert deadline.remaining() > 0
    os.kill(os.getpid(), number)
    assert deadline.remaining() == 0.0


def run_closed(code: str, closing: str, **files: object) -> subprocess.CompletedProcess[str]:
    """Run Python code as a hook whose MOM closed descriptors, e.g. ``1>&- 2>&-``."""
    argv = ["sh", "-c", f'exec "$@" {closing}', "sh", sys.executable, "-I", "-c", code]
    return subprocess.run(argv, check=False, text=True, timeout=60, **{"stderr": subprocess.PIPE, **files})  # type: ignore[call-overload,no-any-return]


def test_a_file_opened_later_never_becomes_standard_output(tmp_path: Path) -> None:
    """TF 1.5: in an epilogue.parallel the first file that is opened would be descriptor 1."""
    code = (
        "import os, sys; from nornir_torque_vm.hooks.stdio import settle_stdio; settle_stdio();"
        f"file = open({str(tmp_path / 'precious')!r}, 'w');"
        "print('to nobody'); print('to nobody', file=sys.stderr); sys.stdout.flush();"
        "os._exit(0 if file.fileno() > 2 else 1)"
    )
    assert run_closed(code, "0<&- 1>&- 2>&-").returncode == 0
    assert (tmp_path / "precious").read_text() == ""


def test_open_descriptors_stay_what_they_are() -> None:
    """Only what is closed is filled up."""
    code = "import sys; from nornir_torque_vm.hooks.stdio import settle_stdio; settle_stdio(); print('seen')"
    assert run_closed(code, "2>&-", stdout=subprocess.PIPE).stdout == "seen\n"


BODY = """
from nornir_torque_vm.hooks.frame import run_hook
from nornir_torque_vm.errors import {error}
import syslog
syslog.syslog = lambda *_: None
def body():
    raise {error}("because")
run_hook("prologue", "17.head", body)
"""


@pytest.mark.parametrize("closing", ["", "1>&- 2>&-", "0<&- 1>&- 2>&-", ">/dev/full 2>&1"])
@pytest.mark.parametrize(("error", "code"), [("RequestError", 1), ("BusyError", 2)])
def test_the_exit_code_survives_closed_descriptors_and_full_disks(
    closing: str, error: str, code: int
) -> None:
    """Not being able to say why must not turn a requeue into an abort."""
    assert run_closed(BODY.format(error=error), closing).returncode == code


def test_a_thread_that_hangs_does_not_keep_the_hook() -> None:
    """A libvirt call that never returns cannot be interrupted."""
    code = (
        "import threading; from nornir_torque_vm.hooks.frame import leave;"
        "threading.Thread(target=threading.Event().wait).start(); print('said'); leave(2)"
    )
    done = run_closed(code, "", stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (2, "said\n")


def test_a_line_of_syslog_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever an error or a job repeats."""
    lines: list[str] = []
    monkeypatch.setattr(syslog, "syslog", lambda _level, line: lines.append(line))
    log("epilogue", "17.head", "it said\nfoo:\tbar\0\n")
    assert lines == ["epilogue job=17.head it said foo: bar\\x00"]
