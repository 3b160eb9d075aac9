"""Put the hooks where a MOM looks for them, on the nodes of a lab."""

from __future__ import annotations

from pathlib import Path

from nornir_torque_vm.config.textfile import write_text
from nornir_torque_vm.driver import slots
from nornir_torque_vm.hooks.momconfig import job_starter
from nornir_torque_vm.sitekit import HOOKS, hook_text

__all__ = ["HOOKS", "deploy_hooks"]


def deploy_hooks(root: Path) -> str:
    """Write hooks and job starter into a node's mom_priv; return the starter's path on the node.

    :param root: the node's root directory as seen from here.
    """
    folder = f"{slots.record()['home']}/mom_priv"
    target = root / folder.lstrip("/")
    for name, mode in HOOKS.items():
        write_text(target / name, hook_text(name), mode)
    write_text(target / "job_starter", hook_text("job_starter"), 0o555)
    starter = f"{folder}/job_starter"
    _name_starter(target / "config", starter)
    return starter


def _name_starter(config: Path, starter: str) -> None:
    """Name the job starter in a MOM's configuration; a running MOM reads it at a SIGHUP."""
    text = config.read_text(encoding="utf-8") if config.exists() else ""
    if job_starter(text) != starter:
        write_text(config, f"{text}$job_starter {starter}\n", 0o644)
