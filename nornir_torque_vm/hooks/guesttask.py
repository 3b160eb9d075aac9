"""A task in its guest, from what the guest is to run to the task's end. Imported while ssh connects."""

from __future__ import annotations

import os
import signal

from nornir_torque_vm.errors import StateError
from nornir_torque_vm.hooks.child import NULL, Child
from nornir_torque_vm.hooks.momtask import MomTask
from nornir_torque_vm.hooks.wayin import PASSED_ON, WayIn
from nornir_torque_vm.identity import job_slug
from nornir_torque_vm.render import entry
from nornir_torque_vm.render.entry import Entry, File
from nornir_torque_vm.runstate.handover import HandOver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

SSH_FAILED = 255
"""ssh's own exit code; a task may end with the same number, so the guest is asked."""
SIGNALLED = 128
"""A shell adds this to the number of the signal that a program died of."""


def run_task(way: WayIn, task: MomTask, shell: Child | None) -> int:
    """Run the task in its guest and return its exit status; die of the signal it died of.

    :param shell: ssh, with a shell in the guest that reads a program; None for a task that is connected.
    :raises StateError: the guest does not take the task, or its end is not known.
    """
    at = entry.place(job_slug(way.handover.job_id), str(os.getpid()))
    process = enter(way, task, at, shell)
    status, caught = attend(process, way, at)
    if status is None:
        status = asked_status(way, at)
    if status - SIGNALLED in caught:
        die_of(status - SIGNALLED)
    return status


def enter(way: WayIn, task: MomTask, at: str, shell: Child | None) -> Child:
    """Start the task in its guest.

    :param at: see :func:`~nornir_torque_vm.render.entry.place`.
    :param shell: see :func:`run_task`.
    :raises StateError: the guest does not take it.
    """
    if shell is None:
        made = build_entry(way.handover, task, at)
        program = as_bytes(entry.connected_program(made))
        return way.start_connected(program, at, terminal=task.terminal, x11=made.x11)
    try:
        shell.write(as_bytes(entry.entry_program(build_entry(way.handover, task, at))))
    except BaseException:
        shell.kill()
        raise
    return shell


def build_entry(handover: HandOver, task: MomTask, at: str) -> Entry:
    """Collect what the guest needs to run the task as the MOM would have."""
    guests = {guest.name: guest.vcpus for guest in handover.guests}
    files = [File(*task.script, 0o700)] if task.script else []
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
        x11=task.terminal and entry.has_x11(os.environ),
    )


def attend(process: Child, way: WayIn, at: str) -> tuple[int | None, set[int]]:
    """Wait for the task's end and pass signals on to it until then.

    A MOM that ends a job sends the same signal many times within milliseconds: while one is on its
    way, others of its kind are one with it, as they are for any process.

    :return: the exit status, None when ssh does not tell; the signals that came.
    """
    under_way: dict[int, Child] = {}
    caught: set[int] = set()
    while (code := process.poll()) is None:
        number = signal.sigwait(PASSED_ON | {signal.SIGCHLD})
        if number == signal.SIGCHLD:
            continue
        caught.add(number)
        if number not in under_way or under_way[number].poll() is not None:
            name = signal.Signals(number).name.removeprefix("SIG")
            command = entry.signal_command(at, name)
            under_way[number] = way.start(command, stdin=NULL, stdout=NULL, stderr=NULL)
    for call in under_way.values():
        call.kill()
    return (code if 0 <= code != SSH_FAILED else None), caught


def asked_status(way: WayIn, at: str) -> int:
    """The task's exit status as the guest knows it.

    :raises StateError: the connection to the guest broke and the task's end is not known.
    """
    code, said, error = way.ask(entry.status_command(at))
    if code == 0 and said.strip().isdigit():
        return int(said)
    if code == entry.NEVER_SEEN:
        raise StateError(
            "it was started anew while the job ran in it",
            job=way.handover.job_id,
            guest=way.guest.name,
            hint="did the job, or the image, reboot it?",
        )
    raise way.broken(error)


def die_of(number: int) -> NoReturn:
    """End by a signal: TORQUE tells a deleted job by the one it died of."""
    signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    os._exit(SIGNALLED + number)


def as_bytes(text: str) -> bytes:
    """A program as it is sent; bytes of the environment that are no text stay what they are."""
    return text.encode(errors="surrogateescape")
