"""How a job's owner reads why there are no guests: from the job starter, or from a script in place of his.

Without a starter nobody reads a refusal, and a job that is aborted has no output (TF 1.6). But a batch job's
script lies on the mother superior before the prologue runs (TF 1.3). One that is overwritten there can be
started on the node: nothing of the owner's is in it.
"""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path

from nornir_torque_vm.accounts import owner_named
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import SettingsError, StateError, one_line
from nornir_torque_vm.exitcodes import RunExit
from nornir_torque_vm.hooks.arguments import HookCall
from nornir_torque_vm.hooks.decision import Decision
from nornir_torque_vm.hooks.momconfig import require_starter
from nornir_torque_vm.model import Owner
from nornir_torque_vm.runstate.handover import Refusal
from nornir_torque_vm.runstate.jobstate import refuse_job
from nornir_torque_vm.runstate.rootdir import RootDir

SCRIPTS = "mom_priv/jobs"
"""Where a MOM keeps the scripts of its jobs, below TORQUE's home."""
_EXISTING = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def tell_owner(call: HookCall, settings: Settings, decision: Decision) -> None:
    """Have whoever starts the job tell its owner the decision's refusal, and end with its exit code.

    :raises TorqueVMError: nobody can: the job has to be aborted.
    """
    owner = owner_named(call.user)
    try:
        require_starter(settings.torque_home)
    except SettingsError:
        replace_script(
            settings.torque_home, call.script, owner, stand_in(decision.refusal, decision.job_exit)
        )
        return
    user, late = (decision.job_exit is code for code in (RunExit.REFUSED, RunExit.LATE))
    refusal = Refusal(decision.refusal, user=user, late=late)
    refuse_job(settings.run_dir, call.job_id, owner, refusal)


def stand_in(sentence: str, code: int) -> str:
    """Return a script that says one line and ends with ``code``."""
    line = shlex.quote(f"torque-vm: {one_line(sentence)}")
    return f"#!/bin/sh\nprintf '%s\\n' {line} >&2\nexit {code}\n"


def replace_script(torque_home: str, script: str, owner: Owner, text: str) -> None:
    """Overwrite the script that a MOM is about to start for a job.

    In place: some MOMs have opened it already. First it is emptied, so that whatever happens meanwhile,
    nothing of it is run.

    :param torque_home: directory with ``mom_priv``.
    :param script: its path, as the MOM gives it to prologues; empty before TORQUE 5.1.
    :param owner: the job's; the file is his.
    :raises StateError: there is none, as for an interactive job, or it is not what it should be.
    """
    path = Path(script)
    if path.parent != Path(torque_home, SCRIPTS):
        raise StateError(f"{script!r} is not a script of this MOM's jobs")
    with RootDir.at(path.parent) as folder:
        try:
            fd = os.open(path.name, _EXISTING, dir_fd=folder.fd)
        except OSError as error:
            raise StateError(f"{script} cannot be written: {error.strerror}") from error
        with open(fd, "wb") as file:  # noqa: PTH123 - a descriptor
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode) or status.st_uid != owner.uid or status.st_nlink != 1:
                raise StateError(f"{script} is not the script of {owner.name}")
            os.ftruncate(fd, 0)
            file.write(text.encode())
