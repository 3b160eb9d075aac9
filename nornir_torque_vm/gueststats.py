"""What guests have used of their nodes, in libvirt's figures, and how that is kept with a job. Pure.

TORQUE counts the processes of its own session on the mother superior and no guest: what a job used is
known to libvirt alone, and only as long as its guests exist.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping

from nornir_torque_vm.errors import StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = 1
"""Of the JSON form."""

_NANOSECONDS = 1e-9
_KIB = 1 << 10


@dataclasses.dataclass(frozen=True, slots=True)
class Usage:
    """What a guest has used since it was started; None for what its hypervisor does not tell. In bytes."""

    cpu_seconds: float | None = None
    """Processor time of the node: of the guest and its emulator, or of its vCPUs alone where libvirt has no
    cgroup for the guest."""
    memory: int | None = None
    """Memory of the node it held when it was asked. Our guests have no balloon and give nothing back, so at
    their end it is the most they ever held, less what the node swapped out."""
    memory_limit: int | None = None
    """Memory it could have used."""
    disk_read: int | None = None
    disk_written: int | None = None
    net_received: int | None = None
    net_sent: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class GuestStats(Usage):
    """What one guest has used, and which guest that is."""

    guest: str = ""
    node: str = ""
    domain: str = ""
    rank: int = 0
    attempt: int = 1


def parse_stats(numbers: Mapping[str, Any]) -> Usage:
    """Read one domain's figures of ``virConnectGetAllDomainStats``, names as ``virsh domstats`` has them.

    Times there are nanoseconds, memory KiB, disks and networks bytes; what is no count is left out.
    """
    cpu = _count(numbers, r"cpu\.time")
    if cpu is None:  # the driver reads it from a cgroup; threads of vCPUs are there without one
        cpu = _count(numbers, r"vcpu\.[0-9]+\.time")
    memory = _count(numbers, r"balloon\.rss")
    limit = _count(numbers, r"balloon\.maximum")
    return Usage(
        cpu_seconds=None if cpu is None else cpu * _NANOSECONDS,
        memory=None if memory is None else memory * _KIB,
        memory_limit=None if limit is None else limit * _KIB,
        disk_read=_count(numbers, r"block\.[0-9]+\.rd\.bytes"),
        disk_written=_count(numbers, r"block\.[0-9]+\.wr\.bytes"),
        net_received=_count(numbers, r"net\.[0-9]+\.rx\.bytes"),
        net_sent=_count(numbers, r"net\.[0-9]+\.tx\.bytes"),
    )


def _count(numbers: Mapping[str, Any], name: str) -> int | None:
    """Sum of the figures with such a name; None when there is none."""
    found = [value for key, value in numbers.items() if re.fullmatch(name, key) and _is_count(value)]
    return sum(found) if found else None


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


@dataclasses.dataclass(frozen=True, slots=True)
class Figures:
    """The figures of a job's guests, and of which nodes there are none."""

    guests: tuple[GuestStats, ...] = ()
    missing: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Node → why it gave no figures."""

    def after(self, earlier: Figures) -> Figures:
        """These figures and those of an earlier teardown that could not end all guests.

        A guest that was asked twice has used what it said last; a node that has answered once is not
        missing.
        """
        guests = {one.domain: one for one in (*earlier.guests, *self.guests)}
        answered = {one.node for one in guests.values()}
        why = {**earlier.missing, **self.missing}
        return Figures(_sorted(guests.values()), {node: why[node] for node in why if node not in answered})

    def sentence(self) -> str:
        """All guests together, in one line for syslog; ``-`` for what no guest's hypervisor tells."""

        def total(*names: str) -> str:
            known = [getattr(one, name) for one in self.guests for name in names]
            found = [value for value in known if value is not None]
            return f"{sum(found):.0f}" if found else "-"

        return (
            f"guests={len(self.guests)} cpu_seconds={total('cpu_seconds')} memory_bytes={total('memory')} "
            f"disk_bytes={total('disk_read', 'disk_written')} net_bytes={total('net_received', 'net_sent')}"
        )

    def to_json(self) -> str:
        """Return it as one JSON object."""
        guests = [dataclasses.asdict(one) for one in _sorted(self.guests)]
        value = {"version": VERSION, "guests": guests, "missing": dict(self.missing)}
        return json.dumps(value, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Figures:
        """Read what :meth:`to_json` wrote.

        :raises StateError: the text is damaged or of another version.
        """
        try:
            raw = json.loads(text)
            if raw["version"] != VERSION:
                raise StateError(
                    f"the guests' figures have form {raw['version']!r}, this program reads {VERSION}"
                )
            missing = {str(node): str(why) for node, why in raw["missing"].items()}
            return cls(tuple(GuestStats(**one) for one in raw["guests"]), missing)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StateError(f"the guests' figures cannot be read ({type(error).__name__})") from error


def _sorted(guests: Iterable[GuestStats]) -> tuple[GuestStats, ...]:
    return tuple(sorted(guests, key=lambda one: (one.attempt, one.rank)))
