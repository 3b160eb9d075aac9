"""What a command that ran somewhere else left behind."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class CommandResult:
    """Exit status and output of a remote command, decoded as UTF-8 with replacements.

    ``rc`` is the exit status 0..255, or -1 when the far side reported none (killed by a signal, or
    the connection ended first).
    """

    rc: int
    stdout: str = ""
    stderr: str = ""

    @property
    def ok(self) -> bool:
        """Whether the command succeeded."""
        return self.rc == 0

    def summary(self) -> str:
        """One line for a message: ``exit status 2: last line of what it complained about``."""
        lines = (self.stderr.strip() or self.stdout.strip()).splitlines()
        status = f"exit status {self.rc}" if self.rc >= 0 else "no exit status"
        return f"{status}: {lines[-1].strip()[:200]}" if lines else status
