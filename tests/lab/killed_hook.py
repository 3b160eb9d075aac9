"""A hook as a program, for nodes of the lab: writes down its events, and kills itself at one of them.

Arguments: the file for the events; the event to be killed at, or nothing; the hook's module; its own. Guests
are created paused and count as ready at once: ending them is what it is about. Their leases are real.
"""

from __future__ import annotations

import functools
import importlib
import ipaddress
import os
import secrets
import signal
import sys
import threading
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from killing import Killer, announce
from nornir.core.task import Result, Task

from nornir_torque_vm.addresses import dhcp, wire
from nornir_torque_vm.addresses.model import AddressSource
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.inventory.hostdata import guest_of
from nornir_torque_vm.lab.layout import BRIDGE
from nornir_torque_vm.tasks.discover_address import Address

_PAUSED = 1
"""``VIR_DOMAIN_START_PAUSED``."""
_TYPE, _REQUEST, _ACK = 53, b"\3", b"\5"
"""The option that says what a message of DHCP's is, and two of its values (RFC 2132, 9.6)."""
_writing = threading.local()


def main() -> None:
    """Run the hook."""
    file, at, module, *arguments = sys.argv[1:]
    killer = Killer(at, lambda: os.kill(os.getpid(), signal.SIGKILL))

    def told(event: str) -> None:
        if not getattr(_writing, "now", False):
            _writing.now = True
            with Path(file).open(
                "a", encoding="utf-8"
            ) as events:  # each anew: a hook may close what it finds
                events.write(f"{event}\n")
            _writing.now = False
            killer(event)

    pause_guests()
    announce(told)
    hook: Any = importlib.import_module(module)
    if hasattr(hook, "Prologue"):
        hook.Prologue = functools.partial(hook.Prologue, probe=lambda _: True)
    sys.argv = [module, *arguments]
    hook.main()


def pause_guests() -> None:
    """Create guests paused, and ask for addresses in their names: they never will."""
    import libvirt

    real = libvirt.virConnect.createXML

    def create(self: Any, xml: str, flags: int = 0) -> Any:
        return real(self, xml, flags | _PAUSED)

    def discover_address(task: Task) -> Result:
        task.host.hostname = leased(guest_of(task.host).mac)
        found = Address(task.host.hostname, AddressSource.NEIGHBOUR, 0.0)
        return Result(host=task.host, result=found)

    libvirt.virConnect.createXML = create
    # Its package has a function of the module's name.
    booting: Any = importlib.import_module("nornir_torque_vm.tasks.boot_guest")
    booting.discover_address = discover_address


def leased(mac: str) -> str:
    """Have the DHCP server lease an address to a guest, as its own client would; return it.

    :raises TimeoutError: the server does not.
    """
    number, offer = secrets.randbits(32), None
    with wire.Wire(BRIDGE, wire.IP) as line:
        for _ in Deadline.after(20.0).backoff():
            line.send(
                dhcp.discover(line.mac, mac, number) if offer is None else request(line, mac, number, offer)
            )
            for frame in line.frames(0.5):
                if offer is not None and is_ack(frame, number):
                    return offer.address
                found = dhcp.parse_offer(frame)
                if offer is None and found is not None and found.number == number:
                    offer = found
                    break
    raise TimeoutError(f"no lease for {mac}")


def request(line: wire.Wire, mac: str, number: int, offer: dhcp.Offer) -> bytes:
    """The frame that takes an offer (RFC 2131, 4.3.2: server and address as options, from nowhere)."""
    server, address = (ipaddress.IPv4Address(text).packed for text in (offer.server, offer.address))
    options = [(_TYPE, _REQUEST), (54, server), (50, address)]
    message = dhcp._message(mac, number, dhcp._NOWHERE, dhcp._BROADCAST_FLAG, options)
    return dhcp._frame(wire.BROADCAST, line.mac, dhcp._NOWHERE, dhcp._EVERYWHERE, message)


def is_ack(frame: bytes, number: int) -> bool:
    """Whether a frame is the server's word that the address is ours."""
    return frame[46:50] == number.to_bytes(4, "big") and bytes([_TYPE, 1]) + _ACK in frame[282:]


if __name__ == "__main__":
    main()
