"""What a role wants on a host, what is there, and what has to be done about it."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, slots=True)
class File:
    """A file that belongs to us.

    :param sample: one that a site is expected to edit: put there if there is none, and never again.
    """

    path: str
    content: bytes
    mode: int = 0o644
    sample: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Edit:
    """A change in a file of somebody else: ``old`` gives way to ``new`` at byte ``offset``.

    ``new`` begins at the start of a line, and a role changes the first line of its sort: so the change
    can be found again, whatever else has happened to the file. ``old`` is empty for something put in.
    """

    path: str
    offset: int
    old: bytes
    new: bytes
    private: bool = dataclasses.field(default=False, compare=False)
    """Whether only root may read the file when there was none before."""

    def applied(self, content: bytes) -> bytes:
        """The file's content with the change."""
        return content[: self.offset] + self.new + content[self.offset + len(self.old) :]

    def undone(self, content: bytes) -> bytes | None:
        """The file's content without the change; None when the change is not to be found any more."""
        at = 0 if content.startswith(self.new) else content.find(b"\n" + self.new) + 1
        if not content.startswith(self.new, at):
            return None
        return content[:at] + self.old + content[at + len(self.new) :]


@dataclasses.dataclass(frozen=True, slots=True)
class Directory:
    """A directory that a role needs though nothing may be in it; one that is there stays as it is."""

    path: str
    mode: int = 0o755


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """What a role wants on this host.

    :param edits: changes that have yet to be made.
    :param edited: files that carry a change of this role, new or from an earlier run.
    :param compiled: files that compiling the settings makes, all in one directory.
    :param directories: parents before what is in them.
    :param stale: whether the settings have to be compiled though all those files are there.
    """

    role: str
    files: tuple[File, ...]
    edits: tuple[Edit, ...] = ()
    edited: frozenset[str] = frozenset()
    compiled: tuple[str, ...] = ()
    stale: bool = False
    directories: tuple[Directory, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """A regular file that is there. ``mode`` holds the permission bits only."""

    content: bytes
    mode: int = 0o644


@dataclasses.dataclass(frozen=True, slots=True)
class Tree:
    """What is there, as far as it was looked at: regular files, and the names in directories."""

    files: Mapping[str, Found]
    directories: Mapping[str, frozenset[str]]


class Verb(enum.StrEnum):
    """What becomes of a path."""

    MAKE = "make"
    """A directory that is missing."""
    CREATE = "create"
    UPDATE = "update"
    """A file of ours that is not as it should be."""
    COMPILE = "compile"
    """What is made from the settings; the path is its directory."""
    EDIT = "edit"
    """A file of somebody else."""
    RESTORE = "restore"
    """A file of somebody else, without our edit."""
    REMOVE = "remove"
    """A file, or a directory when nothing is in it."""
    KEEP = "keep"
    """Nothing is done, and somebody ought to know."""


@dataclasses.dataclass(frozen=True, slots=True)
class Action:
    """One step, in the order of execution.

    :param content: what to write (CREATE, UPDATE, EDIT, RESTORE).
    :param mode: permission bits of what is made; None: those it has.
    :param detail: the reason for KEEP, the new line for EDIT.
    """

    verb: Verb
    path: str
    content: bytes | None = None
    mode: int | None = None
    detail: str = ""
