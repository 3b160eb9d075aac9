"""Task: run a script in a guest."""

from __future__ import annotations

import dataclasses
import math
import time

from nornir.core.task import Result, Task

from nornir_torque_vm.connections.command import CommandResult
from nornir_torque_vm.deadline import current
from nornir_torque_vm.errors import NotHealthy, ScriptFailed
from nornir_torque_vm.guestscripts.script import GuestScript
from nornir_torque_vm.inventory.hostdata import guest_of, plan_of
from nornir_torque_vm.render.guestscript import KILL_AFTER, environment, put_command, run_command
from nornir_torque_vm.runstate.history import TAIL
from nornir_torque_vm.tasks.common import GUEST_SSH, connection, where

CONNECTION_NAME = GUEST_SSH
PATIENCE = 5.0
"""Seconds beyond the script's own limit until the guest is given up, which should have ended the script."""


@dataclasses.dataclass(frozen=True, slots=True)
class ScriptRun:
    """How a script ended: exit status, seconds, and the end of what it printed, complaints last."""

    kind: str
    status: int
    seconds: float
    output: str = ""


def run_guest_script(task: Task, script: GuestScript, limit: float) -> Result:
    """Run a script in a guest, as root or as the job's owner, and wait until it is over.

    What it leaves running in the background is not waited for, and not ended.

    Arguments:
        script: what to run
        limit: seconds after which it is ended; less where the deadline is nearer

    Returns:
        Result object with the following attributes set:
          * result (:class:`ScriptRun`): how it ended, also when it failed
          * changed (``bool``): always True

    Raises:
        ScriptFailed: its exit status is not 0, or it was not over in time; the blame is its author's
        NotHealthy: the guest could not be reached, or has no room for the script
        DeadlineExceeded: the time is up
    """
    plan, guest, kind = plan_of(task.host), guest_of(task.host), script.kind
    shell, owner = connection(task, GUEST_SSH), plan.job.owner
    put = shell.run(put_command(kind, owner), stdin=script.content)
    if not put.ok:
        raise NotHealthy(f"{kind} cannot be put into it: {put.summary()}", **where(task))
    current.get().check()
    seconds = max(1, math.floor(min(limit, current.get().remaining() - KILL_AFTER - PATIENCE)))
    command = run_command(kind, owner, environment(plan, guest, kind), seconds)
    began = time.monotonic()
    ended = shell.run(command, timeout=seconds + KILL_AFTER + PATIENCE)
    took = time.monotonic() - began
    run = ScriptRun(str(kind), ended.rc, round(took, 3), _tail(ended))
    if ended.ok:
        return Result(host=task.host, result=run, changed=True)
    error = ScriptFailed(_why(ended, seconds if took >= seconds else None), blame=kind.blame, **where(task))
    return Result(host=task.host, result=run, changed=True, failed=True, exception=error)


def _why(ended: CommandResult, over: int | None) -> str:
    """In words, how it failed.

    :param over: its limit in seconds, when it was over that; ``timeout`` tells so in different ways.
    """
    if over is None:
        return f"it ended with {ended.summary()}"
    said = ended.stderr.strip().splitlines()
    return f"it was ended after {over} s{f': {said[-1].strip()[:200]}' if said else ''}"


def _tail(ended: CommandResult) -> str:
    return f"{ended.stdout}{ended.stderr}"[-TAIL:]
