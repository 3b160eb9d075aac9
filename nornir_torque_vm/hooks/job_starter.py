"""The job starter of a VM job: enters a guest as the job's owner and runs the MOM's task there.

Runs with the user's rights in the job's own session (TF 3.1); standard library only, and no file is
written: ssh reads its key and the pinned host keys from memory. Its arguments are the run directory, whether
the MOM starts login shells, and the task's own. ssh's handshake takes most of the time: what has to be
imported before ssh can start is kept little, and the rest is done meanwhile (:mod:`~.guesttask`).
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from nornir_torque_vm.errors import Blame, DeadlineExceeded, StateError, TorqueVMError
from nornir_torque_vm.hooks.child import PIPE
from nornir_torque_vm.hooks.momtask import mom_task
from nornir_torque_vm.hooks.stdio import say, settle_stdio
from nornir_torque_vm.hooks.wayin import PASSED_ON, WayIn
from nornir_torque_vm.runstate.handover import read_handover

OSV = "osv"
""":attr:`~nornir_torque_vm.model.Distro.OSV`; importing that would cost every task."""


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
    if handover.distro == OSV:
        from nornir_torque_vm.osv.job import run_job

        return run_job(handover, task, os.environ)
    way = WayIn(handover, handover.guests[0] if task.slot is None else handover.guest_of_slot(task.slot))
    shell = None if task.connected else way.start("exec sh -s", stdin=PIPE)
    from nornir_torque_vm.hooks.guesttask import run_task

    return run_task(way, task, shell)


def main() -> int:
    """Entry of what the kit's ``job_starter`` runs, with RUN_DIR LOGIN TASK …; ``-m`` would cost 3 ms."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON | {signal.SIGCHLD})
    settle_stdio()
    user = late = False
    try:
        return run(sys.argv[1:])
    except TorqueVMError as exc:
        sentence, user, late = str(exc), exc.blame is Blame.USER, isinstance(exc, DeadlineExceeded)
    except OSError as exc:
        sentence = f"the job could not be started in its guests: {exc}"
    from nornir_torque_vm.exitcodes import RunExit
    from nornir_torque_vm.hooks.frame import log

    log("job_starter", os.environ.get("PBS_JOBID", "?"), sentence)
    say(sentence)
    return RunExit.REFUSED if user else RunExit.LATE if late else RunExit.SITE


if __name__ == "__main__":
    sys.exit(main())
