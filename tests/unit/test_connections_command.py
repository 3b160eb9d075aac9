"""What a remote command left behind, in one line."""

from __future__ import annotations

import pytest

from nornir_torque_vm.connections.command import CommandResult
from nornir_torque_vm.phases import PHASES, phase_of


@pytest.mark.parametrize(
    ("result", "ok", "summary"),
    [
        (CommandResult(0), True, "exit status 0"),
        (CommandResult(0, "out\n"), True, "exit status 0: out"),
        (CommandResult(2, "out", "Usage:\n  ip [opts]\nip: no such device \n"), False,
         "exit status 2: ip: no such device"),
        (CommandResult(127, "", "sh: x: not found"), False, "exit status 127: sh: x: not found"),
        (CommandResult(-1, "partial", " \n"), False, "no exit status: partial"),
        (CommandResult(1, "", "e" * 500), False, "exit status 1: " + "e" * 200),
    ],
)  # fmt: skip
def test_the_summary_is_the_status_and_the_last_complaint(
    result: CommandResult, ok: bool, summary: str
) -> None:
    """Programs say last what went wrong, on stderr if they have something there."""
    assert (result.ok, result.summary()) == (ok, summary)


def test_each_task_of_a_job_has_its_phase_word() -> None:
    """Reports and timelines speak of phases; other people's tasks keep their names."""
    assert [phase_of(task) for task in PHASES] == [
        "survey", "image", "start", "address", "health", "files", "disk", "roster", "guest-prologue",
        "vm-prologue", "close", "hand-over", "vm-epilogue", "guest-epilogue", "unmount", "destroy",
    ]  # fmt: skip
    assert phase_of("show_version") == "show_version"
