"""Introducing guests to each other: what a guest answers, and what the job is told of it."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest
from nornir.core.plugins.connections import ConnectionPluginRegister
from task_kit import World, first_error, make_plan, result_of

from nornir_torque_vm.connections.command import CommandResult
from nornir_torque_vm.errors import NotHealthy
from nornir_torque_vm.render.cloudinit.accounts import WRONG_ACCOUNT, account_check
from nornir_torque_vm.tasks import publish_roster


class Ssh:
    """A ``guest_ssh`` plugin of a guest that answers one thing."""

    answer = CommandResult(0)
    told: list[bytes]

    def open(self, *_: object, **__: object) -> None:
        """Log in."""

    def close(self) -> None:
        """Hang up."""

    @property
    def connection(self) -> Ssh:
        """What tasks talk to."""
        return self

    def run(self, command: str, *, stdin: bytes) -> Any:
        """Read the script."""
        type(self).told.append(stdin)
        return type(self).answer


@pytest.fixture
def world(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tmp_path, make_plan(1, 1))
    monkeypatch.setitem(ConnectionPluginRegister.available, "guest_ssh", Ssh)
    monkeypatch.setattr(Ssh, "told", [], raising=False)
    made.inventory.hosts["j17-r0"].hostname = "10.89.0.9"
    return made


def test_the_account_is_looked_at_before_it_gets_the_jobs_key(world: World) -> None:
    """It may be somebody else's."""
    result_of(world.run(publish_roster, "guest"), "j17-r0")
    (script,) = Ssh.told
    assert script.startswith(account_check(make_plan(1, 1).job.owner).encode())


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (CommandResult(WRONG_ACCOUNT, "", "motd\nalice is somebody\n"), "guest j17-r0: alice is somebody"),
        (CommandResult(WRONG_ACCOUNT, "", ""), "cannot write its list of guests"),
        (CommandResult(1, "", "no space left\n"), "cannot write its list of guests"),
    ],
)  # fmt: skip
def test_a_guest_that_refuses_says_why(
    world: World, monkeypatch: pytest.MonkeyPatch, answer: CommandResult, told: str
) -> None:
    """A wrong account is not called a file that could not be written."""
    monkeypatch.setattr(Ssh, "answer", answer)
    error = first_error(world.run(publish_roster, "guest"), "j17-r0")
    assert isinstance(error, NotHealthy)
    assert told in str(error)
