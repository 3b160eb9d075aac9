"""Accounts as NSS knows them, so LDAP and SSSD users count like those of /etc/passwd."""

from __future__ import annotations

import grp
import os
import pwd

from nornir_torque_vm.errors import InventoryError
from nornir_torque_vm.model import Owner


def owner_named(name: str) -> Owner:
    """Return the account ``name`` with its groups.

    :raises InventoryError: no such account.
    """
    try:
        entry = pwd.getpwnam(name)
    except (KeyError, ValueError):
        raise InventoryError(
            f"there is no account {name!r:.60} on this host",
            hint="does the node use the site's directory service?",
        ) from None
    return _owner(entry, os.getgrouplist(entry.pw_name, entry.pw_gid))


def caller() -> Owner:
    """Return the account that runs this process.

    :raises InventoryError: it has none, as in some containers.
    """
    try:
        entry = pwd.getpwuid(os.getuid())
    except KeyError:
        raise InventoryError(f"there is no account with the number {os.getuid()} on this host") from None
    return _owner(entry, os.getgroups())


def _owner(entry: pwd.struct_passwd, gids: list[int]) -> Owner:
    groups = tuple((group_name(gid), gid) for gid in sorted(set(gids)) if gid != entry.pw_gid)
    return Owner(
        entry.pw_name,
        entry.pw_uid,
        entry.pw_gid,
        group_name(entry.pw_gid),
        entry.pw_dir,
        entry.pw_shell,
        groups,
    )


def group_name(gid: int) -> str:
    """Return the name of a group; one that NSS does not know is called after its number."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return f"group{gid}"
