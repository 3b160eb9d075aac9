"""Finding the lab's processes, and never hitting another one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import LabError
from nornir_torque_vm.lab import processes
from nornir_torque_vm.lab.processes import Process

SLEEPER = "import time; time.sleep(60)"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The directory of a lab, with a first process that only sleeps."""
    (tmp_path / processes.INIT).write_text(SLEEPER)
    (tmp_path / "mine").mkdir()
    return tmp_path / "mine"


class Starter:
    """Starts sleeping processes and reaps them in the end."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[bytes]] = []

    def __call__(self, *words: str | Path) -> subprocess.Popen[bytes]:
        self.started.append(subprocess.Popen([sys.executable, *map(str, words)]))
        return self.started[-1]


@pytest.fixture
def start() -> Iterator[Starter]:
    """Start processes that do not outlive the test."""
    starter = Starter()
    yield starter
    for process in starter.started:
        process.kill()
        process.wait()


def still_runs(process: subprocess.Popen[bytes]) -> bool:
    """Tell whether it runs and was not just killed."""
    try:
        process.wait(0.2)
    except subprocess.TimeoutExpired:
        return True
    return False


@given(st.text(st.characters(exclude_characters="\0"), max_size=16), st.integers(0, 2**40))
def test_stat_is_read_whatever_the_program_is_called(name: str, start: int) -> None:
    """A name may hold parentheses, spaces and line ends; the last parenthesis counts (proc(5))."""
    fields = ["S", "42", *["0"] * 17, str(start), *["0"] * 30]
    assert processes.parse_stat(f"7 ({name}) {' '.join(fields)}\n") == ("S", 42, start)


def test_a_process_is_read_with_its_words(start: Starter) -> None:
    """Arguments stay separate words, empty ones included."""
    child = start("-c", SLEEPER, "a b", "", "c")
    found = processes.read(child.pid)
    assert found is not None
    assert found.parent == os.getpid()
    assert found.words[-3:] == ("a b", "", "c")


def test_there_is_nothing_to_read_of_a_process_that_is_gone(start: Starter) -> None:
    """No exception: processes end while they are looked at."""
    child = start("-c", "")
    child.wait()
    assert processes.read(child.pid) is None
    assert not processes.alive(child.pid, 0)


@pytest.mark.parametrize(
    ("words", "spec"),
    [
        (("unshare", "--net", "python", "/x/node_init.py", "/lab/a/n/init.json"), "/lab/a/n/init.json"),
        (("python", "-I", "node_init.py", "/lab/a/n/init.json"), "/lab/a/n/init.json"),
        (("vim", "/lab/a/n/init.json"), ""),
        (("python", "/x/node_init.py", "/lab/a/n/init.json", "-v"), ""),
        (("python", "/x/my_node_init.py", "/lab/a/n/init.json"), ""),
        (("node_init.py", "/lab/a/n/init.json"), ""),
        ((), ""),
    ],
)  # fmt: skip
def test_only_the_exact_last_words_mark_a_process(words: tuple[str, ...], spec: str) -> None:
    """An editor with the file open is not the lab's, and neither is a similar name."""
    assert processes.marker(Process(1, 0, 0, "S", words)) == spec


def test_end_ends_the_labs_processes_and_only_those(state: Path, start: Starter) -> None:
    """Not those of a lab whose name begins alike, nor one that only mentions the file."""
    init = state.parent / processes.INIT
    mine = start(init, state / "node1/init.json")
    others = [
        start(init, state.with_name("mine-too") / "node1/init.json"),
        start(init, state / "node1/deeper/init.json"),
        start("-c", SLEEPER, state / "node1/init.json"),
    ]
    assert processes.end(state, Deadline.after(5)) == 1
    assert mine.wait() == -signal.SIGKILL
    assert all(still_runs(other) for other in others)


def test_end_spares_the_hosts_it_is_told_to(state: Path, start: Starter) -> None:
    """Healthy hosts go on while broken ones are removed."""
    init = state.parent / processes.INIT
    kept, broken = (start(init, state / name / "init.json") for name in ("node1", "node2"))
    processes.end(state, Deadline.after(5), spare={state / "node1/init.json"})
    assert broken.wait() == -signal.SIGKILL
    assert still_runs(kept)
    assert [process.pid for process in processes.serving(state / "node1/init.json")] == [kept.pid]


def test_end_says_what_it_could_not_end(state: Path, start: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line with the process ids when the time is up."""
    child = start(state.parent / processes.INIT, state / "node1/init.json")
    monkeypatch.setattr(processes, "kill", lambda victim: None)
    with pytest.raises(LabError, match=f"processes {child.pid} of the lab"):
        processes.end(state, Deadline.after(0.2))


def test_kill_spares_a_later_process_with_the_same_id(start: Starter) -> None:
    """The start time tells them apart."""
    child = start("-c", SLEEPER)
    found = processes.read(child.pid)
    assert found is not None
    processes.kill(Process(found.pid, found.parent, found.start - 1, "S"))
    assert still_runs(child)
    processes.kill(found)
    assert child.wait() == -signal.SIGKILL
    processes.kill(found)


def test_a_zombie_counts_as_gone(start: Starter) -> None:
    """It has ended; that its parent has not asked yet is none of our business."""
    child = start("-c", "")
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    found = processes.read(child.pid)
    assert found is not None
    assert found.over
    assert not processes.alive(child.pid, found.start)
