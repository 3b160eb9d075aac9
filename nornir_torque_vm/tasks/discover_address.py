"""Task: find out a guest's IPv4 address."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping

from nornir.core.task import Result, Task

from nornir_torque_vm.addresses.bridge import bridge_of, network_of
from nornir_torque_vm.addresses.model import AddressSource
from nornir_torque_vm.errors import DeadlineExceeded, NoAddress
from nornir_torque_vm.inventory.hostdata import guest_of, settings_of
from nornir_torque_vm.model import Plan
from nornir_torque_vm.tasks.common import LIBVIRT, rounds, where
from nornir_torque_vm.tasks.sources import Enquiry
from nornir_torque_vm.tasks.watch import Watch

CONNECTION_NAME = LIBVIRT


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """Where a guest is, who knew, and how long it took to know (seconds)."""

    address: str
    source: AddressSource
    seconds: float
    dropped: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Source → why it could not be of use, for those that will never be on this node."""


def discover_address(task: Task, sources: Iterable[str] | None = None) -> Result:
    """Ask the address sources in turn until one knows the guest's address; first answer wins.

    Waits as long as the deadline allows, and no longer than the guest lives.

    Arguments:
        sources: names to ask (``agent``, ``lease``, ``arp``, ``neighbour``, ``static``), in order; by
            default ``static`` for a guest that was given its address, else the settings'
            ``address_sources``

    Returns:
        Result object with the following attributes set:
          * result (:class:`Address`): the address, also set as the host's ``hostname``

    Raises:
        GuestDied: the guest crashed, panicked, shut down or is gone
        NoAddress: no source is left that could know
        DeadlineExceeded: the time is up; the message says what each source said
    """
    host, began = task.host, time.monotonic()
    watch = Watch(task)
    wanted = _sources(task) if sources is None else map(AddressSource, sources)
    # Only a guest that was started a moment ago can be mistaken for its own predecessor.
    enquiry = Enquiry(task, watch, wanted, verify=bool(host.get("started")))
    for _ in rounds(task):
        if answer := enquiry.ask():
            source, host.hostname = answer
            dropped = {name: why for name, why in enquiry.said.items() if name not in enquiry.open}
            found = Address(host.hostname, source, time.monotonic() - began, dropped)
            return Result(host=host, result=found)
        watch.check()
        if not enquiry.open:
            raise NoAddress("nobody can tell its address", hint=_told(enquiry.said), **where(task))
    waited = f"no address after {time.monotonic() - began:.1f} s"
    heard = watch.said() or "nothing is on its console yet"
    behind = " and at the DHCP server behind it" if guest_of(host).static is None else ""
    raise DeadlineExceeded(
        f"{waited}: {_told({**enquiry.said, **_libvirt(watch)})}; look at the"
        f" {_place(task)}{behind}; {heard}",
        **where(task),
    )


def _place(task: Task) -> str:
    """What its card is on, in words; without a plan, what those of most guests are on."""
    plan, settings = task.host.get("plan"), settings_of(task.host)
    network, bridge = settings.network, settings.bridge
    if isinstance(plan, Plan):
        network, bridge = network_of(plan, settings), bridge_of(plan, settings)
    return f"network {network}" if network else f"bridge {bridge}"


def _sources(task: Task) -> tuple[AddressSource, ...]:
    if guest_of(task.host).static is not None:
        return (AddressSource.STATIC,)
    return settings_of(task.host).address_sources


def _told(said: Mapping[str, str]) -> str:
    return "; ".join(f"{source}: {why}" for source, why in said.items()) or "no source was asked"


def _libvirt(watch: Watch) -> dict[str, str]:
    return {"libvirt": watch.trouble} if watch.trouble else {}
