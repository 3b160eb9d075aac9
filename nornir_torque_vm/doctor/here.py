"""All checks of one host, at the same time and under one deadline."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence

from nornir_torque_vm.connections.libvirt import lease, mapped
from nornir_torque_vm.deadline import Deadline, current
from nornir_torque_vm.doctor import components, disks, guests, system, torque
from nornir_torque_vm.doctor.model import Check, Here, Line, Mark, fail, failed, ok
from nornir_torque_vm.errors import DeadlineExceeded, TorqueVMError
from nornir_torque_vm.threads import Call

EVERYWHERE: Mapping[str, Check] = {
    "own name": system.names,
    "settings": system.settings_here,
    "submit filter": torque.submit_filter,
    "compiled settings": torque.compiled_settings,
}
ON_NODES: Mapping[str, Check] = {
    "kvm": guests.kvm,
    "libvirt": guests.libvirt,
    "libvirtd": guests.limits,
    "bridge": guests.bridge,
    "prologalarm": torque.prologalarm,
    "job starter": torque.starter,
    "hooks": torque.hooks,
    "faults": torque.faults,
    "operator": torque.operator,
    "sshd": system.sshd,
    "space": system.space,
    "ramdisk": disks.ramdisk,
    "image cache": disks.image_cache,
    "reaper": system.timer,
    "metrics": system.metrics,
    "components": components.components,
}
"""Checks by what their lines are about; a line that is late has that name."""
LATE_CURE = "look whether the host or a file system hangs, or give more time with --timeout"


def checks_of(here: Here) -> dict[str, Check]:
    """What is to be looked at on this host."""
    others = {f"node {name}": functools.partial(reach, name=name) for name in here.others}
    return {**EVERYWHERE, **(ON_NODES if here.is_node else {}), **others}


def reach(here: Here, name: str) -> Iterator[Line]:
    """Whether another node's libvirt lets this one in."""
    subject, uri = f"node {name}", here.settings.node_uri.replace("{node}", name)
    with lease(uri, name) as conn, mapped(name):
        conn.getLibVersion()
    yield ok(subject, f"its libvirt lets this host in ({uri.partition('?')[0]})")


def examine(here: Here, deadline: Deadline, checks: Mapping[str, Check] | None = None) -> list[Line]:
    """Make all checks; those that are not over at the deadline are late, the others' lines are there."""
    chosen = checks_of(here) if checks is None else checks
    calls = {
        name: Call(functools.partial(_lines, name, check, here, deadline), name=f"check {name}").start()
        for name, check in chosen.items()
    }
    return [line for name, call in calls.items() for line in _outcome(name, call, deadline)]


def _lines(name: str, check: Check, here: Here, deadline: Deadline) -> list[Line]:
    """The lines of one check, in a thread of its own."""
    current.set(deadline)
    try:
        return list(check(here))
    except DeadlineExceeded as error:
        return [late(name, error.what)]
    except TorqueVMError as error:
        return [failed(name, error)]
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return [fail(name, f"{where}{error.strerror or error}", "")]
    except Exception as error:  # noqa: BLE001 - one check must not hide the others
        return [fail(name, f"the check itself failed: {type(error).__name__}: {error}", "report this")]


def _outcome(name: str, call: Call[list[Line]], deadline: Deadline) -> list[Line]:
    try:
        return call.wait(deadline.remaining())
    except TimeoutError:
        call.abandon()
        return [late(name)]


def late(subject: str, text: str = "no answer in time") -> Line:
    """Return a line about something that could not be found out in time."""
    return Line(Mark.LATE, subject, text, LATE_CURE)


def order(lines: Sequence[Line]) -> list[Line]:
    """What needs a hand first, otherwise as they came."""
    rank = (Mark.FAIL, Mark.LATE, Mark.WARN, Mark.OK)
    return sorted(lines, key=lambda line: rank.index(line.mark))


@dataclasses.dataclass(frozen=True, slots=True)
class Examination:
    """What was found on one host."""

    host: str
    lines: tuple[Line, ...]

    def marked(self, mark: Mark) -> bool:
        """Whether a line has this mark."""
        return any(line.mark is mark for line in self.lines)
