"""The site's own prologue of a VM job, run before ours within a limit of its own.

The other hooks become the site's (``hooks/site_hook``), and the MOM's limit does for it what it does
without us. Only before guests are started a site's hook could use up the time in which ours has to
undo what it made, and the MOM would kill both. One that is over its limit is killed as a MOM kills: its
whole session, at once, and the job is requeued (TF 1.6, 1.7).

Arguments: the process id of our hook's shell, the program, its arguments.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from nornir_torque_vm.config.settings import Settings, load
from nornir_torque_vm.errors import SettingsError
from nornir_torque_vm.exitcodes import HookExit
from nornir_torque_vm.hooks.clock import began
from nornir_torque_vm.hooks.frame import leave, log_unforeseen, sentence_of, tell
from nornir_torque_vm.hooks.stdio import settle_stdio

HOOK = "prologue"
SWEEPS = 5
"""How often a session is looked through: a process may start another one meanwhile."""


def run_site_hook(
    program: str, arguments: Sequence[str], environment: Mapping[bytes, bytes], limit: float
) -> int | None:
    """Run a site's hook as a MOM would; return its exit code, None when it was killed at its limit.

    Descriptors, directory and umask are the caller's; the session is its own. A hook that a signal
    ended counts as one that succeeded, as it does for a MOM.

    :param environment: all of it.
    :param limit: seconds.
    :raises OSError: it cannot be started.
    """
    words = [program, *arguments]
    process = subprocess.Popen(words, env=environment, close_fds=False, start_new_session=True)
    try:
        return max(process.wait(limit), 0)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.returncode is None:
            kill_session(process.pid)
            process.wait()


def kill_session(session: int) -> None:
    """Kill every process of a session whose leader nobody has waited for: its number is taken so long."""
    for _ in range(SWEEPS):
        members = [pid for pid in _pids() if _session_of(pid) == session]
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if members == [session]:
            return


def _pids() -> list[int]:
    with os.scandir("/proc") as entries:
        return [int(entry.name) for entry in entries if entry.name.isdigit()]


def _session_of(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def given_environment(pid: int) -> dict[bytes, bytes]:
    """The environment that a process was started with: a shell adds to its own, and Python may."""
    pairs = (entry.partition(b"=") for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
    return {name: value for name, equals, value in pairs if equals}


def site_limit(settings: Settings, spent: float) -> float:
    """Seconds that the site's prologue may take when ``spent`` have passed since ours began."""
    return max(0.0, min(settings.site_hook_timeout, settings.prologue_seconds() - spent))


def site_prologue(shell: int, program: str, arguments: Sequence[str]) -> int:
    """Run the site's prologue; return what ours has to end with, 0 to go on.

    :param shell: process id of our hook, which the MOM started.
    :param arguments: path of the site's prologue and what the MOM gave ours.
    """
    try:
        settings = load()
    except SettingsError:  # our own part of the hook says so
        settings = Settings()
    limit = site_limit(settings, time.monotonic() - began(shell))
    code = run_site_hook(program, arguments, given_environment(shell), limit)
    if code is None:
        tell(HOOK, " ".join(arguments[1:2]), f"the site's own {arguments[0]} took more than {limit:.0f} s")
        return HookExit.REQUEUE
    return code


def main() -> None:
    """Entry of ``python -I -m nornir_torque_vm.hooks.sitehook PID PROGRAM PATH …``; leaves with its code."""
    settle_stdio()  # what it opens is not inherited: descriptors that were closed are so for the site's hook
    code: int = HookExit.REQUEUE
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # so that the site's hook ends too
    try:
        shell, program, *arguments = sys.argv[1:]
        code = site_prologue(int(shell), program, arguments)
    except Exception as error:  # noqa: BLE001 - whatever it is, 1 would abort the job
        tell(HOOK, "?", sentence_of(error))
        log_unforeseen(HOOK, "?", error)
    finally:
        leave(code)


if __name__ == "__main__":
    main()
