"""The user's own mapping of virtual to physical processors: the file that ``vcpu_pinning`` may name. Pure.

One line for each virtual processor that is mapped::

    # guest  vcpu  processors
    0        0     0
    0        1     1,3
    0        emulator 2

``guest`` counts a node's guests of the job, ``processors`` counts those of the job's share of the node, both
from 0: what else is on the node cannot even be named. Submit hosts and nodes read it by the same code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from nornir_torque_vm.config.fields import show
from nornir_torque_vm.errors import RequestError

PinMap = Mapping[tuple[int, str | int], tuple[int, ...]]
"""Guest of a node and virtual processor, or ``EMULATOR``, → places in the share, ascending."""

EMULATOR = "emulator"
HIGHEST = 4095
"""Neither guests nor processors have higher numbers."""
HINT = "a line is: guest, vcpu (or emulator), processors such as 0 or 2-3,5"

_NUMBER = re.compile(r"[0-9]{1,4}", re.ASCII)
_RANGE = re.compile(r"([0-9]{1,4})(?:-([0-9]{1,4}))?", re.ASCII)
_WORDS = 3


def parse_pins(content: bytes) -> PinMap:
    """Read a mapping.

    :raises RequestError: not such a file; names the line.
    """
    try:
        lines = content.decode("ascii").splitlines()
    except UnicodeDecodeError:
        raise RequestError("the pinning file is not plain ASCII text", hint=HINT) from None
    pins: dict[tuple[int, str | int], tuple[int, ...]] = {}
    for number, line in enumerate(lines, start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != _WORDS:
            raise _wrong(number, f"has {len(words)} words, not {_WORDS}")
        guest, vcpu, processors = words
        key = (_number(guest, number), EMULATOR if vcpu == EMULATOR else _number(vcpu, number))
        if key in pins:
            raise _wrong(number, f"maps {vcpu} of guest {guest} again", hint="once is enough")
        pins[key] = _processors(processors, number)
    if not pins:
        raise RequestError("the pinning file maps nothing", hint=HINT)
    return pins


def check_pins(pins: PinMap, guests: int, vcpus: int, share: int) -> None:
    """Make sure that a mapping is about this job.

    :param guests: guests of the job on each node.
    :param vcpus: virtual processors of each.
    :param share: processors of the job there.
    :raises RequestError: it names what the job has not got; with numbers.
    """
    for (guest, vcpu), processors in pins.items():
        if guest >= guests:
            raise RequestError(
                f"the pinning file has a guest {guest}, the job has {guests} on a node",
                hint="they count from 0: raise vms_per_node, or take the line out",
            )
        if vcpu != EMULATOR and int(vcpu) >= vcpus:
            raise RequestError(
                f"the pinning file has a vcpu {vcpu} of guest {guest}, which has {vcpus}",
                hint="they count from 0: raise vcpus, or take the line out",
            )
        if processors[-1] >= share:
            raise RequestError(
                f"the pinning file has a processor {processors[-1]}, the job has {share} on the node",
                hint="they count from 0: raise ppn, or name another",
            )


def _processors(text: str, line: int) -> tuple[int, ...]:
    found: set[int] = set()
    for part in text.split(","):
        match = _RANGE.fullmatch(part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last <= HIGHEST:
            raise _wrong(line, f"has {show(part)} for processors")
        found.update(range(first, last + 1))
    return tuple(sorted(found))


def _number(text: str, line: int) -> int:
    if not _NUMBER.fullmatch(text) or int(text) > HIGHEST:
        raise _wrong(line, f"has {show(text)} for a number")
    return int(text)


def _wrong(line: int, what: str, hint: str = HINT) -> RequestError:
    return RequestError(f"line {line} of the pinning file {what}", hint=hint)
