"""The process that epilogue.parallel leaves behind, see :mod:`nornir_torque_vm.safetynet`.

It leaves the MOM's session and descriptors before it imports anything large. Argument: the job id.
"""

from __future__ import annotations

import contextlib
import os
import sys

from nornir_torque_vm.hooks.stdio import settle_stdio


def detach() -> None:
    """Leave the MOM's session, descriptors, directory and umask behind."""
    with os.scandir("/proc/self/fd") as entries:
        inherited = [int(entry.name) for entry in entries if int(entry.name) > 2]
    for fd in inherited:
        with contextlib.suppress(OSError):  # that of the listing itself
            os.close(fd)
    with contextlib.suppress(PermissionError):  # it leads a session already
        os.setsid()
    os.chdir("/")
    os.umask(0o077)
    settle_stdio()


def main() -> None:
    """Entry of ``python -I -m nornir_torque_vm.hooks.safetynet JOB_ID``."""
    detach()
    from nornir_torque_vm.config.settings import load
    from nornir_torque_vm.hooks.frame import leave, log, log_unforeseen, sentence_of
    from nornir_torque_vm.safetynet import HOOK, SafetyNet

    job_id = sys.argv[1]
    try:
        SafetyNet(job_id, load()).run()
    except Exception as error:  # noqa: BLE001 - nobody else would ever hear of it
        log(HOOK, job_id, sentence_of(error))
        log_unforeseen(HOOK, job_id, error)
    leave(0)


if __name__ == "__main__":
    main()
