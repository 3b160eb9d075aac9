"""The scripts a site copies, and the documented one that boots guests, on real nodes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from driving import SMALL, leftovers

from nornir_torque_vm.lab import Lab

pytestmark = pytest.mark.lab

ROOT = Path(__file__).resolve().parents[2]
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def python(lab: Lab, *words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a script on the first node, as an administrator there would."""
    done = lab.run("node1", [sys.executable, *words], seconds=150, check=False, input=stdin)
    done.stdout = ESCAPES.sub("", done.stdout)
    return done


def test_list_guests_asks_every_node(lab: Lab) -> None:
    """Each node has its part of the output, guests or none."""
    done = python(lab, f"{ROOT}/tasks/list_guests.py", "node1", "node2")
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^\* (\S+) \*\*", done.stdout, re.MULTILINE) == ["node1", "node2"]


def test_an_ad_hoc_task_runs_over_ssh_on_every_node(lab: Lab) -> None:
    """The pattern for one's own read-only commands."""
    done = python(lab, f"{ROOT}/tasks/node_uptime.py", "node1", "node2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("load average") == 2


def test_boot_and_check_runs_a_command_in_each_guest_and_removes_them(lab: Lab) -> None:
    """One guest per node answers with its name; nothing is left."""
    done = python(
        lab, f"{ROOT}/tasks/boot_and_check.py", "node1", "node2", "--vm", SMALL, "--command", "hostname"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert {rank for _, rank in re.findall(r"output='(\S+)-(r\d)\\n'", done.stdout)} == {"r0", "r1"}
    assert leftovers(lab) == {}


def test_boot_and_check_fails_when_the_command_fails_and_still_removes_the_guests(lab: Lab) -> None:
    """A failed host is left out of later runs unless one asks for it: the clean-up does."""
    done = python(lab, f"{ROOT}/tasks/boot_and_check.py", "node1", "--vm", SMALL, "--command", "exit 3")
    assert done.returncode == 1
    assert "exit status 3" in done.stdout
    assert leftovers(lab) == {}


def test_the_documented_script_boots_guests_says_where_they_are_and_removes_them(lab: Lab) -> None:
    """The script of docs/nornir.md that needs real nodes."""
    page = (ROOT / "docs" / "nornir.md").read_text()
    (script,) = (body for body in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "boot_guest" in body)
    done = python(lab, "-", stdin=script)
    assert done.returncode == 0, done.stderr
    assert re.search(r"\{'j1-r0': '10\.89\.0\.\d+', 'j1-r1': '10\.89\.0\.\d+'\}", done.stdout)
    assert leftovers(lab) == {}
