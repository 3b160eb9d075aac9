"""The site kit: files a site deploys and edits, shipped under ``share/torque-vm`` of the installation."""

from __future__ import annotations

import shlex
import sys
import sysconfig
from pathlib import Path

from nornir_torque_vm.errors import SettingsError


def kit_file(*parts: str) -> Path:
    """Path of a file of the site kit, in an installed wheel or in a source checkout.

    :raises SettingsError: this installation has no such file.
    """
    roots = (
        Path(sysconfig.get_path("data")) / "share" / "torque-vm",
        Path(__file__).resolve().parent.parent,
    )
    for root in roots:
        path = root.joinpath(*parts)
        if path.is_file():
            return path
    raise SettingsError(
        f"{'/'.join(parts)} is not part of this installation", hint="install the package again"
    )


def hook_text(name: str, *, python: str = sys.executable, run_dir: str = "/run/torque-vm") -> str:
    """Text of ``hooks/<name>`` with the interpreter and the run directory of this site set.

    :param python: absolute path of the interpreter that has this package.
    """
    values = {"PYTHON": python, "RUN_DIR": run_dir}
    lines = kit_file("hooks", name).read_text(encoding="utf-8").splitlines()
    return "\n".join(_set(line, values) for line in lines) + "\n"


def _set(line: str, values: dict[str, str]) -> str:
    name, equals, _old = line.partition("=")
    return f"{name}={shlex.quote(values[name])}" if equals and name in values else line
