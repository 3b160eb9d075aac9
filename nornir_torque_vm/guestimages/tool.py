"""Running the tools that make images: bounded in time, and failing in one line that says why."""

from __future__ import annotations

import collections
import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from nornir_torque_vm.errors import ImageBuildError

Progress = Callable[[str], None]

PACKAGES: Mapping[str, str] = {
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "lz4": "lz4",
    "mcopy": "mtools",
    "mformat": "mtools",
    "mke2fs": "e2fsprogs",
    "mmdebstrap": "mmdebstrap",
    "qemu-img": "qemu-utils",
    "syslinux": "syslinux",
}
"""Tool → the Debian package that has it."""

TAIL_LINES = 6
"""How many last lines of a failed tool's output its error quotes."""
TAIL_CHARACTERS = 600


def run(
    argv: Sequence[str | Path],
    *,
    timeout: float,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> str:
    """Run a tool and return what it printed (both streams).

    :param timeout: seconds; at the end the tool and all it started are killed.
    :param env: set on top of this process's own environment.
    :param progress: called with each line as it comes.
    :raises ImageBuildError: it is missing, failed or took too long; quotes its last lines.
    """
    name = Path(argv[0]).name
    try:
        process = subprocess.Popen(
            [str(word) for word in argv],
            cwd=cwd,
            env={**os.environ, "LC_ALL": "C.UTF-8", **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except FileNotFoundError:
        package = PACKAGES.get(name, name)
        raise ImageBuildError(f"{name} is not installed", hint=f"apt-get install {package}") from None
    with process:
        lines: list[str] = []
        reader = threading.Thread(target=_collect, args=(process, lines, progress), daemon=True)
        reader.start()
        try:
            code = process.wait(timeout)
            reader.join(timeout)
        except subprocess.TimeoutExpired:
            raise ImageBuildError(f"{name} was not done after {timeout:g} s: {tail(lines)}") from None
        finally:
            _end_session(process)
    if code != 0:
        raise ImageBuildError(f"{name} failed with code {code}: {tail(lines)}")
    return "".join(lines)


def tail(lines: Sequence[str]) -> str:
    """The last lines that say something, joined into one."""
    last = collections.deque((line.strip() for line in lines if line.strip()), maxlen=TAIL_LINES)
    return " / ".join(last)[-TAIL_CHARACTERS:] or "it printed nothing"


def _collect(process: subprocess.Popen[str], lines: list[str], progress: Progress | None) -> None:
    assert process.stdout is not None  # noqa: S101 -- Popen was given a pipe; for the type checker
    for line in process.stdout:
        lines.append(line)
        if progress is not None:
            progress(line.rstrip())


def _end_session(process: subprocess.Popen[str]) -> None:
    """Kill what is left of the tool's process group (nothing, when it ended well)."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
