"""What runs as the job's owner after prologue.vm: no job with guests starts without its marker."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from mom_kit import JOB, SHELLS, MomPriv

SLOT = "prologue.user"
PLAIN = "nodes=1,neednodes=1"


@pytest.fixture(params=SHELLS, ids=" ".join)
def mom(tmp_path: Path, request: pytest.FixtureRequest) -> MomPriv:
    return MomPriv(tmp_path, request.param)


@pytest.fixture
def marked(mom: MomPriv) -> MomPriv:
    mom.marker.parent.mkdir(parents=True)
    mom.marker.touch()
    return mom


@pytest.mark.parametrize("name", ["prologue.user.vm", "prologue.user"])
def test_without_a_marker_the_job_does_not_start(tmp_path: Path, name: str) -> None:
    """A killed prologue counts as success. The site's hook is not run; TORQUE tries again, not at once."""
    mom = MomPriv(tmp_path)
    mom.site("prologue.user" if name.endswith(".vm") else "prologue.user.site", mode=0o555)
    began = time.monotonic()
    assert mom.run(mom.ours(SLOT, name), SLOT) == 2
    assert time.monotonic() - began > 4
    assert (mom.seen, mom.said.count("\n")) == (None, 1)
    assert mom.said.startswith(f"torque-vm: job {JOB}: its guests were not started")


def test_with_a_marker_the_job_goes_on(marked: MomPriv) -> None:
    """Nothing is said, and nothing changed."""
    assert (marked.run(marked.ours(SLOT), SLOT), marked.said) == (0, "")
    assert marked.marker.exists()


def test_a_plain_job_that_meets_it_needs_no_marker(mom: MomPriv) -> None:
    """Where TORQUE has no types of jobs it runs for all of them."""
    assert (mom.run(mom.ours(SLOT, "prologue.user"), SLOT, PLAIN), mom.said) == (0, "")


@pytest.mark.parametrize("name", ["prologue.user.vm", "prologue.user"])
def test_the_sites_hook_is_given_what_a_mom_gives_it(marked: MomPriv, name: str) -> None:
    """As if ours were not there; its exit code goes through."""
    plain = marked.site("prologue.user" if name.endswith(".vm") else "prologue.user.site", 37, mode=0o555)
    assert marked.run(plain, SLOT, umask=0o077) == 37
    without = marked.seen
    marked.seen_file.unlink()
    assert marked.run(marked.ours(SLOT, name), SLOT, umask=0o077) == 37
    assert marked.seen == without


@pytest.mark.parametrize("mode", [0o500, 0o550, 0o775, 0o502])
def test_what_a_mom_would_not_run_as_the_owner_is_not_run(marked: MomPriv, mode: int) -> None:
    """It has to be for everybody to execute, and for root alone to write."""
    marked.site("prologue.user", mode=mode)
    assert marked.run(marked.ours(SLOT), SLOT) == 255
    assert marked.seen is None
