"""Nodes for the driver without a lab: programs run here, and changing the user is only written down."""

from __future__ import annotations

import copy
import os
import pwd
import sys
from pathlib import Path
from typing import Any

import pytest

from nornir_torque_vm.driver import slots
from nornir_torque_vm.driver.slots import JobFacts
from nornir_torque_vm.model import Owner

USER = pwd.getpwuid(os.geteuid())

SHIM = f'''
"""Run spawn.py as root of a node would, only writing down what needs root. Arguments: notes, spawn.py."""
import os, pwd, runpy, sys
notes = open(sys.argv[1], "a", buffering=1)
alice = pwd.getpwuid(os.geteuid())
def getpwnam(name):
    if name not in ("alice", {USER.pw_name!r}):
        raise KeyError(name)
    return alice
pwd.getpwnam = getpwnam
for call in ("initgroups", "setgid", "setuid", "fchown"):
    setattr(os, call, lambda *args, call=call: notes.write(f"{{call}}\\n") and None)
sys.argv = sys.argv[-1:]
runpy.run_path(sys.argv[0], run_name="__main__")
'''


class Nodes:
    """A cluster whose nodes all are this machine, with ``$PBS_HOME`` in a directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "torque"
        for name in ("aux", "spool", "mom_priv/jobs"):
            (self.home / name).mkdir(parents=True)
        self.user_home = folder / "alice"
        self.user_home.mkdir()
        self.shim, self.notes = folder / "shim.py", folder / "notes"
        self.shim.write_text(SHIM)
        self.notes.touch()
        self.owner = Owner("alice", os.geteuid(), os.getegid(), "users", str(self.user_home), "/bin/sh")

    def enter(self, node: str) -> list[str]:
        """Run spawn.py under the shim."""
        return [sys.executable, "-S", str(self.shim), str(self.notes)]

    def root(self, node: str) -> Path:
        """All nodes have one root directory: ours."""
        return Path("/")

    def hook(self, name: str, text: str, mode: int = 0o755) -> Path:
        """Put a shell script into mom_priv."""
        path = self.home / "mom_priv" / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(mode)
        return path

    def job(self, **changes: Any) -> JobFacts:
        """A job of alice on two nodes."""
        given: dict[str, Any] = {
            "job_id": "17.head", "server": "head", "user": "alice", "group": "users",
            "user_home": str(self.user_home), "shell": "/bin/sh", "job_name": "a job", "hosts": ("n1", "n2"),
            "ppn": 2, "resources": "nodes=2:ppn=2", "script": f"{self.home}/mom_priv/jobs/17.head.SC",
            "home_dir": str(self.home), "workdir": str(self.user_home), "submit_host": "head",
        }  # fmt: skip
        return JobFacts(**{**given, **changes})

    def spool(self, suffix: str, job_id: str = "17.head") -> str:
        """What a hook or the job wrote."""
        path = self.home / "spool" / f"{job_id}.{suffix}"
        return path.read_text() if path.exists() else ""


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nodes:
    """Nodes whose ``$PBS_HOME`` the driver takes for TORQUE's."""
    made = Nodes(tmp_path)
    record = copy.deepcopy(slots.record())
    record["home"] = str(made.home)
    monkeypatch.setattr(slots, "record", lambda: record)
    return made
