"""Accounts as the system knows them; the tests run as one of them."""

from __future__ import annotations

import grp
import os
import pwd

import pytest

from nornir_torque_vm import accounts
from nornir_torque_vm.errors import InventoryError

ME = pwd.getpwuid(os.getuid())


def test_an_account_has_the_fields_of_its_entry() -> None:
    """Numbers, home and shell reach the guest's user-data."""
    owner = accounts.owner_named(ME.pw_name)
    assert (owner.name, owner.uid, owner.gid) == (ME.pw_name, ME.pw_uid, ME.pw_gid)
    assert (owner.home, owner.shell) == (ME.pw_dir, ME.pw_shell)


def test_the_caller_is_who_runs_the_process() -> None:
    """With the groups it has now, which may be fewer than its account's."""
    owner = accounts.caller()
    assert (owner.name, owner.uid) == (ME.pw_name, ME.pw_uid)
    assert {gid for _, gid in owner.groups} == set(os.getgroups()) - {ME.pw_gid}


def test_groups_are_named_once_and_without_the_primary_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """In numerical order; one that nobody knows is called after its number."""
    names = {5: "tty", 100: "users"}

    def getgrgid(gid: int) -> grp.struct_group:
        if gid == ME.pw_gid:
            return grp.struct_group(("mine", "x", gid, []))
        return grp.struct_group((names[gid], "x", gid, []))

    monkeypatch.setattr(os, "getgrouplist", lambda _name, gid: [100, 5, gid, 70_000, 100])
    monkeypatch.setattr(grp, "getgrgid", getgrgid)
    owner = accounts.owner_named(ME.pw_name)
    assert owner.group == "mine"
    assert owner.groups == (("tty", 5), ("users", 100), ("group70000", 70_000))


@pytest.mark.parametrize("name", ["no-such-account", "a\0b", ""])
def test_an_account_that_does_not_exist_is_the_sites_to_mend(name: str) -> None:
    """The node may not ask the directory service that the head node asks."""
    with pytest.raises(InventoryError, match="directory service"):
        accounts.owner_named(name)


def test_a_caller_without_an_account_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers run programs under numbers that have no name."""
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)
    with pytest.raises(InventoryError, match="there is no account with the number 4000000000"):
        accounts.caller()
