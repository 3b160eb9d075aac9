"""``torque-vm run -I``: a shell in a guest, at the terminal in which the command was typed."""

from __future__ import annotations

import os

import pytest
from driving import SMALL, TORQUE_VM, leftovers
from terminal import Terminal

from nornir_torque_vm.lab import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

BOOT = 240.0
"""Seconds for a guest on a busy machine, and for its end."""


def test_the_shell_is_in_the_guest_and_the_terminal_is_its(lab: Lab) -> None:
    """With the terminal's size, also when that changes; Ctrl-C is for what runs there."""
    words = [*TORQUE_VM, "run", "-I", "--quiet", "--lab", lab.name, "-vm", SMALL]
    with Terminal(words, os.environ) as terminal:
        terminal.resize(31, 91)
        terminal.expect("$ ", BOOT)
        terminal.send("echo on:$(hostname):$TERM:$PBS_ENVIRONMENT:$DISTRO:$(id -un)\n")
        terminal.send("test -t 0 && echo tty:ok\n")
        terminal.expect("-r0:xterm:PBS_INTERACTIVE:SLG:alice", BOOT)
        terminal.expect("tty:ok", BOOT)
        terminal.send("echo size:$(stty size)\n")
        terminal.expect("size:31 91", BOOT)
        terminal.resize(33, 77)
        terminal.send("sleep 1; echo size:$(stty size)\n")
        terminal.expect("size:33 77", BOOT)
        # Said by what the signal is for: between two commands of its own the shell may miss it.
        terminal.send("sh -c 'echo began; exec sleep 1000'\n")
        terminal.expect("\nbegan", BOOT)
        terminal.send("\x03")
        terminal.send("echo after:$?\n")
        terminal.expect("after:130", BOOT)
        terminal.send("exit 5\n")
        assert terminal.wait(BOOT) == 0
    assert leftovers(lab) == {}
