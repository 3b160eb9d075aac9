"""Who a node has exchanged packets with: parsers of its neighbour table, and one table per node.

A node's table is how a guest's address is learnt where DHCP runs on another machine and the guest
has no agent. The parsers are pure. :class:`NeighbourTable` is shared by all guests of a node, so
that twenty waiting guests cost one reading of the table, not twenty.
"""

from __future__ import annotations

import contextvars
import dataclasses
import ipaddress
import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping

from nornir_torque_vm.threads import Call

_USELESS = frozenset({"FAILED", "INCOMPLETE", "NONE", "NOARP"})
"""States (ip-neighbour(8)) that do not say who answers at the address."""
_BEST_FIRST = ("REACHABLE", "DELAY", "PROBE", "PERMANENT", "", "STALE")
_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
_NO_MAC = "00:00:00:00:00:00"
_ARP_LINE = re.compile(r"\((?P<ip>[0-9.]+)\) at (?P<mac>[0-9A-Fa-f:]{11,17}) ")
PROC_NET_ARP = "/proc/net/arp"
"""The table without the states (proc(5)); every Linux has it."""
_COMPLETE = 0x2
"""ATF_COM of <net/if_arp.h>: the hardware address in this entry is valid."""


@dataclasses.dataclass(frozen=True, slots=True)
class Neighbour:
    """One usable IPv4 entry. ``state`` is the kernel's word (``REACHABLE`` …), empty when not told."""

    address: str
    mac: str
    state: str = ""


def parse_ip_json(text: str) -> tuple[Neighbour, ...]:
    """Read ``ip -j neigh`` (iproute2 ≥ 4.14).

    :raises ValueError: not that format, e.g. the help text of an older ``ip``.
    """
    rows = json.loads(text or "[]")
    if not isinstance(rows, list):
        raise ValueError("ip -j neigh did not print a list")  # noqa: TRY004 - one error for one cause
    found = []
    for row in rows:
        if isinstance(row, dict):
            states = row.get("state")
            state = states[0] if isinstance(states, list) and states else "NONE"
            found.append(_neighbour(row.get("dst"), row.get("lladdr"), state))
    return tuple(entry for entry in found if entry)


def parse_ip_text(text: str) -> tuple[Neighbour, ...]:
    """Read ``ip neigh``: ``10.89.0.128 dev br0 lladdr 52:54:00:… REACHABLE``; other lines are skipped."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if "lladdr" in words[1:-1]:
            found.append(_neighbour(words[0], words[words.index("lladdr") + 1], words[-1]))
    return tuple(entry for entry in found if entry)


def parse_arp(text: str) -> tuple[Neighbour, ...]:
    """Read ``arp -an``: ``? (10.89.0.128) at 52:54:00:… [ether] on br0``; other lines are skipped."""
    found = (_neighbour(match["ip"], match["mac"], "") for match in _ARP_LINE.finditer(text))
    return tuple(entry for entry in found if entry)


LOOKS, PAUSE = 10, 0.1
"""How often :data:`COMMAND` looks for what is waited for, and the seconds between."""
COMMAND = (
    "sh",
    "-c",
    f"""n=0
while [ $# -gt 0 ] && [ $n -lt {LOOKS} ]; do
    while read -r _ _ flags mac _; do
        case " $* " in *" $mac "*) [ "$flags" = 0x0 ] || break 2 ;; esac
    done 2>/dev/null <{PROC_NET_ARP} || break
    n=$((n+1)) && sleep {PAUSE}
done
PATH=$PATH:/usr/sbin:/sbin; ip -j neigh 2>/dev/null || ip neigh 2>/dev/null || arp -an""",
    "neighbours",
)
"""Prints a node's table in the best form its programs know; for :func:`parse_any`.

With MAC addresses as arguments it waits there until one of them is in the table, about a second at most: a
look there starts one small program, a command from here four and a channel, which booting guests notice.
"""


def parse_any(text: str) -> tuple[Neighbour, ...]:
    """Read what :data:`COMMAND` printed.

    :raises ValueError: it looks like JSON and is none.
    """
    if text.lstrip().startswith("["):
        return parse_ip_json(text)
    return parse_ip_text(text) or parse_arp(text)


def parse_proc_net_arp(text: str) -> tuple[Neighbour, ...]:
    """Read ``/proc/net/arp`` (proc(5)): what ``arp`` itself reads, with no program in between."""
    found = []
    for line in text.splitlines()[1:]:
        words = line.split()
        if len(words) >= 4 and _flags(words[2]) & _COMPLETE:
            found.append(_neighbour(words[0], words[3], ""))
    return tuple(entry for entry in found if entry)


def by_mac(neighbours: Iterable[Neighbour]) -> dict[str, str]:
    """MAC → address; of several addresses the one whose state is most recent evidence."""
    ordered = sorted(neighbours, key=lambda entry: _BEST_FIRST.index(entry.state))
    found: dict[str, str] = {}
    for entry in ordered:
        found.setdefault(entry.mac, entry.address)
    return found


def _neighbour(address: object, mac: object, state: object) -> Neighbour | None:
    """An entry if address, MAC and state are usable, else None."""
    state = state.upper() if isinstance(state, str) else "NONE"
    if state in _USELESS or state not in _BEST_FIRST:
        return None
    if not isinstance(address, str) or not isinstance(mac, str):
        return None
    mac = mac.lower()
    if mac == _NO_MAC or not _MAC.fullmatch(mac):
        return None
    try:
        ipaddress.IPv4Address(address)
    except ValueError:
        return None
    return Neighbour(address, mac, state)


def _flags(word: str) -> int:
    try:
        return int(word, 16)
    except ValueError:
        return 0


Read = Callable[[], Mapping[str, str]]
"""Reads the node's table now: MAC → address. May block and may raise."""


class NeighbourTable:
    """The neighbour table of one node as its guests' threads see it.

    Whoever asks first after ``max_age`` seconds reads the table for all; the others take what is
    there and never wait, however slow the reading is.

    :param max_age: how old an answer may be, seconds.
    :param retry: pause after a failed reading, seconds: a node that refuses ssh is not to be
        knocked at twenty times a second.
    """

    def __init__(
        self, max_age: float = 0.1, retry: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_age, self._retry, self._clock = max_age, retry, clock
        self._reading = threading.Lock()
        self._due = float("-inf")
        self._entries: Mapping[str, str] = {}
        self._error = ""
        self.readings = 0
        """How often the node was asked."""

    def address(self, mac: str, read: Read, *, aside: bool = False) -> str | None:
        """Return the address of ``mac`` or None; read the node's table first when that is due.

        :param aside: reading may take seconds: nobody waits for it, who asks afterwards is told.
        :raises LookupError: the last reading failed; its message is for every guest that asks.
        """
        if self._is_due() and self._reading.acquire(blocking=False):
            if aside:
                context = contextvars.copy_context()
                Call(lambda: context.run(self._take, read), name="read neighbours").start()
            else:
                self._take(read)
        if self._error:
            raise LookupError(self._error)
        return self._entries.get(mac.lower())

    def _take(self, read: Read) -> None:
        """Read the table, which the caller has taken for itself, and give it back."""
        try:
            if self._is_due():  # nobody else read it between the look and the taking
                self._refresh(read)
        finally:
            self._reading.release()

    def _is_due(self) -> bool:
        return self._clock() >= self._due

    def _refresh(self, read: Read) -> None:
        pause = self._retry
        self.readings += 1
        try:
            self._entries, self._error = read(), ""
            pause = self._max_age
        except Exception as exc:  # noqa: BLE001 - kept and told to every guest of the node
            self._error = str(exc) or type(exc).__name__
        finally:
            self._due = self._clock() + pause
