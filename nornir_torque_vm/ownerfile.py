"""Reading, on a node, a file that a job's owner named in the request: with the owner's rights, never root's.

A child process that has taken on the owner's uid, gid and groups opens the path: so the file system decides
what the owner may read, on root-squashed exports too, and no name or link of the owner's leads root
anywhere. What the child says is the owner's word: the content counts only if it has the digest that rides in
the job, and never more of it is read than may be.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import selectors
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from nornir_torque_vm import ownerread
from nornir_torque_vm.config.fields import show
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import InventoryError, RequestError, StorageError, TorqueVMError
from nornir_torque_vm.model import FileRef, Owner
from nornir_torque_vm.wrapper.inputs import MAX_FILE

PATIENCE = 10.0
"""Seconds a reading may take; a home directory may have to be mounted first."""
LAST_WAIT = 1.0
"""Seconds a killed child is waited for: one that hangs in a dead file system does not even die."""
_SIZE = 8
"""Bytes in which a reader states a size."""
_NUMBER = struct.Struct("i")
"""A descriptor, as it is sent."""
NOT_THE_USERS = frozenset({
    errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETUNREACH,
    errno.ENOTCONN, errno.EREMOTEIO, errno.ENOMEM, errno.ENFILE, errno.EMFILE,
})  # fmt: skip
"""Errors of the file system itself: another attempt, or another node, may find the file."""


def read_as_owner(
    key: str, ref: FileRef, owner: Owner, deadline: Deadline, *, limit: int = MAX_FILE
) -> bytes:
    """Return the content of a file as it was when the job was submitted.

    :param key: of the request, for messages.
    :param ref: absolute path and digest, as they rode in the job.
    :param limit: bytes the file may have.
    :raises RequestError: it is not there, not readable for the owner, no regular file, too large, or changed.
    :raises StorageError: its file system does not answer.
    :raises InventoryError: we are neither root nor the owner.
    """
    subject = f"{key} names {show(ref.path)}, which"
    patience = Deadline.after(deadline.clamp(PATIENCE))
    with _child(ref.path, owner, str(limit), subprocess.PIPE) as process:
        content = _all_of(process, limit, patience)
        if content is not None and len(content) > limit:
            raise _refusal(subject, ownerread.TOO_LARGE, limit, owner)
        if content is None or not _ended(process, patience):
            raise StorageError(
                f"{subject} could not be read in {PATIENCE:.0f} s as {owner.name}",
                hint="is its file system there on this node?",
            )
    if process.returncode:
        raise _refusal(subject, process.returncode, limit, owner)
    if hashlib.sha256(content).hexdigest() != ref.digest:
        raise RequestError(f"{subject} has changed since the job was submitted", hint="submit it again")
    return content


def begin_as_owner(key: str, path: str, owner: Owner, deadline: Deadline) -> tuple[bytes, int]:
    """Return the first 64 KiB of a file and its size in bytes, if its owner may read it.

    Links are followed, with the owner's rights. Both are the owner's word: to be judged, not to be relied on.

    :param key: of the request, for messages.
    :param path: absolute.
    :raises RequestError: it is not there, not readable for the owner, or no regular file.
    :raises StorageError: its file system does not answer.
    :raises InventoryError: we are neither root nor the owner.
    """
    subject = f"{key} names {show(path)}, which"
    patience, limit = Deadline.after(deadline.clamp(PATIENCE)), ownerread.BEGINNING + _SIZE
    with _child(path, owner, ownerread.BEGIN, subprocess.PIPE) as process:
        found = _all_of(process, limit, patience)
        if found is None or not _ended(process, patience):
            raise StorageError(
                f"{subject} could not be read in {PATIENCE:.0f} s as {owner.name}",
                hint="is its file system there on this node?",
            )
    if process.returncode or len(found) < _SIZE:
        raise _refusal(subject, process.returncode, 0, owner)
    return found[_SIZE:], int.from_bytes(found[:_SIZE], "big")


def open_as_owner(key: str, path: str, owner: Owner, deadline: Deadline) -> int:
    """Return a descriptor, for reading and writing, of a file that the owner may open so.

    Whoever has it may do with the file what the owner could when it was opened, and needs no other right.

    :param key: of the request, for messages.
    :param path: absolute.
    :raises RequestError: it is not there, not writable for the owner, or no regular file.
    :raises StorageError: its file system does not answer.
    :raises InventoryError: we are neither root nor the owner.
    """
    subject = f"{key} names {show(path)}, which"
    patience = Deadline.after(deadline.clamp(PATIENCE))
    ours, theirs = socket.socketpair()
    with ours, _child(path, owner, ownerread.OPEN, theirs.fileno()) as process:
        theirs.close()  # so that we see its end
        ours.settimeout(max(0.001, patience.remaining()))
        with contextlib.suppress(TimeoutError):
            # Not socket.recv_fds: in Python 3.11 it forgets the flag.
            space = socket.CMSG_SPACE(_NUMBER.size)
            _, found, _, _ = ours.recvmsg(1, space, socket.MSG_CMSG_CLOEXEC)
            if found:
                return int(_NUMBER.unpack(found[0][2])[0])
        if not _ended(process, patience):
            raise StorageError(
                f"{subject} could not be opened in {PATIENCE:.0f} s as {owner.name}",
                hint="is its file system there on this node?",
            )
    raise _refusal(subject, process.returncode, 0, owner)


@contextlib.contextmanager
def _child(path: str, owner: Owner, what: str, to: int) -> Iterator[subprocess.Popen[bytes]]:
    """A reader with nothing of ours: no descriptor, no variable, no directory; see ``ownerread``.

    :param what: its first argument.
    :param to: its standard output.
    """
    if os.geteuid() not in {0, owner.uid}:
        raise InventoryError(f"a file of {owner.name} can be read by root and by {owner.name} only")
    program = [sys.executable, "-I", "-S", str(Path(ownerread.__file__).resolve())]
    groups = ",".join(str(gid) for _, gid in owner.groups)
    process = subprocess.Popen(
        [*program, what, path, str(owner.uid), str(owner.gid), groups],
        stdin=subprocess.DEVNULL,
        stdout=to,
        stderr=subprocess.DEVNULL,
        env={},
        cwd="/",
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(LAST_WAIT)
        if process.stdout is not None:
            process.stdout.close()


def _all_of(process: subprocess.Popen[bytes], limit: int, deadline: Deadline) -> bytes | None:
    """What the child writes, at most one byte more than may be; None when the time is up first."""
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    content = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while len(content) <= limit:
            if not selector.select(deadline.remaining()):
                return None
            chunk = os.read(process.stdout.fileno(), limit + 1 - len(content))
            if not chunk:
                break
            content += chunk
    return bytes(content)


def _ended(process: subprocess.Popen[bytes], deadline: Deadline) -> bool:
    try:
        process.wait(deadline.remaining())
    except subprocess.TimeoutExpired:
        return False
    return True


def _refusal(subject: str, code: int, limit: int, owner: Owner) -> TorqueVMError:
    """What an exit code of the child means."""
    if code == ownerread.NOT_REGULAR:
        return RequestError(f"{subject} is not a regular file")
    if code == ownerread.TOO_LARGE:
        return RequestError(f"{subject} has more than {limit} bytes")
    number = code - ownerread.ERRNO
    if number in errno.errorcode:
        kind = StorageError if number in NOT_THE_USERS else RequestError
        hint = "it has to be there on the job's first node too" if number == errno.ENOENT else ""
        return kind(f"{subject} cannot be opened here by {owner.name}: {os.strerror(number)}", hint=hint)
    return StorageError(f"{subject} could not be read as {owner.name} (the reader ended with {code})")
