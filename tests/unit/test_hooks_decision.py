"""What becomes of a job whose guests did not start: requeued, refused, and after how long a pause."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import Blame
from nornir_torque_vm.exitcodes import BLAME, HookExit, Outcome, RunExit
from nornir_torque_vm.hooks.decision import Decision, decide

SETTINGS = Settings(max_requeues=2, requeue_pause=7.0)
OF_THE_SITE = [outcome for outcome, blame in BLAME.items() if blame is Blame.SITE]


def test_guests_that_are_ready_start_the_job() -> None:
    """At once, with nothing to say."""
    assert decide(Outcome.OK, "", 0, SETTINGS) == Decision(HookExit.START)


def test_the_users_mistake_is_told_at_once() -> None:
    """Another attempt could not go better; the exit code is the one of a refused request."""
    refused = Decision(HookExit.START, 0.0, "no such image", RunExit.REFUSED)
    assert decide(Outcome.REFUSED, "no such image", 0, SETTINGS) == refused
    assert decide(Outcome.REFUSED, "no such image", 9, SETTINGS) == refused


def test_a_full_node_is_waited_for_without_end() -> None:
    """Nobody is at fault, so nothing is counted."""
    for earlier in (0, 2, 99):
        assert decide(Outcome.BUSY, "full", earlier, SETTINGS) == Decision(HookExit.REQUEUE, 7.0)


def test_a_cancelled_start_ends_without_a_pause() -> None:
    """Somebody waits for the hook to go: the MOM, an epilogue, a newer attempt."""
    assert decide(Outcome.CANCELLED, "cancelled", 0, SETTINGS) == Decision(HookExit.REQUEUE)


@pytest.mark.parametrize("outcome", OF_THE_SITE)
def test_the_sites_fault_is_tried_again_and_told_in_the_end(outcome: Outcome) -> None:
    """max_requeues times; the sentence then says how often it was tried."""
    for earlier in (0, 1):
        assert decide(outcome, "down", earlier, SETTINGS) == Decision(HookExit.REQUEUE, 7.0)
    last = decide(outcome, "down", 2, SETTINGS)
    assert (last.exit, last.pause, last.refusal) == (HookExit.START, 0.0, "down; given up after 3 attempts")
    assert last.job_exit not in {RunExit.OK, RunExit.REFUSED}


def test_without_requeues_the_first_failure_is_told_as_it_is() -> None:
    """There is no number of attempts worth naming."""
    assert decide(Outcome.LATE, "late", 0, Settings(max_requeues=0)).refusal == "late"


@given(st.sampled_from(Outcome), st.integers(0, 200), st.integers(0, 100))
def test_a_job_is_never_started_without_guests_or_a_refusal(
    outcome: Outcome, earlier: int, most: int
) -> None:
    """Exit code 0 means ready guests, or a sentence that keeps the starter from running the job."""
    decision = decide(outcome, "why", earlier, Settings(max_requeues=most))
    if decision.exit is HookExit.START and outcome is not Outcome.OK:
        assert decision.refusal
        assert decision.job_exit >= RunExit.REFUSED
    assert decision.exit is not HookExit.ABORT
