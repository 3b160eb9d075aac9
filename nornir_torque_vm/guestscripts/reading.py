"""Reading a job's scripts on its first node: the user's as the user, the site's if they are root's alone."""

from __future__ import annotations

import os
import stat

from nornir_torque_vm.config.fields import show
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import RequestError, SettingsError
from nornir_torque_vm.guestscripts.script import GuestScript, Kind
from nornir_torque_vm.model import Distro, Image, Owner
from nornir_torque_vm.ownerfile import read_as_owner
from nornir_torque_vm.request import Request
from nornir_torque_vm.trust import exposure
from nornir_torque_vm.wrapper.inputs import MAX_FILE


def scripts_of(
    request: Request, settings: Settings, owner: Owner, image: Image, deadline: Deadline
) -> tuple[GuestScript, ...]:
    """Return the scripts that run in the guests of a job.

    They are read once, when the job starts, those for its end too: what runs then is what was there now.

    :raises RequestError: a file of the user's cannot be had, see ``read_as_owner``; or these guests run none.
    :raises StorageError: its file system does not answer.
    :raises SettingsError: a script of the site's is not there, or others than root could change it.
    """
    asked = {Kind.VM_PROLOGUE: request.vm_prologue, Kind.VM_EPILOGUE: request.vm_epilogue}
    own = {Kind.GUEST_PROLOGUE: settings.guest_prologue, Kind.GUEST_EPILOGUE: settings.guest_epilogue}
    if image.distro is Distro.OSV:  # one program, no shell
        for kind, ref in asked.items():
            if ref is not None:
                raise RequestError(f"{kind} cannot run in guests of OSv", hint=f"leave {kind} away")
        return ()
    found = []
    for kind in Kind:
        if path := own.get(kind):
            found.append(GuestScript(kind, read_trusted(str(kind), path)))
        elif ref := asked.get(kind):
            found.append(GuestScript(kind, read_as_owner(str(kind), ref, owner, deadline)))
    return tuple(found)


def read_trusted(setting: str, path: str) -> bytes:
    """Return the content of a script that root is to run in every guest.

    :param setting: that names it, for messages.
    :raises SettingsError: it cannot be read, is too large, or not root's alone.
    """
    subject = f"{setting} names {show(path)}, which"
    try:
        reason = exposure(path)
        # Not blocking: a FIFO would otherwise hold the hook until somebody writes.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        with open(fd, "rb") as file:  # noqa: PTH123 - a descriptor
            status = os.fstat(fd)
            content = file.read(MAX_FILE + 1) if stat.S_ISREG(status.st_mode) else b""
    except OSError as error:
        raise SettingsError(
            f"{subject} cannot be read: {error.strerror}", hint="put it there on every node"
        ) from error
    if reason:
        raise SettingsError(
            f"{subject} others than root could change: {reason}", hint="chown root, chmod go-w"
        )
    if not stat.S_ISREG(status.st_mode) or not content:
        raise SettingsError(f"{subject} is no script: a regular file that is not empty")
    if len(content) > MAX_FILE:
        raise SettingsError(f"{subject} has more than {MAX_FILE} bytes")
    return content
