"""``torque-vm run`` and ``demo`` without a lab: what is borrowed, what is given back, what Ctrl-C does."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from nornir_torque_vm.cli import demo as demo_module
from nornir_torque_vm.cli import labjob
from nornir_torque_vm.cli import run as run_module
from nornir_torque_vm.cli.app import outcome
from nornir_torque_vm.cli.labjob import borrowed_lab, cancelling, run_job
from nornir_torque_vm.driver.batch import Outcome, Submission
from nornir_torque_vm.driver.session import Ended
from nornir_torque_vm.errors import ImageBuildError, LabError
from nornir_torque_vm.lab import NodeStatus
from nornir_torque_vm.processors.base import Event, EventProcessor
from nornir_torque_vm.request import find_in_resources
from nornir_torque_vm.timeline import Span, Timeline

DONE = Ended(Outcome("1.head", "start", 7, 1), {}, Timeline((Span("j1-r0", "start", 0.0, 1.5),)))


class FakeLab:
    """Writes down what is done to it."""

    log: list[str] = []  # noqa: RUF012 - shared by all objects, as the lab itself is
    there: Sequence[NodeStatus] = ()
    slots = 4

    @dataclasses.dataclass
    class Paths:
        cache: Path = Path("/nowhere")

    def __init__(self, name: str, nodes: int | None = None) -> None:
        self.name, self.paths = name, self.Paths()
        self.node_names = tuple(f"node{i + 1}" for i in range(nodes or len(self.there) or 2))
        if nodes:
            self.log.append(f"wants {nodes}")

    def status(self) -> list[NodeStatus]:
        return list(self.there)

    def up(self) -> None:
        self.log.append("up")

    def down(self) -> bool:
        self.log.append("down")
        return True


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> type[FakeLab]:
    """The lab, and a builder of images that only says so."""
    FakeLab.log, FakeLab.there = [], ()
    monkeypatch.setattr(labjob, "Lab", FakeLab)
    monkeypatch.setattr(labjob, "build", lambda name, *_, **__: FakeLab.log.append(f"build {name}"))
    return FakeLab


def nodes(count: int, error: str = "") -> list[NodeStatus]:
    return [NodeStatus(f"node{i + 1}", "10.89.0.11", (), error if i == 0 else "") for i in range(count)]


def test_a_lab_that_had_to_be_made_goes_away_again(lab: type[FakeLab]) -> None:
    """With the image its guests boot built first."""
    with borrowed_lab("x", 3) as made:
        lab.log.append(f"job on {len(made.node_names)}")
    assert lab.log == ["wants 3", "build micro", "up", "job on 3", "down"]


def test_it_goes_away_when_the_job_fails_too(lab: type[FakeLab]) -> None:
    """Also when it does not come up, or on Ctrl-C."""
    for error in (LabError("no"), KeyboardInterrupt()):
        lab.log.clear()
        with pytest.raises(type(error)), borrowed_lab("x", 1):
            raise error
        assert lab.log[-1] == "down"


def test_half_a_lab_is_taken_down(lab: type[FakeLab], monkeypatch: pytest.MonkeyPatch) -> None:
    """It was made for this job, as far as it was made."""

    def up(_self: FakeLab) -> None:
        raise LabError("node2 did not come up")

    monkeypatch.setattr(lab, "up", up)
    with pytest.raises(LabError), borrowed_lab("x", 2):
        pass
    assert lab.log == ["wants 2", "build micro", "down"]


def test_a_made_lab_can_be_kept(lab: type[FakeLab]) -> None:
    """The next job starts at once."""
    with borrowed_lab("x", 1, keep=True):
        pass
    assert "down" not in lab.log


@pytest.mark.parametrize(
    ("there", "wanted", "log"),
    [
        (nodes(2), 2, ["build micro", "up"]),
        (nodes(3), 1, ["build micro", "up"]),
        (nodes(2), 4, ["wants 4", "build micro", "up"]),
        (nodes(3, error="gone"), 1, ["wants 3", "build micro", "up"]),
    ],
)
def test_a_lab_that_is_up_stays_up(
    lab: type[FakeLab], there: list[NodeStatus], wanted: int, log: list[str]
) -> None:
    """It is mended where it is broken, and grows when the job needs more nodes; it never shrinks."""
    lab.there = there
    with borrowed_lab("x", wanted):
        pass
    assert lab.log == log


def test_without_an_image_no_lab_is_made(lab: type[FakeLab], monkeypatch: pytest.MonkeyPatch) -> None:
    """It may need a network."""

    def build(*_: object, **__: object) -> None:
        raise ImageBuildError("no packages")

    monkeypatch.setattr(labjob, "build", build)
    with pytest.raises(ImageBuildError), borrowed_lab("x", 1):
        pass
    assert "up" not in lab.log


@pytest.mark.parametrize(("quiet", "lines"), [(True, 0), (False, 2)])
def test_steps_are_told_on_stderr(
    lab: type[FakeLab], quiet: bool, lines: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unless nobody wants to know."""
    with borrowed_lab("x", 1, quiet=quiet):
        pass
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", lines)


class FakeSession:
    """A job during which signals arrive."""

    def __init__(self, *_: Any) -> None:
        self.cancelled = 0

    def cancel(self) -> None:
        self.cancelled += 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_deletes_the_job_and_interrupts_when_it_is_gone(
    number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not in the middle: its epilogue has to run. A second one changes nothing."""
    before = signal.getsignal(number)
    session, steps = FakeSession(), []

    def job() -> None:
        for _ in range(2):
            os.kill(os.getpid(), number)
            steps.append("it goes on")

    with pytest.raises(KeyboardInterrupt), cancelling(session):  # type: ignore[arg-type]
        job()
    assert (session.cancelled, len(steps)) == (2, 2)
    assert signal.getsignal(number) == before
    assert capfd.readouterr().err == "torque-vm: deleting the job, please wait\n" * 2


def test_without_a_signal_nothing_is_cancelled_and_handlers_come_back() -> None:
    """Also when the job ends with an error, which then is the one to report."""
    before = signal.getsignal(signal.SIGINT)
    session = FakeSession()
    with cancelling(session):  # type: ignore[arg-type]
        pass
    with pytest.raises(LabError), cancelling(session):  # type: ignore[arg-type]
        raise LabError("gone")
    assert session.cancelled == 0
    assert signal.getsignal(signal.SIGINT) == before


class Closing(EventProcessor):
    """Progress that knows whether it was closed."""

    def __init__(self, _stream: object) -> None:
        super().__init__()
        self.closed = False
        shown.append(self)

    def handle(self, event: Event) -> None:
        """Show nothing."""

    def close(self) -> None:
        super().close()
        self.closed = True


shown: list[Closing] = []


@pytest.mark.parametrize(("quiet", "count"), [(False, 1), (True, 0)])
def test_progress_is_shown_and_closed_however_the_job_ends(
    quiet: bool, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A live display must give the terminal back."""
    shown.clear()

    class Failing(FakeSession):
        def run(self, *_: object, **__: object) -> None:
            raise LabError("gone")

    monkeypatch.setattr(labjob, "progress", Closing)
    monkeypatch.setattr(labjob, "Session", Failing)
    with pytest.raises(LabError):
        run_job(None, Submission(b"", "x", [], 1), quiet=quiet)  # type: ignore[arg-type]
    assert [watch.closed for watch in shown] == [True] * count


@pytest.fixture
def ran(lab: type[FakeLab], monkeypatch: pytest.MonkeyPatch) -> list[tuple[Submission, dict[str, Any]]]:
    """The submissions that would have been run; their job ends with 7."""
    submitted: list[tuple[Submission, dict[str, Any]]] = []

    def run(_lab: object, submission: Submission, **options: Any) -> Ended:
        submitted.append((submission, options))
        return DONE

    for module in (run_module, demo_module):
        monkeypatch.setattr(module, "run_job", run)
    return submitted


@pytest.fixture
def script(tmp_path: Path) -> str:
    (tmp_path / "job.sh").write_text("#!/bin/sh\n")
    return str(tmp_path / "job.sh")


def test_run_submits_what_it_was_told(ran: list[tuple[Submission, dict[str, Any]]], script: str) -> None:
    """Options of the script stay the script's."""
    words = [
        "--nodes",
        "2",
        "-vm",
        "vcpus=1,ram=192M",
        "-vm",
        "vms_per_node=2",
        "--walltime",
        "60",
        "--max-starts",
        "3",
    ]
    assert outcome(["run", *words, "--name", "mine", script, "--nodes", "9", "-x"]) == 7
    ((submission, options),) = ran
    assert submission.hosts == ("node1", "node2")
    assert (submission.ppn, submission.walltime, submission.name) == (4, 60, "mine")
    assert submission.arguments == ("--nodes", "9", "-x")
    request = find_in_resources(submission.resources[0])
    assert request is not None
    assert (request.vcpus, request.ram, request.vms_per_node) == (1, 192 << 20, 2)
    assert options == {"max_starts": 3, "quiet": False}


def test_runs_defaults_are_one_node_and_all_its_slots(
    ran: list[tuple[Submission, dict[str, Any]]], script: str
) -> None:
    """And the script's own name."""
    assert outcome(["run", "--ppn", "2", "--quiet", script]) == 7
    ((submission, options),) = ran
    assert (submission.hosts, submission.ppn, submission.name) == (("node1",), 2, "job.sh")
    assert options == {"max_starts": 1, "quiet": True}


def test_the_timeline_is_shown_on_request_and_not_among_the_jobs_output(
    ran: list[tuple[Submission, dict[str, Any]]], script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stdout is the job's."""
    outcome(["run", "--quiet", "--timeline", script])
    out, err = capsys.readouterr()
    assert out == ""
    assert "j1-r0" in err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["-vm", "ram=lots"], "-vm key ram is 'lots'"),
        (["-vm", "cpus=1"], "unknown -vm key 'cpus'"),
    ],
)
def test_a_wrong_request_makes_no_lab(
    ran: list[tuple[Submission, dict[str, Any]]],
    lab: type[FakeLab],
    script: str,
    words: list[str],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Refused, with one line."""
    assert outcome(["run", *words, script]) == 120
    (line,) = capsys.readouterr().err.splitlines()
    assert sentence in line
    assert (ran, lab.log) == ([], [])


@pytest.mark.parametrize("name", ["missing.sh", ""])
def test_a_script_that_is_none_makes_no_lab(
    lab: type[FakeLab], tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is looked for before a minute of preparation."""
    assert outcome(["run", str(tmp_path / name)]) == 120
    assert "does not exist" in (said := capsys.readouterr().err) or "is a directory" in said
    assert lab.log == []


def test_the_demo_runs_its_job_in_four_guests_and_shows_their_timeline(
    ran: list[tuple[Submission, dict[str, Any]]], lab: type[FakeLab], capsys: pytest.CaptureFixture[str]
) -> None:
    """Its exit code is the job's, so that a broken demo is noticed."""
    assert outcome(["demo"]) == 7
    ((submission, _),) = ran
    assert submission.hosts == ("node1", "node2")
    assert b"PBS_NODEFILE" in submission.script
    request = find_in_resources(submission.resources[0])
    assert request is not None
    assert len(submission.hosts) * (request.vms_per_node or 1) == 4
    out = capsys.readouterr().out
    assert out.startswith("$ qsub -l nodes=2 -vm vcpus=1,ram=192M,vms_per_node=2 demo-job.sh\n")
    assert "j1-r0" in out
    assert "demo done after" in out
    assert lab.log[-1] == "down"
