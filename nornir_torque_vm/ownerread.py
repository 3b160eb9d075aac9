"""Become a job's owner and read or open one file: a program of its own, which ``ownerfile`` starts.

Root's Python may lie where users cannot reach it, so this begins as root, and before it looks at the path it
gives up every right for good; the kernel lets no user debug it then. Standard library only, all of it
imported by then. Arguments: the most bytes, ``open`` or ``begin``; the path, uid, gid, supplementary gids
with commas between them. The content goes to standard output; or the file, opened for writing too, through
the socket that is there. The exit code says what went wrong, see below.
"""

import errno
import os
import socket
import stat
import sys

NOT_REGULAR = 90
TOO_LARGE = 91
ERRNO = 100
"""Exit codes from here on are error numbers of the system."""
OPENED = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""No FIFO holds us, no terminal becomes ours; of a link the submission took what it led to."""
CHUNK = 1 << 16
OPEN, BEGIN = "open", "begin"
"""In place of the most bytes."""
BEGINNING = 1 << 16
"""Bytes of a beginning."""


def become(uid: int, gid: int, groups: "list[int]") -> None:
    """Become the owner, for good; nothing to do for who is it already."""
    if os.geteuid() == 0:
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    if os.getresuid() != (uid, uid, uid):
        raise PermissionError(errno.EPERM, "still somebody else")


def copy(path: bytes, limit: int) -> int:
    """Write the file to standard output; return the exit code."""
    fd = os.open(path, OPENED)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        return NOT_REGULAR
    if os.fstat(fd).st_size > limit:
        return TOO_LARGE
    while limit >= 0 and (chunk := os.read(fd, min(CHUNK, limit + 1))):  # one more shows that it grew
        limit -= len(chunk)
        while chunk:
            chunk = chunk[os.write(1, chunk) :]
    return TOO_LARGE if limit < 0 else 0


def hand_out(path: bytes) -> int:
    """Send the file, open for reading and writing, through standard output; return the exit code."""
    fd = os.open(path, OPENED & ~os.O_ACCMODE | os.O_RDWR)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        return NOT_REGULAR
    with socket.socket(fileno=1) as way:
        socket.send_fds(way, [b"f"], [fd])
    return 0


def begin(path: bytes) -> int:
    """Write the size of the file, in eight bytes, and its beginning; return the exit code.

    A link at the end of the path is followed: where it leads its owner may read, or nobody learns of it.
    """
    fd = os.open(path, OPENED & ~os.O_NOFOLLOW)
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        return NOT_REGULAR
    view = memoryview(status.st_size.to_bytes(8, "big") + os.pread(fd, BEGINNING, 0))
    while view:
        view = view[os.write(1, view) :]
    return 0


def main() -> int:
    """Do it; the exit code tells how it went."""
    limit, path, uid, gid, groups = sys.argv[1:]
    try:
        become(int(uid), int(gid), [int(group) for group in groups.split(",") if group])
        if limit in {OPEN, BEGIN}:
            return (hand_out if limit == OPEN else begin)(os.fsencode(path))
        return copy(os.fsencode(path), int(limit))
    except OSError as error:
        return ERRNO + (error.errno or 0)


if __name__ == "__main__":
    os._exit(main())
