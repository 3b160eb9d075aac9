"""Become a job's owner and write one new file: a program of its own, which ``leave`` starts.

As ``ownerread``, whose way of becoming the owner it has: root's rights are gone before the first look at a
path that is the owner's word. Arguments: directory, name, uid, gid, supplementary gids with commas between
them. The content comes from standard input; the exit code says what went wrong, as there.
"""

import os
import sys

sys.path.append(__file__.rpartition("/nornir_torque_vm/")[0])  # it is started without any site's packages
from nornir_torque_vm.ownerread import CHUNK, ERRNO, become

NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY
"""Nothing that is there already, link or file, is touched."""


def write(directory: bytes, name: bytes) -> None:
    """Write what comes; a file that cannot be written whole goes again."""
    folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fd = os.open(name, NEW, 0o600, dir_fd=folder)
    try:
        while chunk := os.read(0, CHUNK):
            while chunk:
                chunk = chunk[os.write(fd, chunk) :]
        os.fsync(fd)  # a quota on a file server may be heard of only now
    except BaseException:
        os.unlink(name, dir_fd=folder)
        raise


def main() -> int:
    """Do it; the exit code tells how it went."""
    directory, name, uid, gid, groups = sys.argv[1:]
    try:
        become(int(uid), int(gid), [int(group) for group in groups.split(",") if group])
        write(os.fsencode(directory), os.fsencode(name))
    except OSError as error:
        return ERRNO + (error.errno or 0)
    return 0


if __name__ == "__main__":
    os._exit(main())
