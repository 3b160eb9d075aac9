"""The deadline runner under stress: cancelled, abandoned, watched, raced and timed."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
from nornir.core.inventory import Host
from nornir.core.plugins.runners import RunnerPlugin
from nornir.core.task import Result, Task
from nornir.plugins.runners import ThreadedRunner
from nornir_kit import noop, nornir_of
from runner_kit import LATENESS, LIMIT, Recorder, hang, statuses, timed

from nornir_torque_vm import deadline
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import Cancelled, DeadlineExceeded
from nornir_torque_vm.report import Status
from nornir_torque_vm.runners.deadline import DeadlineRunner, _Run, status_of, stragglers

__all__ = ["hang"]  # pytest finds the fixture here


# --- cancelling ------------------------------------------------------------------------------------


def test_cancel_ends_the_run_and_all_later_ones(hang: Any) -> None:
    """After a signal nothing new begins, even when it arrived between two runs."""
    runner = DeadlineRunner(num_workers=4)
    timer = threading.Timer(LIMIT, runner.cancel)
    timer.start()
    result, seconds = timed(lambda: nornir_of(6, runner).run(hang))
    timer.join()
    assert seconds < LIMIT + LATENESS
    assert set(statuses(result).values()) == {Status.CANCELLED}
    sentences = [str(multi[0].exception) for multi in result.values()]
    assert all(sentence.startswith("cancelled in hang after ") for sentence in sentences[:4])
    assert sentences[4:] == ["cancelled before it started"] * 2
    assert set(statuses(nornir_of(2, runner).run(noop)).values()) == {Status.CANCELLED}


def test_cancelling_a_shared_deadline_cancels_its_runs(hang: Any) -> None:
    """A hook has one thing to cancel for all that it does."""
    shared = Deadline.after(30)
    timer = threading.Timer(LIMIT, shared.cancel)
    timer.start()
    result, seconds = timed(lambda: nornir_of(2, DeadlineRunner(deadline=shared)).run(hang))
    timer.join()
    assert seconds < LIMIT + LATENESS
    assert set(statuses(result).values()) == {Status.CANCELLED}
    assert isinstance(result["h0"][0].exception, Cancelled)


def test_cancel_is_safe_in_a_signal_handler(hang: Any) -> None:
    """The handler runs in the thread that waits for the run: it must not take a lock."""
    runner = DeadlineRunner()
    before = signal.signal(signal.SIGALRM, lambda *_: runner.cancel())
    try:
        signal.setitimer(signal.ITIMER_REAL, LIMIT)
        result, seconds = timed(lambda: nornir_of(4, runner).run(hang))
    finally:
        signal.signal(signal.SIGALRM, before)
    assert seconds < LIMIT + LATENESS
    assert set(statuses(result).values()) == {Status.CANCELLED}


def test_a_run_that_ends_leaves_the_absence_of_a_deadline_alone(hang: Any) -> None:
    """Hosts that never started share the deadline that never comes: nobody may cancel that one."""
    nornir_of(3, DeadlineRunner(num_workers=1, run_timeout=LIMIT)).run(hang)
    assert deadline.current.get() is deadline.NEVER
    assert deadline.NEVER.remaining() == float("inf")


def test_an_exception_in_the_waiting_thread_silences_the_workers(hang: Any) -> None:
    """Ctrl-C leaves no worker that could still act: its deadline is due, its events vanish."""

    class Interrupt(Exception):
        """Stands for KeyboardInterrupt, which pytest keeps for itself."""

    def interrupt(*_: object) -> None:
        raise Interrupt

    seen: list[Deadline] = []

    def work(task: Task) -> Result:
        seen.append(deadline.current.get())
        return hang(task)  # type: ignore[no-any-return]

    recorder = Recorder()
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, LIMIT)
        with pytest.raises(Interrupt):
            nornir_of(2, processors=[recorder]).run(work)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert [limit.remaining() for limit in seen] == [0.0, 0.0]
    assert recorder.verdicts == []


# --- abandoned workers -----------------------------------------------------------------------------


def test_an_abandoned_worker_can_neither_act_nor_speak() -> None:
    """Its deadline is over at once, so a check before a side effect stops it; its events vanish."""
    go, acted, stopped = threading.Event(), threading.Event(), threading.Event()

    def create(task: Task) -> Result:
        acted.set()
        return Result(host=task.host)

    def work(task: Task) -> Result:
        go.wait(10)
        try:
            deadline.current.get().check()
        except DeadlineExceeded:
            stopped.set()
            task.run(noop)  # an event nobody may hear
            raise
        task.run(create)
        return Result(host=task.host)

    recorder = Recorder()
    result = nornir_of(1, DeadlineRunner(host_timeout=LIMIT), [recorder]).run(work)
    heard = list(recorder.events)
    go.set()
    assert stopped.wait(5)
    end = time.monotonic() + 5
    while stragglers() and time.monotonic() < end:
        time.sleep(0.01)
    assert not acted.is_set()
    assert recorder.events == heard == [("started", "work", "h0"), ("completed", "work", "h0")]
    assert status_of(result["h0"]) is Status.LATE


def test_stragglers_names_the_threads_left_behind(hang: Any) -> None:
    """A hook asks before it ends: with stragglers it must use os._exit."""
    assert stragglers() == ()
    nornir_of(2, DeadlineRunner(run_timeout=LIMIT)).run(hang)
    assert stragglers() == ("nornir:hang", "nornir:hang")


def test_a_process_ends_at_once_although_a_task_hangs() -> None:
    """concurrent.futures would join its threads at exit; ours are daemons."""
    script = (
        "import time\n"
        "from nornir_kit import nornir_of\n"
        "from nornir_torque_vm.runners.deadline import DeadlineRunner\n"
        "nornir_of(2, DeadlineRunner(run_timeout=0.1)).run(lambda task: time.sleep(60), name='sleep')\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=__file__.rpartition("/")[0], timeout=20, check=True)


# --- processors ------------------------------------------------------------------------------------


def test_processors_hear_each_host_start_and_end_exactly_once(hang: Any) -> None:
    """Done, failed, late, or never started, which has no start."""

    def work(task: Task) -> Result:
        if task.host.name == "h0":
            raise ValueError("bad")
        task.run(noop)
        return hang(task, only=("h2", "h3"))  # type: ignore[no-any-return]

    recorder = Recorder()
    nornir_of(5, DeadlineRunner(num_workers=2, run_timeout=LIMIT), [recorder]).run(work)
    completed = [host for event, task, host in recorder.events if (event, task) == ("completed", "work")]
    started = [host for event, task, host in recorder.events if (event, task) == ("started", "work")]
    assert sorted(completed) == ["h0", "h1", "h2", "h3", "h4"]
    assert sorted(started) == ["h0", "h1", "h2", "h3"]
    steps = [event for event, task, host in recorder.events if (task, host) == ("noop", "h1")]
    assert steps == ["step started", "step completed"]


def test_a_processor_that_raises_costs_nothing() -> None:
    """Nornir would lose the whole run to a full disk under an event file."""

    class Broken(Recorder):
        def _note(self, event: str, task: Task, host: Host) -> None:
            raise OSError("No space left on device")

    recorder = Recorder()
    result = nornir_of(3, processors=[Broken(), recorder]).run(noop)
    assert set(statuses(result).values()) == {Status.OK}
    assert len(recorder.verdicts) == 3


def test_a_processor_may_learn_which_hosts_a_run_is_about() -> None:
    """Nornir does not say, and a progress bar needs a total; a failing listener is harmless."""
    heard: list[list[str]] = []

    class Listener(Recorder):
        def hosts_selected(self, task: Task, hosts: list[Host]) -> None:
            heard.append([host.name for host in hosts])
            raise OSError("broken")

    nornir = nornir_of(3, processors=[Listener()])
    nornir.data.failed_hosts.add("h1")
    nornir.run(noop)
    assert heard == [["h0", "h2"]]


# --- all at once -----------------------------------------------------------------------------------


def test_a_run_sleeps_no_longer_than_a_host_that_starts_meanwhile_may_take() -> None:
    """Starting a host does not wake the run, so it must not have slept past that host's limit."""
    task = Task(noop, nornir_of(1), False, nornir_of(1).processors)
    run = _Run(DeadlineRunner(host_timeout=0.05, run_timeout=9), task, [Host("h0")])
    assert run._next_due() - time.monotonic() <= 0.05


def test_random_runs_give_every_host_one_verdict_and_silence_afterwards() -> None:
    """120 runs of 16 hosts whose durations lie around the limits: where races would live."""
    dice = random.Random(20261122)  # noqa: S311 - no secret, and the same every time
    late = sum(random_run(dice) for _ in range(120))
    assert 200 < late < 1800


def random_run(dice: random.Random) -> int:
    """Check one run; return how many of its 16 hosts were given up."""
    durations = {f"h{n}": dice.choice([0.0, 0.001, 0.004, 0.006, 0.008]) for n in range(16)}
    recorder = Recorder()
    runner = DeadlineRunner(
        num_workers=dice.choice([1, 4, 16]),
        run_timeout=dice.choice([0.006, 0.012, 5]),
        host_timeout=dice.choice([None, 0.004, 0.006]),
    )
    if dice.random() < 0.2:
        threading.Timer(dice.random() * 0.01, runner.cancel).start()
    nornir = nornir_of(16, runner, [recorder])
    result, seconds = timed(lambda: nornir.run(sleep_in_steps, durations=durations))
    assert list(result) == list(durations)
    assert sorted(host for host, _ in recorder.verdicts) == sorted(durations)
    assert all(result[host] is verdict for host, verdict in recorder.verdicts)
    assert seconds < (runner.run_timeout or 0) + LATENESS
    time.sleep(dice.random() * 0.002)  # time for an abandoned worker to misbehave
    assert recorder.after_the_end == []
    return sum(not status.good for status in statuses(result).values())


def sleep_in_steps(task: Task, durations: dict[str, float]) -> Result:
    """Take the host's time in three subtasks."""
    for _ in range(3):
        task.run(pause, seconds=durations[task.host.name] / 3)
    return Result(host=task.host)


def pause(task: Task, seconds: float) -> Result:
    time.sleep(seconds)
    return Result(host=task.host)


def test_a_thousand_hosts_cost_no_more_than_with_nornirs_own_runner() -> None:
    """At most 10 % more CPU, the best of interleaved rounds; more rounds when the machine is busy."""
    theirs = ours = float("inf")
    for rounds in range(30):
        theirs = min(theirs, cpu_of_a_run(ThreadedRunner(num_workers=20)))
        ours = min(ours, cpu_of_a_run(DeadlineRunner(num_workers=20)))
        if rounds >= 4 and ours <= 1.1 * theirs:
            return
    pytest.fail(f"{ours:.4f} s against {theirs:.4f} s")


def cpu_of_a_run(runner: RunnerPlugin) -> float:
    """CPU seconds of one run over a thousand hosts with nothing to do."""
    nornir = nornir_of(1000, runner)
    began = time.process_time()
    nornir.run(noop)
    return time.process_time() - began
