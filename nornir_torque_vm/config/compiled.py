"""The settings in the form the wrapper reads: a shell file for the front, JSON for Python.

Both stand in ``compiled`` beside the settings file, and each says which version of that file it was
made from. A form of another version is not used: a change of the settings holds from the moment it is
saved, compiled or not; only submitting takes longer until it is.
"""

from __future__ import annotations

import json
import os

from nornir_torque_vm.config.settings import SETTINGS, read_values, settings_of
from nornir_torque_vm.errors import SettingsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from nornir_torque_vm.config.settings import Settings

SOURCE = "settings.toml"
"""Name of the settings file."""
DIRECTORY = "compiled"
"""Name of the directory beside it."""
FOR_PYTHON, FOR_FRONTS = "settings.json", "qsub.sh"
"""Names of the files in that directory."""

_VERSION = 1
"""Of both forms: another one is not used, and installing makes them again."""


def compile_settings(etc: str) -> Settings:
    """Write both forms of ``<etc>/settings.toml``, readable for everybody, and return the settings.

    :raises SettingsError: the file cannot be read or used, or was changed meanwhile.
    :raises StateError: the directory belongs to somebody else, or cannot be written.
    """
    from nornir_torque_vm.runstate.rootdir import RootDir

    path = f"{etc}/{SOURCE}"
    text, status = _read(path)
    values = read_values(text, path)
    settings = settings_of(values, path)
    with RootDir.at(f"{etc}/{DIRECTORY}", create=0o755) as directory:
        directory.write(FOR_PYTHON, _for_python(values, status).encode(), mode=0o644)
        directory.write(FOR_FRONTS, for_fronts(settings).encode(), mode=0o644)
        # A shell can compare the times of two files and nothing else of them.
        os.utime(FOR_FRONTS, ns=(status.st_mtime_ns, status.st_mtime_ns), dir_fd=directory.fd)
    return settings


def read_compiled(etc: str) -> Settings | None:
    """Return the settings from the JSON form; None if there is none that fits ``<etc>/settings.toml``."""
    try:
        with open(f"{etc}/{DIRECTORY}/{FOR_PYTHON}", "rb") as file:  # noqa: PTH123 - pathlib is slow
            form = json.load(file)
        if form["version"] != _VERSION or form["stamp"] != _stamp(os.stat(f"{etc}/{SOURCE}")):  # noqa: PTH116
            return None
        return settings_of(dict(SETTINGS.read(name, raw) for name, raw in form["values"].items()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None  # whatever is wrong with it: the settings file itself tells


def for_fronts(settings: Settings) -> str:
    """Return what wrapper/qsub and wrapper/submit-filter source."""
    import shlex

    server, other = server_patterns(settings.server_hostname)
    values = {
        "disabled": str(settings.disable_mikelangelo_hpc_stack).lower(),
        "qsub_on_server": settings.real_qsub_on_server,
        "qsub_on_nodes": settings.real_qsub_on_nodes,
        "server": server,
        "server_too": other,
        "site_filter": settings.site_submit_filter,
    }
    lines = [f"torque_vm_{name}={shlex.quote(value)}\n" for name, value in values.items()]
    return f"# Made from ../{SOURCE} by 'torque-vm config check', which makes it again.\n{''.join(lines)}"


def server_patterns(server: str) -> tuple[str, str]:
    """Return two shell patterns; a host name that matches one of them is that of the host ``server``.

    In any case; the domain counts where both have one. Without a server they match no host name.
    """
    if not server:
        return "", ""
    short, dot, _domain = server.partition(".")
    return _any_case(server), _any_case(short) + ("" if dot else ".*")


def _any_case(name: str) -> str:
    """Return a shell pattern for ``name`` in upper or lower case."""
    return "".join(f"[{char.lower()}{char.upper()}]" if char.isalpha() else char for char in name)


def _for_python(values: dict[str, Any], status: os.stat_result) -> str:
    stated = {name: SETTINGS[name].kind.dump(value) for name, value in values.items()}
    return json.dumps({"version": _VERSION, "stamp": _stamp(status), "values": stated}, indent=1) + "\n"


def _stamp(status: os.stat_result) -> list[int]:
    """What changes whenever a file is written or replaced."""
    return [status.st_mtime_ns, status.st_size, status.st_ino]


def _read(path: str) -> tuple[str, os.stat_result]:
    """Return the file's text and its state; the text belongs to that state."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - as above
            before = os.fstat(file.fileno())
            content = file.read()
            status = os.fstat(file.fileno())
        text = content.decode()
    except OSError as error:
        raise SettingsError(f"the settings file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"the settings file {path} cannot be read: it is not UTF-8 text") from None
    if _stamp(before) != _stamp(status):
        raise SettingsError(f"the settings file {path} was changed while it was read", hint="try again")
    return text, status
