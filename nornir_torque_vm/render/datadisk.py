"""The scripts by which root in a guest mounts the user's disk and lets go of it. Pure text."""

from __future__ import annotations

from nornir_torque_vm.model import Owner
from nornir_torque_vm.render.encode import word

SERIAL = "torque-vm-data"
"""What the disk is called in the guest: ``/dev/disk/by-id/virtio-torque-vm-data``."""
MOUNT_POINT = "/data"
NO_FILE_SYSTEM = 65
"""Exit status of the script when there is nothing on the disk that can be mounted (``EX_DATAERR``)."""

_HEAD = """\
set -u
umask 022
PATH=/usr/sbin:/usr/bin:/sbin:/bin
fail() { echo "$1" >&2; exit "${2:-1}"; }

# mounted PATH: whether something is mounted there
mounted() {
    while read -r device at rest; do [ "$at" != "$1" ] || return 0; done </proc/mounts
    return 1
}
"""

_MOUNT = (
    _HEAD
    + """
mounted @AT@ && exit 0
device=
for block in /sys/block/*; do
    [ "$(cat "$block/serial" 2>/dev/null)" != @SERIAL@ ] || device=${block##*/}
done
[ "$device" ] || fail "the guest does not see the disk"
[ ! -d "/sys/block/$device/${device}1" ] || device=${device}1
mkdir -p @AT@ || fail "@AT@ cannot be made"
said=
for type in ext4 xfs; do
    # By its path: a shell of busybox would take its own.
    /usr/sbin/modprobe -q $type 2>/dev/null || :
    # -i: no helper of its own, which a small image lacks.
    said=$(mount -i -t $type -o nosuid,nodev "/dev/$device" @AT@ 2>&1) && break
done
mounted @AT@ || fail "no ext4 or xfs that this guest can mount: $said" @NONE@
# Who makes a file system on a node is root there, or cannot say whose it is. It is the owner's disk.
set -- $(ls -lnd @AT@)
[ "$3" != 0 ] || chown "$owner" @AT@ || fail "@AT@ cannot be given to its owner"
"""
).replace("@NONE@", str(NO_FILE_SYSTEM))

_UNMOUNT = (
    _HEAD
    + """
mounted @AT@ || exit 0
sync
left=10
until umount @AT@ 2>/dev/null; do
    # What is left of the job still has files there: by now it is nobody's any more.
    for process in /proc/[0-9]*; do
        for link in "$process/cwd" "$process/root" "$process/exe" "$process"/fd/*; do
            case $(readlink "$link" 2>/dev/null) in
                @AT@ | @AT@/*) kill -KILL "${process#/proc/}" 2>/dev/null; break ;;
            esac
        done
    done
    left=$((left - 1))
    [ $left -gt 0 ] || fail "@AT@ is still in use"
    sleep 0.3
done
"""
)


def mount_disk_script(owner: Owner) -> str:
    """Return a POSIX shell script that root runs in the first guest: ``sh -s`` with it as standard input.

    The file system is on the disk itself or on its first partition; never setuid, without devices. Its top
    becomes the owner's if it is root's. Running it again changes nothing. On failure its last words on stderr
    are a sentence.
    """
    return f"owner={word(f'{owner.uid}:{owner.gid}')}\n" + _filled(_MOUNT)


def unmount_disk_script() -> str:
    """Return the script that brings everything onto the disk and lets go of it, whoever still uses it."""
    return _filled(_UNMOUNT)


def _filled(text: str) -> str:
    return text.replace("@AT@", MOUNT_POINT).replace("@SERIAL@", SERIAL)
