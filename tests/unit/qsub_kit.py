"""A submit host in a directory: settings, an image pool, and a recorder in the real qsub's place."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qcow2_bytes import image_bytes

from nornir_torque_vm.request import Request, find_in_resources

RECORDER = """#!{python} -IS
import json, os, re, stat, sys
try: regular = stat.S_ISREG(os.fstat(0).st_mode)
except OSError: regular = None
read = lambda file: open(file, "rb").read().decode("latin-1")
json.dump({{
    "argv": [os.fsencode(word).decode("latin-1") for word in sys.argv],
    "offset": os.lseek(0, 0, os.SEEK_CUR) if regular else None,
    "stdin": "a terminal" if os.isatty(0) else read(0) if regular is not None else "closed",
    "copies": {{word: read(word) for word in sys.argv if word.startswith("/proc/self/fd/")}},
    "environment": read("/proc/self/environ").split(chr(0))[:-1],
    "ignored": int(re.search("SigIgn:\\t(.*)", read("/proc/self/status"))[1], 16),
    "pid": os.getpid(),
}}, open({record!r}, "w"))
print("17.head")
sys.exit({code})
"""
MODULE = "nornir_torque_vm.wrapper.qsub"


@dataclasses.dataclass(frozen=True)
class Recorded:
    """What came to the real qsub; texts are bytes read as Latin-1."""

    argv: list[str]
    offset: int | None
    stdin: str
    copies: dict[str, str]
    environment: list[str]
    ignored: int
    """A bit for each signal that is ignored; Python ignores SIGPIPE and SIGXFSZ for itself."""
    pid: int

    @property
    def words(self) -> list[str]:
        """The arguments."""
        return self.argv[1:]

    @property
    def request(self) -> Request | None:
        """The request in the last ``-l``."""
        resources = [
            value for option, value in zip(self.words, self.words[1:], strict=False) if option == "-l"
        ]
        return find_in_resources(resources[-1]) if resources else None


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a call ended; ``recorded`` is None if no qsub was called."""

    code: int
    out: str
    err: str
    recorded: Recorded | None

    @property
    def qsub(self) -> Recorded:
        """What came to the real qsub, which was called."""
        assert self.recorded is not None, self.err
        return self.recorded


class SubmitHost:
    """Everything lies below ``folder``; the user works in ``folder/work``."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder, self.etc, self.pool, self.work = (
            folder,
            folder / "etc",
            folder / "pool",
            folder / "work",
        )
        for directory in (self.etc, self.pool, self.work):
            directory.mkdir()
        self.qsub = folder / "real-qsub"
        self.front = folder / "qsub"
        self.record = folder / "record.json"
        self.make_recorder()
        (self.pool / "debian.qcow2").write_bytes(image_bytes())
        self.front.write_text(f"#!/bin/sh\n# {MODULE}\n")
        self.set(**settings)

    def make_recorder(self, code: int = 0) -> None:
        """Put the recorder in place; it ends with ``code``."""
        self.qsub.write_text(RECORDER.format(python=sys.executable, record=str(self.record), code=code))
        self.qsub.chmod(0o755)

    def set(self, **settings: Any) -> None:
        """Write the settings, anew."""
        values = {
            "image_pool": str(self.pool), "img_default": "debian.qcow2",
            "real_qsub_on_server": str(self.qsub), "real_qsub_on_nodes": str(self.qsub), **settings,
        }  # fmt: skip
        lines = (f"{name} = {json.dumps(value)}\n" for name, value in values.items())
        (self.etc / "settings.toml").write_text("".join(lines))

    def script(self, text: str | bytes = "echo hello\n", name: str = "job.sh") -> str:
        """Write a script of the user; return its name."""
        (self.work / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return name

    def argv(self, *words: str | bytes, front: Path | None = None) -> list[str | bytes]:
        """The command line by which a front calls the wrapper."""
        call = [sys.executable, "-X", "utf8", "-I", "-m", MODULE, str(front or self.front), str(self.etc)]
        return [*call, *words]

    def run(
        self,
        *words: str | bytes,
        stdin: bytes | int | None = None,
        front: Path | None = None,
        environment: dict[str, str] | None = None,
        **changes: str,
    ) -> Outcome:
        """Call the wrapper; ``stdin`` is sent through a pipe, or is a descriptor.

        ``environment`` is all there is of it; ``changes`` are variables beside the path.
        """
        self.record.unlink(missing_ok=True)
        env = {"PATH": os.environ["PATH"], **changes} if environment is None else environment
        given: Any = {"stdin": stdin} if isinstance(stdin, int) else {"input": stdin or b""}
        done = subprocess.run(
            self.argv(*words, front=front), cwd=self.work, env=env, capture_output=True, check=False,
            timeout=60, **given,
        )  # fmt: skip
        recorded = Recorded(**json.loads(self.record.read_text())) if self.record.exists() else None
        return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode(), recorded)

    def files(self) -> frozenset[str]:
        """Every file below the folder except the record."""
        return frozenset(str(path) for path in self.folder.rglob("*") if path != self.record)


def ours(words: Sequence[str]) -> str:
    """The resources that were asked for with the last ``-l``."""
    return words[len(words) - 1 - words[::-1].index("-l") + 1]
