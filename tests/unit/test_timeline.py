"""The timeline: guest by phase, for people and for machines."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_torque_vm.report import Status
from nornir_torque_vm.timeline import COLUMNS, Row, Span, Timeline

SPANS = (
    Span("j1-r10", "image", 100.0, 0.5),
    Span("j1-r2", "image", 100.1, 0.25),
    Span("j1-r2", "start", 100.35, 0.3),
    Span("j1-r10", "start", 100.5, 1.0),
    Span("j1-r2", "health", 101.0, 9.0, Status.LATE),
    Span("j1-r2", "destroy", 111.0, 0.25, Status.FAILED),
    Span("j1-r10", "destroy", 110.0, 0.5, Status.CHANGED),
)

timelines = st.builds(
    Timeline,
    st.lists(
        st.builds(
            Span,
            st.sampled_from(["g0", "g1", "g2"]),
            st.sampled_from([*COLUMNS, "roster"]),
            st.floats(0, 1000),
            st.floats(0, 1000),
        ),
        max_size=20,
    ).map(tuple),
)


def test_a_row_holds_what_one_guest_did() -> None:
    """Guests in numerical order; the total is the sum; the first trouble is named."""
    first, second = Timeline(SPANS).rows()
    assert first.guest == "j1-r2"
    assert first.phases == {"image": 0.25, "start": 0.3, "health": 9.0, "destroy": 0.25}
    assert first.total == pytest.approx(9.8)
    assert first.trouble == "late in health"
    assert second == Row("j1-r10", {"image": 0.5, "start": 1.0, "destroy": 0.5}, 2.0, "")


def test_wall_is_elapsed_time_not_a_sum() -> None:
    """From the first begin to the last end, per phase and over all."""
    wall = Timeline(SPANS).wall()
    assert wall.guest == "wall"
    assert wall.phases == pytest.approx({"image": 0.5, "start": 1.15, "health": 9.0, "destroy": 1.25})
    assert wall.total == pytest.approx(11.25)


def test_the_table_is_aligned_and_complete() -> None:
    """Names left, numbers right, ``-`` for phases a guest never reached, the trouble behind."""
    assert Timeline(SPANS).to_text() == (
        "seconds  image  start  address  health  run  destroy  total\n"
        "j1-r2     0.25   0.30        -    9.00    -     0.25   9.80  late in health\n"
        "j1-r10    0.50   1.00        -       -    -     0.50   2.00\n"
        "wall      0.50   1.15        -    9.00    -     1.25  11.25\n"
    )


def test_an_empty_timeline_has_a_header_and_a_zero() -> None:
    """A job that never got that far."""
    assert Timeline().to_text() == (
        "seconds  image  start  address  health  run  destroy  total\n"
        "wall         -      -        -       -    -        -   0.00\n"
    )


def test_phases_beyond_the_usual_get_columns_by_first_begin() -> None:
    """Each once, behind the usual ones, whatever the order the spans arrived in."""
    spans = (Span("g", "roster", 9.0, 1), Span("g", "survey", 1.0, 1), Span("h", "roster", 0.5, 1))
    assert Timeline(spans).columns == (*COLUMNS, "roster", "survey")
    assert "destroy  roster  survey  total" in Timeline(spans).to_text()


def test_what_happened_before_the_job_ran_stands_before_it() -> None:
    """A reader goes through a job's phases from left to right."""
    spans = (Span("g", "roster", 2.0, 1), Span("g", "run", 3.0, 1), Span("g", "later", 4.0, 1))
    assert "health  roster   run  destroy  later  total" in Timeline(spans).to_text()


def test_a_phase_done_twice_counts_both_times() -> None:
    """A second destroy is not free."""
    row = Timeline((Span("g", "destroy", 1.0, 1.5), Span("g", "destroy", 5.0, 2.0))).rows()[0]
    assert row.phases == {"destroy": 3.5}


def test_trouble_is_the_first_by_time_in_words() -> None:
    """Not the first in the list; underscores are for machines."""
    spans = (Span("g", "health", 5.0, 1, Status.FAILED), Span("g", "start", 1.0, 1, Status.NOT_STARTED))
    assert Timeline(spans).rows()[0].trouble == "not started in start"


def test_names_with_and_without_numbers_can_be_sorted_together() -> None:
    """Numbers count as numbers wherever they stand."""
    names = ["n10", "login", "n9", "9", "n9-r10", "n9-r2"]
    rows = Timeline(tuple(Span(name, "run", 0.0, 1.0) for name in names)).rows()
    assert [row.guest for row in rows] == ["9", "login", "n9", "n9-r2", "n9-r10", "n10"]


def test_the_json_form_is_an_interface() -> None:
    """Keys and values to the letter; milliseconds are enough."""
    spans = (Span("g", "start", 0.0, 1.23456, Status.LATE), Span("g", "run", 2.0, 1.0))
    text = Timeline(spans).to_json()
    assert json.loads(text) == {
        "version": 1,
        "unit": "s",
        "guests": [
            {"guest": "g", "phases": {"start": 1.235, "run": 1.0}, "total": 2.235, "trouble": "late in start"}
        ],
        "wall": {"phases": {"start": 1.235, "run": 1.0}, "total": 3.0},
    }
    assert text.startswith('{\n "version": 1,\n')
    assert text.endswith("}\n")


@given(timelines)
def test_no_span_is_lost_and_the_table_stays_a_table(timeline: Timeline) -> None:
    """Totals add up to all spans; every line begins its cells at the same places."""
    total = sum(row.total for row in timeline.rows())
    assert total == pytest.approx(sum(span.seconds for span in timeline.spans))
    header, *lines = timeline.to_text().splitlines()
    assert len(lines) == len({span.host for span in timeline.spans}) + 1
    assert {len(line) for line in lines} == {len(header)}
    assert all(len(line.split()) == len(timeline.columns) + 2 for line in lines)
    wall = timeline.wall()
    assert all(seconds <= wall.total + 1e-9 for seconds in wall.phases.values())
