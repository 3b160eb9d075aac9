"""X11 of an interactive job reaches its guest: a real OpenSSH on both sides, and a display to connect to."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from nornir_torque_vm.lab import Lab, tools
from nornir_torque_vm.lab.files import USER

pytestmark = pytest.mark.lab


def probe(lab: Lab, xauth: str) -> dict[str, Any]:
    """Run a client in a guest whose ssh server has this ``xauth``."""
    server = tools.sshd(lab.paths.cache / "tools")
    words = [sys.executable, str(Path(__file__).with_name("x11_probe.py")), server.path, USER.name, xauth]
    libraries = f"LD_LIBRARY_PATH={server.libraries}"
    found = lab.run(lab.node_names[0], ["env", libraries, *words], seconds=120.0)
    made: dict[str, Any] = json.loads(found.stdout.splitlines()[-1])
    return made


def test_a_client_in_the_guest_reaches_the_display(lab: Lab) -> None:
    """With a key of its own: the display's never leaves the node, which exchanges it on the way."""
    found = probe(lab, "/usr/bin/xauth")
    assert found["status"] == 0, found["said"]
    display, key, reason = found["said"].split(maxsplit=2)
    assert display.startswith("localhost:1")  # sshd's begin at 10
    assert reason.strip() == "seen by the display!"
    assert found["seen"] == [found["key"]] != [key]


def test_a_guest_without_xauth_says_so_in_one_line_and_the_job_goes_on(lab: Lab) -> None:
    """Here to its own failure: the client has no display."""
    found = probe(lab, "/nonexistent/xauth")
    first, *rest = found["said"].splitlines()
    assert first == "torque-vm: no X11 here: the guest's sshd does not allow it, or finds no xauth"
    assert "KeyError: 'DISPLAY'" in rest[-1]
    assert (found["status"], found["seen"]) == (1, [])
