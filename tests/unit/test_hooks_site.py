"""The site's own hooks beside ours: when they run, what they are given, and what their end leads to."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mom_kit import SHELLS, SLOTS, MomPriv

OURS = {
    "prologue": ["ours nornir_torque_vm.hooks.prologue"],
    "prologue.parallel": [],
    "epilogue": ["ours nornir_torque_vm.hooks.epilogue"],
    "epilogue.parallel": ["ours nornir_torque_vm.hooks.safetynet"],
}
"""What ours start."""


@pytest.fixture(params=SHELLS, ids=" ".join)
def mom(tmp_path: Path, request: pytest.FixtureRequest) -> MomPriv:
    """A mom_priv under every shell."""
    return MomPriv(tmp_path, request.param)


@pytest.fixture
def one(tmp_path: Path) -> MomPriv:
    """A mom_priv under this system's shell."""
    return MomPriv(tmp_path)


def settled(mom: MomPriv, count: int) -> list[str]:
    """What ran, once that many have: a safety net starts beside the site's hook."""
    end = time.monotonic() + 10
    while len(mom.order) < count and time.monotonic() < end:
        time.sleep(0.02)
    return mom.order


@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed"])
@pytest.mark.parametrize("slot", SLOTS)
def test_the_sites_hook_is_given_what_a_mom_gives_it(mom: MomPriv, slot: str, closed: bool) -> None:
    """argv, environment, descriptors, directory, umask, signals, a session: as if ours were not there."""
    plain = mom.site(slot)
    assert mom.run(plain, slot, closed=closed, umask=0o077) == 0
    without = mom.seen
    mom.log.write_text("")
    mom.seen_file.unlink()
    assert mom.run(mom.ours(slot), slot, closed=closed, umask=0o077) == 0
    assert without is not None
    given: dict[str, Any] = mom.seen or {}
    assert given.keys() == without.keys()
    for name, value in without.items():
        assert given[name] == value, name


@pytest.mark.parametrize("slot", SLOTS)
def test_before_ours_in_a_prologue_and_after_in_an_epilogue(mom: MomPriv, slot: str) -> None:
    """So the site prepares a node for guests too, and cleans up when they are gone."""
    mom.site(slot)
    assert mom.run(mom.ours(slot), slot) == 0
    both = ["site", *OURS[slot]] if slot.startswith("prologue") else [*OURS[slot], "site"]
    found = settled(mom, len(both))
    assert found == both or (slot == "epilogue.parallel" and sorted(found) == sorted(both))


@pytest.mark.parametrize("slot", SLOTS)
def test_a_site_without_a_hook_needs_none(mom: MomPriv, slot: str) -> None:
    """Also a link to nowhere is none for a MOM."""
    ours = mom.ours(slot)
    assert mom.run(ours, slot) == 0
    (mom.folder / slot).symlink_to("nowhere")
    assert mom.run(ours, slot) == 0
    assert settled(mom, 2 * len(OURS[slot])) == 2 * OURS[slot]


@pytest.mark.parametrize("code", [1, 2, 37, 255])
@pytest.mark.parametrize("slot", SLOTS)
def test_its_exit_code_goes_through(one: MomPriv, slot: str, code: int) -> None:
    """1 aborts, others requeue; a prologue that fails keeps ours from making anything."""
    one.site(slot, code)
    assert one.run(one.ours(slot), slot) == code
    assert "ours nornir_torque_vm.hooks.prologue" not in one.order


def group_writable(path: Path) -> None:
    path.chmod(0o770)


def world_writable(path: Path) -> None:
    path.chmod(0o502)


def not_executable(path: Path) -> None:
    path.chmod(0o400)


def not_readable(path: Path) -> None:
    path.chmod(0o100)


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def foreign(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("giving a file away needs root")
    os.chown(path, 12345, 0)


def linked_foreign(path: Path) -> None:
    foreign(path)
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


@pytest.mark.parametrize(
    "spoil",
    [group_writable, world_writable, not_executable, not_readable, directory, foreign, linked_foreign],
)
@pytest.mark.parametrize("slot", ["prologue", "epilogue.parallel"])
def test_what_a_mom_would_not_run_is_not_run(one: MomPriv, slot: str, spoil: Callable[[Path], None]) -> None:
    """Somebody else could have written it. It ends as a hook that cannot be started: 255."""
    spoil(one.site(slot))
    assert one.run(one.ours(slot), slot) == 255
    assert one.seen is None
    assert "ours nornir_torque_vm.hooks.prologue" not in one.order


@pytest.mark.parametrize("mode", [0o500, 0o755])
def test_what_a_mom_runs_is_run(mom: MomPriv, mode: int) -> None:
    """Links are followed."""
    mom.site("elsewhere", mode=mode)
    (mom.folder / "epilogue.parallel").symlink_to("elsewhere")
    assert mom.run(mom.ours("epilogue.parallel"), "epilogue.parallel") == 0
    assert mom.seen is not None
    assert mom.seen["argv"][0] == str(mom.folder / "epilogue.parallel")


@pytest.mark.parametrize(
    ("config", "runs"),
    [
        ("$reduce_prolog_checks true\n", True),
        ("  $reduce_prolog_checks\tTRUE # why\n", True),
        ("$reduce_prolog_checks 1\n", True),
        ("$reduce_prolog_checks On\n", True),
        ("$reduce_prolog_checks false\n", False),
        ("$reduce_prolog_checks one\n", False),
        ("#$reduce_prolog_checks true\n", False),
    ],
)
def test_a_mom_may_have_been_told_to_check_less(one: MomPriv, config: str, runs: bool) -> None:
    """Then any regular file that somebody may execute will do."""
    one.write("config", config, 0o644)
    one.site("prologue.parallel", mode=0o770)
    ended = one.run(one.ours("prologue.parallel"), "prologue.parallel")
    assert (ended, one.seen is not None) == ((0, True) if runs else (255, False))
    (one.folder / "prologue.parallel").chmod(0o660)
    assert one.run(one.ours("prologue.parallel"), "prologue.parallel") == 255


@pytest.mark.parametrize("slot", SLOTS)
def test_as_plain_hook_it_becomes_the_sites_for_jobs_without_guests(mom: MomPriv, slot: str) -> None:
    """Where TORQUE has no -T every job meets it: nothing is made, nothing of ours is started."""
    ours = mom.ours(slot, slot)
    assert mom.run(ours, slot, "nodes=1") == 0
    mom.site(f"{slot}.site", 37)
    assert mom.run(ours, slot, "nodes=1", closed=True) == 37
    assert mom.order == ["site"]
    assert not mom.run_dir.exists()
    assert mom.seen is not None
    assert mom.seen["argv"] == [str(mom.folder / f"{slot}.site"), *mom.arguments(slot, "nodes=1")]


@pytest.mark.parametrize("slot", SLOTS)
def test_as_plain_hook_it_serves_jobs_with_guests(mom: MomPriv, slot: str) -> None:
    """As with -T."""
    mom.site(f"{slot}.site")
    assert mom.run(mom.ours(slot, slot), slot, "nodes=1,other=vm1:ram=1G,x=y") == 0
    assert sorted(settled(mom, 1 + len(OURS[slot]))) == sorted(["site", *OURS[slot]])


@pytest.mark.parametrize("slot", SLOTS)
def test_as_plain_hook_it_costs_other_jobs_next_to_nothing(one: MomPriv, slot: str) -> None:
    """Less than 30 ms of processor time on top of the site's own; every job of the node pays it.

    What a process costs that is split off this one, with the memory of all tests before, is not the hook's.
    """

    def cost(hook: Path) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert one.run(hook, slot, "nodes=1") == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    ours, site = one.ours(slot, slot), one.write(f"{slot}.site", "#!/bin/sh\n:\n", 0o500)
    both, alone = (
        sorted(costs)[3] for costs in zip(*((cost(ours), cost(site)) for _ in range(7)), strict=True)
    )
    assert both - alone < 0.03


@pytest.mark.parametrize(
    ("resources", "guests"),
    [
        ("other=vm1", True),
        ("nodes=1,other=vm1:a=b,x=y", True),
        ("other=vm12:a", True),
        ("", False),
        ("software=other=vm1,nodes=1", False),
        ("nodes=a.vm,other=vm", False),
        ("other=vmx1", False),
        ("nodes=1,another=vm1", False),
    ],
)
def test_a_plain_hook_knows_jobs_with_guests_by_their_request(
    one: MomPriv, resources: str, guests: bool
) -> None:
    """Also one of another version: its owner is told so, and it never runs on the node itself."""
    slot = "prologue.parallel"
    assert one.run(one.ours(slot, slot), slot, resources) == 0
    assert one.marker.exists() == guests


@pytest.mark.parametrize("slot", SLOTS)
def test_ours_under_both_names_runs_once(one: MomPriv, slot: str) -> None:
    """What is behind the plain one is the site's; a link is no other file."""
    one.ours(slot, slot)
    one.site(f"{slot}.site")
    (one.folder / f"{slot}.vm").symlink_to(slot)
    assert one.run(one.folder / f"{slot}.vm", slot) == 0
    assert sorted(settled(one, 1 + len(OURS[slot]))) == sorted(["site", *OURS[slot]])


@pytest.mark.parametrize("name", ["prologue.parallel", "epilogue.parallel", "epilogue"])
@pytest.mark.parametrize("job", ["", "..", "../x", "a/b"])
def test_what_can_be_no_job_id_touches_no_file(one: MomPriv, name: str, job: str) -> None:
    """It would become a path."""
    outside = one.run_dir.parent / "x"
    outside.touch()
    path = one.ours(name)
    one.arguments = lambda slot, resources="": [job, *["x"] * 10]  # type: ignore[method-assign]
    assert one.run(path, name) == 0
    assert outside.exists()
    assert not one.run_dir.exists()
