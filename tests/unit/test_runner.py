"""The deadline runner's contract: one verdict per host, in time, whatever the tasks do.

Cancelling, abandoned threads, processors and races: ``test_runner_threads``.
"""

from __future__ import annotations

import re
import sys
import time
from typing import Any

import pytest
from nornir.core.task import Result, Task
from nornir.plugins.runners import ThreadedRunner
from nornir_kit import noop, nornir_of
from runner_kit import LATENESS, LIMIT, hang, statuses, timed

from nornir_torque_vm import deadline
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import DeadlineExceeded, SettingsError
from nornir_torque_vm.report import Report, Status
from nornir_torque_vm.runners.deadline import DeadlineRunner

__all__ = ["hang"]  # pytest finds the fixture here


# --- results ---------------------------------------------------------------------------------------


def test_results_are_those_of_nornirs_own_runner() -> None:
    """Order, values, subtasks and failures are what a task author knows from ThreadedRunner."""

    def work(task: Task) -> Result:
        task.run(noop)
        if task.host.name == "h2":
            raise ValueError("bad")
        return Result(host=task.host, result=task.host.name * 2, changed=True)

    seen = []
    for runner in (ThreadedRunner(), DeadlineRunner()):
        result = nornir_of(5, runner).run(work)
        seen.append([
            (host, multi.failed, multi.changed, [part.name for part in multi], type(multi[0].exception))
            for host, multi in sorted(result.items())
        ])  # fmt: skip
        assert result.failed_hosts.keys() == {"h2"}
    assert seen[0] == seen[1]


def test_results_come_in_the_order_of_the_inventory() -> None:
    """Whoever finishes first, reports list hosts as the nodefile does."""

    def work(task: Task) -> Result:
        time.sleep(0.05 if task.host.name == "h0" else 0)
        return Result(host=task.host)

    assert list(nornir_of(8).run(work)) == [f"h{n}" for n in range(8)]


def test_no_hosts_give_an_empty_result_at_once() -> None:
    """Judging an empty selection is the caller's; the runner does not hang on it."""
    result, seconds = timed(lambda: nornir_of(0).run(noop))
    assert (dict(result), seconds < LATENESS) == ({}, True)


def test_system_exit_in_one_task_costs_only_that_host() -> None:
    """Nornir catches Exception only; a library that calls sys.exit must not lose the run."""

    def work(task: Task) -> Result:
        if task.host.name == "h1":
            sys.exit(7)
        return Result(host=task.host)

    result = nornir_of(3).run(work)
    assert statuses(result) == {"h0": Status.OK, "h1": Status.FAILED, "h2": Status.OK}
    assert isinstance(result["h1"][0].exception, SystemExit)


# --- limits ----------------------------------------------------------------------------------------


def test_a_hanging_host_is_late_and_the_others_keep_their_results(hang: Any) -> None:
    """One frozen node costs its own verdict and nobody else's."""
    nornir = nornir_of(4, DeadlineRunner(run_timeout=LIMIT))
    result, seconds = timed(lambda: nornir.run(hang, only=("h3",)))
    assert LIMIT <= seconds < LIMIT + LATENESS
    assert statuses(result) == {"h0": Status.OK, "h1": Status.OK, "h2": Status.OK, "h3": Status.LATE}
    assert nornir.data.failed_hosts == {"h3"}


@pytest.mark.parametrize("limit", ["run_timeout", "host_timeout", "deadline"])
def test_each_limit_ends_a_run_that_hangs(hang: Any, limit: str) -> None:
    """Timeouts of the run and of each host, and an absolute deadline, all do."""
    options: dict[str, Any] = {limit: LIMIT if limit != "deadline" else Deadline.after(LIMIT)}
    result, seconds = timed(lambda: nornir_of(50, DeadlineRunner(**options)).run(hang))
    assert LIMIT <= seconds < LIMIT + LATENESS
    assert set(statuses(result).values()) == {Status.LATE}


def test_several_runs_share_one_deadline(hang: Any) -> None:
    """A hook's phases together take no longer than the hook may; what is over fails at once."""
    shared = Deadline.after(2 * LIMIT)
    nornir = nornir_of(2, DeadlineRunner(deadline=shared))

    def short(task: Task) -> Result:
        time.sleep(0.1)
        return Result(host=task.host)

    began = time.monotonic()
    verdicts = [set(statuses(nornir.run(task, on_failed=True)).values()) for task in (short, hang, short)]
    assert verdicts == [{Status.OK}, {Status.LATE}, {Status.NOT_STARTED}]
    assert time.monotonic() - began < 2 * LIMIT + LATENESS


def test_a_run_never_exceeds_the_deadline_of_the_thread_that_calls_it(hang: Any) -> None:
    """A run inside a run, or inside a bounded command, inherits the limit."""
    token = deadline.current.set(Deadline.after(LIMIT))
    try:
        result, seconds = timed(lambda: nornir_of(2, DeadlineRunner(run_timeout=30)).run(hang))
    finally:
        deadline.current.reset(token)
    assert (set(statuses(result).values()), seconds < LIMIT + LATENESS) == ({Status.LATE}, True)


def test_tasks_see_their_own_deadline() -> None:
    """A task can clamp every wait of its own: the nearest of the host's and the run's limit."""

    def work(task: Task) -> Result:
        return Result(host=task.host, result=deadline.current.get().remaining())

    remaining = nornir_of(1, DeadlineRunner(run_timeout=9, host_timeout=4)).run(work)["h0"][0].result
    assert 3.5 < remaining <= 4
    assert nornir_of(1).run(work)["h0"][0].result == float("inf")


def test_hosts_left_in_the_queue_are_not_started_rather_than_late(hang: Any) -> None:
    """A queue that is too long is the caller's fault, a hung host is not."""
    result = nornir_of(3, DeadlineRunner(num_workers=2, run_timeout=LIMIT)).run(hang)
    assert list(statuses(result).values()) == [Status.LATE, Status.LATE, Status.NOT_STARTED]
    assert str(result["h2"][0].exception).startswith("not started after ")


def test_a_fresh_worker_takes_the_place_of_an_abandoned_one(hang: Any) -> None:
    """With a limit per host, two hung hosts in front do not starve those behind."""
    result = nornir_of(6, DeadlineRunner(num_workers=2, host_timeout=LIMIT)).run(hang, only=("h0", "h1"))
    assert list(statuses(result).values()) == [Status.LATE] * 2 + [Status.OK] * 4


@pytest.mark.parametrize(
    "options",
    [
        {"run_timeout": 0},
        {"host_timeout": -1},
        {"num_workers": 0},
        {"num_workers": 2.5},
        {"run_timeout": "9"},
    ],
)
def test_options_that_are_no_positive_numbers_are_refused(options: dict[str, Any]) -> None:
    """They may come from anybody's config.yaml."""
    with pytest.raises(SettingsError, match=f"runner option {next(iter(options))}"):
        DeadlineRunner(**options)


# --- verdicts --------------------------------------------------------------------------------------


def test_a_late_verdict_names_the_running_subtask_and_the_seconds(hang: Any) -> None:
    """A bare "late" helps nobody: the verdict says in what, and keeps what was done before."""

    def prepare_image(task: Task) -> Result:
        return Result(host=task.host, result="overlay", changed=True)

    def start_guest(task: Task) -> Result:
        return hang(task)  # type: ignore[no-any-return]

    def boot_guest(task: Task) -> Result:
        task.run(prepare_image)
        task.run(start_guest)
        return Result(host=task.host)

    results = nornir_of(1, DeadlineRunner(run_timeout=LIMIT)).run(boot_guest)
    verdict = results["h0"]
    assert [part.name for part in verdict] == ["boot_guest", "prepare_image", "start_guest"]
    assert verdict[1].result == "overlay"
    assert isinstance(verdict[0].exception, DeadlineExceeded)
    assert verdict[0].exception.started
    assert re.fullmatch(r"late in start_guest after [01]\.\d s", str(verdict[0]))
    entry = Report.from_results(results).hosts[0]
    assert (entry.phase, entry.status, entry.changed) == ("start", Status.LATE, True)


def test_a_verdict_between_two_subtasks_names_the_task_itself(hang: Any) -> None:
    """A subtask that is over is not what the host was late in."""

    def boot_guest(task: Task) -> Result:
        task.run(noop)
        return hang(task)  # type: ignore[no-any-return]

    verdict = nornir_of(1, DeadlineRunner(run_timeout=LIMIT)).run(boot_guest)["h0"]
    assert str(verdict[0]).startswith("late in boot_guest after ")
    assert [part.name for part in verdict] == ["boot_guest", "noop"]


def test_a_task_that_heeds_its_deadline_is_late_too() -> None:
    """Cooperative or abandoned, deep in a subtask or not: the status is the same."""

    def wait(task: Task) -> Result:
        deadline.current.get().sleep(30)
        return Result(host=task.host)

    def outer(task: Task) -> Result:
        task.run(wait)
        return Result(host=task.host)

    for run in (wait, outer):
        assert statuses(nornir_of(1, DeadlineRunner(host_timeout=LIMIT)).run(run)) == {"h0": Status.LATE}
