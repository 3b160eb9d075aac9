"""What a hook has to know of its MOM's configuration: whether jobs are started by our job starter.

Without it a VM job would run on bare metal, whatever the prologue does.
"""

from __future__ import annotations

import os
import stat

from nornir_torque_vm.errors import SettingsError

STARTER_MARK = b"nornir_torque_vm.hooks.job_starter"
"""Occurs in every copy of our job starter."""
_LIMIT = 1 << 20
"""Bytes of a file that are looked at."""


def require_starter(torque_home: str) -> None:
    """Make sure that this node's pbs_mom starts jobs with our job starter.

    :param torque_home: directory with ``mom_priv``.
    :raises SettingsError: it does not, or that cannot be told.
    """
    path = f"{torque_home}/mom_priv/config"
    starter = job_starter(_read(path).decode(errors="replace"))
    cure = f"install the job starter and name it in {path}: $job_starter PATH, then send pbs_mom a SIGHUP"
    if not starter:
        raise SettingsError("pbs_mom of this node has no job starter", hint=cure)
    if STARTER_MARK not in _read(starter):
        raise SettingsError(f"the job starter of this node, {starter}, is not ours", hint=cure)


def job_starter(config: str) -> str:
    """Return the path that the last ``$job_starter`` line of a MOM's configuration names; "" for none."""
    words = [line.split() for line in config.splitlines()]
    named = [line[1] for line in words if len(line) > 1 and line[0] == "$job_starter"]
    return named[-1] if named else ""


def _read(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            return os.pread(fd, _LIMIT, 0) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
        finally:
            os.close(fd)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
