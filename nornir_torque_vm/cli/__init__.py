"""The ``torque-vm`` command: what administrators and newcomers type."""

from __future__ import annotations


def main() -> None:
    """Entry of the console script: one line instead of a traceback, always a distinct exit code."""
    from nornir_torque_vm.cli.app import run

    run()
