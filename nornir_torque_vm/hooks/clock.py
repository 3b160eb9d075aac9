"""When a hook began, for the limit of its MOM counts from there, not from the start of Python."""

from __future__ import annotations

import os
import time

from nornir_torque_vm.runstate.joblock import start_time


def began(pid: int | None = None) -> float:
    """When a process was started, on the monotonic clock; now when there is none.

    A shell that becomes a Python stays the process it was, so time that it spent before counts.

    :param pid: this process when None.
    """
    ticks = start_time(os.getpid() if pid is None else pid)
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK") if ticks else 0.0
    return time.monotonic() - max(age, 0.0)
