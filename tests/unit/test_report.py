"""The report: what became of every host, in a form for machines and in sentences for people."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_torque_vm.errors import Blame, BusyError, HypervisorError, RequestError, TorqueVMError
from nornir_torque_vm.model import Node
from nornir_torque_vm.report import Failure, HostReport, Report, Status

GOOD = [Status.OK, Status.CHANGED]


def failed(host: str, what: str = "no", *, node: str = "", status: Status = Status.FAILED,
           phase: str = "start") -> HostReport:  # fmt: skip
    return HostReport(host, node, phase, status, 1.0, Failure("GuestError", what, f"guest {host}: {what}"))


def test_a_failure_describes_our_errors_with_and_without_the_place() -> None:
    """``what`` folds over hosts, ``message`` names one; blame and libvirt's code come along."""
    error = HypervisorError("cannot start", code=38, node="n1", guest="g1", hint="see the log")
    assert Failure.of(error) == Failure(
        "HypervisorError",
        "cannot start; see the log",
        "node n1, guest g1: cannot start; see the log",
        Blame.SITE,
        38,
    )
    assert Failure.of(RequestError("no")) == Failure("RequestError", "no", "no", Blame.USER, 0)
    assert Failure.of(BusyError("full")).blame is Blame.NOBODY


def test_a_foreign_exception_is_the_sites_and_named_by_class() -> None:
    """On one line, with the class alone when it has no text."""
    assert Failure.of(KeyError("a\nb")) == Failure(
        "KeyError", r"KeyError: 'a\nb'", r"KeyError: 'a\nb'", Blame.SITE
    )
    assert Failure.of(OSError("two\n\tlines")).what == "OSError: two lines"
    assert Failure.of(SystemExit()).message == "SystemExit"


@pytest.mark.parametrize(("length", "kept"), [(500, 500), (501, 500)])
def test_a_talkative_error_is_cut_at_500_characters(length: int, kept: int) -> None:
    """The cut shows."""
    what = Failure.of(TorqueVMError("x" * length)).what
    assert len(what) == kept
    assert what.endswith("…") is (length > kept)
    assert what.startswith("x" * 499)


@given(st.text())
def test_any_exception_text_ends_up_on_one_line(text: str) -> None:
    """Hostile or merely long: no line break reaches a log."""
    failure = Failure.of(ValueError(text))
    assert failure.what.splitlines() in ([failure.what], [])
    assert Failure.of(TorqueVMError(text)).what == " ".join(failure.what.split())[12:] or len(text) > 400


def test_ok_needs_at_least_one_host_and_every_host_good() -> None:
    """Nornir calls a run over no host a success; a hook must not."""
    assert not Report().ok
    assert Report(tuple(HostReport("a", status=status) for status in GOOD)).ok
    for status in set(Status) - set(GOOD):
        assert not Report((HostReport("a"), HostReport("b", status=status))).ok


def test_each_host_is_in_the_groups_of_its_status() -> None:
    """Good and bad share out all hosts; failed and late are parts of the bad."""
    report = Report(tuple(HostReport(status, status=status) for status in Status))
    assert [entry.host for entry in report.good] == ["ok", "changed"]
    assert [entry.host for entry in report.bad] == ["failed", "late", "not_started", "cancelled"]
    assert [entry.host for entry in report.failed] == ["failed"]
    assert [entry.host for entry in report.late] == ["late", "not_started"]


def test_the_summary_counts_in_a_fixed_order() -> None:
    """Changed hosts are ok; what did not happen is not mentioned."""
    assert Report().summary() == "no host"
    assert Report((HostReport("a"), HostReport("b", status=Status.CHANGED))).summary() == "2 ok"
    mixed = [Status.CANCELLED, Status.NOT_STARTED, Status.LATE, Status.FAILED, Status.OK, Status.LATE]
    report = Report(tuple(HostReport(str(n), status=status) for n, status in enumerate(mixed)))
    assert report.summary() == "1 ok, 1 failed, 2 late, 1 not started, 1 cancelled"


def test_hosts_that_failed_alike_share_one_sentence() -> None:
    """Names fold; guests are followed by their nodes, and by the phase; different sentences stay apart."""
    report = Report(
        (
            failed("j1-r0", "no address", node="n1"),
            failed("j1-r1", "crashed", node="n1"),
            HostReport("j1-r2", "n2"),
            failed("j1-r3", "no address", node="n2"),
        )
    )
    assert report.sentences() == ("j1-r[0,3] on n[1-2], start: no address", "j1-r1 on n1, start: crashed")


def test_nodes_are_named_once() -> None:
    """A node is not on itself; a host whose node is unknown stands alone."""
    report = Report((failed("n1", node="n1"), failed("n2", node="n2"), failed("n4")))
    assert report.sentences() == ("n[1-2,4], start: no",)


def test_late_hosts_share_a_sentence_per_phase_whatever_their_seconds() -> None:
    """The seconds differ for each of a thousand hosts; the first one's are shown."""
    late = [
        failed(f"g{n}", f"late in start_guest after 9.{n} s", status=Status.LATE, phase="start")
        for n in range(3)
    ]
    late.append(failed("g3", "late in check_health after 9.0 s", status=Status.LATE, phase="health"))
    late.append(failed("g4", "late in start_guest after 9.0 s", status=Status.FAILED, phase="start"))
    assert Report(tuple(late)).sentences() == (
        "g[0-2], start: late in start_guest after 9.0 s",
        "g3, health: late in check_health after 9.0 s",
        "g4, start: late in start_guest after 9.0 s",
    )


def test_a_bad_host_without_a_failure_is_described_by_its_status() -> None:
    """A report may be built by hand."""
    assert Report((HostReport("a", status=Status.NOT_STARTED),)).sentences() == ("a: not started",)
    assert HostReport("a", status=Status.NOT_STARTED).error == ""


def test_a_good_report_has_no_sentences() -> None:
    """Nothing to say."""
    assert Report((HostReport("a"),)).sentences() == ()


def test_combining_keeps_the_first_failure_and_the_last_good_result() -> None:
    """Hosts stay in the order they first appeared; seconds add up; a change is never forgotten."""
    first = Report((HostReport("a", phase="start", seconds=1.0, changed=True), failed("b", "first")))
    second = Report(
        (
            HostReport("c", phase="health"),
            HostReport("a", phase="health", status=Status.LATE, seconds=2.5),
            HostReport("b", phase="health", seconds=4.0),
        )
    )
    third = Report((failed("b", "second"), HostReport("c", phase="roster", seconds=0.5)))
    assert Report.combined([first, second, third]).hosts == (
        HostReport("a", phase="health", status=Status.LATE, seconds=3.5, changed=True),
        dataclasses.replace(failed("b", "first"), seconds=6.0),
        HostReport("c", phase="roster", seconds=0.5),
    )
    assert Report.combined([]) == Report()


def test_the_json_form_is_an_interface() -> None:
    """Keys, their order and their values, to the letter."""
    report = Report(
        (
            HostReport("a", "n1", "start", Status.CHANGED, 1.23456, changed=True, data={"ip": "10.0.0.1"}),
            HostReport(
                "b", "n1", "start", Status.FAILED, 2.0,
                Failure("HypervisorError", "no", "node n1: no", Blame.SITE, 38),
            ),
        )
    )  # fmt: skip
    text = report.to_json()
    assert json.loads(text) == {
        "version": 1,
        "ok": False,
        "summary": "1 ok, 1 failed",
        "hosts": [
            {
                "host": "a", "node": "n1", "phase": "start", "status": "changed", "seconds": 1.235,
                "changed": True, "error": None,
            },
            {
                "host": "b", "node": "n1", "phase": "start", "status": "failed", "seconds": 2.0,
                "changed": False, "error": {"type": "HypervisorError", "code": 38, "message": "node n1: no"},
            },
        ],
    }  # fmt: skip
    assert text.startswith('{\n "version": 1,\n')
    assert text.endswith("}\n")


def test_data_is_shown_only_when_asked_for() -> None:
    """A result may hold secrets; with ``data`` it comes in terms of JSON, whatever it is made of."""
    node = Node("n1", 2)
    report = Report((HostReport("a", data={"node": node, "mixed": (b"x", {1: None}, 1.5, True, [Node])}),))
    assert "data" not in report.to_dict()["hosts"][0]
    assert "data" not in report.hosts[0].to_dict()
    shown = json.loads(report.to_json(data=True))["hosts"][0]["data"]
    assert shown == {
        "node": {"name": "n1", "slots": 2, "address": "", "indexes": [], "np": 0},
        "mixed": ["b'x'", {"1": None}, 1.5, True, [str(Node)]],
    }
