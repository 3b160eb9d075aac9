"""A terminal for the lab's user, for programs that want one."""

from __future__ import annotations

from collections.abc import Sequence

from terminal import Terminal as AnyTerminal
from torque_kit import as_user

from nornir_torque_vm.lab import HEAD, Lab
from nornir_torque_vm.lab.spec import ENVIRONMENT


class Terminal(AnyTerminal):
    """A program of the user's at a terminal of its own, e.g. ``qsub -I``."""

    def __init__(self, lab: Lab, argv: Sequence[str], *, host: str = HEAD) -> None:
        path = lab.run(host, ["sh", "-c", 'printf %s "$PATH"']).stdout
        super().__init__([*lab.enter(host), *as_user(argv)], {**ENVIRONMENT, "PATH": path})
