"""Accounts in a guest: the job owner's, with the numbers of the nodes, and root's."""

from __future__ import annotations

from typing import Any

from nornir_torque_vm.model import JobKeys, Owner
from nornir_torque_vm.render.cloudinit.programs import program
from nornir_torque_vm.render.encode import word

ROOTLY = frozenset(
    "root sudo wheel admin disk kmem mem shadow docker lxd incus incus-admin libvirt".split()  # noqa: SIM905
)
"""Groups whose members can become root where they are; nobody is in them in a guest."""

WRONG_ACCOUNT = 71
"""Exit status of :func:`account_check`; its last words are a sentence (71 is sysexits' ``EX_OSERR``)."""
_CHECK = """\
wrong() { echo "$1" >&2; exit @STATUS@; }
[ "$(id -u "$user" 2>/dev/null)" = "$uid" ] || wrong "$user has not the number $uid in the guest"
for one in $(id -G "$user"); do
    case " $groups " in *" $one "*) continue ;; esac
    wrong "$user is in a group $one in the guest, and not on the nodes"
done
""".replace("@STATUS@", str(WRONG_ACCOUNT))


def users(owner: Owner, keys: JobKeys) -> list[dict[str, Any]]:
    """Return cloud-init's ``users``: who may log in, with which key. ``default`` is not among them.

    The owner's account exists by then (:func:`accounts_command`), so that this adds the key only.
    """
    admin, user = keys.admin.public, keys.user.public
    if owner.name == "root":
        return [{"name": "root", "ssh_authorized_keys": [admin, user]}]
    account: dict[str, Any] = {
        "name": owner.name,
        "uid": owner.uid,
        "primary_group": owner.group,
        "no_user_group": True,
        "shell": owner.shell,
        "lock_passwd": True,
        "ssh_authorized_keys": [user],
    }
    if owner.home != f"/home/{owner.name}":
        account["homedir"] = owner.home
    return [{"name": "root", "ssh_authorized_keys": [admin]}, account]


def accounts_command(owner: Owner) -> list[str]:
    """Return the command, for before accounts are looked at, that makes the owner's and disables others.

    Each argument stays one, whatever it holds.
    """
    groups = [(name, gid) for name, gid in groups_of(owner) if (name, gid) != (owner.group, owner.gid)]
    account = (owner.name, owner.uid, owner.group, owner.gid, owner.home, owner.shell)
    words = (*account, *(word for group in groups for word in group))
    return ["sh", "-c", program("accounts"), "sh", *map(str, words)]


def groups_of(owner: Owner) -> tuple[tuple[str, int], ...]:
    """Return the groups the owner may be in inside a guest: the primary one, and others but root's own."""
    others = [(name, gid) for name, gid in owner.groups if name not in ROOTLY and gid not in {0, owner.gid}]
    return ((owner.group, owner.gid), *others)


def account_check(owner: Owner) -> str:
    """Return shell text that ends with :data:`WRONG_ACCOUNT` unless the owner is in the guest who they are.

    A file server believes the numbers a guest states, so what the image made of the account is looked at
    again. Fewer groups than on the nodes are right. Nothing is checked for root.

    :raises RequestError: a value no shell can hold.
    """
    if owner.uid == 0:
        return ""
    groups = " ".join(str(gid) for _, gid in groups_of(owner))
    return f"user={word(owner.name)}\nuid={owner.uid}\ngroups={word(groups)}\n{_CHECK}"
