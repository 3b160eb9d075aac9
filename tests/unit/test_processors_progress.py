"""Progress: plain lines in a pipe, a live display on a terminal that is always given back."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import time

import pytest
from nornir.core.task import Result, Task
from nornir.plugins.runners import ThreadedRunner
from nornir_kit import nornir_of

from nornir_torque_vm.errors import NoAddress
from nornir_torque_vm.processors.live import MAX_ROWS, RichProgress
from nornir_torque_vm.processors.progress import PlainProgress, progress
from nornir_torque_vm.runners.deadline import DeadlineRunner


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def prepare_image(task: Task) -> Result:
    return Result(host=task.host, changed=True)


def discover_address(task: Task) -> Result:
    if task.host.name.endswith("r2"):
        raise NoAddress("nobody knows it", guest=task.host.name, hint="see its console")
    if task.host.name.endswith("r3"):
        time.sleep(1.5)
    return Result(host=task.host)


def boot_guest(task: Task) -> Result:
    task.run(prepare_image)
    task.run(discover_address)
    return Result(host=task.host)


GUESTS = [f"j17-r{n}" for n in range(5)]


def without_times(text: str) -> str:
    return re.sub(r"\d+\.\d", "N", text)


def test_a_pipe_gets_one_line_per_host_and_one_per_run() -> None:
    """How it went, by which phases, and why not; the summary folds the names."""
    stream = io.StringIO()
    nornir_of(GUESTS, DeadlineRunner(num_workers=5, run_timeout=0.5), [progress(stream)]).run(boot_guest)
    lines = without_times(stream.getvalue()).splitlines()
    assert sorted(lines[:-1]) == [
        "j17-r0: ok after N s (image N, address N)",
        "j17-r1: ok after N s (image N, address N)",
        "j17-r2: failed: nobody knows it; see its console",
        "j17-r3: late in discover_address after N s",
        "j17-r4: ok after N s (image N, address N)",
    ]
    assert lines[-1] == "boot_guest: 3 ok j17-r[0-1,4]; 1 failed j17-r2; 1 late j17-r3 in N s"


def test_the_phase_of_a_bare_task_is_named_and_runs_are_told_apart() -> None:
    """A second run starts from nothing."""
    stream = io.StringIO()
    nornir = nornir_of(["node01", "node02"], processors=[PlainProgress(stream)])
    nornir.run(prepare_image)
    nornir.filter(name="node02").run(prepare_image)
    lines = without_times(stream.getvalue()).splitlines()
    assert lines[2] == "image: 2 ok node[01-02] in N s"
    assert lines[3:] == ["node02: ok after N s", "image: 1 ok node02 in N s"]


def test_hosts_that_never_started_and_empty_runs_are_said() -> None:
    """An empty selection is not a success to keep quiet about."""
    stream = io.StringIO()
    slow = ["a-r3", "b-r3"]
    runner = DeadlineRunner(num_workers=1, run_timeout=0.5)
    nornir_of(slow, runner, [PlainProgress(stream)]).run(discover_address)
    nornir_of(0, processors=[PlainProgress(stream)]).run(discover_address)
    assert without_times(stream.getvalue()).splitlines() == [
        "a-r3: late in discover_address after N s",
        "b-r3: not started after N s",
        "address: 1 late a-r3; 1 not started b-r3 in N s",
        "address: no host in N s",
    ]


def test_a_stream_that_is_closed_costs_nothing() -> None:
    """The reader of a pipe may have gone."""
    stream = io.StringIO()
    stream.close()
    assert not nornir_of(["n1"], processors=[PlainProgress(stream)]).run(prepare_image).failed


@pytest.mark.parametrize(
    ("term", "kind"), [("xterm", RichProgress), ("dumb", PlainProgress), ("", PlainProgress)]
)
def test_a_terminal_gets_the_live_display_unless_it_is_dumb(
    term: str, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a pipe never does."""
    monkeypatch.setenv("TERM", term)
    assert type(progress(Terminal())) is kind
    assert type(progress(io.StringIO())) is PlainProgress


def test_without_rich_a_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing ornament is no error."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setitem(sys.modules, "nornir_torque_vm.processors.live", None)
    assert type(progress(Terminal())) is PlainProgress


def test_rich_is_imported_for_a_terminal_only() -> None:
    """It costs 60 ms that a hook has no use for."""
    script = (
        "import sys\n"
        "from nornir_torque_vm.processors.progress import progress\n"
        "progress(sys.stdout)\n"
        "print('rich' in sys.modules)\n"
    )
    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "False\n"


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A wide one."""
    for name, value in (("TERM", "xterm"), ("COLUMNS", "100"), ("NO_COLOR", "1")):
        monkeypatch.setenv(name, value)
    return Terminal()


def test_the_live_display_ends_with_the_same_lines_and_gives_the_cursor_back(terminal: Terminal) -> None:
    """Verdicts stay above the bars; brackets in folded names are text, not markup."""
    with RichProgress(terminal) as live:
        nornir_of(GUESTS, DeadlineRunner(run_timeout=0.5), [live]).run(boot_guest)
    shown = terminal.getvalue()
    assert "j17-r2: failed: nobody knows it; see its console" in shown
    assert "boot_guest: 3 ok j17-r[0-1,4]; 1 failed j17-r2; 1 late j17-r3" in shown
    assert "5/5" in shown
    assert "j17-r3  address" in shown
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1  # the cursor, hidden and shown


def test_an_interrupted_display_gives_the_cursor_back(terminal: Terminal) -> None:
    """Nornir does not tell that a run was interrupted."""
    with RichProgress(terminal) as live, pytest.raises(Exception, match="j17-r2"):
        nornir_of(GUESTS[:3], processors=[live]).run(boot_guest, raise_on_error=True)
    shown = terminal.getvalue()
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1
    assert "boot_guest: 2 ok j17-r[0-1]; 1 failed j17-r2" in shown


def test_colors_are_left_out_when_not_wanted(terminal: Terminal) -> None:
    """NO_COLOR: no escape sequence sets a color."""
    with RichProgress(terminal) as live:
        nornir_of(GUESTS[:2], processors=[live]).run(boot_guest)
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", terminal.getvalue())


def test_many_hosts_share_the_rows_there_are(terminal: Terminal) -> None:
    """64 guests do not scroll a terminal away; hosts are counted where the runner does not tell them."""
    with RichProgress(terminal) as live:
        nornir = nornir_of([f"g{n}" for n in range(64)], ThreadedRunner(num_workers=64), [live])
        nornir.run(discover_address)
        assert len(live._rows) <= MAX_ROWS
    assert "64/64" in terminal.getvalue()
