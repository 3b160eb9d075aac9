"""What a program's exit code says about a run or an exception: one classification, three tables.

When hosts of one run failed in different ways, the first of this order decides:

1. the **user's** request is wrong or forbidden: no other attempt can go better, so requeueing for
   another host's fault would only repeat it;
2. the **site**: something is broken. It is counted and limited, so it must not hide behind a node
   that was merely full. A real error goes before lateness, which says less;
3. **nobody**: a node was full, or the run was cancelled.
"""

from __future__ import annotations

import enum

from nornir_torque_vm.errors import (
    Blame,
    Cancelled,
    DeadlineExceeded,
    HypervisorUnreachable,
    ImageBuildError,
    InventoryError,
    LabError,
    SettingsError,
    TorqueVMError,
)
from nornir_torque_vm.report import HostReport, Report, Status


class Outcome(enum.Enum):
    """What happened, as far as exit codes care."""

    OK = enum.auto()
    REFUSED = enum.auto()
    """The user's request, or an image of the user's choice."""
    SITE = enum.auto()
    LATE = enum.auto()
    BUSY = enum.auto()
    CANCELLED = enum.auto()
    UNREACHABLE = enum.auto()
    """No hypervisor at all could be reached; one among others is SITE."""
    EMPTY = enum.auto()
    """Nothing was selected: not a success, whatever Nornir thinks."""
    USAGE = enum.auto()
    """Settings, nodefile or host list cannot be used."""
    LAB = enum.auto()
    INTERNAL = enum.auto()
    """An exception nobody foresaw."""


class HookExit(enum.IntEnum):
    """Exit codes of the mother superior's prologue, as TORQUE reads them (TF 1.6)."""

    START = 0
    ABORT = 1
    REQUEUE = 2


class CliExit(enum.IntEnum):
    """Exit codes of ``torque-vm guests|boot|address|health|destroy``."""

    OK = 0
    FAILED = 1
    USAGE = 2
    LATE = 3
    NOTHING = 4
    UNREACHABLE = 5


class ImageExit(enum.IntEnum):
    """Exit codes of ``torque-vm image``: the administrators' own, and more."""

    OK = 0
    FAILED = 1
    USAGE = 2
    LATE = 3
    NOTHING = 4
    REFUSED = 6
    DIFFERS = 7
    NEEDED = 8


class RunExit(enum.IntEnum):
    """Exit codes of ``torque-vm run`` and the job starter for what is not the job's own doing."""

    OK = 0
    REFUSED = 120
    BUSY = 121
    SITE = 122
    LATE = 123
    DRIVER = 124
    INTERNAL = 125


BLAME = {
    Outcome.OK: None,
    Outcome.REFUSED: Blame.USER,
    Outcome.SITE: Blame.SITE,
    Outcome.LATE: Blame.SITE,
    Outcome.BUSY: Blame.NOBODY,
    Outcome.CANCELLED: Blame.NOBODY,
    Outcome.UNREACHABLE: Blame.SITE,
    Outcome.EMPTY: Blame.SITE,
    Outcome.USAGE: Blame.SITE,
    Outcome.LAB: Blame.SITE,
    Outcome.INTERNAL: Blame.SITE,
}
"""Whose fault an outcome is; None when there is none."""

HOOK = {
    None: HookExit.START,
    Blame.USER: HookExit.ABORT,
    Blame.SITE: HookExit.REQUEUE,
    Blame.NOBODY: HookExit.REQUEUE,
}
"""Blame → what TORQUE is told."""

CLI = {
    Outcome.OK: CliExit.OK,
    Outcome.REFUSED: CliExit.USAGE,
    Outcome.SITE: CliExit.FAILED,
    Outcome.LATE: CliExit.LATE,
    Outcome.BUSY: CliExit.FAILED,
    Outcome.CANCELLED: CliExit.FAILED,
    Outcome.UNREACHABLE: CliExit.UNREACHABLE,
    Outcome.EMPTY: CliExit.NOTHING,
    Outcome.USAGE: CliExit.USAGE,
    Outcome.LAB: CliExit.FAILED,
    Outcome.INTERNAL: CliExit.FAILED,
}

RUN = {
    Outcome.OK: RunExit.OK,
    Outcome.REFUSED: RunExit.REFUSED,
    Outcome.SITE: RunExit.SITE,
    Outcome.LATE: RunExit.LATE,
    Outcome.BUSY: RunExit.BUSY,
    Outcome.CANCELLED: RunExit.SITE,
    Outcome.UNREACHABLE: RunExit.SITE,
    Outcome.EMPTY: RunExit.SITE,
    Outcome.USAGE: RunExit.SITE,
    Outcome.LAB: RunExit.DRIVER,
    Outcome.INTERNAL: RunExit.INTERNAL,
}

_PRECEDENCE = (Outcome.REFUSED, Outcome.SITE, Outcome.LATE, Outcome.BUSY, Outcome.CANCELLED, Outcome.OK)
"""Of hosts within one report; see the module's text."""

_BY_CLASS: tuple[tuple[type[BaseException], Outcome], ...] = (
    (Cancelled, Outcome.CANCELLED),
    (DeadlineExceeded, Outcome.LATE),
    (HypervisorUnreachable, Outcome.UNREACHABLE),
    (SettingsError, Outcome.USAGE),
    (InventoryError, Outcome.USAGE),
    (LabError, Outcome.LAB),
    (ImageBuildError, Outcome.LAB),
)
"""Classes that say more than their blame; the first that fits counts, so subclasses come first."""

_BY_BLAME = {Blame.USER: Outcome.REFUSED, Blame.SITE: Outcome.SITE, Blame.NOBODY: Outcome.BUSY}


def outcome_of(what: Report | BaseException) -> Outcome:
    """Classify a run's report, or the exception that kept it from having one."""
    return _of_report(what) if isinstance(what, Report) else _of_error(what)


def hook_exit(what: Report | BaseException) -> HookExit:
    """Exit code of the prologue: only a report with every guest ready starts the job."""
    return HOOK[BLAME[outcome_of(what)]]


def cli_exit(what: Report | BaseException) -> CliExit:
    """Exit code of the administrators' commands.

    Any host with an error of its own makes it 1, whoever is to blame, unless no hypervisor at all was
    reached; 3 means that hosts were late and none otherwise failed.
    """
    outcome = outcome_of(what)
    if isinstance(what, Report) and what.failed and outcome is not Outcome.UNREACHABLE:
        return CliExit.FAILED
    return CLI[outcome]


def run_exit(what: Report | BaseException) -> RunExit:
    """Exit code of ``torque-vm run`` when there is no job's own to pass on."""
    return RUN[outcome_of(what)]


def _of_error(error: BaseException) -> Outcome:
    if not isinstance(error, TorqueVMError):
        return Outcome.INTERNAL
    if error.blame is Blame.SITE:
        for kind, outcome in _BY_CLASS:
            if isinstance(error, kind):
                return outcome
    return _BY_BLAME[error.blame]


def _of_report(report: Report) -> Outcome:
    if not report.hosts:
        return Outcome.EMPTY
    if all(_unreachable(entry) for entry in report.hosts):
        return Outcome.UNREACHABLE
    found = {_of_host(entry) for entry in report.hosts}
    return next(outcome for outcome in _PRECEDENCE if outcome in found)


def _of_host(entry: HostReport) -> Outcome:
    if entry.status is Status.FAILED:
        return _BY_BLAME[entry.failure.blame if entry.failure else Blame.SITE]
    if entry.status is Status.CANCELLED:
        return Outcome.CANCELLED
    return Outcome.OK if entry.status.good else Outcome.LATE


def _unreachable(entry: HostReport) -> bool:
    return entry.failure is not None and entry.failure.kind == HypervisorUnreachable.__name__
