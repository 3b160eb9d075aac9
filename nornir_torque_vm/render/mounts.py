"""How a guest mounts its user's files: a script that root runs there, once cloud-init is through.

Not cloud-init's own ``mounts``: it writes what fails into a log of the guest's and goes on, and would mount
the home before it puts the keys of the guest's account into it. A job must neither run in an empty
home nor leave keys of its own in the user's. So the guest's ``.ssh`` is kept aside and laid over the
home's; whatever fails ends the script with a sentence.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping

from nornir_torque_vm.model import Plan, UserFiles
from nornir_torque_vm.render.encode import word

OWN_SSH = "/var/lib/torque-vm/ssh"
"""The guest's own ``.ssh`` of its user, when the home is not the guest's."""

_OPTIONS = {
    # Files are as the host has them at each opening; without a cache programs could not map them for writing.
    UserFiles.NINE_P: "trans=virtio,version=9p2000.L,msize=262144,cache=mmap",
    UserFiles.VIRTIOFS: "",
}
_TYPES = {UserFiles.NFS: "nfs4", UserFiles.NINE_P: "9p", UserFiles.VIRTIOFS: "virtiofs"}
_ALWAYS = "nosuid,nodev"
_ODD = re.compile(r"[ \t\n\\#]")
"""What the kernel writes in octal in /proc/mounts."""

_SCRIPT = """\
set -eu
umask 022
PATH=/usr/sbin:/usr/bin:/sbin:/bin
fail() { echo "$1" >&2; exit 1; }

# mounted PATH: whether something is mounted there; PATH as in /proc/mounts
mounted() {
    while read -r device at rest; do [ "$at" != "$1" ] || return 0; done </proc/mounts
    return 1
}

# share SOURCE PATH PATH-AS-IN-/proc/mounts OPTIONS
share() {
    ! mounted "$3" || return 0
    mkdir -p "$2" || fail "$2 cannot be made"
    # -i: no helper of its own, which a small image lacks.
    said=$(mount -i -t "$type" -o "$4" "$1" "$2" 2>&1) || fail "$2 was not mounted: $said"
}

# The files are those of a number, not of a name.
[ "$(id -u "$user" 2>/dev/null)" = "$uid" ] || fail "$user has another number in the image than $uid"
home=
while IFS=: read -r name password number group comment folder rest; do
    if [ "$name" = "$user" ]; then home=$folder; fi
done </etc/passwd
[ "$home" = "$wanted" ] || fail "the home of $user is ${home:-missing} in the image, not $wanted"

# By its path: a shell of busybox would take its own.
/usr/sbin/modprobe -q "$type" 2>/dev/null || :
[ "$type" != 9p ] || /usr/sbin/modprobe -q 9pnet_virtio 2>/dev/null || :
if [ ! -d @OWN@ ]; then
    mkdir -p "${home%/*}" "$(dirname @OWN@)"
    mv "$home/.ssh" @OWN@ || fail "$home/.ssh cannot be kept aside"
fi
@SHARES@

mounted "$covered" && exit 0
# The owner leads the way: on a file server root may be nobody, who cannot look into the home. Where the
# owner stands is asked of the kernel: a link in the home would have us cover something of the guest's.
# -p: another guest of the job may make the directory at the same moment.
stand='umask 077; cd && mkdir -p .ssh && cd .ssh && echo $$ && exec sleep 60'
su -s /bin/sh "$user" -c "$stand" </dev/null >@OWN@.at 2>&1 &
left=600
until [ -s @OWN@.at ] || [ $left = 0 ] || ! kill -0 $! 2>/dev/null; do sleep 0.1; left=$((left - 1)); done
at=$(cat @OWN@.at)
case $at in
    '' | *[!0-9]*) fail "$user cannot enter the home $home: ${at:-no answer}" ;;
esac
place=$(readlink "/proc/$at/cwd" || :)
if [ "$place" = "$home/.ssh" ]; then
    mount -c -o bind @OWN@ "/proc/$at/cwd" 2>/dev/null || mount -o bind @OWN@ "/proc/$at/cwd" 2>&1 || :
fi
kill "$at" 2>/dev/null || :
rm -f @OWN@.at
mounted "$covered" || fail "the guest's keys cannot be laid over $home/.ssh, which leads to ${place:-nowhere}"
""".replace("@OWN@", OWN_SSH)


def mount_script(plan: Plan, options: str = "", servers: Mapping[str, str] | None = None) -> str:
    """Return a POSIX shell script that root runs in a guest: ``sh -s`` with it as standard input.

    It mounts the plan's directories where guests have them, never setuid, without devices, and lays
    the guest's own ``.ssh`` over the home's. Running it again changes nothing. On failure its last
    words on stderr are a sentence.

    :param options: for NFS, the site's.
    :param servers: for NFS: name of a server → its IPv4 address.
    :raises KeyError: the address of a server is missing.
    :raises RequestError: a value no shell can hold.
    """
    owner, nfs = plan.job.owner, plan.user_files is UserFiles.NFS
    home = posixpath.normpath(owner.home)
    # Ours last: the last of two that contradict each other counts.
    options = ",".join(filter(None, [options if nfs else _OPTIONS[plan.user_files], _ALWAYS]))
    lines = []
    for one in plan.user_dirs:
        source, given = one.source, f"{options},ro" if one.elsewhere else options
        if nfs:
            # The kernel resolves no names, nor does busybox; and from version 4.1 on nobody calls back.
            name, _, export = one.source.partition(":")
            address = (servers or {})[name]
            source, given = f"{address}:{export}", f"{given},addr={address},clientaddr=0.0.0.0"
        lines.append(" ".join(["share", *map(word, (source, one.at, _as_mounted(one.at), given))]))
    values = {
        "user": owner.name,
        "uid": str(owner.uid),
        "wanted": owner.home,
        "covered": f"{_as_mounted(home)}/.ssh",
        "type": _TYPES[plan.user_files],
    }
    head = "".join(f"{name}={word(value)}\n" for name, value in values.items())
    return head + _SCRIPT.replace("@SHARES@", "\n".join(lines))


def _as_mounted(path: str) -> str:
    return _ODD.sub(lambda found: f"\\{ord(found[0]):03o}", path)
