"""Running the submit filter that a site had before."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Sequence

from nornir_torque_vm.errors import SettingsError


def run_filter(path: str, words: Sequence[str], script: bytes) -> tuple[int, bytes]:
    """Run it as TORQUE would: the words as arguments, the script on standard input.

    Return its exit code and what it wrote. A script without ``#!`` is one for the shell, as for TORQUE,
    which has a shell call the filter.

    :raises SettingsError: it cannot be run, or was killed.
    """
    try:
        done = _run([path, *words], script)
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise SettingsError(
                f"the site's submit filter {path} cannot be run: {error.strerror}",
                hint="see site_submit_filter in the settings",
            ) from None
        done = _run(["/bin/sh", path, *words], script)
    if done.returncode < 0:
        raise SettingsError(f"the site's submit filter {path} was ended by signal {-done.returncode}")
    return done.returncode, done.stdout


def _run(argv: Sequence[str], script: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(argv, input=script, stdout=subprocess.PIPE, check=False)
