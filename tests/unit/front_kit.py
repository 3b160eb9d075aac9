"""A submit host in a directory: fronts, settings, a recorder in qsub's place, a trap in Python's."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from nornir_torque_vm.config.compiled import compile_settings
from nornir_torque_vm.sitekit import front_text

SHELLS = {
    name: line
    for name, line in {
        "as it is": "",
        "dash": "#!/bin/dash",
        "bash": "#!/bin/bash --posix",
        "busybox": "#!/bin/busybox sh",
    }.items()
    if not line or shutil.which(line[2:].split()[0])
}
"""First lines of the fronts: the kit's own, and the shells that may be ``/bin/sh``."""
TWO_SHELLS = ("as it is", *(name for name in ("dash",) if name in SHELLS))
"""The kit's own, and one that shares nothing with it."""

RECORDER = """\
#!/bin/bash -p
readlink /proc/$$/cwd >"${0%/*}/seen.cwd"
cd "${0%/*}"
while read -r line; do echo "$line"; done </proc/$$/status >seen.status
for what in cmdline environ fdinfo/0; do
    cat "/proc/$$/$what" >"seen.${what%/0}" 2>/dev/null
done
ls -l "/proc/$$/fd" >seen.fd
cat >seen.stdin 2>/dev/null
exit 42
"""
"""What the kernel knows about a process, and its standard input. Answers with exit code 42."""

TRAP = """\
#!/bin/sh
cat /proc/$$/cmdline >"${0%/*}/asked.cmdline"
cat /proc/$$/environ >"${0%/*}/asked.environ"
cat >"${0%/*}/asked.stdin" 2>/dev/null
exit 43
"""

PLAIN = "#!/bin/sh\n#PBS -N plain\n#PBS -l nodes=2:ppn=4\n\n# a remark\necho done\n"
ASKING = "#!/bin/sh\n#PBS -N guests\n#PBS -vm ram=1G\necho done\n"
"""Scripts without and with a request."""


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
    """How a program was started. ``words`` are its arguments; ``offset`` is that of standard input."""

    words: tuple[bytes, ...]
    environment: dict[bytes, bytes]
    stdin: bytes
    offset: int = -1
    status: Mapping[str, str] = dataclasses.field(default_factory=dict)
    descriptors: Mapping[int, str] = dataclasses.field(default_factory=dict)
    cwd: str = ""


class SubmitHost:
    """Fronts in ``bin``, the recorder as ``real/qsub``, the trap as ``python``; settings in ``etc``."""

    def __init__(self, folder: Path, shell: str = "") -> None:
        self.folder, self.shell = folder, shell
        self.etc, self.bin, self.real = folder / "etc", folder / "bin", folder / "real"
        for directory in (self.etc, self.bin, self.real, folder / "work"):
            directory.mkdir()
        self.qsub = executable(self.real / "qsub", RECORDER)
        self.python = executable(folder / "python", TRAP)
        for name in ("qsub", "vsub", "submit-filter"):
            self.front(name)
        self.set()

    def front(self, name: str) -> Path:
        """Put a front in place."""
        text = front_text(name, python=str(self.python), etc=str(self.etc))
        first, _, rest = text.partition("\n")
        return executable(self.bin / name, f"{self.shell or first}\n{rest}")

    def set(self, *, compiled: bool = True, **settings: object) -> None:
        """Write the settings; the real qsub is the recorder where they do not say otherwise."""
        stated = {"real_qsub_on_server": str(self.qsub), "real_qsub_on_nodes": str(self.qsub), **settings}
        lines = (f"{name} = {json.dumps(value)}\n" for name, value in stated.items())
        (self.etc / "settings.toml").write_text("".join(lines))
        if compiled:
            compile_settings(str(self.etc))

    def script(self, text: str | bytes, name: str = "job.sh") -> str:
        """Write a script into the directory jobs are submitted from, and return its name."""
        (self.folder / "work" / name).write_bytes(text.encode() if isinstance(text, str) else text)
        return name

    def run(
        self,
        *words: str | bytes,
        program: Path | None = None,
        stdin: bytes | IO[bytes] | int = b"",
        env: Mapping[str, str] | Mapping[bytes, bytes] | None = None,
        prefix: Sequence[str] = (),
    ) -> subprocess.CompletedProcess[bytes]:
        """Submit by ``bin/qsub`` or another program; ``bytes`` come through a pipe.

        :param prefix: words that start the program: they set up what it inherits.
        """
        for left in (*self.real.glob("seen.*"), *self.folder.glob("asked.*")):
            left.unlink()
        with contextlib.ExitStack() as files:
            if isinstance(stdin, bytes):
                stdin = files.enter_context(piped(stdin))
            return subprocess.run(
                [*prefix, program or self.bin / "qsub", *words],
                check=False,
                cwd=self.folder / "work",
                env=os.environ if env is None else env,
                stdin=stdin,
                capture_output=True,
                timeout=60,
            )

    def recorded(self) -> Seen | None:
        """How the real qsub was started; None if it was not."""
        if not (self.real / "seen.cmdline").exists():
            return None
        status = dict(line.split(":\t", 1) for line in self._text("status").splitlines() if ":\t" in line)
        offset = self._text("fdinfo").partition("pos:\t")[2].partition("\n")[0]
        links = (line.rpartition(" -> ") for line in self._text("fd").splitlines() if " -> " in line)
        return Seen(
            _words(self.real / "seen.cmdline")[3:],
            environment(self.real / "seen.environ"),
            (self.real / "seen.stdin").read_bytes(),
            int(offset or -1),
            status,
            {int(name.split()[-1]): target for name, _, target in links},
            self._text("cwd").strip(),
        )

    def asked(self) -> Seen | None:
        """How Python was started: words behind the interpreter's own options; None if it was not."""
        if not (self.folder / "asked.cmdline").exists():
            return None
        return Seen(
            _words(self.folder / "asked.cmdline")[2:],
            environment(self.folder / "asked.environ"),
            (self.folder / "asked.stdin").read_bytes(),
        )

    def _text(self, what: str) -> str:
        return (self.real / f"seen.{what}").read_text(errors="surrogateescape")


def prepared(folder: Path, shell: str = "as it is") -> SubmitHost:
    """Make a submit host with scripts in its working directory."""
    host = SubmitHost(folder, SHELLS[shell])
    for name in ("plain.sh", "my job.sh", "-"):
        host.script(PLAIN, name)
    host.script(ASKING, "asking.sh")
    return host


@contextlib.contextmanager
def piped(content: bytes) -> Iterator[IO[bytes]]:
    """Give the reading end of a pipe that somebody writes ``content`` into."""
    read, write = os.pipe()

    def feed() -> None:
        with contextlib.suppress(BrokenPipeError), open(write, "wb") as file:  # noqa: PTH123 - a descriptor
            file.write(content)

    feeder = threading.Thread(target=feed)
    with open(read, "rb") as file:  # noqa: PTH123 - same
        feeder.start()
        yield file
    feeder.join()


def executable(path: Path, text: str) -> Path:
    """Write a program."""
    path.write_text(text)
    path.chmod(0o755)
    return path


def environment(path: Path) -> dict[bytes, bytes]:
    """Read a copy of ``/proc/…/environ``."""
    entries = (entry.partition(b"=") for entry in path.read_bytes().split(b"\0") if entry)
    return {name: value for name, _, value in entries}


def _words(path: Path) -> tuple[bytes, ...]:
    return tuple(path.read_bytes().split(b"\0")[:-1])
