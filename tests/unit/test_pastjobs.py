"""What became of an attempt, told from what is kept of it."""

from __future__ import annotations

import itertools
import json

import jobs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_torque_vm.cli.jobtext import (
    amount,
    chosen,
    legible,
    missing_figures,
    moment,
    row,
    span,
    usage_row,
)
from nornir_torque_vm.errors import InventoryError, StateError
from nornir_torque_vm.gueststats import Figures, GuestStats
from nornir_torque_vm.runstate.jobrecord import JobRecord
from nornir_torque_vm.runstate.pastjobs import Files, PastJob, State, choose, judge, summary

PLAN = jobs.plan()


def record(**changes: object) -> JobRecord:
    values = {
        "job_id": "17[3].head", "attempt": 1, "owner": "alice", "name": "job.sh", "queue": "batch",
        "resources": "nodes=2,other=vm1:ram=64M", "began": 1000.0, **changes,
    }  # fmt: skip
    return JobRecord(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("outcome", "torn_down", "exists", "at_work", "state"),
    [
        ("", False, False, False, State.UNFINISHED),
        ("", True, True, False, State.UNFINISHED),
        ("", False, True, True, State.STARTING),
        ("ok", False, True, False, State.RUNNING),
        ("ok", False, True, True, State.RUNNING),
        ("ok", False, False, False, State.READY),
        ("ok", True, False, False, State.OVER),
        ("ok", True, True, False, State.OVER),
        ("refused", True, False, False, State.REFUSED),
        ("busy", False, False, False, State.BUSY),
        ("late", False, False, False, State.LATE),
        ("cancelled", False, False, False, State.CANCELLED),
        ("site", False, False, False, State.SITE),
        ("unreachable", False, False, False, State.SITE),
        ("internal", True, False, False, State.SITE),
    ],
)
def test_the_state_of_an_attempt(
    outcome: str, torn_down: bool, exists: bool, at_work: bool, state: State
) -> None:
    """The verdict first; then whether the end is known; then whether the job is still there."""
    assert judge(outcome, torn_down=torn_down, exists=exists, at_work=at_work) is state


@given(st.text(), *[st.booleans()] * 3)
def test_every_attempt_has_a_state(outcome: str, torn_down: bool, exists: bool, at_work: bool) -> None:
    """Whatever word a later version writes; only a start that went well does not count as failed."""
    state = judge(outcome, torn_down=torn_down, exists=exists, at_work=at_work)
    assert state.failed is not (outcome == "ok" or (not outcome and at_work))


def test_a_summary_of_an_attempt_that_went_well() -> None:
    """From its record, its plan and the time of its verdict."""
    files = Files(record(), PLAN, {"outcome": "ok", "sentence": ""}, teardown={"ok": True}, judged=1012.5)
    assert summary("17[3].head", 1, files, State.OVER) == PastJob(
        "17[3].head", 1, State.OVER, "alice", "job.sh", ("n1", "n2"), 2, 1000.0, 12.5
    )


def test_a_refused_attempt_has_an_owner_and_a_reason_and_no_plan() -> None:
    """It was refused before anything was planned."""
    files = Files(record(), verdict={"outcome": "refused", "sentence": "too many guests"}, judged=1001.0)
    found = summary("17[3].head", 1, files, State.REFUSED)
    assert (found.owner, found.nodes, found.guests, found.ready_after) == ("alice", (), 0, None)
    assert found.sentence == "too many guests"
    assert found.failed


def test_nodes_that_failed_before_a_plan_are_those_of_the_report() -> None:
    """Whose survey went wrong, say."""
    hosts = [{"host": "n2", "node": "n2"}, {"host": "n1", "node": "n1"}, {"host": "n2", "node": "n2"}, 1]
    assert summary("1.h", 1, Files(report={"hosts": hosts}), State.SITE).nodes == ("n2", "n1")
    assert summary("1.h", 1, Files(report={"hosts": "?"}), State.SITE).nodes == ()


def test_a_teardown_that_left_something_makes_a_job_worth_a_look() -> None:
    """Each reason once."""
    bad = {"error": {"message": "n1: no answer"}}
    files = Files(
        record(), PLAN, {"outcome": "ok"}, teardown={"ok": False, "hosts": [bad, bad, {"error": None}]}
    )
    found = summary("17[3].head", 1, files, State.OVER)
    assert (found.clean, found.failed) == (False, True)
    assert found.sentence == "not cleaned up: n1: no answer"


def test_an_attempt_of_which_nearly_nothing_is_left() -> None:
    """An epilogue ran where no prologue ever did, or a prologue was killed at once."""
    found = summary("1.h", 2, Files(changed=5.0), State.UNFINISHED)
    assert (found.began, found.owner, found.sentence) == (5.0, "", "its prologue ended without a verdict")


def past(job_id: str, attempt: int = 1, state: State = State.OVER, **more: object) -> PastJob:
    return PastJob(job_id, attempt, state, **more)  # type: ignore[arg-type]


KNOWN = [past("17.head", 1), past("17.head", 2), past("17[3].head"), past("18.head", 11), past("18.head", 9)]


@pytest.mark.parametrize(
    ("text", "record"),
    [
        ("17.head", "17.head.2"),
        ("17.head.1", "17.head.1"),
        ("17", "17.head.2"),
        ("17.1", "17.head.1"),
        ("17[3]", "17[3].head.1"),
        ("18", "18.head.11"),
        ("18.head.9", "18.head.9"),
        ("17.head.3", None),
        ("1", None),
        ("", None),
        ("17.hea", None),
    ],
)
def test_which_attempt_is_meant(text: str, record: str | None) -> None:
    """The last one unless it is said; the number alone will do."""
    found = choose(text, KNOWN)
    assert (found.record if found else None) == record


def test_a_number_that_two_servers_gave_is_refused() -> None:
    """In full each of them can be named."""
    both = [past("17.a"), past("17.b")]
    with pytest.raises(InventoryError, match=r"17 can be any of 17\.a, 17\.b; name it in full"):
        choose("17", both)
    assert choose("17.b", both) == both[1]


def test_records_survive_being_kept_and_damage_is_a_sentence() -> None:
    """Also with a name that is no UTF-8."""
    kept = record(name="a\udcff\x1b[2J\0b")
    assert JobRecord.from_json(kept.to_json().encode()) == kept
    for text in ("", "[]", "{}", '{"version":1}', kept.to_json().replace("1000.0", '"soon"')):
        with pytest.raises(StateError, match="cannot be read"):
            JobRecord.from_json(text)
    with pytest.raises(StateError, match="another form"):
        JobRecord.from_json(json.dumps({**json.loads(kept.to_json()), "version": 9}))


def test_the_request_is_read_from_the_resources() -> None:
    """One that cannot be read is none."""
    request = record().request()
    assert request is not None
    assert request.ram == 64 << 20
    assert record(resources="other=vm1:nonsense").request() is None
    assert record(resources="nodes=1").request() is None


@given(st.text())
def test_no_text_reaches_the_terminal_as_anything_but_text(text: str) -> None:
    """No line ends, no escape sequences, no surrogates; and something is there."""
    shown = legible(text)
    assert shown.isprintable()
    assert shown
    shown.encode()


HOSTILE = "x\x1b]0;pwned\x07\n\u202e\udc80"


def test_hostile_names_stay_in_their_cell() -> None:
    """Job names, owners and sentences alike."""
    job = past(
        "17.head", owner=HOSTILE, sentence=f"no {HOSTILE}", nodes=("n1", "n2"), guests=4, ready_after=3.21
    )
    cells = row(job)
    assert all(cell.isprintable() for cell in cells)
    assert cells[2] == "x\\x1b]0;pwned\\x07\\n\\u202e\\udc80"
    assert (cells[3], cells[4], cells[5], cells[7]) == ("over", "n[1-2]", "4", "3.2 s")


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, "-"),
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.0K"),
        (265_519_104, "253.2M"),
        (5 << 50, "5120.0T"),
    ],
)
def test_amounts_have_about_three_digits(count: int | None, text: str) -> None:
    """Nobody needs the last byte; --json has it."""
    assert amount(count) == text


def test_times_and_figures_that_are_not_known_are_a_dash() -> None:
    """Not zero."""
    assert (moment(0.0), span(None), span(-0.2)) == ("-", "-", "0.0 s")
    assert len(moment(1_700_000_000.0)) == len("2023-11-14 22:13:20")
    assert usage_row(GuestStats(guest="g", node="n")) == ("g", "n", "-", "-", "-", "-", "-", "-", "-")
    used = GuestStats(
        guest="g", node="n", cpu_seconds=1.26, memory=3 << 20, memory_limit=4 << 20, disk_read=5
    )
    assert usage_row(used) == ("g", "n", "1.3", "3.0M", "4.0M", "5 bytes", "-", "-", "-")


@pytest.mark.parametrize(
    ("state", "files", "why"),
    [
        (State.RUNNING, Files(plan=PLAN), "they are taken when the job ends"),
        (State.REFUSED, Files(), "none was ever started"),
        (State.LATE, Files(plan=PLAN), "none was there when the start had failed"),
        (State.OVER, Files(plan=PLAN, teardown={"ok": True}), "none was there any more when the job ended"),
        (State.READY, Files(plan=PLAN), "no epilogue of the job is on record"),
    ],
)
def test_missing_figures_have_a_reason(state: State, files: Files, why: str) -> None:
    """Else somebody looks for a fault where there is none."""
    assert missing_figures(past("17.head", 1, state), files) == [f"its guests: {why}"]


def test_of_each_guest_without_figures_it_is_said_why() -> None:
    """A node that did not answer; a guest that was gone already."""
    first, second = PLAN.guests
    one = GuestStats(domain=first.domain, node="n1")
    job = past("17.head")
    assert missing_figures(job, Files(plan=PLAN, figures=Figures((one,), {"n2": "is down"}))) == [
        "guests on n2: is down"
    ]
    assert missing_figures(job, Files(plan=PLAN, figures=Figures((one,)))) == [
        f"{second.name}: ended before the job did"
    ]
    both = Figures((one, GuestStats(domain=second.domain, node="n2")))
    assert missing_figures(job, Files(plan=PLAN, figures=both)) == []


def test_jobs_are_chosen_by_owner_and_fate() -> None:
    """In their order, as many as were asked for."""
    found = [
        past(f"{n}.h", 1, state, owner=owner)
        for n, (state, owner) in enumerate(itertools.product((State.OVER, State.SITE), ("alice", "bob")))
    ]

    def pick(user: str | None = None, limit: int | None = None, *, failed: bool = False) -> list[str]:
        return [one.job_id for one in chosen(found, user=user, failed=failed, limit=limit)]

    assert pick() == ["0.h", "1.h", "2.h", "3.h"]
    assert pick(user="bob") == ["1.h", "3.h"]
    assert pick(failed=True) == ["2.h", "3.h"]
    assert pick(failed=True, user="bob", limit=5) == ["3.h"]
    assert pick(limit=2) == ["0.h", "1.h"]
