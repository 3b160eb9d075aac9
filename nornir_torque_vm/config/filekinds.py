"""Kinds of values that name a file of the user: written as a path, carried with the content's digest.

Whether the file exists is not decided here: kinds are pure, and only the submission and the job's
owner on a node may look.
"""

from __future__ import annotations

import re

from nornir_torque_vm.config.kinds import BLANKS, AbsPath, Bool, Kind, Text
from nornir_torque_vm.model import FileRef

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PATH = r"[^\0-\x1f\x7f,]{1,1024}"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_DIGEST_LENGTH = 64
_ABSOLUTE = AbsPath()


class UserPath(Text):
    """The path of a file, relative to where the job is submitted or absolute; no comma in it."""

    def __init__(self, words: str = "the path of a file", *, empty: bool = False) -> None:
        super().__init__(_PATH, words, empty=empty)

    def decode(self, text: str) -> str:
        """Read a path inside a job, which is absolute by then."""
        if self.empty and not text:
            return ""
        return _ABSOLUTE.parse(text)


class UserFile(Kind):
    """A file whose content belongs to the request: :class:`FileRef`."""

    def __init__(self, words: str = "the path of a file") -> None:
        self._path = UserPath(words)
        self.words = words

    def parse(self, raw: object) -> FileRef:
        """Read a path; the digest is not known yet."""
        return FileRef(self._path.parse(raw))

    def dump(self, value: FileRef) -> str:
        """Return the path."""
        return value.path

    def encode(self, value: FileRef) -> str:
        """Return the digest and, right after it, the absolute path."""
        if not _DIGEST.fullmatch(value.digest):
            raise ValueError("must have been read before it is submitted")
        return f"{value.digest}{value.path}"

    def decode(self, text: str) -> FileRef:
        """Read digest and absolute path."""
        digest, path = text[:_DIGEST_LENGTH], text[_DIGEST_LENGTH:]
        if not _DIGEST.fullmatch(digest):
            raise ValueError("must begin with the digest of the file")
        return FileRef(_ABSOLUTE.parse(path), digest)


class Pinning(Kind):
    """``true``, ``false``, or a file with a mapping of virtual to physical processors."""

    words = "true, false or the path of a file with a mapping"
    choices = ("true", "false")

    def __init__(self) -> None:
        self._bool, self._file = Bool(), UserFile(self.words)

    def parse(self, raw: object) -> bool | FileRef:
        """Read a boolean, else a path; 0 and 1 are refused as for every boolean."""
        try:
            return self._bool.parse(raw)
        except ValueError:
            if not isinstance(raw, str) or raw.strip(BLANKS) in {"0", "1"}:
                raise
            return self._file.parse(raw)

    def dump(self, value: bool | FileRef) -> bool | str:
        """Return the boolean or the path."""
        return value if isinstance(value, bool) else self._file.dump(value)

    def text(self, value: bool | FileRef) -> str:
        """Return ``true``, ``false`` or the path."""
        return self._bool.text(value) if isinstance(value, bool) else value.path

    def encode(self, value: bool | FileRef) -> str:
        """Return ``true``, ``false``, or the file as :class:`UserFile` does."""
        return self._bool.text(value) if isinstance(value, bool) else self._file.encode(value)

    def decode(self, text: str) -> bool | FileRef:
        """Read what :meth:`encode` had written."""
        return self._bool.parse(text) if text in self.choices else self._file.decode(text)


class ImageRef(Kind):
    """An image: the name of a file in the image pool, or a path, which is told by its slash."""

    words = "the name of a file in the image pool, such as debian.qcow2, or a path such as ./mine.qcow2"

    def __init__(self, pattern: str) -> None:
        self._name, self._path = Text(pattern, self.words), UserPath(self.words)

    def parse(self, raw: object) -> str:
        """Read a name or a path."""
        return self._path.parse(raw) if isinstance(raw, str) and "/" in raw else self._name.parse(raw)

    def decode(self, text: str) -> str:
        """Read a name, or a path, which is absolute by then."""
        return self._path.decode(text) if "/" in text else self._name.parse(text)

    def encode(self, value: Any) -> str:
        """Return the name or path."""
        return str(value)
