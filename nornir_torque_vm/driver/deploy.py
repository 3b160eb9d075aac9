"""Put the hooks where a MOM looks for them, on the nodes of a lab."""

from __future__ import annotations

from pathlib import Path

from nornir_torque_vm.driver import slots
from nornir_torque_vm.sitekit import hook_text
from nornir_torque_vm.textfile import write_text

HOOKS = ("prologue.vm", "epilogue.vm")


def deploy_hooks(root: Path) -> str:
    """Write hooks and job starter into a node's mom_priv; return the starter's path on the node.

    :param root: the node's root directory as seen from here.
    """
    folder = f"{slots.record()['home']}/mom_priv"
    target = root / folder.lstrip("/")
    for name in HOOKS:
        write_text(target / name, hook_text(name), 0o500)
    write_text(target / "job_starter", hook_text("job_starter"), 0o555)
    return f"{folder}/job_starter"
