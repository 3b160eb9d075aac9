"""The nodes of a job, as TORQUE writes them: its nodefile, and the ``exec_host`` attribute.

Forms seen on TORQUE 6.1.3 (one host name a line, repeated once per slot; ``node1/0-3+node2/0``)
and the one-slot-a-part form of 4.x (``node1/1+node1/0``). The first host is the mother superior.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from nornir_torque_vm.config.fields import show
from nornir_torque_vm.errors import InventoryError
from nornir_torque_vm.model import Node

HOST_PATTERN = r"(?=.{1,253}\Z)(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(?:\.(?!\Z)|\Z))+"
"""A host name or IPv4 address: labels of 1 to 63 letters, digits, ``_`` and inner ``-``."""

HIGHEST_SLOT = 99_999
"""No node has a slot index above this; it bounds what a damaged ``a/0-999999999`` can cost."""

_HOST = re.compile(HOST_PATTERN)
_SLOTS = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")
_FOLDED = re.compile(r"([^\[\]]*)\[([^\[\]]*)\]([^\[\]]*)")
_NUMBERED = re.compile(r"([^.]*?)([0-9]+)((?:\..*)?)", re.DOTALL)


def valid_host(name: str) -> bool:
    """Whether ``name`` is safe as a host name: in a URI, an XML file, a path and an argument."""
    return _HOST.fullmatch(name) is not None


def parse_nodefile(text: str) -> tuple[Node, ...]:
    """Return the nodes of a nodefile in order of first appearance, slots = lines of that name.

    Blank lines and lines that begin with ``#`` are skipped (TORQUE writes neither; people do).

    :raises InventoryError: no node at all, or a line that is no host name; it says which line.
    """
    slots: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        name = line.strip()
        if name and not name.startswith("#"):
            _check_host(name, f"line {number} of the nodefile")
            slots[name] = slots.get(name, 0) + 1
    if not slots:
        raise InventoryError(
            "the nodefile names no node", hint="it must have one host name a line, once per slot"
        )
    return tuple(Node(name, count) for name, count in slots.items())


def parse_exec_host(text: str) -> tuple[Node, ...]:
    """Return the nodes of an ``exec_host`` value in order, with the indexes of their slots.

    :raises InventoryError: empty, a part without slots, a bad host name or slot range.
    """
    slots: dict[str, set[int]] = {}
    for part in text.strip().split("+"):
        name, slash, ranges = part.partition("/")
        if not slash:
            raise InventoryError(
                f"exec_host {show(text)} cannot be read at {show(part)}",
                hint="it must look like node1/0-3+node2/0",
            )
        _check_host(name, "exec_host")
        for piece in ranges.split(","):
            slots.setdefault(name, set()).update(_slot_range(piece, name))
    return tuple(Node(name, len(indexes), indexes=tuple(sorted(indexes))) for name, indexes in slots.items())


def fold(names: Iterable[str]) -> str:
    """Return many names as one short text for messages: ``node[01-16,20],login``.

    Numbers at the end of the first label are folded; duplicates count once; the order is that of
    first appearance, numbers within brackets ascending.
    """
    groups: dict[tuple[str, str], dict[str, None]] = {}
    for name in names:
        match = _NUMBERED.fullmatch(name)
        head, digits, tail = match.groups() if match else (name, "", "")
        groups.setdefault((head, tail), {})[digits] = None
    return ",".join(_fold_group(head, tail, digits) for (head, tail), digits in groups.items())


def unfold(text: str, most: int) -> tuple[str, ...]:
    """Return the names that a text such as ``node[01-16,20],login`` is short for, in their order.

    :param most: more names are refused.
    :raises InventoryError: a part that is no host name, brackets that say nothing, too many names.
    """
    names: list[str] = []
    for part in re.split(r",(?![^\[]*\])", text) if text else ():
        match = _FOLDED.fullmatch(part)
        head, ranges, tail = match.groups() if match else (part, None, "")
        for digits in [""] if ranges is None else _numbers(ranges, part, most):
            _check_host(f"{head}{digits}{tail}", "the list")
            names.append(f"{head}{digits}{tail}")
            if len(names) > most:
                raise InventoryError(f"these are more than {most} nodes")
    return tuple(names)


def _numbers(ranges: str, part: str, most: int) -> Iterator[str]:
    """Yield the numbers of ``01-16,20`` with the zeros they are written with."""
    for piece in ranges.split(","):
        first, dash, last = piece.partition("-")
        last = last if dash else first
        if not (first.isdecimal() and last.isdecimal()) or not 0 <= int(last) - int(first) <= most:
            raise InventoryError(f"{show(part)} has no numbers such as 01-16,20 in its brackets")
        yield from (str(number).zfill(len(first)) for number in range(int(first), int(last) + 1))


def _fold_group(head: str, tail: str, numbers: Iterable[str]) -> str:
    """Return one group of names that differ in ``numbers`` only (digits, or "" for none)."""
    runs: list[list[str]] = []
    for digits in sorted(numbers, key=lambda text: (len(text), text)):
        if runs and digits == _successor(runs[-1][-1]):
            runs[-1].append(digits)
        else:
            runs.append([digits])
    plain = [head + tail] if runs[0] == [""] else []
    folded = [run[0] if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs if run != [""]]
    if len(folded) == 1 and "-" not in folded[0]:
        plain.append(f"{head}{folded[0]}{tail}")
    elif folded:
        plain.append(f"{head}[{','.join(folded)}]{tail}")
    return ",".join(plain)


def _successor(digits: str) -> str:
    """Return the next number in the same style: 9 → 10, 09 → 10, 099 → 100; nothing after ""."""
    return str(int(digits) + 1).zfill(len(digits)) if digits else ""


def _slot_range(text: str, host: str) -> range:
    """Return the slot indexes of ``3`` or ``0-3``."""
    match = _SLOTS.fullmatch(text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    if not first <= last <= HIGHEST_SLOT:
        raise InventoryError(
            f"exec_host has {show(text)} for slots of {host}",
            hint=f"slots are a number or a range such as 0-3, at most {HIGHEST_SLOT}",
        )
    return range(first, last + 1)


def _check_host(name: str, where: str) -> None:
    """Raise :class:`InventoryError` unless ``name`` is a host name."""
    if not valid_host(name):
        raise InventoryError(
            f"{where} has {show(name)}, which is not a host name",
            hint="host names are letters, digits, dots, '_' and inner '-', at most 253 characters",
        )
