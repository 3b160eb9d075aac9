"""The node's ``pbs_mom``: whether it runs, and having it read its configuration again."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from pathlib import Path

from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import InstallError

PROGRAM = "pbs_mom"
RELOAD_SECONDS = 60.0
"""How long a MOM may take until it reads its configuration: it is deaf while a sister's hook runs."""
_SEEN = b";process_hup;"
"""In the line a MOM logs before it reads it; its one main loop starts no job in between (TORQUE 6.1.3)."""


def running(torque_home: str) -> int | None:
    """Return the process id of this node's MOM; None when none runs."""
    try:
        text = Path(f"{torque_home}/mom_priv/mom.lock").read_bytes()
    except OSError:
        return None
    number = re.match(rb"\s*([0-9]{1,10})", text)
    pid = int(number[1]) if number else 0
    return pid if pid > 1 and _program(pid) == PROGRAM else None


def _program(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def reload(torque_home: str, deadline: Deadline | None = None) -> None:
    """Send the MOM a SIGHUP and wait until it reads its configuration; nothing when none runs.

    :raises InstallError: it may not be signalled, or does not say in its log that it did.
    """
    deadline = deadline or Deadline.after(RELOAD_SECONDS)
    pid = running(torque_home)
    if pid is None:
        return
    logs = Path(torque_home, "mom_logs")
    before = _sizes(logs)
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if running(torque_home) == pid:  # the number has not gone to another process meanwhile
            signal.pidfd_send_signal(fd, signal.SIGHUP)
    except OSError as error:
        raise InstallError(f"{PROGRAM} ({pid}) cannot be told: {error.strerror}") from None
    finally:
        os.close(fd)
    for _ in deadline.backoff():
        if _told(logs, before) or running(torque_home) != pid:
            return
    raise InstallError(
        f"{PROGRAM} ({pid}) was sent a SIGHUP, and does not say in {logs} that it has read its configuration",
        hint="restart it, and run this again",
    )


def _sizes(logs: Path) -> dict[str, int]:
    found = {}
    with contextlib.suppress(OSError):
        for path in logs.iterdir():
            found[path.name] = path.stat().st_size
    return found


def _told(logs: Path, before: dict[str, int]) -> bool:
    for name, size in _sizes(logs).items():
        if size > before.get(name, 0):
            with contextlib.suppress(OSError), (logs / name).open("rb") as file:
                file.seek(before.get(name, 0))
                if _SEEN in file.read():
                    return True
    return False
