"""What earlier runs put on this host: one JSON file below the prefix, so that it can be taken away."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from nornir_torque_vm.errors import InstallError
from nornir_torque_vm.install.model import Edit

NAME = "installed.json"
_VERSION = 1


def digest(content: bytes) -> str:
    """SHA-256, hexadecimal."""
    return hashlib.sha256(content).hexdigest()


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """A file that we made.

    :param digests: of every content that we may have left there: two while a run is under way, none
        for a file that is made from others and goes whatever is in it.
    :param roles: those that want it; it goes with the last of them.
    """

    digests: tuple[str, ...]
    roles: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class EditEntry:
    """An edit of somebody else's file; ``made`` when there was no such file before."""

    edit: Edit
    role: str
    made: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Manifest:
    """What is ours: files by path, edits in the order they were made, directories (parents first).

    :param kept: directories that roles need though nothing may be in them, with those roles.
    """

    files: Mapping[str, Entry] = dataclasses.field(default_factory=dict)
    edits: tuple[EditEntry, ...] = ()
    directories: tuple[str, ...] = ()
    kept: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """Whether nothing is ours."""
        return not (self.files or self.edits or self.directories or self.kept)

    def union(self, other: Manifest) -> Manifest:
        """What is ours while a run turns this into ``other``, whatever moment it is killed at."""
        paths = dict.fromkeys((*self.files, *other.files))
        return Manifest(
            {path: _both(self.files.get(path), other.files.get(path)) for path in paths},
            tuple(dict.fromkeys((*self.edits, *other.edits))),
            tuple(dict.fromkeys((*self.directories, *other.directories))),
            {
                path: tuple(dict.fromkeys((*self.kept.get(path, ()), *other.kept.get(path, ()))))
                for path in dict.fromkeys((*self.kept, *other.kept))
            },
        )

    def to_json(self) -> bytes:
        """The file's content."""
        value = {
            "version": _VERSION,
            "files": {
                path: {"sha256": list(entry.digests), "roles": list(entry.roles)}
                for path, entry in sorted(self.files.items())
            },
            "edits": [_plain(entry) for entry in self.edits],
            "directories": list(self.directories),
            "kept": {path: list(roles) for path, roles in self.kept.items()},
        }
        return json.dumps(value, indent=1).encode() + b"\n"


def read_manifest(content: bytes | None, path: str) -> Manifest:
    """Return the manifest that a file holds; an empty one for None.

    :param path: for the message.
    :raises InstallError: it is damaged or of another version of this program.
    """
    if content is None:
        return Manifest()
    try:
        value = json.loads(content)
        if value["version"] != _VERSION:
            raise InstallError(f"{path} was written by another version of torque-vm", hint="use that one")
        return Manifest(
            {name: Entry(tuple(e["sha256"]), tuple(e["roles"])) for name, e in value["files"].items()},
            tuple(_edit_entry(entry) for entry in value["edits"]),
            tuple(value["directories"]),
            {path: tuple(roles) for path, roles in value.get("kept", {}).items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InstallError(f"{path}, the list of what was installed, is damaged") from None


def _both(one: Entry | None, other: Entry | None) -> Entry:
    there = [entry for entry in (one, other) if entry is not None]
    return Entry(
        tuple(dict.fromkeys(digest for entry in there for digest in entry.digests)),
        tuple(dict.fromkeys(role for entry in there for role in entry.roles)),
    )


def _plain(entry: EditEntry) -> dict[str, object]:
    edit = entry.edit
    return {
        "path": edit.path,
        "offset": edit.offset,
        "old": edit.old.decode(errors="surrogateescape"),  # torque.cfg has no encoding
        "new": edit.new.decode(errors="surrogateescape"),
        "role": entry.role,
        "made": entry.made,
    }


def _edit_entry(value: Mapping[str, Any]) -> EditEntry:
    old, new = (value[name].encode(errors="surrogateescape") for name in ("old", "new"))
    return EditEntry(Edit(value["path"], value["offset"], old, new), value["role"], value["made"])
