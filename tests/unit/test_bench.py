"""The pure parts of the benchmarks: what pairs of measurements say, and what their programs answer."""

from __future__ import annotations

import json
import re
import statistics
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import child, hooks, submit
from bench.boot import middle, read_leases
from bench.pairs import alternate
from bench.ratio import HEADINGS, LEAST, Measured, table

seconds = st.floats(min_value=1e-3, max_value=1e3)
pairs = st.lists(st.tuples(seconds, seconds), min_size=1, max_size=20)


def measured(ours: list[float], floor: list[float] | None = None, limit: float = 1.5) -> Measured:
    return Measured("boot", "4 guests", limit, ours, floor or ())


@given(pairs)
def test_the_limit_is_about_the_ratios_of_pairs_not_about_the_ratio_of_medians(
    taken: list[tuple[float, float]],
) -> None:
    """Each measurement is divided by its neighbour, taken on the same machine in the same minute."""
    line = measured([ours for ours, _ in taken], [floor for _, floor in taken])
    assert line.values == tuple(ours / floor for ours, floor in taken)
    assert line.middle == statistics.median(line.values)
    assert line.lowest <= line.middle <= line.highest


def test_one_slow_minute_of_the_machine_does_not_change_the_result() -> None:
    """Both of a pair are slow then, so the ratio stays; the ratio of sums would not see that either way."""
    calm = measured([1.2] * 8, [1.0] * 8)
    noisy = measured([1.2] * 7 + [12.0], [1.0] * 7 + [10.0])
    assert noisy.middle == pytest.approx(calm.middle)


def test_without_floor_the_limit_is_about_our_own_measurements() -> None:
    """An absolute limit in seconds: nothing to divide by."""
    line = measured([9.0, 11.0, 10.0] * 3, limit=10.0)
    assert line.values == (9.0, 11.0, 10.0) * 3
    assert line.verdict == "ok"


@pytest.mark.parametrize(("ours", "verdict"), [(1.5, "ok"), (1.51, "over")])
def test_the_limit_itself_is_still_within(ours: float, verdict: str) -> None:
    """The issue says: at most."""
    assert measured([ours] * LEAST, [1.0] * LEAST).verdict == verdict


def test_fewer_than_seven_pairs_get_no_verdict() -> None:
    """However good they look."""
    assert measured([1.0] * (LEAST - 1), [1.0] * (LEAST - 1)).verdict == "too few"


def test_what_has_no_limit_is_shown_and_not_judged() -> None:
    """However slow: it explains another line."""
    line = Measured("boot", "4 guests", None, [99.0], [1.0])
    assert line.verdict == "-"
    assert line.row()[-2:] == ("-", "-")


def test_seven_pairs_enclose_the_true_median_nearly_always() -> None:
    """All seven on one side of it is as likely as seven heads or seven tails."""
    assert measured([1.0] * 7, [1.0] * 7).confidence == pytest.approx(1 - 2 / 128)


@pytest.mark.parametrize(("ours", "floor"), [([], []), ([1.0, 2.0], [1.0]), ([1.0], [0.0])])
def test_what_has_no_ratio_is_refused(ours: list[float], floor: list[float]) -> None:
    """A missing half of a pair must not shift the others."""
    with pytest.raises(ValueError, match="no"):
        Measured("boot", "4 guests", 1.15, ours, floor)


def test_the_json_line_has_every_measurement_and_the_table_one_line_each() -> None:
    """So that results can be judged anew by whoever doubts the median."""
    line = measured([2.0, 3.0], [1.0, 2.0])
    told = json.loads(line.to_json(cpus=2))
    assert (told["ours"], told["floor"], told["cpus"]) == ([2.0, 3.0], [1.0, 2.0], 2)
    assert (told["median"], told["lowest"], told["highest"]) == (1.75, 1.5, 2.0)
    rows = table([line, measured([3.0])]).splitlines()
    assert len(rows) == 4
    assert len({len(row) for row in rows}) == 1
    assert all(heading in rows[0] for heading in HEADINGS)
    assert "1.75x" in rows[2]


def test_measurements_take_turns() -> None:
    """A B A B: a machine that slows down slows both."""
    order: list[str] = []

    def take(name: str) -> float:
        order.append(name)
        return float(len(order))

    taken = alternate("x", lambda: take("ours"), lambda: take("floor"), 3)
    assert order == ["ours", "floor"] * 3
    assert taken == ([1.0, 3.0, 5.0], [2.0, 4.0, 6.0])


def test_a_program_is_charged_for_its_processor_time_not_for_its_sleep() -> None:
    """CPU is user and system time of the child; the answer is its last line."""
    code = "import sys, time; time.sleep(0.3); print('noise'); print('{\"got\": ' + sys.stdin.read() + '}')"
    cost = child.run([sys.executable, "-I", "-S", "-c", code], seconds=20, order=[1, 2])
    assert cost.answer == {"got": [1, 2]}
    assert cost.wall >= 0.3
    assert 0.0 < cost.cpu < cost.wall


@pytest.mark.parametrize(
    ("code", "why"),
    [("raise SystemExit(3)", r"failed \(3\)"), ("input()", "1"), ("while True: pass", "0.5 s")],
)
def test_a_program_that_fails_or_hangs_ends_the_benchmark(code: str, why: str) -> None:
    """Within its time, and nothing is measured."""
    began = time.monotonic()
    with pytest.raises(child.Failed, match=why):
        child.run([sys.executable, "-I", "-S", "-c", code], seconds=0.5)
    assert time.monotonic() - began < 5.0


def test_a_program_without_an_answer_has_an_empty_one() -> None:
    """The floor of orchestration prints nothing."""
    assert child.last_answer("") == child.last_answer("words\n") == {}


def test_leases_are_read_by_mac_address() -> None:
    """Expiry, MAC, address, name, client id, as dnsmasq writes them; other lines are about IPv6."""
    text = "1700000000 02:AA:00:00:00:01 10.89.0.101 j1-r0 *\nduid 00:01\n"
    assert read_leases(text) == {"02:aa:00:00:00:01": "10.89.0.101"}


def test_milestones_are_summed_up_by_their_medians() -> None:
    """One odd run must not hide where the time usually goes."""
    assert middle([{"hook": 1.0}, {"hook": 9.0}, {"hook": 2.0}]) == {"hook": 2.0}


def test_what_qsub_costs_alone_is_taken_off() -> None:
    """Of the same round; from a job with guests too, before it is compared with a bare Python."""
    taken = [
        {"recorder": 2.0, "bare": 8.0, "plain job, pipe": 5.0, "guests by option": 82.0},
        {"recorder": 1.0, "bare": 10.0, "plain job, pipe": 6.0, "guests by option": 51.0},
    ]
    assert submit.line("plain job, pipe", taken).values == (3.0, 5.0)
    assert submit.line("guests by option", taken).values == (10.0, 5.0)
    told = json.loads(submit.line("plain job, pipe", taken).to_json())
    assert told["qsub alone"] == 1.5


def test_a_filter_runs_besides_qsub() -> None:
    """So nothing is taken off."""
    taken = [{"recorder": 2.0, "bare": 8.0, "plain job, submit filter": 3.0}]
    assert submit.line("plain job, submit filter", taken).values == (3.0,)


def test_hooks_are_measured_with_what_a_mom_says(tmp_path: Path) -> None:
    """The resource list, in which the request is, stands at another place for an epilogue."""
    assert hooks.words(tmp_path, "prologue.vm", ",other=vm1")[5] == "nodes=2:ppn=4,other=vm1"
    assert hooks.words(tmp_path, "epilogue.parallel")[6] == "nodes=2:ppn=4"


def test_every_benchmark_is_documented_and_says_itself_how_it_is_run() -> None:
    """The page names each program; those that need no TORQUE are part of ``make bench``."""
    folder = Path(__file__).parents[2]
    page = (folder / "docs/benchmarks.md").read_text()
    everything = (folder / "bench/__main__.py").read_text()
    programs = [
        path for path in (folder / "bench").glob("[a-z]*.py") if "\n    main(run)\n" in path.read_text()
    ]
    assert len(programs) >= 8
    for path in programs:
        assert f"python -m bench.{path.stem}``" in path.read_text()
        assert re.search(rf"bench\.{path.stem}\b", page)
        assert path.stem == "boot_torque" or f"{path.stem}." in everything
