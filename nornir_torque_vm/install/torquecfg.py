"""``torque.cfg``, what TORQUE's commands read on a submit host: the line of the submit filter.

Read as TORQUE 6.1.3 does (src/lib/Libifl/torquecfg.c: load_config, get_trq_param): the first 32767
bytes, ``#`` to the end of the line is blank, the *first* occurrence of the word counts wherever it
stands, its value is the next word after blanks, ``=`` or newlines.
"""

from __future__ import annotations

import dataclasses
import re

from nornir_torque_vm.errors import InstallError
from nornir_torque_vm.install.model import Edit

NAME = "torque.cfg"
KEYWORD = b"SUBMITFILTER"
READ = 32767
"""Bytes of the file that qsub reads."""
_LINE = 1023
"""Bytes after the keyword among which its value is looked for."""
_WORDS = re.compile(rb"[^ \t\n=]+[ \t\n=]+(?P<value>[^ \t\n=]+)")
_COMMENT = re.compile(rb"#[^\n]*")
_PLAIN = re.compile(r"(/[A-Za-z0-9_.,@%+:-]+)+")


@dataclasses.dataclass(frozen=True, slots=True)
class Filter:
    """The submit filter that a ``torque.cfg`` names.

    :param start: offset of the line with the keyword; ``end``: offset after the value.
    """

    path: bytes
    start: int
    end: int


def read_filter(config: bytes) -> Filter | None:
    """Return what qsub takes for its submit filter; None when the file names none."""
    seen = config[:READ].partition(b"\0")[0]
    seen = _COMMENT.sub(lambda comment: b"#" + b" " * (len(comment[0]) - 1), seen)
    at = seen.find(KEYWORD)
    words = _WORDS.match(seen, at, at + _LINE) if at >= 0 else None
    if words is None:
        return None
    return Filter(words["value"], seen.rfind(b"\n", 0, at) + 1, words.end())


def name_filter(path: str, config: bytes, filter_path: str) -> Edit | None:
    """Return the edit of the file ``path`` after which it names our filter; None when it does already.

    Another filter's path is exchanged, a new line goes to the top, where TORQUE surely reads it.

    :raises InstallError: TORQUE could not run a filter of that path, or would not read the line.
    """
    if not _PLAIN.fullmatch(filter_path):
        raise InstallError(
            f"TORQUE cannot run {filter_path}: it hands the path of a submit filter to a shell as it is",
            hint="take a prefix of letters, digits and _.,@%+:-",
        )
    ours = filter_path.encode()
    there = read_filter(config)
    if there is not None and there.path == ours:
        return None
    if there is None:
        edit = Edit(path, 0, b"", KEYWORD + b" " + ours + b"\n")
    else:
        old = config[there.start : there.end]
        edit = Edit(path, there.start, old, old.removesuffix(there.path) + ours)
    after = read_filter(edit.applied(config))
    if after is None or after.path != ours:
        raise InstallError(f"{path} is too odd to edit", hint=f"put 'SUBMITFILTER {filter_path}' on its top")
    return edit
