"""The process that prologues leave behind where nodes keep copies of images.

It leaves the MOM's session and descriptors before it imports anything large. Arguments: job id and resource
list, as a hook gets them. See :mod:`nornir_torque_vm.imagecache`.
"""

from __future__ import annotations

import os
import sys

from nornir_torque_vm.hooks.safetynet import detach

HOOK = "image cache"
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
_SILENT = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]


def leave_behind(job_id: str, resources: str) -> None:
    """Start the process; it goes on when we have ended.

    :raises OSError: it cannot be started.
    """
    words = [sys.executable, "-I", "-m", __name__, job_id, resources]
    os.posix_spawn(words[0], words, _ENVIRONMENT, file_actions=_SILENT, setsid=True)


def main() -> None:
    """Entry of ``python -I -m nornir_torque_vm.hooks.imagecache JOB_ID RESOURCES``."""
    detach()
    from nornir_torque_vm.config.settings import load
    from nornir_torque_vm.hooks.frame import leave, log, log_unforeseen, sentence_of
    from nornir_torque_vm.imagecache.filling import see_to_copy

    job_id, resources = sys.argv[1:3]
    try:
        done = see_to_copy(resources, load(), os.uname().nodename)
        if done:
            log(HOOK, job_id, done)
    except Exception as error:  # noqa: BLE001 - nobody else would ever hear of it
        log(HOOK, job_id, f"no copy: {sentence_of(error)}")
        log_unforeseen(HOOK, job_id, error)
    leave(0)


if __name__ == "__main__":
    main()
