"""What every hook does around its work: order its stdio, judge the end, say it once, leave at once."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import syslog
import traceback
from collections.abc import Callable
from typing import NoReturn

from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import DeadlineExceeded, TorqueVMError, one_line
from nornir_torque_vm.exitcodes import HookExit, hook_exit
from nornir_torque_vm.hooks.stdio import say, settle_stdio
from nornir_torque_vm.report import Report


def sentence_of(error: BaseException) -> str:
    """One line for people; an error nobody foresaw names its class."""
    if isinstance(error, TorqueVMError):
        return str(error)
    return one_line(f"unexpected {type(error).__name__}: {error}")


def tell(hook: str, job_id: str, sentence: str) -> None:
    """One line in syslog, and the same for the user."""
    log(hook, job_id, sentence)
    say(sentence)


def log(hook: str, job_id: str, sentence: str) -> None:
    """One line in syslog only: for what the user need not read."""
    syslog.openlog("torque-vm", syslog.LOG_PID, syslog.LOG_DAEMON)
    syslog.syslog(syslog.LOG_INFO, one_line(f"{hook} job={job_id} {sentence}"))


def cancel_on_signal(deadline: Deadline) -> None:
    """SIGTERM, SIGINT and SIGHUP make the deadline due, so that the hook ends in its own order."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: deadline.cancel())


def pause(seconds: float) -> None:
    """Wait, unless somebody wants the hook to end."""
    if seconds > 0:
        deadline = Deadline.after(seconds)
        cancel_on_signal(deadline)
        with contextlib.suppress(DeadlineExceeded):
            deadline.sleep(seconds)


def leave(code: int) -> NoReturn:
    """End the process now: a thread that hangs inside libvirt must not keep it."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(code)


def log_unforeseen(hook: str, job_id: str, error: BaseException) -> None:
    """Where in the code an error arose that nobody foresaw, in syslog."""
    if not isinstance(error, TorqueVMError):
        for line in "".join(traceback.format_exception(error)).splitlines():
            log(hook, job_id, line)


def run_hook(hook: str, job_id: str, body: Callable[[], Report | HookExit | None]) -> NoReturn:
    """Run ``body`` and leave with its exit code, or the one its report or exception stands for.

    A body that returns None had nothing to do. Python's own codes never get out: a traceback's 1
    would abort the job, argparse's 2 would requeue it.
    """
    settle_stdio()
    code = HookExit.REQUEUE
    try:
        end = body()
        code = hook_exit(end) if isinstance(end, Report) else end or HookExit.START
    except BaseException as error:  # noqa: BLE001 - whatever it is, TORQUE gets a code that says what we mean
        code = hook_exit(error)
        tell(hook, job_id, sentence_of(error))
        log_unforeseen(hook, job_id, error)
    finally:
        leave(code)
