"""Programs that are measured from outside, each within a limit of time."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

Answer = dict[str, Any]


class Failed(Exception):
    """A program failed or took too long, so there is nothing to compare."""


@dataclasses.dataclass(frozen=True, slots=True)
class Cost:
    """What a whole process cost: seconds on the clock, seconds of processors, and its last words."""

    wall: float
    cpu: float
    answer: Answer


def run(argv: Sequence[str], *, seconds: float, order: Any = None) -> Cost:
    """Run a program to its end and see what it cost, with whatever processes it waited for.

    :param seconds: after which it is killed.
    :param order: given to it as JSON on standard input.
    :raises Failed: it failed, or was killed. What it wrote to standard error has been seen already.
    """
    began = time.monotonic()
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with _killed_after(process.pid, seconds):
        words = _talk(process, "" if order is None else json.dumps(order))
        _, status, usage = os.wait4(process.pid, 0)  # Popen.wait would throw the usage away
    wall = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        program = next((word for word in argv if word.endswith(".py")), argv[0]).rpartition("/")[2]
        why = f"was not done after {seconds:g} s" if wall >= seconds else f"failed ({process.returncode})"
        raise Failed(f"{program} {why}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, last_answer(words))


@contextlib.contextmanager
def _killed_after(pid: int, seconds: float) -> Iterator[None]:
    """Kill a child that takes longer, or that we stop waiting for; never another of the same id."""
    fd = os.pidfd_open(pid)

    def kill() -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(fd, signal.SIGKILL)

    alarm = threading.Timer(seconds, kill)
    alarm.start()
    try:
        yield
    except BaseException:
        kill()
        raise
    finally:
        alarm.cancel()
        alarm.join()
        os.close(fd)


def last_answer(text: str) -> Answer:
    """Return the JSON object on the last line of a program's output; empty when it printed none."""
    lines = text.strip().splitlines()
    found = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
    return dict(found)


def _talk(process: subprocess.Popen[str], order: str) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError), process.stdin as stdin:  # its exit status will say why
        stdin.write(order)
    with process.stdout as stdout:
        return stdout.read()
