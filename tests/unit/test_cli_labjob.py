"""``torque-vm run`` and ``demo`` without a lab: what is borrowed, what is given back, what Ctrl-C does."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from qcow2_bytes import image_bytes

from nornir_torque_vm.cli import demo as demo_module
from nornir_torque_vm.cli import labjob
from nornir_torque_vm.cli import run as run_module
from nornir_torque_vm.cli.app import outcome
from nornir_torque_vm.cli.labjob import borrowed_lab, cancelling, run_job
from nornir_torque_vm.cli.submit import SETTINGS, read_script
from nornir_torque_vm.driver.batch import Outcome, Submission
from nornir_torque_vm.driver.session import Ended
from nornir_torque_vm.errors import ImageBuildError, LabError
from nornir_torque_vm.keys import KEYS
from nornir_torque_vm.lab import NodeStatus
from nornir_torque_vm.model import FileRef
from nornir_torque_vm.processors.base import Event, EventProcessor
from nornir_torque_vm.request import Request, find_in_resources
from nornir_torque_vm.timeline import Span, Timeline
from nornir_torque_vm.wrapper.helptext import keys_help

BOTH = ("node1", "node2")
DONE = Ended(Outcome("1.head", "start", 7, 1), {}, Timeline((Span("j1-r0", "start", 0.0, 1.5),)))


class FakeLab:
    """Writes down what is done to it."""

    log: list[str] = []  # noqa: RUF012 - shared by all objects, as the lab itself is
    folder: Path = Path("/nowhere")
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

    @property
    def pool(self) -> Path:
        return self.folder / "pool"

    def root(self, _node: str) -> Path:
        return self.folder

    def status(self) -> list[NodeStatus]:
        return list(self.there)

    def up(self) -> None:
        self.log.append("up")

    def down(self) -> bool:
        self.log.append("down")
        return True


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[FakeLab]:
    """The lab with its settings and its pool, and a builder of images that only says so."""
    FakeLab.log, FakeLab.there, FakeLab.folder = [], (), tmp_path
    (tmp_path / "pool").mkdir()
    (tmp_path / "pool/micro.qcow2").write_bytes(image_bytes())
    (tmp_path / "etc/torque-vm").mkdir(parents=True)
    (tmp_path / SETTINGS).write_text('img_default = "micro.qcow2"\nhost_os_ram_mb = 64\n')
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
    assert (submission.ppn, submission.walltime, submission.name) == (2, 60, "mine")
    assert submission.arguments == ("--nodes", "9", "-x")
    request = find_in_resources(submission.resources[0])
    assert request is not None
    assert (request.vcpus, request.ram, request.vms_per_node) == (1, 192 << 20, 2)
    assert options == {"max_starts": 3, "quiet": False}


def test_of_an_array_the_first_bad_exit_code_counts(
    lab: type[FakeLab], monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    """By index; its members are the command line's, else the script's."""
    asked: list[tuple[tuple[int, ...], int | None]] = []

    def run(_lab: object, submission: Submission, **_: Any) -> dict[int, Ended]:
        asked.append((submission.array, submission.array_limit))
        return {
            index: Ended(Outcome(f"1[{index}].head", "start", index, 1), {}, Timeline())
            for index in (0, 3, 5)
        }

    monkeypatch.setattr(run_module, "run_array", run)
    Path(script).write_text("#!/bin/sh\n#PBS -t 7\n")
    assert outcome(["run", script]) == outcome(["run", "-t", "0-3%2", script]) == 3
    assert asked == [((7,), None), ((0, 1, 2, 3), 2)]


def test_runs_defaults_are_one_node_and_the_slots_its_guests_need(
    ran: list[tuple[Submission, dict[str, Any]]], script: str
) -> None:
    """And the script's own name; more slots are to be had, fewer are not."""
    for words in ([], ["--ppn", "2"], ["--ppn", "2", "-vm", "vcpus=3"], ["-vm", "vcpus=3"]):
        assert outcome(["run", "--quiet", *words, script]) == 7
    assert [submission.ppn for submission, _ in ran] == [1, 2, 3, 3]
    submission, options = ran[0]
    assert (submission.hosts, submission.name, submission.walltime) == (("node1",), "job.sh", 3600)
    assert submission.resources == ("other=vm1",)
    assert options == {"max_starts": 1, "quiet": True}


INSIDE = b"""#!/bin/sh
#PBS -N inside -l nodes=2:ppn=3,walltime=60
#PBS -vm vcpus=2,ram=192M -F "one 'two words'"
echo
"""


def test_directives_of_the_script_count_as_with_qsub(
    ran: list[tuple[Submission, dict[str, Any]]], script: str
) -> None:
    """The request is taken out of the text that runs; options of the command win."""
    Path(script).write_bytes(INSIDE)
    assert outcome(["run", script]) == 7
    words = ["--nodes", "1", "--name", "outside", "--walltime", "9", "-vm", "vcpus=4"]
    assert outcome(["run", *words, script, "argument"]) == 7
    (inside, _), (outside, _) = ran
    text = INSIDE.replace(b"-vm vcpus=2,ram=192M", b" " * 20)
    other = "other=vm1:ram=192M:vcpus="
    assert inside == Submission(text, "inside", BOTH, 3, (f"{other}2",), ("one", "two words"), 60)
    assert outside == Submission(text, "outside", BOTH[:1], 4, (f"{other}4",), ("argument",), 9)
    assert outcome(["run", "--ppn", "4", script]) == 7
    assert (ran[2][0].hosts, ran[2][0].ppn) == (BOTH, 4)


def test_files_ride_with_their_digest_and_what_has_no_effect_is_said(
    ran: list[tuple[Submission, dict[str, Any]]],
    script: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Read as the wrapper reads them: relative to the current directory."""
    monkeypatch.chdir(Path(script).parent)
    Path("prepare.sh").write_bytes(b"true\n")
    assert outcome(["run", "--quiet", "-vm", "vm_prologue=prepare.sh,vrdma=on", script]) == 7
    request = find_in_resources(ran[0][0].resources[0])
    path, digest = f"{Path.cwd()}/prepare.sh", hashlib.sha256(b"true\n").hexdigest()
    assert request == Request(vm_prologue=FileRef(path, digest))
    (off,) = capsys.readouterr().err.splitlines()
    assert off == "torque-vm: the site has switched vrdma off: vrdma=true is ignored"


def test_help_explains_the_keys(script: str, capsys: pytest.CaptureFixture[str]) -> None:
    """For ``run`` and ``boot`` alike; the option itself names them all."""
    for words in (["run", "-vm", "help", script], ["boot", "-vm", "help", "node1"]):
        assert outcome(words) == 0
        assert capsys.readouterr().out == keys_help()
        assert outcome([words[0], "--help"]) == 0
        named = " ".join(capsys.readouterr().out.split())
        assert all(f"{key.name}, " in named or f"{key.name}. " in named for key in KEYS)


def test_what_the_site_does_not_allow_is_refused_in_the_lab(
    ran: list[tuple[Submission, dict[str, Any]]],
    lab: type[FakeLab],
    script: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """By the settings that its nodes have; a lab that was made for the job goes."""
    for request, sentence in (("vms_per_node=99", "vms_per_node is 99"), ("img=x.qcow2", "x.qcow2")):
        assert outcome(["run", "--quiet", "-vm", request, script]) == 120
        (line,) = capsys.readouterr().err.splitlines()
        assert sentence in line
        assert lab.log[-1] == "down"
    assert ran == []


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
        (["-vm", "metadata=/nowhere/file"], "metadata names '/nowhere/file', which cannot be opened"),
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


def test_a_script_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Before anything is prepared."""
    with pytest.raises(LabError, match=f"the script {tmp_path} cannot be read: Is a directory"):
        read_script(tmp_path)


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
