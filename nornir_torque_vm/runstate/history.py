"""What is kept of past jobs: ``<history_dir>/<job id>.<attempt>/``, readable by root, no secrets.

The attempt is counted here: TORQUE does not tell its hooks which start of a job this is.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from nornir_torque_vm.errors import StateError
from nornir_torque_vm.identity import job_slug
from nornir_torque_vm.model import Plan
from nornir_torque_vm.runstate.rootdir import RootDir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Jsonable(Protocol):
        """A report, a timeline."""

        def to_json(self) -> str:
            """Return the JSON text to keep."""


TAIL = 64 << 10
"""Bytes kept of the end of what a guest said: of its console, and of cloud-init's output."""
CONSOLE, CLOUD_INIT = "console-", "cloud-init-"
"""How the names of these files begin; the guest's name and ``.log`` follow."""
EVENTS = "events.jsonl"
"""File name of the events."""

_RECORD = re.compile(r"[0-9]+(\[[0-9]+\])?(\..+)?\.[0-9]+")
_DAY = 86_400.0


class History:
    """The record of one attempt of one job. Its directory is made when something is first kept."""

    def __init__(self, directory: str | Path, job_id: str, attempt: int) -> None:
        job_slug(job_id)
        self.directory, self.job_id, self.attempt = Path(directory), job_id, attempt

    @property
    def path(self) -> Path:
        """The record's directory."""
        return self.directory / f"{self.job_id}.{self.attempt}"

    @classmethod
    def next_attempt(cls, directory: str | Path, job_id: str) -> History:
        """Begin the record of a new attempt: one more than the last there is; no two callers share one."""
        with RootDir.at(directory, create=0o700) as root:
            record = cls(directory, job_id, _last_attempt(root, job_id) + 1)
            while True:
                try:
                    os.mkdir(record.path.name, 0o700, dir_fd=root.fd)
                except FileExistsError:
                    record.attempt += 1
                except OSError as error:
                    raise StateError(f"cannot create {record.path}: {error.strerror}") from error
                else:
                    return record

    @classmethod
    def latest(cls, directory: str | Path, job_id: str) -> History:
        """The record of the job's last attempt; of the first one when nothing was ever kept."""
        with RootDir.at(directory, create=0o700) as root:
            return cls(directory, job_id, max(1, _last_attempt(root, job_id)))

    def earlier_outcomes(self) -> tuple[str, ...]:
        """What the job's attempts before this one came to, oldest first, in the words of their verdicts.

        An attempt without a readable verdict, because its prologue was killed, is left out.
        """
        found = []
        with RootDir.at(self.directory, create=0o700) as root:
            names = set(root.names(f"{self.job_id}."))
            for number in range(1, self.attempt):
                if f"{self.job_id}.{number}" in names:
                    with root.sub(f"{self.job_id}.{number}") as record:
                        found.append(_outcome(record.read("verdict.json")))
        return tuple(filter(None, found))

    @contextlib.contextmanager
    def events(self) -> Iterator[int]:
        """Open the file of JSON-lines events for appending; gives its descriptor."""
        with self._open() as record:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            try:
                fd = os.open(EVENTS, flags, 0o600, dir_fd=record.fd)
            except OSError as error:
                raise StateError(f"cannot write {self.path / EVENTS}: {error.strerror}") from error
        try:
            yield fd
        finally:
            os.close(fd)

    def write(self, name: str, value: Plan | Jsonable) -> None:
        """Keep a plan, report or timeline as ``<name>.json``."""
        from nornir_torque_vm.plan import plan_to_json

        text = plan_to_json(value) if isinstance(value, Plan) else value.to_json()
        with self._open() as record:
            record.write(f"{name}.json", text.encode())

    def write_console(self, guest: str, content: bytes) -> None:
        """Keep the end of a guest's console as ``console-<guest>.log``, byte for byte."""
        self._write_tail(CONSOLE, guest, content)

    def write_cloud_init(self, guest: str, content: bytes) -> None:
        """Keep the end of what cloud-init printed in a guest as ``cloud-init-<guest>.log``."""
        self._write_tail(CLOUD_INIT, guest, content)

    def write_script(self, kind: str, guest: str, content: bytes) -> None:
        """Keep the end of what a script printed in a guest as ``<kind>-<guest>.log``."""
        self._write_tail(f"{kind}-", guest, content)

    def last_words(self) -> dict[str, bytes]:
        """What was kept of what guests said, by file name."""
        with self._open() as record:
            names = [name for name in record.names() if name.startswith((CONSOLE, CLOUD_INIT))]
            return {name: record.read(name) or b"" for name in names}

    def _write_tail(self, kind: str, guest: str, content: bytes) -> None:
        with self._open() as record:
            record.write(f"{kind}{guest}.log", content[-TAIL:])

    @contextlib.contextmanager
    def _open(self) -> Iterator[RootDir]:
        with (
            RootDir.at(self.directory, create=0o700) as root,
            root.sub(self.path.name, create=0o700) as record,
        ):
            yield record

    @staticmethod
    def prune(directory: str | Path, days: float, now: float | None = None) -> tuple[str, ...]:
        """Remove the records to which nothing was added for ``days``; return their names.

        Whatever else lies in the directory stays.

        :param now: seconds since the epoch; the present when None.
        """
        with RootDir.at(directory, create=0o700) as root:
            return tuple(name for name in _expired(root, days, now) if root.remove_dir(name))

    @staticmethod
    def expired(directory: str | Path, days: float, now: float | None = None) -> tuple[str, ...]:
        """Names of the records that :meth:`prune` would remove; parameters as there."""
        if not Path(directory).exists():
            return ()
        with RootDir.at(directory) as root:
            return tuple(_expired(root, days, now))


def _expired(root: RootDir, days: float, now: float | None) -> list[str]:
    """Names of the records to which nothing was added for ``days``."""
    oldest = (time.time() if now is None else now) - days * _DAY
    return [name for name in root.names() if _RECORD.fullmatch(name) and _is_older(root, name, oldest)]


def _outcome(verdict: bytes | None) -> str:
    """The outcome in a verdict's JSON text; empty when there is none."""
    try:
        return str(json.loads(verdict or b"{}").get("outcome", ""))
    except (ValueError, AttributeError):
        return ""


def _is_older(root: RootDir, name: str, oldest: float) -> bool:
    """Whether it is a directory, not a link to one, that was last changed before ``oldest``."""
    try:
        status = os.stat(name, dir_fd=root.fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_mtime < oldest


def _last_attempt(root: RootDir, job_id: str) -> int:
    """Number of the job's last attempt on record, 0 for none."""
    numbers = (name.removeprefix(f"{job_id}.") for name in root.names(f"{job_id}."))
    return max((int(number) for number in numbers if re.fullmatch(r"[0-9]{1,9}", number)), default=0)
