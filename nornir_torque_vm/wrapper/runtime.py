"""Where the wrapper runs: its settings, the real qsub of this host, and becoming that program.

The real qsub is *exec*'ed, so its exit code, its terminal and the signals it gets are its own.
"""

from __future__ import annotations

import errno
import os
import signal

from nornir_torque_vm.config.fields import show
from nornir_torque_vm.config.kinds import Bool
from nornir_torque_vm.errors import RequestError, SettingsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import NoReturn

    from nornir_torque_vm.config.settings import Settings

DISABLE_NAMES = ("DISABLE_MIKELANGELO_HPC_STACK", "DISABLE_MIKELANGELO_HPCSTACK")
"""Environment variables that switch the wrapper off; the second is the earlier system's spelling."""
FRONT_MARK = b"nornir_torque_vm.wrapper.qsub"
"""Occurs in every copy of the front, whatever interpreter and settings it names."""

_MARK_WITHIN = 8192
"""Bytes at the start of a front among which its mark stands."""


def open_settings(etc: str) -> Settings:
    """Return the settings of the directory ``etc``: the compiled form when it is fresh, else the file's own.

    A directory without a file means the defaults.

    :raises SettingsError: a file that cannot be used.
    """
    from nornir_torque_vm.config.compiled import read_compiled

    compiled = read_compiled(etc)
    if compiled is not None:
        return compiled
    from nornir_torque_vm.config.settings import Settings, load

    path = f"{etc}/settings.toml"
    return load(path) if os.path.lexists(path) else Settings()


def is_disabled(environment: Mapping[str, str]) -> bool:
    """Whether the environment says that every call is the real qsub's.

    :raises RequestError: a variable that says neither yes nor no.
    """
    for name in DISABLE_NAMES:
        raw = environment.get(name, "")
        try:
            if raw and Bool().parse(raw):
                return True
        except ValueError as error:
            raise RequestError(f"the environment variable {name} is {show(raw)} but {error}") from None
    return False


def real_qsub(settings: Settings, hostname: str, front: str) -> str:
    """Return the path of TORQUE's own qsub on the host ``hostname``.

    :param front: path of the front this process was started by.
    :raises SettingsError: the path leads to a front, which would call itself for ever.
    """
    server = is_server(settings.server_hostname, hostname)
    name = "real_qsub_on_server" if server else "real_qsub_on_nodes"
    path: str = getattr(settings, name)
    if is_front(path, front):
        raise SettingsError(
            f"{name} ({path}) is the wrapper itself, not TORQUE's qsub",
            hint="set it to the qsub that came with TORQUE",
        )
    return path


def is_server(server: str, hostname: str) -> bool:
    """Whether ``hostname`` is the host ``server``; the domain counts where both have one."""
    if not server:
        return False
    names = [name.lower().rstrip(".") for name in (server, hostname)]
    if all("." in name for name in names):
        return names[0] == names[1]
    return names[0].partition(".")[0] == names[1].partition(".")[0]


def is_front(path: str, front: str, mark: bytes = FRONT_MARK) -> bool:
    """Whether ``path`` leads to ``front`` or to another copy of it, in which ``mark`` occurs."""
    try:
        if front and os.path.samefile(path, front):  # noqa: PTH121 - pathlib costs the wrapper milliseconds
            return True
        with open(path, "rb") as file:  # noqa: PTH123 - same
            return file.read(_MARK_WITHIN).find(mark) >= 0
    except OSError:
        return False  # what cannot be looked at is left to exec, which says why


def check_host(settings: Settings, hostname: str) -> None:
    """Refuse a job with guests on a host that the site has switched off for them.

    :raises RequestError: ``hostname`` is one.
    """
    if settings.disabled_hosts_list.matches(hostname):
        raise RequestError(
            f"jobs with guests are not submitted on {hostname}, by disabled_hosts_list",
            hint="submit on another host, or without -vm",
        )


def other_qsub(search_path: str, front: str) -> str:
    """Return the first qsub on ``search_path`` that is no front, empty if there is none.

    For plain jobs while the settings, which name the real one, cannot be read.
    """
    for directory in search_path.split(":"):
        path = f"{directory or '.'}/qsub"
        if os.path.isfile(path) and os.access(path, os.X_OK) and not is_front(path, front):  # noqa: PTH113
            return path
    return ""


def become(path: str, words: Sequence[str]) -> NoReturn:
    """Replace this process by the program ``path`` with the arguments ``words``.

    What Python changed for itself is put back first: the signals it ignores, and the locale it sets in
    the environment where there was none (PEP 538), which ``qsub -V`` would carry into the job.

    :raises SettingsError: the program cannot be executed.
    """
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    restore_locale()
    try:
        os.execv(path, [path, *words])  # noqa: S606 - no shell is wanted
    except OSError as error:
        reason = "the command line is too long" if error.errno == errno.E2BIG else error.strerror
        raise SettingsError(
            f"the real qsub {path} cannot be executed: {reason}",
            hint="look at real_qsub_on_server and real_qsub_on_nodes in the settings",
        ) from None


def restore_locale() -> None:
    """Give ``LC_CTYPE`` the value with which this process was started."""
    try:
        with open("/proc/self/environ", "rb") as file:  # noqa: PTH123 - pathlib costs the wrapper milliseconds
            started_with = file.read().split(b"\0")
    except OSError:
        return
    values = [entry.partition(b"=")[2] for entry in started_with if entry.startswith(b"LC_CTYPE=")]
    if values:
        os.environb[b"LC_CTYPE"] = values[0]
    else:
        os.environ.pop("LC_CTYPE", None)
