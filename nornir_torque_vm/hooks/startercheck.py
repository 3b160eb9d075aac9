"""Whether a node's job starter leaves plain jobs alone: for whoever installs it or looks after it.

It needs ``perl`` (on Debian part of every system) and an ``env`` with ``-S`` (coreutils 8.30 or newer).
Without them every job of the node would end at once, so it is tried rather than looked for.
"""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

SECONDS = 10.0
"""After which a starter is taken for one that hangs."""
_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LC_ALL": "no-such-locale",
    "PERL5OPT": "-Mno::such::module",
    "PBS_JOBID": "0.no-such-job",
}
"""A plain job's, with what would make perl complain if it were asked."""


def why_not(path: Path) -> str | None:
    """Return why a MOM must not have the file as its ``$job_starter``, in one sentence; None when it may."""
    try:
        status = path.stat()
    except OSError as error:
        return f"the job starter {path} cannot be used: {error.strerror}"
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o555 != 0o555 or mode & 0o022:
        return f"the job starter {path} has mode {mode:04o}; it needs 0755 or 0555"
    argv = [str(path), "/usr/bin/env", "-0"]
    try:
        done = subprocess.run(
            argv, env=_ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, check=False,
            timeout=SECONDS,
        )  # fmt: skip
    except OSError as error:
        return f"the job starter {path} cannot be started: {error.strerror}; is perl installed?"
    except subprocess.TimeoutExpired:
        return f"the job starter {path} does not get a plain job started within {SECONDS:.0f} s"
    return _judge(path, done)


def _judge(path: Path, done: subprocess.CompletedProcess[bytes]) -> str | None:
    said = os.fsdecode(done.stderr).strip().splitlines()
    if done.returncode != 0:
        why = f" ({said[-1]})" if said else ""
        return f"with the job starter {path} a plain job ends with {done.returncode}{why}"
    if said:
        return f"with the job starter {path} a plain job says something: {said[0]}"
    if not done.stdout:
        return f"the job starter {path} is given a plain job and does not start it"
    seen = sorted(filter(None, os.fsdecode(done.stdout).split("\0")))
    if seen != sorted(f"{name}={value}" for name, value in _ENVIRONMENT.items()):
        return f"the job starter {path} changes the environment of plain jobs"
    return None
