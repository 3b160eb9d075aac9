"""The site kit of a submit host as it is shipped, with this host's values in it."""

from __future__ import annotations

import sys

from nornir_torque_vm.install.submit_host import EXECUTABLE, Kit, Places
from nornir_torque_vm.sitekit import FRONTS, MODULE_FILES, front_text, kit_file, module_text

_SHARED = {
    "man/man1": "share/man/man1",
    "completions/bash": "share/bash-completion/completions",
    "completions/zsh": "share/zsh/site-functions",
    "completions/fish": "share/fish/vendor_completions.d",
}
"""Directory of the kit, below ``wrapper`` → directory below the prefix."""


def read_kit(places: Places, python: str = sys.executable) -> Kit:
    """Return the files of a submit host.

    :param python: absolute path of the interpreter that has this package.
    :raises SettingsError: this installation lacks one.
    """
    files = {
        f"{EXECUTABLE}{name}": front_text(name, python=python, etc=places.etc).encode() for name in FRONTS
    }
    root = kit_file("wrapper", "qsub").parent
    for source, target in _SHARED.items():
        for path in (root / source).iterdir():
            files[f"{target}/{path.name}"] = path.read_bytes()
    manuals = f"{places.prefix}/share/man"
    modules = {
        name: module_text(name, fronts=f"{places.prefix}/wrapper", manuals=manuals).encode()
        for name in MODULE_FILES
    }
    return Kit(files, modules, kit_file("inventory", "settings.toml").read_bytes())
