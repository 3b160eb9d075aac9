"""A submit host whose qsub has our submit filter, called by a shell as TORQUE has it called."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qsub_kit import SubmitHost

from nornir_torque_vm.config.compiled import compile_settings
from nornir_torque_vm.sitekit import front_text
from nornir_torque_vm.wrapper.directives import Header, read_header


@dataclasses.dataclass(frozen=True)
class Filtered:
    """How a call of the filter ended. ``script`` is what it wrote."""

    code: int
    script: bytes
    err: str

    @property
    def header(self) -> Header:
        """What the written script asks for."""
        assert self.code == 0, self.err
        return read_header(self.script)

    @property
    def options(self) -> dict[str, str | None]:
        """The option letters of the written script with the value that counts."""
        return {option.letter: option.value for option in self.header.options}

    @property
    def refusal(self) -> str:
        """The one line with which the submission is refused."""
        assert (self.code, self.script) == (1, b""), self.err
        (line,) = self.err.splitlines()
        return line.removeprefix("torque-vm: ")


class FilterHost(SubmitHost):
    """A submit host with the filter's front."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        super().__init__(folder, **settings)
        self.filter = folder / "submit-filter"
        self.filter.write_text(front_text("submit-filter", python=sys.executable, etc=str(self.etc)))
        self.filter.chmod(0o755)
        self.called = str(self.filter)

    def set(self, *, compiled: bool = True, **settings: Any) -> None:
        """Write the settings and compile them."""
        super().set(**settings)
        if compiled:
            compile_settings(str(self.etc))

    def program(self, name: str, text: str, mode: int = 0o755) -> str:
        """Write a program of the site; return its path."""
        path = self.folder / name
        path.write_text(text)
        path.chmod(mode)
        return str(path)

    def submit(self, script: str | bytes, *words: str, **changes: str) -> Filtered:
        """What qsub gets from the filter for a script (TORQUE 6.1.3, qsub_functions.c: get_script)."""
        arguments, prefix_follows = "", False
        for word in words:
            arguments += f" \\{word}" if prefix_follows else f" '{word}'"
            prefix_follows = word == "-C" and not prefix_follows
        return self._call(f"{self.called}{arguments}", script, changes)

    def interactive(self, *words: str) -> Filtered:
        """What qsub gets for the options of ``-I`` (same file: process_opts)."""
        return self._call(self.called + "".join(f' "{word}"' for word in words), b"\n\n", {})

    def _call(self, command: str, script: str | bytes, changes: dict[str, str]) -> Filtered:
        output = self.folder / "qsub.tmp"
        output.write_bytes(b"")
        done = subprocess.run(
            ["/bin/sh", "-c", f"{command} >{output}"],
            input=script.encode() if isinstance(script, str) else script,
            stderr=subprocess.PIPE, cwd=self.work, env={"PATH": "/usr/bin:/bin", **changes},
            check=False, timeout=60,
        )  # fmt: skip
        return Filtered(done.returncode, output.read_bytes(), done.stderr.decode())


def lines(*words: str | Sequence[str]) -> str:
    """A job script with these directives."""
    return "".join(("#!/bin/sh\n", *(f"#PBS {word}\n" for word in words), "echo hello\n"))
