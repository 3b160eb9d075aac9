"""The site kit: files a site deploys and edits, shipped under ``share/torque-vm`` of the installation.

What differs from site to site stands in lines of its own, which set a name to a value in the file's
language. They change when the file is put in place; the rest is the file as it is reviewed.
"""

from __future__ import annotations

import re
import shlex
import sys
import sysconfig
from collections.abc import Callable, Mapping
from pathlib import Path

from nornir_torque_vm.errors import SettingsError

FRONTS = {"qsub": "qsub", "vsub": "qsub", "submit-filter": "submit-filter"}
"""Fronts of the wrapper by the names they are installed under → their files in ``wrapper/``."""
MODULE_FILES = ("torque-vm", "torque-vm.lua")
"""Names of the module files, for Environment Modules and for Lmod."""
HOOKS = {
    "prologue.vm": 0o500,
    "prologue.user.vm": 0o555,
    "prologue.parallel.vm": 0o500,
    "epilogue.vm": 0o500,
    "epilogue.parallel.vm": 0o500,
    "site_hook": 0o555,
}
"""Files in ``hooks/`` that go into ``mom_priv`` → their modes there: a MOM refuses others (TF 1.2)."""
STARTER = "job_starter"
"""The file in ``hooks/`` that is written in Perl."""
UNIT_PYTHON = "/opt/torque-vm/bin/python"
"""The interpreter that systemd's units name as they are shipped."""
_SETTING = re.compile(r"(?:local |set |my \$)?(\w+)(?:=| = | (?!=))")


def kit_file(*parts: str) -> Path:
    """Path of a file of the site kit, in a source checkout or in an installed wheel.

    An editable installation has both, of which only the checkout's are edited.

    :raises SettingsError: this installation has no such file.
    """
    checkout = Path(__file__).resolve().parent.parent
    installed = Path(sysconfig.get_path("data")) / "share" / "torque-vm"
    for root in (checkout, installed) if (checkout / "pyproject.toml").is_file() else (installed,):
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
    if name == STARTER:
        return starter_text(python=python, run_dir=run_dir)
    return _with(kit_file("hooks", name), {"PYTHON": python, "RUN_DIR": run_dir})


def starter_text(
    *, python: str = sys.executable, run_dir: str = "/run/torque-vm", mom_config: str = ""
) -> str:
    """Text of ``hooks/job_starter`` for a node; the file is for everybody to read and execute.

    :param python: as for :func:`hook_text`.
    :param mom_config: text of the MOM's config, which says whether jobs get login shells.
    """
    values = {
        "PYTHON": python,
        "RUN_DIR": run_dir,
        "LOGIN_BATCH": _switch(mom_config, "$source_login_batch"),
        "LOGIN_INTERACTIVE": _switch(mom_config, "$source_login_interactive"),
    }
    return _with(kit_file("hooks", STARTER), values, _perl)


def unit_names() -> tuple[str, ...]:
    """Names of systemd's units in ``hooks/``."""
    folder = kit_file("hooks", STARTER).parent
    return tuple(sorted(path.name for path in folder.glob("torque-vm-*.*")))


def unit_text(name: str, *, python: str = sys.executable) -> str:
    """Text of a systemd unit in ``hooks/``; it is root's, mode 0644.

    :param python: as for :func:`hook_text`.
    """
    return kit_file("hooks", name).read_text(encoding="utf-8").replace(UNIT_PYTHON, python)


def front_text(name: str, *, python: str = sys.executable, etc: str = "/etc/torque-vm") -> str:
    """Text of one of the :data:`FRONTS`; it goes into an executable file of that name.

    :param python: as for :func:`hook_text`.
    :param etc: directory of the settings file.
    """
    values = {"torque_vm_python": python, "torque_vm_etc": etc}
    return _with(kit_file("wrapper", FRONTS[name]), values)


def module_text(name: str, *, fronts: str, manuals: str) -> str:
    """Text of one of the :data:`MODULE_FILES`.

    :param fronts: directory of the fronts ``qsub`` and ``vsub``.
    :param manuals: directory that has the manual pages in ``man1``.
    """
    values = {"fronts": fronts, "manuals": manuals}
    quote = _lua if name.endswith(".lua") else _tcl
    return _with(kit_file("wrapper", "modulefiles", name), values, quote)


def _with(path: Path, values: Mapping[str, str], quote: Callable[[str], str] = shlex.quote) -> str:
    """Text of ``path``; each line that sets one of the names sets it to the value."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return "".join(f"{_set(line, values, quote)}\n" for line in lines)


def _set(line: str, values: Mapping[str, str], quote: Callable[[str], str]) -> str:
    found = _SETTING.match(line)
    return f"{found[0]}{quote(values[found[1]])}" if found and found[1] in values else line


def _switch(config: str, name: str) -> str:
    """``1`` or ``0``: a switch in a MOM's config, on unless turned off; read as TORQUE's ``setbool`` does."""
    state = "1"
    for words in map(str.split, config.splitlines()):
        if len(words) > 1 and words[0] == name:
            value = words[1].lower()
            if value == "off" or value[0] in "fn0":
                state = "0"
            elif value == "on" or value[0] in "ty1":
                state = "1"
    return state


def _perl(text: str) -> str:
    """Quote a string for Perl, to the end of its statement."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "';"


def _tcl(text: str) -> str:
    """Quote a word for Tcl."""
    return re.sub(r"[^A-Za-z0-9/_.:@%+-]", r"\\\g<0>", text)


def _lua(text: str) -> str:
    """Quote a string for Lua."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
