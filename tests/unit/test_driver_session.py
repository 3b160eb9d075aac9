"""A job on a lab from one call; the lab here is a directory, and hooks are shell scripts."""

from __future__ import annotations

import dataclasses
import io
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from driver_kit import Nodes, nodes
from hook_kit import Site
from nornir_kit import eventually

from nornir_torque_vm.config.textfile import write_text
from nornir_torque_vm.driver import deploy, session
from nornir_torque_vm.driver.batch import Outcome, Submission
from nornir_torque_vm.driver.session import Ended, Session
from nornir_torque_vm.processors.base import Event, EventProcessor, Kind
from nornir_torque_vm.sitekit import HOOKS, hook_text
from nornir_torque_vm.timeline import Timeline

__all__ = ["nodes"]

VERDICT = {"outcome": "busy", "hook_exit": 2, "run_exit": 121, "sentence": "node n1: full"}


class Lab(Nodes):
    """Nodes that also have a place for the lab's own files."""

    @dataclasses.dataclass
    class Paths:
        state: Path

    def __init__(self, folder: Path) -> None:
        self.folder, self.home, self.user_home = folder, folder / "torque", folder / "alice"
        self.shim, self.notes = folder / "shim.py", folder / "notes"
        self.paths = self.Paths(folder)
        self.log = folder / "log"


@pytest.fixture
def lab(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> Lab:
    made = Lab(nodes.folder)
    monkeypatch.setattr("os.fchown", lambda *_: None)
    monkeypatch.setattr(session, "LAB_OWNER", nodes.owner)
    monkeypatch.setattr(session, "HISTORY", str(made.log).lstrip("/"))
    monkeypatch.setattr(
        session, "deploy_hooks", lambda _root: str(made.hook("starter", "read line; eval $line"))
    )
    return made


class Watch(EventProcessor):
    """Remembers the events it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Event] = []

    def handle(self, event: Event) -> None:
        self.events.append(event)


def submission(script: str = "exit 0", **more: Any) -> Submission:
    return Submission(f"#!/bin/sh\n{script}\n".encode(), "job", ["n1"], 2, **more)


def run(lab: Lab, job: Submission, **options: Any) -> tuple[Ended, str, str]:
    out, err = io.BytesIO(), io.BytesIO()
    ended = Session(lab, out, err).run(job, **options)  # type: ignore[arg-type]
    return ended, out.getvalue().decode(), err.getvalue().decode()


def test_a_job_returns_its_output_and_exit_code(lab: Lab) -> None:
    """Without a verdict or a timeline when no hook of ours left one."""
    ended, out, err = run(lab, submission("echo out; echo err >&2; exit 7"))
    assert (out, err, ended.exit_code) == ("out\n", "err\n", 7)
    assert ended == Ended(Outcome("1.head", "start", 7, 1), {}, Timeline())


def test_jobs_are_numbered_while_the_lab_is_up(lab: Lab) -> None:
    """An id must not be used twice, by several processes neither."""
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(Session(lab, io.BytesIO(), io.BytesIO()).next_number()))  # type: ignore[arg-type]
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(1, 9))


@pytest.mark.parametrize(
    ("fate", "status", "verdict", "code"),
    [
        ("start", 0, {}, 0),
        ("start", 255, {}, 255),
        ("start", 256 + 15, {}, 128 + 15),
        ("start", -11, {}, 128 + 15),
        ("abort", -2, VERDICT, 120),
        ("requeue", -14, VERDICT, 121),
        ("requeue", -14, {}, 122),
        ("requeue", -3, {"run_exit": 123}, 123),
    ],
)
def test_exit_codes(fate: Any, status: int, verdict: dict[str, Any], code: int) -> None:
    """The job's own, 128 + signal for one that was killed, else ours by the prologue's verdict."""
    assert Ended(Outcome("1.head", fate, status, 1), verdict, Timeline()).exit_code == code


def test_the_last_attempts_verdict_counts(lab: Lab) -> None:
    """Attempt 10 comes after attempt 9, and another job's history is not looked at."""
    lab.hook("prologue.vm", "exit 2")
    for name in ("1.head.9", "1.head.10", "1.head.x", "11.head.11", "2.head.99"):
        (lab.log / name).mkdir(parents=True)
        (lab.log / name / "verdict.json").write_text(json.dumps({**VERDICT, "sentence": name}))
    ended, _, _ = run(lab, submission())
    assert ended.verdict["sentence"] == "1.head.10"
    assert ended.exit_code == 121


@pytest.mark.parametrize("text", ["", "[1]", "{", None])
def test_a_verdict_that_cannot_be_read_is_none(lab: Lab, text: str | None) -> None:
    """A prologue that was killed may leave nothing, or half of it: the site's fault."""
    lab.hook("prologue.vm", "exit 2")
    (lab.log / "1.head.1").mkdir(parents=True)
    if text is not None:
        (lab.log / "1.head.1/verdict.json").write_text(text)
    ended, _, _ = run(lab, submission())
    assert (ended.verdict, ended.exit_code) == ({}, 122)


def test_the_timeline_comes_from_the_histories_of_prologue_and_epilogue(lab: Lab, tmp_path: Path) -> None:
    """Of a job that really ran on the test driver, replayed by hooks that copy what it left."""
    (tmp_path / "site").mkdir()
    site = Site(tmp_path / "site")
    site.prologue()
    site.epilogue()
    site.close()
    left = Path(site.settings.history_dir, "17.head.1")
    lab.hook("prologue.vm", f"mkdir -p {lab.log}; cp -r {left} {lab.log}/1.head.1")
    watch = Watch()
    ended = Session(lab, io.BytesIO(), io.BytesIO(), watch).run(submission())  # type: ignore[arg-type]
    assert [row.guest for row in ended.timeline.rows()] == ["j17-r0", "j17-r1"]
    for row in ended.timeline.rows():
        assert set(row.phases) == {"image", "start", "address", "health", "run", "destroy"}
    assert len(watch.events) == len((left / "events.jsonl").read_text().splitlines())
    assert {event.kind for event in watch.events} == set(Kind)


def test_cancelling_ends_the_job_as_qdel_would(lab: Lab) -> None:
    """From another thread, or a signal handler."""
    out = io.BytesIO()
    running = Session(lab, out, io.BytesIO())  # type: ignore[arg-type]
    ended: list[Ended] = []
    thread = threading.Thread(target=lambda: ended.append(running.run(submission("echo up; exec sleep 60"))))
    thread.start()
    assert eventually(lambda: out.getvalue() == b"up\n", 20)
    running.cancel()
    thread.join(20)
    assert ended[0].exit_code == 128 + 15


def test_a_job_cancelled_before_it_began_never_runs(lab: Lab) -> None:
    """Ctrl-C while the hooks are being installed."""
    out = io.BytesIO()
    early = Session(lab, out, io.BytesIO())  # type: ignore[arg-type]
    early.cancel()
    ended = early.run(submission("echo ran"), max_starts=3)
    assert (ended.outcome, out.getvalue()) == (Outcome("1.head", "abort", 0, 0), b"")


def test_hooks_are_deployed_where_a_mom_looks(tmp_path: Path) -> None:
    """Executable by root; the job starter, and what runs as the job's owner, by everybody."""
    mom_priv = tmp_path / "var/spool/torque/mom_priv"
    mom_priv.mkdir(parents=True)
    assert deploy.deploy_hooks(tmp_path) == "/var/spool/torque/mom_priv/job_starter"
    modes = {path.name: path.stat().st_mode & 0o777 for path in mom_priv.iterdir() if path.name != "config"}
    assert modes.pop("job_starter") == 0o555
    assert modes == HOOKS
    for name in modes:
        assert (mom_priv / name).read_text() == hook_text(name)


def test_deploying_names_the_job_starter_in_the_moms_configuration_once(tmp_path: Path) -> None:
    """Behind what is there, which a MOM reads line by line."""
    config = tmp_path / "var/spool/torque/mom_priv/config"
    config.parent.mkdir(parents=True)
    config.write_text("$pbsserver head\n")
    for _ in range(2):
        starter = deploy.deploy_hooks(tmp_path)
        assert config.read_text() == f"$pbsserver head\n$job_starter {starter}\n"


def test_deploying_again_replaces_only_what_differs(tmp_path: Path) -> None:
    """A hook that a MOM executes just now is never cut short: it is replaced whole."""
    path = tmp_path / "hook"
    write_text(path, "one", 0o500)
    before = path.stat().st_ino
    path.chmod(0o700)
    write_text(path, "one", 0o500)
    assert (path.stat().st_ino, path.stat().st_mode & 0o777) == (before, 0o500)
    with path.open() as running:
        write_text(path, "two", 0o555)
        assert running.read() == "one"
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("two", 0o555)
    assert list(tmp_path.iterdir()) == [path]
