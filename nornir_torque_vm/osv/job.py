"""A job's script in its first OSv guest: its commands one after the other, each to its end.

Runs in the job starter, as the job's owner. OSv tells neither what a program printed nor how it ended: the
job ends with 0 when all of its commands have ended. What they print is on the guest's console.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Mapping

from nornir_torque_vm.errors import GuestError, RequestError, StateError
from nornir_torque_vm.hooks.guesttask import die_of
from nornir_torque_vm.hooks.momtask import MomTask
from nornir_torque_vm.osv import calls
from nornir_torque_vm.osv.calls import Call
from nornir_torque_vm.osv.client import Declined, NoAnswer, Rest
from nornir_torque_vm.render.entry import vm_nodefile
from nornir_torque_vm.runstate.handover import HandOver

CALL_SECONDS = 20.0
"""One call may take."""
PATIENCE = 6
"""Questions in a row that may stay without an answer: its processors may all be at work."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
"""Seconds between two looks at whether a program has ended."""
LAST_CALL = 2.0
"""Seconds for switching the guest off when the job is killed."""
ENDING = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM})
"""Signals that end the job; OSv's programs take none, so others have no effect."""


def run_job(handover: HandOver, task: MomTask, environment: Mapping[str, str], port: int = calls.PORT) -> int:
    """Run the job's script and return 0; die of a signal that ended the job.

    :param port: of the interface.
    :raises RequestError: the task needs what OSv has not got, or OSv does not take a command.
    :raises StateError: the guest stopped answering, or answers nonsense.
    """
    commands = commands_for(task)
    guest = handover.guests[0]
    rest = Rest(guest.address, port)
    try:
        guests = {one.address: one.vcpus for one in handover.guests}
        _ask(rest, calls.write_file(calls.NODEFILE, vm_nodefile(guests)))
        for name, value in calls.environment_of(environment, guests).items():
            _ask(rest, calls.set_variable(name, value))
        for command in commands:
            _run(rest, command)
    except (GuestError, ValueError) as error:
        if isinstance(error, RequestError):
            raise
        what = error.what if isinstance(error, GuestError) else str(error)
        raise StateError(
            f"the guest of OSv failed: {what}",
            hint="see its console in the history", job=handover.job_id, guest=guest.name,
        ) from error  # fmt: skip
    return 0


def commands_for(task: MomTask) -> tuple[str, ...]:
    """The commands of a task, which has to be the script of a batch job.

    :raises RequestError: it is something else.
    """
    if task.slot is not None:
        raise RequestError("guests of OSv run the job's script and no other tasks", hint="use other guests")
    if task.terminal or task.connected:
        raise RequestError("guests of OSv have no shell for an interactive job", hint="submit a script")
    script = task.script[1] if task.script else task.stdin
    return calls.commands_of(script or b"")


def _run(rest: Rest, command: str) -> None:
    """Start a command and wait until each of its programs has ended."""
    try:
        answer = rest.ask(calls.run(command), CALL_SECONDS)
    except Declined as error:
        raise RequestError(f"OSv does not run {command!r:.80}: {error.what}") from error
    for thread in calls.threads_of(answer):
        pause = FIRST_PAUSE
        while not calls.is_finished(_ask(rest, calls.finished(thread))):
            _wait(rest, pause)
            pause = min(2 * pause, LONGEST_PAUSE)


def _ask(rest: Rest, call: Call) -> bytes:
    """Ask what may be asked again, until there is an answer.

    :raises NoAnswer: there is none for too long.
    """
    for _ in range(PATIENCE - 1):
        try:
            return rest.ask(call, CALL_SECONDS)
        except NoAnswer:
            _wait(rest, LONGEST_PAUSE)
    return rest.ask(call, CALL_SECONDS)


def _wait(rest: Rest, seconds: float) -> None:
    """Let time pass; when a signal ends the job, end what runs in the guest, and die of it."""
    caught = signal.sigtimedwait(ENDING, seconds)
    if caught is not None:
        with contextlib.suppress(GuestError):
            rest.ask(calls.SHUT_DOWN, LAST_CALL)
        die_of(caught.si_signo)
