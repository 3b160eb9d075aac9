"""A mom_priv in a directory, with our hooks, the site's, and what they were given written down."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nornir_torque_vm.sitekit import hook_text

SHELLS = [words for words in (["sh"], ["bash", "--posix"], ["busybox", "sh"]) if shutil.which(words[0])]
"""``/bin/sh`` of Debian, of the Red Hat family, and of small systems."""
SLOTS = ("prologue", "prologue.parallel", "epilogue", "epilogue.parallel")
JOB = "17[3].head"
NAME = "x;y$(id)`w`&| \"'\n*"
REQUEST = "nodes=1,other=vm1:ram=1G,neednodes=1"
ENVIRONMENT = {"PATH": "/bin:/usr/bin", "LANG": "C", "PBS_O_WORKDIR": "/home/x y", "MOAB_USER": "a\nb"}

SITE = """#!PYTHON -I
import json, os, sys
def target(fd):
    try:
        status = os.fstat(fd)
    except OSError:
        return "closed"
    return f"{status.st_dev}:{status.st_ino}"
seen = {"argv": sys.argv, "files": [target(fd) for fd in range(6)], "cwd": os.getcwd()}
seen["umask"] = os.umask(0)
seen["leads its session"] = os.getsid(0) == os.getpid()
with open("/proc/self/environ", "rb") as file:
    seen["environment"] = sorted(file.read().decode().split(chr(0)))
with open("/proc/self/status") as file:
    seen["signals"] = [line for line in file if line.startswith(("SigBlk", "SigIgn"))]
with open("SEEN", "w") as file:
    json.dump(seen, file)
with open("LOG", "a") as file:
    print("site", file=file)
sys.exit(CODE)
"""
"""A hook of the site's that writes down what it is given."""


class MomPriv:
    """Hooks as a MOM finds them. Ours are started with a Python that writes down what it was to run.

    :param shell: runs the hooks, whatever their first line says.
    """

    def __init__(self, folder: Path, shell: Sequence[str] = ("sh",)) -> None:
        self.folder, self.shell = folder / "mom priv", list(shell)
        self.run_dir, self.log = folder / "run dir", folder / "log"
        self.seen_file, self.python = folder / "seen.json", folder / "python"
        self.errors = folder / "errors"
        self.folder.mkdir()
        self.log.touch()
        self.site_hook = self.write("site_hook", hook_text("site_hook"), 0o500)
        program = shutil.which(self.shell[0])
        first = f"#!{program} {' '.join(self.shell[1:])}\n"
        self.site_hook.chmod(0o700)
        self.site_hook.write_text(first + self.site_hook.read_text().partition("\n")[2])
        self.python.write_text(
            f'#!/bin/sh\ncase $3 in *.sitehook) exec {sys.executable} "$@" ;; esac\n'
            f'echo "ours $3" >>"{self.log}"\n[ ! -f "{folder}/stay" ] || exec sleep 60\n'
        )
        self.python.chmod(0o755)

    def write(self, name: str, text: str, mode: int) -> Path:
        """Put a file there."""
        path = self.folder / name
        path.write_text(text)
        path.chmod(mode)
        return path

    def ours(self, slot: str, name: str = "") -> Path:
        """Put our hook of a slot there, as ``<slot>.vm`` or under another name.

        It does not wait after it gave up; that it does is test_hooks_shell.py's.
        """
        text = hook_text(f"{slot}.vm", python=str(self.python), run_dir=str(self.run_dir))
        return self.write(name or f"{slot}.vm", text.replace("sleep 10 ", "sleep 0 "), 0o500)

    def site(self, name: str, code: int = 0, mode: int = 0o500) -> Path:
        """Put a hook of the site's there, which writes down everything it is given."""
        text = SITE.replace("PYTHON", sys.executable).replace("SEEN", str(self.seen_file))
        return self.write(name, text.replace("LOG", str(self.log)).replace("CODE", str(code)), mode)

    def arguments(self, slot: str, resources: str = REQUEST) -> list[str]:
        """What a MOM says of the job."""
        if slot.startswith("prologue"):
            return [JOB, "alice", "users", NAME, resources, "batch", "", "/path/17.SC"]
        return [JOB, "alice", "users", NAME, "0", resources, "", "batch", "", "0", "/path/17.SC"]

    def run(
        self, path: Path, slot: str, resources: str = REQUEST, *, closed: bool = False, umask: int = 0o022
    ) -> int:
        """Run a hook as a MOM does: in a session, output perhaps closed, one file more. Its exit code."""
        argv = [str(path), *self.arguments(slot, resources)]
        if path.read_bytes().startswith(b"#!/bin/sh"):
            argv = [*self.shell, *argv]

        def close() -> None:
            os.dup2(0, 5)
            for fd in (1, 2) if closed else ():
                os.close(fd)

        with self.errors.open("a") as err:
            done = subprocess.run(
                argv, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=err,
                cwd=self.folder, umask=umask, start_new_session=True, preexec_fn=close, close_fds=False,
                check=False, timeout=60,
            )  # fmt: skip
        return done.returncode

    @property
    def said(self) -> str:
        """What the hooks wrote for the user."""
        return self.errors.read_text()

    @property
    def seen(self) -> dict[str, Any] | None:
        """What the site's hook was given; None when it did not run."""
        return json.loads(self.seen_file.read_text()) if self.seen_file.exists() else None

    @property
    def order(self) -> list[str]:
        """What ran: ``site`` and ``ours <module>``."""
        return self.log.read_text().splitlines()

    @property
    def marker(self) -> Path:
        return self.run_dir / "markers" / JOB

    @property
    def handover(self) -> Path:
        return self.run_dir / "handover" / JOB

    def hand_over(self) -> None:
        """What an earlier attempt left, with the copy of a prologue that was killed on a sister."""
        self.handover.mkdir(parents=True)
        (self.handover / "given").write_text("old")
        self.handover.with_name(f"{JOB}+given").write_text("older")
