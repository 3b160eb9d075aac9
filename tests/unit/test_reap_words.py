"""What the reaper writes to syslog."""

from __future__ import annotations

import pytest

from nornir_torque_vm.cli.reap import report
from nornir_torque_vm.reap.leftovers import Found, Leftovers
from nornir_torque_vm.reap.reaper import Case, Fate, Outcome


def test_what_should_have_been_removed_and_could_not_is_told_in_the_same_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One line of syslog for a run; none where everything is as it should be."""
    said: list[str] = []
    monkeypatch.setattr("nornir_torque_vm.cli.reap.log", lambda *words: said.append(" ".join(words)))
    gone, stuck, alive = (
        Case(Leftovers(slug, frozenset({Found("domain", f"tvm-{slug}", slug, f"{slug}.head")})), fate, why)
        for slug, fate, why in (
            ("17", Fate.REMOVED, "over"),
            ("18", Fate.FAILED, "the disk is on fire"),
            ("19", Fate.KEPT, "it runs"),
        )
    )
    report(Outcome("node1", (alive,), ()))
    assert said == []
    report(Outcome("node1", (alive, stuck, gone), ()))
    report(Outcome("node1", (stuck,), ()))
    left = "job 18.head is over and could not be removed: the disk is on fire"
    assert said == [f"reap 17.head over, 1 guests and 0 files of guests removed; {left}", f"reap - {left}"]
