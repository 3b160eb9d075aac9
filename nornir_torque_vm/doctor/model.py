"""What a check says, and what it is told of the host it looks at."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from nornir_torque_vm.config.check import Finding, Level
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import TorqueVMError


class Mark(enum.StrEnum):
    """How much a line matters: a failure keeps jobs from running, a warning will hurt some day."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    LATE = "late"
    """It could not be found out in time."""


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """One thing that was looked at: what it is about, what was found, and the cure if it needs one."""

    mark: Mark
    subject: str
    text: str
    cure: str = ""

    @classmethod
    def of(cls, finding: Finding) -> Line:
        """Return a finding of the configuration's check as a line; a note is in order."""
        return cls(_MARKS[finding.level], finding.subject, finding.text, finding.cure)

    @classmethod
    def from_plain(cls, value: Any) -> Line:
        """Return the line that a node wrote as JSON.

        :raises KeyError, TypeError, ValueError: it is none.
        """
        return cls(Mark(value["mark"]), str(value["subject"]), str(value["text"]), str(value["cure"]))


_MARKS = {Level.OK: Mark.OK, Level.NOTE: Mark.OK, Level.WARN: Mark.WARN, Level.ERROR: Mark.FAIL}


def ok(subject: str, text: str) -> Line:
    """Return a line about something in order."""
    return Line(Mark.OK, subject, text)


def warn(subject: str, text: str, cure: str) -> Line:
    """Return a line about something that will hurt some day."""
    return Line(Mark.WARN, subject, text, cure)


def fail(subject: str, text: str, cure: str) -> Line:
    """Return a line about something that keeps jobs from running as they should."""
    return Line(Mark.FAIL, subject, text, cure)


def failed(subject: str, error: TorqueVMError) -> Line:
    """Return an error as a line."""
    return Line(Mark.FAIL, subject, " ".join(error.what.split()), error.hint)


@dataclasses.dataclass(frozen=True, slots=True)
class Here:
    """The host that is looked at.

    :param others: names of the nodes that it has to reach.
    :param quick: start no guest.
    :param root: put before the paths of the system's own files; tests have theirs there.
    """

    settings: Settings
    hostname: str
    others: tuple[str, ...] = ()
    etc: str = "/etc/torque-vm"
    prefix: str = "/opt/torque-vm"
    quick: bool = False
    root: str = ""

    def system(self, path: str) -> Path:
        """A file of the system's."""
        return Path(f"{self.root}{path}")

    @property
    def is_node(self) -> bool:
        """Whether a MOM lives here: it is configured, or has run. Its directory comes with any TORQUE."""
        mom = Path(self.settings.torque_home, "mom_priv")
        return any((mom / name).is_file() for name in ("config", "mom.lock"))


Check = Callable[[Here], Iterable[Line]]
"""Looks at one thing; what it raises is a failure with the error's own words."""


def text_of(path: Path) -> str | None:
    """Return a file's text, None when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
