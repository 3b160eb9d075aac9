"""Events read back: what was written is what is read, and a timeline comes of it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jobs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_torque_vm.model import Plan
from nornir_torque_vm.processors.base import Event, Kind
from nornir_torque_vm.processors.events import as_dict
from nornir_torque_vm.processors.replay import from_dict, job_timeline, read_events
from nornir_torque_vm.report import Failure, Status

GOLDEN = Path(__file__).parents[1] / "data/events-v1.jsonl"
seconds = st.none() | st.floats(0, 2e9).map(lambda value: round(value, 3))
failures = st.builds(
    lambda kind, text, code: Failure(kind, text, text, code=code), st.text(), st.text(), st.integers(0, 200)
)
events = st.builds(
    Event,
    t=st.floats(0, 2e9).map(lambda value: round(value, 3)),
    run=st.text("0123456789abcdef", min_size=8, max_size=8),
    kind=st.sampled_from(Kind),
    task=st.text(),
    host=st.text(),
    status=st.none() | st.sampled_from(Status),
    started=seconds,
    seconds=seconds,
    changed=st.none() | st.booleans(),
    failure=st.none() | failures,
)


@given(events)
def test_what_was_written_is_read_back(event: Event) -> None:
    """All but whose fault a failure was, which the schema does not tell."""
    assert from_dict(json.loads(json.dumps(as_dict(event, "17.head")))) == event


def test_the_golden_file_is_read_whole() -> None:
    """Schema version 1."""
    lines = GOLDEN.read_bytes().splitlines()
    assert [as_dict(event) | {"job": None} for event in read_events(lines)] == [
        json.loads(line) | {"job": None} for line in lines
    ]


@pytest.mark.parametrize(
    "line", [b"", b"{", b"\xff", b"[]", b"7", b"null", b"{}", b'{"event": "unheard_of", "error": null}']
)
def test_a_damaged_line_is_passed_over(line: bytes) -> None:
    """A process that was killed leaves half a line; what follows still counts."""
    good = GOLDEN.read_bytes().splitlines()[0]
    assert len(list(read_events([good, line, good]))) == 2


@given(st.lists(st.binary(max_size=60)))
def test_no_bytes_make_reading_fail(lines: list[bytes]) -> None:
    """The file lies on a disk of a node that may have crashed."""
    assert isinstance(list(read_events(lines)), list)


def ended(host: str, task: str, started: float | None, took: float, **more: Any) -> Event:
    kind = Kind.HOST_END if task == "destroy" else Kind.STEP_END
    return Event(0.0, "r", kind, task, host, Status.OK, started, took, **more)


def phases(events: list[Event], plan: Plan) -> dict[str, dict[str, tuple[float, float]]]:
    """Guest → phase → start and seconds."""
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for span in job_timeline(events, plan).spans:
        found.setdefault(span.host, {})[span.phase] = (span.start, span.seconds)
    return found


def test_a_guest_runs_the_job_from_readiness_to_destruction() -> None:
    """All guests begin when the last one is ready; a node's destruction is that of all its guests."""
    plan = jobs.plan(per_node=2)
    names = [guest.name for guest in plan.guests]
    story = [ended(name, "start_guest", 10.0 + rank, 1.0) for rank, name in enumerate(names)]
    story += [ended("n1", "destroy", 50.0, 2.0), ended("n2", "destroy", 49.0, 1.0)]
    found = phases(story, plan)
    assert set(found) == set(names)
    assert [found[name]["run"] for name in names] == [(14.0, 35.0)] * 4
    assert [found[name]["destroy"] for name in names] == [(50.0, 2.0)] * 2 + [(49.0, 1.0)] * 2
    assert found[names[2]]["start"] == (12.0, 1.0)


def test_scripts_after_the_job_are_not_the_job() -> None:
    """It ends when the first of them begins, not when the guests go."""
    plan = jobs.plan()
    first, second = (guest.name for guest in plan.guests)
    story = [ended(first, "vm_prologue", 5.0, 2.0), ended(second, "vm_epilogue", 20.0, 3.0)]
    found = phases([*story, ended("n1", "destroy", 30.0, 1.0)], plan)
    assert found[first]["run"] == found[second]["run"] == (7.0, 13.0)
    assert (found[first]["vm-prologue"], found[second]["vm-epilogue"]) == ((5.0, 2.0), (20.0, 3.0))


def test_a_job_that_never_ran_has_no_run_phase() -> None:
    """No guest came up, or nobody has removed them yet."""
    plan = jobs.plan()
    first = plan.guests[0].name
    assert phases([ended("n1", "destroy", 5.0, 1.0)], plan) == {first: {"destroy": (5.0, 1.0)}}
    assert phases([ended(first, "start_guest", 5.0, 1.0)], plan) == {first: {"start": (5.0, 1.0)}}
    assert phases([], plan) == {}


def test_only_what_began_and_is_a_phase_counts() -> None:
    """A composite task is told by its steps; a host that was never started took no time."""
    plan = jobs.plan()
    name = plan.guests[0].name
    composite = dataclasses.replace(ended(name, "boot_guest", 1.0, 9.0), kind=Kind.HOST_END)
    story = [composite, ended(name, "start_guest", None, 0.0), ended("n1", "survey", 0.0, 1.0)]
    assert phases(story, plan) == {}


def test_a_destruction_before_readiness_makes_no_negative_time() -> None:
    """Clocks are set; a guest may have been destroyed from elsewhere."""
    plan = jobs.plan()
    story = [ended(plan.guests[0].name, "start_guest", 10.0, 5.0), ended("n1", "destroy", 12.0, 1.0)]
    assert phases(story, plan)[plan.guests[0].name]["run"] == (15.0, 0.0)
