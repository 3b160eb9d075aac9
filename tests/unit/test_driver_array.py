"""Job arrays of the embedded driver: members have ids and nodes of their own, and label what they print."""

from __future__ import annotations

import io
import threading
from typing import Any

import pytest
from driver_kit import Nodes, nodes  # noqa: F401 -- a fixture

from nornir_torque_vm.driver.array import ArraySession, Labelled
from nornir_torque_vm.driver.batch import BatchJob, Outcome, Submission
from nornir_torque_vm.driver.session import Ended, Session
from nornir_torque_vm.timeline import Timeline


def submission(**more: Any) -> Submission:
    return Submission(b"#!/bin/sh\nexit 0\n", "arr", ["n1"], 1, array=(0, 1, 2, 3), **more)


class Members:
    """Stands for sessions: which ran where, and how many at the same time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ran: list[tuple[tuple[int, int], tuple[str, ...]]] = []
        self.running = self.most = 0
        self.gate, self.told = threading.Condition(), 0
        monkeypatch.setattr(Session, "next_number", lambda _: 17)

        def run(session: Session, *given: Any, **more: Any) -> Ended:
            return self.run(session, *given, **more)

        monkeypatch.setattr(Session, "run", run)

    def run(self, session: Session, job: Submission, *, number: tuple[int, int], **_: Any) -> Ended:
        with self.gate:
            self.ran.append((number, tuple(job.hosts)))
            self.running += 1
            self.most = max(self.most, self.running)
            self.gate.notify_all()
            self.gate.wait_for(lambda: self.most >= 2, 0.2)
        session.out.write(b"half a li")
        session.out.write(b"ne\nand an end")
        with self.gate:
            self.running -= 1
        return Ended(Outcome(f"17[{number[1]}].head", "start", number[1], 1), {}, Timeline())


class FakeLab:
    def __init__(self, count: int) -> None:
        self.node_names = [f"n{number}" for number in range(1, count + 1)]


def run(lab: FakeLab, job: Submission) -> tuple[dict[int, Ended], list[str]]:
    out = io.BytesIO()
    ended = ArraySession(lab, out, io.BytesIO()).run(job)  # type: ignore[arg-type]
    return ended, out.getvalue().decode().splitlines()


def test_members_run_side_by_side_each_on_nodes_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """All under one number, and what they print tells whose it is."""
    members = Members(monkeypatch)
    ended, lines = run(FakeLab(2), submission())
    assert members.most == 2
    assert sorted(number for number, _ in members.ran) == [(17, index) for index in range(4)]
    assert {hosts for _, hosts in members.ran} <= {("n1",), ("n2",)}
    assert [one.exit_code for one in ended.values()] == list(ended) == [0, 1, 2, 3]
    assert sorted(lines) == sorted(f"{i}: {text}" for i in range(4) for text in ("half a line", "and an end"))


def test_no_more_members_at_the_same_time_than_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    members = Members(monkeypatch)
    run(FakeLab(4), submission(array_limit=1))
    assert members.most == 1


def test_a_member_that_has_not_begun_is_cancelled_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """``qdel`` of an array is for all of it."""
    told: list[Session] = []
    members = Members(monkeypatch)

    def cancel(session: Session) -> None:
        told.append(session)

    monkeypatch.setattr(Session, "cancel", cancel)
    session = ArraySession(FakeLab(1), io.BytesIO(), io.BytesIO())  # type: ignore[arg-type]
    session.cancel()
    session.run(submission())
    assert len(told) == len(members.ran) == 4


def test_lines_of_several_members_are_not_mixed() -> None:
    out, gate = io.BytesIO(), threading.Lock()
    one, two = Labelled(out, 1, gate), Labelled(out, 20, gate)
    one.write(b"a")
    two.write(b"b\n")
    one.write(b"c\nd")
    one.finish()
    two.finish()
    assert out.getvalue() == b"20: b\n1: ac\n1: d\n"


def test_a_member_is_known_as_torque_knows_it(nodes: Nodes) -> None:  # noqa: F811
    """Its id has brackets, its files have none, and it finds its index."""
    script = b'#!/bin/sh\necho "$PBS_JOBID $PBS_ARRAYID $PBS_JOBNAME $0"\n'
    job = Submission(script, "arr", ["n1"], 1, array=(3,))
    out: list[bytes] = []
    outcome = BatchJob(nodes, job, nodes.owner, 17, index=3).run(out=out.append)
    assert outcome == Outcome("17[3].head", "start", 0, 1)
    assert b"".join(out).decode().split() == [
        "17[3].head",
        "3",
        "arr-3",
        f"{nodes.home}/mom_priv/jobs/17-3.head.SC",
    ]
    assert [path for path in nodes.home.rglob("*") if path.is_file()] == []
