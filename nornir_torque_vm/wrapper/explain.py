"""What ``qsub --dry-run`` and ``--explain`` print: what would be submitted, and why. Nothing is submitted."""

from __future__ import annotations

import shlex

from nornir_torque_vm.config.fields import Field
from nornir_torque_vm.config.settings import KILL_MARGIN
from nornir_torque_vm.errors import TorqueVMError
from nornir_torque_vm.keys import KEYS
from nornir_torque_vm.model import FileRef

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

    from nornir_torque_vm.config.settings import Settings
    from nornir_torque_vm.wrapper.resolve import Resolved
    from nornir_torque_vm.wrapper.submission import Found, Submission

NODE_EXTRA = "pip install 'nornir-torque-vm[node]'"
"""How one gets what a sample is rendered with."""
DIGITS = 12
"""Hex digits of a file's SHA-256 that are shown, of 64."""


def explain(found: Found, submission: Submission, settings: Settings, qsub: str) -> str:
    """Return the explanation of a job with guests: sections with a heading each, for people.

    :param qsub: path of the real qsub.
    """
    sections = (
        ("Command", _command(found, submission, qsub)),
        ("Script", _script(found, submission)),
        ("Request", _table(_rows(submission.resolved))),
        ("Raised", [submission.raised.sentence or "nothing: what the job asks for is enough for its guests"]),
        ("Warnings", submission.warnings),
        ("Time", _time(settings)),
        ("Sample", _sample(submission, settings)),
    )
    return "\n".join(_section(title, lines) for title, lines in sections if lines)


def _section(title: str, lines: Iterable[str]) -> str:
    return "".join([f"{title}\n", *(f"  {line}".rstrip() + "\n" for line in lines)])


def _command(found: Found, submission: Submission, qsub: str) -> list[str]:
    """The command as one would type it; a copy of the script has no name one could type."""
    lines = [shlex.join([qsub, *submission.words])]
    if submission.script_word is not None:
        name = shlex.quote(submission.words[submission.script_word])
        lines.append(f"where {name} stands for a copy of that script, which is made in memory only")
    elif found.call.source == "stdin":
        lines.append(f"with {'a copy of ' if submission.script else ''}the script on standard input")
    return lines


def _script(found: Found, submission: Submission) -> list[str]:
    """What becomes of the script's directives; nothing when none of them is ours."""
    if not found.header.has_request:
        return []
    if submission.script is None:
        return ["its directives are on the command line above, where -C switches those in the script off"]
    before = (found.call.script or b"").split(b"\n")
    lines = zip(before, submission.script.split(b"\n"), strict=True)
    changed = [(number, new) for number, (old, new) in enumerate(lines, 1) if old != new]
    return [
        "the copy is the script without its requests for guests; what differs:",
        *(f"line {number}: {_printable(new)}" for number, new in changed),
    ]


def _printable(line: bytes) -> str:
    """A line of a script that may be anything: on one line, without what a terminal would act on."""
    text = line.decode(errors="backslashreplace").replace("\t", " ")
    shown = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
    return shown or "(empty)"


def _rows(resolved: Resolved) -> Iterator[tuple[str, str, str]]:
    """Every key with its value, if it has one, and where that comes from."""
    yield "key", "value", "from"
    for key in KEYS:
        value, origin = resolved.values[key.name]
        yield key.name, "-" if value is None or value == "" else _text(key, value), origin


def _text(key: Field, value: Any) -> str:
    digest = value.digest if isinstance(value, FileRef) else ""
    return key.kind.text(value) + (f" (SHA-256 {digest[:DIGITS]}…)" if digest else "")


def _table(rows: Iterable[Sequence[str]]) -> list[str]:
    """Left-aligned columns, two blanks apart."""
    cells = list(rows)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]


def _time(settings: Settings) -> list[str]:
    """What the guests' time is made of, in plain words."""
    fits = settings.prologalarm - KILL_MARGIN - settings.teardown_margin
    budget = f"the guests have {settings.prologue_seconds():g} s to become ready, or the job does not start"
    limit = (
        f"pbs_mom kills a prologue {KILL_MARGIN:g} s before its $prologalarm of {settings.prologalarm:g} s"
    )
    margin = f"{settings.teardown_margin:g} s more are kept for removing what a failed start left"
    return [
        f"{budget} (setting timeout: {settings.timeout:g} s)",
        f"at most {fits:g} s would fit: {limit}, and {margin} (setting teardown_margin)",
    ]


def _sample(submission: Submission, settings: Settings) -> list[str]:
    """What the first guest would be made from, or why that cannot be shown here."""
    try:
        from nornir_torque_vm.wrapper.rendered import sample
    except ModuleNotFoundError as error:
        why = f"this host has no Python package {error.name}, which nodes need and submitting does not"
        return [f"cannot be shown: {why}; {NODE_EXTRA} brings it"]
    try:
        return sample(submission, settings).splitlines()
    except TorqueVMError as error:
        return [f"cannot be shown: {error}"]
