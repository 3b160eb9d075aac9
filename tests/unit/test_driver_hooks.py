"""Which file a MOM takes for a hook, and whether it runs it (TF 1.2)."""

from __future__ import annotations

import os
import stat

import pytest
from driver_kit import Nodes, nodes

from nornir_torque_vm.driver import slots
from nornir_torque_vm.driver.mom import Mom

__all__ = ["nodes"]


def mom(nodes: Nodes, nodenum: int = 0, job_type: str = "vm") -> Mom:
    job = nodes.job(job_type=job_type)
    return Mom(nodes, job.hosts[nodenum], nodenum, job)


def test_the_vm_hook_goes_before_the_plain_one(nodes: Nodes) -> None:
    """TF 1.2: ``qsub -T vm`` uses ``<slot>.vm`` where it exists, else ``<slot>``, else nothing."""
    assert mom(nodes).hook("prologue", 300) is None
    nodes.hook("prologue", "exit 4")
    outcomes = []
    for name, code in (("prologue", 4), ("prologue.vm", 5)):
        nodes.hook(name, f"exit {code}")
        ended = mom(nodes).hook("prologue", 300)
        outcomes.append(ended and ended.outcome)
    assert outcomes == [4, 5]


@pytest.mark.parametrize(
    ("slot", "modes"),
    [
        ("prologue", {0o500: True, 0o555: True, 0o755: True, 0o400: False, 0o100: False, 0o770: False}),
        ("epilogue.parallel", {0o550: True, 0o502: False}),
        ("prologue.user", {0o505: True, 0o755: True, 0o500: False, 0o550: False, 0o775: False}),
    ],
)
def test_a_hook_is_run_by_its_mode(nodes: Nodes, slot: str, modes: dict[int, bool]) -> None:
    """TF 1.2: nobody else may write; a user's hooks have to be readable by all."""
    for mode, runs in modes.items():
        nodes.hook(slot, "exit 7", mode)
        ended = mom(nodes, int(slot.endswith("parallel"))).hook(slot, 300)
        assert ended is not None
        assert ended.outcome == (7 if runs else slots.REFUSED), oct(mode)


def test_a_hook_of_somebody_elses_is_not_run(nodes: Nodes) -> None:
    """TF 1.2: root's alone; links are followed, also to a directory."""
    owner = list(nodes.hook("prologue", "exit 0").stat())
    assert slots.may_run("prologue", os.stat_result(owner))
    owner[stat.ST_UID] += 1
    assert not slots.may_run("prologue", os.stat_result(owner))
    assert not slots.may_run("prologue", nodes.home.stat())


def test_a_job_without_a_type_meets_plain_hooks_alone(nodes: Nodes) -> None:
    """Jobs without guests, and all jobs where TORQUE has no -T."""
    nodes.hook("prologue.vm", "exit 5")
    assert mom(nodes, job_type="").hook("prologue", 300) is None
    nodes.hook("prologue", "exit 4")
    ended = mom(nodes, job_type="").hook("prologue", 300)
    assert ended is not None
    assert ended.outcome == 4
