"""What a hook has to know of its MOM's configuration: what starts jobs, and what looks after the node.

Without our job starter a VM job would run on bare metal, whatever the prologue does.
"""

from __future__ import annotations

import os
import stat

from nornir_torque_vm.errors import SettingsError

STARTER_MARK = b"nornir_torque_vm.hooks.job_starter"
"""Occurs in every copy of our job starter."""
CHECK_MARK = b"hooks/node_check"
"""Occurs in our node check, and in a site's own that calls it."""
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


def node_check(torque_home: str) -> bool:
    """Whether this node's pbs_mom runs our node check, by itself or from the site's own."""
    script = node_check_script(_read(f"{torque_home}/mom_priv/config").decode(errors="replace"))
    return bool(script) and CHECK_MARK in _read(script)


def job_starter(config: str) -> str:
    """Return the path that the last ``$job_starter`` line of a MOM's configuration names; "" for none."""
    return _named(config, "$job_starter")


def node_check_script(config: str) -> str:
    """Return the path that the last ``$node_check_script`` line names; "" for none."""
    return _named(config, "$node_check_script")


def _named(config: str, name: str) -> str:
    words = [line.split() for line in config.splitlines()]
    named = [line[1] for line in words if len(line) > 1 and line[0] == name]
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
