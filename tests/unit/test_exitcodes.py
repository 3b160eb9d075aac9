"""Exit codes: every outcome has one meaning for TORQUE, one for administrators, one for ``run``."""

from __future__ import annotations

import itertools

import pytest

from nornir_torque_vm.errors import (
    Blame,
    BusyError,
    Cancelled,
    DeadlineExceeded,
    GuestDied,
    HypervisorError,
    HypervisorUnreachable,
    ImageBuildError,
    ImageError,
    InventoryError,
    LabError,
    NoAddress,
    NotHealthy,
    RequestError,
    SettingsError,
    StateError,
    StorageError,
    TorqueVMError,
)
from nornir_torque_vm.exitcodes import (
    BLAME,
    CLI,
    HOOK,
    RUN,
    Outcome,
    cli_exit,
    hook_exit,
    outcome_of,
    run_exit,
)
from nornir_torque_vm.report import Failure, HostReport, Report, Status

OK = HostReport("ok")
CHANGED = HostReport("changed", status=Status.CHANGED)
LATE = HostReport("late", status=Status.LATE, failure=Failure.of(DeadlineExceeded("late")))
NOT_STARTED = HostReport(
    "queued", status=Status.NOT_STARTED, failure=Failure.of(DeadlineExceeded("late", started=False))
)
CANCELLED = HostReport("cancelled", status=Status.CANCELLED, failure=Failure.of(Cancelled("stopped")))


def failed(error: BaseException) -> HostReport:
    return HostReport(type(error).__name__, status=Status.FAILED, failure=Failure.of(error))


USER = failed(RequestError("no such key"))
SITE = failed(NoAddress("nobody knows"))
BUSY = failed(BusyError("full"))
GONE = failed(HypervisorUnreachable("no answer"))


@pytest.mark.parametrize(
    ("error", "outcome", "hook", "cli", "run"),
    [
        (RequestError("x"), Outcome.REFUSED, 1, 2, 120),
        (ImageError("x"), Outcome.REFUSED, 1, 2, 120),
        (ImageError("x", blame=Blame.SITE), Outcome.SITE, 2, 1, 122),
        (StateError("x", blame=Blame.USER), Outcome.REFUSED, 1, 2, 120),
        (BusyError("x"), Outcome.BUSY, 2, 1, 121),
        (SettingsError("x"), Outcome.USAGE, 2, 2, 122),
        (InventoryError("x"), Outcome.USAGE, 2, 2, 122),
        (InventoryError("x", blame=Blame.USER), Outcome.REFUSED, 1, 2, 120),
        (StateError("x"), Outcome.SITE, 2, 1, 122),
        (HypervisorError("x"), Outcome.SITE, 2, 1, 122),
        (HypervisorUnreachable("x"), Outcome.UNREACHABLE, 2, 5, 122),
        (StorageError("x"), Outcome.SITE, 2, 1, 122),
        (NoAddress("x"), Outcome.SITE, 2, 1, 122),
        (NotHealthy("x"), Outcome.SITE, 2, 1, 122),
        (GuestDied("x"), Outcome.SITE, 2, 1, 122),
        (DeadlineExceeded("x"), Outcome.LATE, 2, 3, 123),
        (Cancelled("x"), Outcome.CANCELLED, 2, 1, 122),
        (LabError("x"), Outcome.LAB, 2, 1, 124),
        (ImageBuildError("x"), Outcome.LAB, 2, 1, 124),
        (TorqueVMError("x"), Outcome.SITE, 2, 1, 122),
        (ValueError("x"), Outcome.INTERNAL, 2, 1, 125),
        (TimeoutError("x"), Outcome.INTERNAL, 2, 1, 125),
        (OSError("x"), Outcome.INTERNAL, 2, 1, 125),
        (KeyboardInterrupt(), Outcome.INTERNAL, 2, 1, 125),
        (SystemExit(0), Outcome.INTERNAL, 2, 1, 125),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_an_exception_has_one_code_for_each_audience(
    error: BaseException, outcome: Outcome, hook: int, cli: int, run: int
) -> None:
    """Only the user's mistakes abort a job; no exception, not even ``SystemExit(0)``, is success."""
    assert outcome_of(error) is outcome
    assert (hook_exit(error), cli_exit(error), run_exit(error)) == (hook, cli, run)


@pytest.mark.parametrize(
    ("hosts", "outcome", "hook", "cli", "run"),
    [
        ([], Outcome.EMPTY, 2, 4, 122),
        ([OK], Outcome.OK, 0, 0, 0),
        ([OK, CHANGED], Outcome.OK, 0, 0, 0),
        ([USER], Outcome.REFUSED, 1, 1, 120),
        ([OK, SITE], Outcome.SITE, 2, 1, 122),
        ([OK, LATE], Outcome.LATE, 2, 3, 123),
        ([LATE], Outcome.LATE, 2, 3, 123),
        ([NOT_STARTED, OK], Outcome.LATE, 2, 3, 123),
        ([OK, BUSY], Outcome.BUSY, 2, 1, 121),
        ([OK, CANCELLED], Outcome.CANCELLED, 2, 1, 122),
        ([GONE], Outcome.UNREACHABLE, 2, 5, 122),
        ([GONE, GONE], Outcome.UNREACHABLE, 2, 5, 122),
        ([GONE, OK], Outcome.SITE, 2, 1, 122),
        ([GONE, LATE], Outcome.SITE, 2, 1, 122),
        ([GONE, USER], Outcome.REFUSED, 1, 1, 120),
        ([USER, SITE], Outcome.REFUSED, 1, 1, 120),
        ([USER, LATE], Outcome.REFUSED, 1, 1, 120),
        ([USER, BUSY], Outcome.REFUSED, 1, 1, 120),
        ([SITE, LATE], Outcome.SITE, 2, 1, 122),
        ([SITE, BUSY], Outcome.SITE, 2, 1, 122),
        ([LATE, BUSY], Outcome.LATE, 2, 1, 123),
        ([LATE, CANCELLED], Outcome.LATE, 2, 3, 123),
        ([BUSY, CANCELLED], Outcome.BUSY, 2, 1, 121),
        ([HostReport("a", status=Status.FAILED)], Outcome.SITE, 2, 1, 122),
    ],
)
def test_a_report_has_one_code_for_each_audience(
    hosts: list[HostReport], outcome: Outcome, hook: int, cli: int, run: int
) -> None:
    """User before site before nobody, a real error before lateness, in whatever order the hosts come."""
    for order in itertools.permutations(hosts):
        report = Report(tuple(order))
        assert outcome_of(report) is outcome
        assert (hook_exit(report), cli_exit(report), run_exit(report)) == (hook, cli, run)


def test_only_a_good_report_starts_a_job() -> None:
    """Exit code 0 of a prologue means that every guest is ready, so one bad host of any kind forbids it."""
    for bad in (USER, SITE, LATE, NOT_STARTED, BUSY, CANCELLED, GONE):
        assert hook_exit(Report((OK, bad))) != 0


@pytest.mark.parametrize(
    ("outcome", "blame"),
    [
        (Outcome.OK, None),
        (Outcome.REFUSED, Blame.USER),
        (Outcome.SITE, Blame.SITE),
        (Outcome.LATE, Blame.SITE),
        (Outcome.BUSY, Blame.NOBODY),
        (Outcome.CANCELLED, Blame.NOBODY),
        (Outcome.UNREACHABLE, Blame.SITE),
        (Outcome.EMPTY, Blame.SITE),
        (Outcome.USAGE, Blame.SITE),
        (Outcome.LAB, Blame.SITE),
        (Outcome.INTERNAL, Blame.SITE),
    ],
)
def test_whose_fault_each_outcome_is(outcome: Outcome, blame: Blame | None) -> None:
    """It decides between a pause without a count, and a count that ends in an abort."""
    assert BLAME[outcome] is blame


def test_the_tables_are_complete() -> None:
    """An outcome without a code would be a traceback in a prologue, which TORQUE reads as 'abort'."""
    assert set(BLAME) == set(CLI) == set(RUN) == set(Outcome)
    assert set(HOOK) == {None, *Blame}
    assert RUN[Outcome.EMPTY] == RUN[Outcome.USAGE] == RUN[Outcome.UNREACHABLE] == 122
