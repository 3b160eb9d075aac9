"""The ``torque-vm`` command: what administrators and newcomers type."""

from __future__ import annotations


def main() -> None:
    """Entry of the console script: one line instead of a traceback, always a distinct exit code."""
    try:
        from nornir_torque_vm.cli.app import run
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        raise SystemExit(
            "torque-vm: this command needs click: pip install 'nornir-torque-vm[submit]'"
        ) from None
    run()
