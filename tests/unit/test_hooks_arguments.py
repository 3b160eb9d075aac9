"""argv and environment as TORQUE gives them; the recorded forms are in test_driver_slots."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import pytest

from nornir_torque_vm.errors import InventoryError
from nornir_torque_vm.hooks.arguments import HookCall, parse_epilogue, parse_prologue

PROLOGUE = ["17.head", "alice", "users", "x;y$(id)`w`", "nodes=1,other=vm1:ram=1G", "batch", ""]
EPILOGUE = ["17.head", "alice", "users", "job", "2541", "nodes=1", "cput=00:00:00", "batch", "acct", "271"]


def test_a_prologues_arguments_are_known_by_place() -> None:
    """Up to TORQUE 5.0 there are seven; an empty account is an argument too."""
    environment = {"PBS_NODEFILE": "/var/spool/torque/aux//17.head", "PBS_MSHOST": "node1", "PBS_JOBID": "9"}
    assert parse_prologue(PROLOGUE, environment) == HookCall(
        "17.head", "alice", "users", "x;y$(id)`w`", "nodes=1,other=vm1:ram=1G", "batch", "",
        "/var/spool/torque/aux//17.head", "node1",
    )  # fmt: skip


def test_an_epilogues_arguments_are_known_by_place() -> None:
    """Session and used resources stand in between, the exit status at the end."""
    call = parse_epilogue(EPILOGUE, {})
    assert (call.job_name, call.resources, call.queue, call.account) == ("job", "nodes=1", "batch", "acct")
    assert (call.exit_status, call.nodefile, call.mother_superior) == ("271", "", "")


@pytest.mark.parametrize(("parse", "given"), [(parse_prologue, PROLOGUE), (parse_epilogue, EPILOGUE)])
def test_later_torques_may_add_arguments(
    parse: Callable[[Sequence[str], Mapping[str, str]], HookCall], given: list[str]
) -> None:
    """5.1 added the script's path, of which prologues make use, 6.1 the presetup's host list."""
    found = parse([*given, "/path/17.head.SC", "n1,n2"], {})
    assert found.script == ("/path/17.head.SC" if given is PROLOGUE else "")
    assert dataclasses.replace(found, script="") == parse(given, {})


@pytest.mark.parametrize(
    ("parse", "given", "hook"),
    [(parse_prologue, PROLOGUE, "prologue"), (parse_epilogue, EPILOGUE, "epilogue")],
)
def test_fewer_arguments_than_any_torque_gives_are_refused(
    parse: Callable[[Sequence[str], Mapping[str, str]], HookCall], given: list[str], hook: str
) -> None:
    """Somebody started the program by hand: the sentence says what it is for."""
    with pytest.raises(InventoryError) as caught:
        parse(given[:-1], {})
    assert f"the {hook} was given {len(given) - 1} arguments, TORQUE gives at least {len(given)}" in str(
        caught.value
    )
    assert "only a MOM" in str(caught.value)
