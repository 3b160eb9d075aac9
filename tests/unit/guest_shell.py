"""The micro guest's own programs, run on this machine by the busybox they are written for."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from nornir_torque_vm.guestimages.recipe import HERE

MICRO = HERE / "micro_root"
BUSYBOX = shutil.which("busybox") or ""

needs_busybox = pytest.mark.skipif(not BUSYBOX, reason="busybox is not installed")


def run(
    *words: str | Path, stdin: str = "", env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one of busybox's applets; what it prints is text as it is, carriage returns included."""
    argv = [BUSYBOX, *map(str, words)]
    said = subprocess.run(
        argv,
        input=stdin.encode(errors="surrogateescape"),
        env=env,
        capture_output=True,
        timeout=20,
        check=False,
    )
    out, err = (stream.decode(errors="surrogateescape") for stream in (said.stdout, said.stderr))
    return subprocess.CompletedProcess(argv, said.returncode, out, err)


class Root:
    """A directory that stands for the guest's root: its scripts see their /etc, /home and /run there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name in ("bin", "etc/ssh", "home", "root", "run", "var"):
            (directory / name).mkdir(parents=True)
        for name in ("passwd", "group", "shadow"):
            self.write(f"etc/{name}", (MICRO / "etc" / name).read_text())
        for source in (*(MICRO / "usr/bin").iterdir(), *(MICRO / "usr/sbin").iterdir()):
            self.program(source.name, self.moved(source.read_text()))
        for applet in ("awk", "base64", "cat", "chmod", "chown", "id", "ln", "mkdir", "mv", "sh", "tr"):
            (directory / "bin" / applet).symlink_to(BUSYBOX)

    def moved(self, script: str) -> str:
        """The script with its absolute paths inside this root."""
        for name in ("etc", "home", "root", "run", "var"):
            script = script.replace(f" /{name}/", f" {self.directory}/{name}/")
            script = script.replace(f'"/{name}/', f'"{self.directory}/{name}/')
            script = script.replace(f"=/{name}/", f"={self.directory}/{name}/")
            script = script.replace(f"-/{name}/", f"-{self.directory}/{name}/")
        return script.replace("home=/root ", f"home={self.directory}/root ")

    def program(self, name: str, script: str) -> None:
        """Put a script on the PATH."""
        path = self.write(f"bin/{name}", script)
        path.chmod(0o755)

    def write(self, name: str, text: str) -> Path:
        """Write a file, its directory included."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return path

    def read(self, name: str) -> str:
        """A file's text."""
        return (self.directory / name).read_text("utf-8")

    def run(
        self, script: str, *words: str, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run shell text; ``words`` are $1 and so on."""
        environment = {
            "PATH": str(self.directory / "bin"),
            "HOME": str(self.directory / "root"),
            **(env or {}),
        }
        return run("sh", "-c", script, "sh", *words, env=environment)
