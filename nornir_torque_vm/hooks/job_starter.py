"""The job starter of a VM job: enters a guest as the job's owner and runs the MOM's task there.

Runs with the user's rights in the job's own session (TF 3.1); standard library only, and no file is
written: ssh reads its key and the pinned host keys from memory. Its arguments are the run directory, whether
the MOM starts login shells, and the task's own. Imports are few and ssh starts early: its handshake takes
most of the time, and the rest is done meanwhile.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import NoReturn

from nornir_torque_vm.errors import Blame, DeadlineExceeded, StateError, TorqueVMError
from nornir_torque_vm.hooks.momtask import MomTask, mom_task
from nornir_torque_vm.hooks.stdio import say, settle_stdio
from nornir_torque_vm.hooks.wayin import PASSED_ON, WayIn, send
from nornir_torque_vm.identity import job_slug
from nornir_torque_vm.render import entry
from nornir_torque_vm.render.entry import Entry, File
from nornir_torque_vm.runstate.handover import HandOver, read_handover

SSH_FAILED = 255
"""ssh's own exit code; a task may end with the same number, so the guest is asked."""
SIGNALLED = 128
"""A shell adds this to the number of the signal that a program died of."""
WATCHED = PASSED_ON | {signal.SIGCHLD}


def run(arguments: Sequence[str]) -> int:
    """Run the task in its guest and return its exit status; die of the signal it died of.

    :param arguments: the run directory; two digits, see :func:`~nornir_torque_vm.hooks.momtask.mom_task`;
        the task's own.
    :raises TorqueVMError: it cannot be run, or its end is not known.
    """
    if len(arguments) < 3:
        raise StateError("the job starter was given no task", hint="only a MOM starts this program")
    run_dir, login, *argv = arguments
    task = mom_task(argv, os.environ, login)
    handover = read_handover(run_dir, os.environ.get("PBS_JOBID", ""))
    guest = handover.guests[0] if task.slot is None else handover.guest_of_slot(task.slot)
    way, at = WayIn(handover, guest), entry.place(job_slug(handover.job_id), str(os.getpid()))
    process = enter(way, task, at)
    status, caught = attend(process, way, at)
    if status is None:
        status = asked_status(way, at)
    if status - SIGNALLED in caught:
        die_of(status - SIGNALLED)
    return status


def enter(way: WayIn, task: MomTask, at: str) -> subprocess.Popen[bytes]:
    """Start the task in its guest.

    :param at: see :func:`~nornir_torque_vm.render.entry.place`.
    :raises StateError: the guest does not take it.
    """
    if not task.connected:
        process = way.start("exec sh -s", stdin=subprocess.PIPE)
        send(process, as_bytes(entry.entry_program(build_entry(way.handover, task, at))))
        return process
    program = as_bytes(entry.connected_program(build_entry(way.handover, task, at)))
    return way.start_connected(program, at, terminal=task.terminal)


def build_entry(handover: HandOver, task: MomTask, at: str) -> Entry:
    """Collect what the guest needs to run the task as the MOM would have."""
    guests = {guest.name: guest.vcpus for guest in handover.guests}
    files = [task.script] if task.script else []
    nodefile = os.environ.get("PBS_NODEFILE")
    if nodefile:  # a MOM names it on the mother superior only
        files.append(File(nodefile, entry.vm_nodefile(guests).encode(), 0o644))
    umask = os.umask(0)
    os.umask(umask)
    return Entry(
        place=at,
        argv=task.argv,
        login=task.login,
        stdin=task.stdin,
        files=files,
        environment=entry.job_environment(os.environ, guests),
        cwd=os.getcwd(),  # noqa: PTH109 - each task would pay for pathlib
        umask=umask,
    )


def attend(process: subprocess.Popen[bytes], way: WayIn, at: str) -> tuple[int | None, set[int]]:
    """Wait for the task's end and pass signals on to it until then.

    A MOM that ends a job sends the same signal many times within milliseconds: while one is on its
    way, others of its kind are one with it, as they are for any process.

    :return: the exit status, None when ssh does not tell; the signals that came.
    """
    under_way: dict[int, subprocess.Popen[bytes]] = {}
    caught: set[int] = set()
    while (code := process.poll()) is None:
        number = signal.sigwait(WATCHED)
        if number == signal.SIGCHLD:
            continue
        caught.add(number)
        if number not in under_way or under_way[number].poll() is not None:
            name = signal.Signals(number).name.removeprefix("SIG")
            command = entry.signal_command(at, name)
            under_way[number] = way.start(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
    for call in under_way.values():
        call.kill()
        call.wait()
    return (code if 0 <= code != SSH_FAILED else None), caught


def asked_status(way: WayIn, at: str) -> int:
    """The task's exit status as the guest knows it.

    :raises StateError: the connection to the guest broke and the task's end is not known.
    """
    answer = way.ask(entry.status_command(at))
    if answer.returncode == 0 and answer.stdout.strip().isdigit():
        return int(answer.stdout)
    raise way.broken(answer.stderr)


def die_of(number: int) -> NoReturn:
    """End by a signal: TORQUE tells a deleted job by the one it died of."""
    signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    os._exit(SIGNALLED + number)


def as_bytes(text: str) -> bytes:
    """A program as it is sent; bytes of the environment that are no text stay what they are."""
    return text.encode(errors="surrogateescape")


def main() -> int:
    """Entry of what the kit's ``job_starter`` runs, with RUN_DIR LOGIN TASK …; ``-m`` would cost 3 ms."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
    settle_stdio()
    user = late = False
    try:
        return run(sys.argv[1:])
    except TorqueVMError as exc:
        sentence, user, late = str(exc), exc.blame is Blame.USER, isinstance(exc, DeadlineExceeded)
    except (OSError, subprocess.SubprocessError) as exc:
        sentence = f"the job could not be started in its guests: {exc}"
    from nornir_torque_vm.exitcodes import RunExit
    from nornir_torque_vm.hooks.frame import log

    log("job_starter", os.environ.get("PBS_JOBID", "?"), sentence)
    say(sentence)
    return RunExit.REFUSED if user else RunExit.LATE if late else RunExit.SITE


if __name__ == "__main__":
    sys.exit(main())
