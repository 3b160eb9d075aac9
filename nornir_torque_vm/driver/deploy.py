"""Put the hooks where a MOM looks for them, on the nodes of a lab."""

from __future__ import annotations

import os
from pathlib import Path

from nornir_torque_vm.driver import slots
from nornir_torque_vm.sitekit import hook_text

HOOKS = ("prologue.vm", "epilogue.vm")


def deploy_hooks(root: Path) -> str:
    """Write hooks and job starter into a node's mom_priv; return the starter's path on the node.

    :param root: the node's root directory as seen from here.
    """
    folder = f"{slots.record()['home']}/mom_priv"
    target = root / folder.lstrip("/")
    for name in HOOKS:
        install(target / name, hook_text(name), 0o500)
    install(target / "job_starter", hook_text("job_starter"), 0o555)
    return f"{folder}/job_starter"


def install(path: Path, text: str, mode: int) -> None:
    """Write a file atomically with that mode; a file that is right already stays as it is."""
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        path.chmod(mode)
        return
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with open(fd, "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor, not a path
        os.fchmod(fd, mode)
        file.write(text)
    fresh.replace(path)
