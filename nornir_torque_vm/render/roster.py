"""How the guests of a job get to know each other: names, pinned host keys, the job's own key."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterator, Mapping
from importlib import resources

from nornir_torque_vm.config.fields import show
from nornir_torque_vm.errors import InventoryError, NoAddress
from nornir_torque_vm.model import JobKeys, Plan
from nornir_torque_vm.nodefile import valid_host
from nornir_torque_vm.render.encode import word
from nornir_torque_vm.render.mounts import OWN_SSH

BEGIN, END = "# torque-vm: begin", "# torque-vm: end"
"""Around what we write into files that hold other things as well."""

PBSDSH_MARK = "^# torque-vm: pbsdsh"
"""Pattern of a line in a ``pbsdsh`` of ours."""

SPOOL = "/var/spool/torque"
"""PBS_HOME of a MOM as TORQUE installs it."""

_SCRIPT = (
    """\
set -eu
umask 022

# home USER: the account's home directory, if the guest has the account
home() {
    while IFS=: read -r name password uid gid comment home shell; do
        if [ "$name" = "$1" ]; then printf %s "$home"; fi
    done <"$root/etc/passwd"
}

# block FILE FIRST|LAST TEXT: give FILE a block of ours with TEXT, in place of the one it had
block() {
    old=
    if [ -f "$1" ]; then old=$(sed '/^@BEGIN@$/,/^@END@$/d' "$1"); fi
    own=$(printf '%s\\n%s\\n%s' '@BEGIN@' "$3" '@END@')
    # Written, not replaced: the file keeps its owner, mode and security label.
    case $2 in
        FIRST) printf '%s\\n' "$own" ${old:+"$old"} >"$1" ;;
        LAST) printf '%s\\n' ${old:+"$old"} "$own" >"$1" ;;
    esac
}

# The job finds its script and its nodefile at the paths it knows from the node.
for folder in aux mom_priv/jobs; do
    mkdir -p "$root@SPOOL@/$folder"
    chown "$owner" "$root@SPOOL@/$folder"
    chmod 700 "$root@SPOOL@/$folder"
done

# First, because the guest's own name may stand further down with a loopback address.
block "$root/etc/hosts" FIRST "$hosts"
mkdir -p "$root/etc/ssh"
block "$root/etc/ssh/ssh_known_hosts" LAST "$known_hosts"
chmod 644 "$root/etc/hosts" "$root/etc/ssh/ssh_known_hosts"

# The image's own pbsdsh would look for a MOM. A directory that is mounted by itself may be others' as well.
tool=$root/usr/local/bin/pbsdsh
own=yes
[ ! -e "$tool" ] || grep -q '@PBSDSH@' "$tool" || own=
[ ! -r "$root/proc/mounts" ] || while read -r _ at _; do
    case $at in "$root/usr" | "$root/usr/local" | "$root/usr/local/bin") own= ;; esac
done <"$root/proc/mounts"
if [ -n "$own" ]; then
    { mkdir -p "${tool%/*}" && printf '%s\\n' "$pbsdsh" >"$tool" && chmod 755 "$tool"; } ||
        echo "torque-vm: this guest has no pbsdsh" >&2
fi

found=$(home "$user")
home=$root${found:-$default_home}
[ -d "$home" ] || { echo "torque-vm: the home directory $home of $user does not exist" >&2; exit 1; }
ssh=$home/.ssh
# Where the home is the user's own, the guest's .ssh lies over the one in it; see mounts.py.
[ -z "$covered" ] || ssh=$root$covered
umask 077
mkdir -p "$ssh"
block "$ssh/known_hosts" LAST "$known_hosts"
key=$ssh/id_ed25519
if [ -s "$key" ] && [ "$(cat "$key")" != "$private_key" ]; then
    echo "torque-vm: $key is the user's own and stays as it is" >&2
else
    printf '%s\\n' "$private_key" >"$key"
    printf '%s\\n' "$public_key" >"$key.pub"
    chown "$owner" "$key" "$key.pub"
    chmod 600 "$key"
    if command -v dropbearconvert >/dev/null; then
        dropbearconvert openssh dropbear "$key" "$ssh/id_dropbear" 2>/dev/null
        chown "$owner" "$ssh/id_dropbear"
    fi
fi
chown "$owner" "$ssh" "$ssh/known_hosts"
chmod 700 "$ssh"
""".replace("@BEGIN@", BEGIN)
    .replace("@END@", END)
    .replace("@SPOOL@", SPOOL)
    .replace("@PBSDSH@", PBSDSH_MARK)
)


def roster_script(
    plan: Plan, addresses: Mapping[str, str], keys: JobKeys, *, domain: str = "", root: str = ""
) -> str:
    """Return a POSIX shell script that root runs in each guest: ``sh -s`` with it as standard input.

    It makes the directories of the job's script and nodefile, names all guests in ``/etc/hosts``, pins
    their host keys for everybody and for the job's owner (dropbear's client knows no other file), and
    gives the owner the job's private key. ``pbsdsh`` is put beside the guest's own programs, unless there
    is another one. Running it again changes nothing; a key the user had before
    is left alone.

    :param addresses: guest name → IPv4 address, for every guest of the plan.
    :param domain: of the guests' full names, which come first in ``/etc/hosts``; empty: they have none.
    :param root: directory that stands for ``/``.
    :raises NoAddress: a guest's address is missing.
    :raises InventoryError: a name or address is not one.
    :raises RequestError: a value no shell can hold.
    """
    owner = plan.job.owner
    values = {
        "root": root,
        "user": owner.name,
        "default_home": owner.home,
        "owner": f"{owner.uid}:{owner.gid}",
        "covered": OWN_SSH if plan.user_dirs else "",
        "hosts": "\n".join(
            " ".join([address, *_names(name, domain)]) for name, address in _places(plan, addresses)
        ),
        "known_hosts": known_hosts(plan, addresses, keys, domain).rstrip("\n"),
        "private_key": keys.user.private.rstrip("\n"),
        "public_key": keys.user.public.rstrip("\n"),
        "pbsdsh": pbsdsh().rstrip("\n"),
    }
    return "".join(f"{name}={word(value)}\n" for name, value in values.items()) + _SCRIPT


def known_hosts(plan: Plan, addresses: Mapping[str, str], keys: JobKeys, domain: str = "") -> str:
    """Return the guests' host keys as a ``known_hosts`` file, by all their names and by address.

    One name a line: dropbear's client does not read lists. Errors as in :func:`roster_script`.
    """
    return "".join(
        f"{known_as} {' '.join(keys.hosts[name].public.split()[:2])}\n"
        for name, address in _places(plan, addresses)
        for known_as in (*_names(name, domain), address)
    )


@functools.cache
def pbsdsh() -> str:
    """Return the program ``pbsdsh`` as guests get it: POSIX shell text."""
    return resources.files(__package__).joinpath("pbsdsh.sh").read_text(encoding="utf-8")


def _names(name: str, domain: str) -> tuple[str, ...]:
    """A guest's names, the full one first: the system takes the first for the canonical one."""
    return (f"{name}.{domain}", name) if domain else (name,)


def _places(plan: Plan, addresses: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield name and address of each guest, by rank."""
    for guest in plan.guests:
        if not valid_host(guest.name):
            raise InventoryError(f"{show(guest.name)} is not a host name")
        address = addresses.get(guest.name)
        if not address:
            raise NoAddress("its address is not known", hint="run discover_address first", guest=guest.name)
        try:
            yield guest.name, str(ipaddress.ip_address(address))
        except ValueError:
            raise InventoryError(f"{show(address)} is not an address", guest=guest.name) from None
