"""Ends the domains of one node, up to twenty at a time, after a look at whose they are."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nornir_torque_vm.connections.libvirt import NO_DOMAIN, OPERATION_INVALID, lease, map_error
from nornir_torque_vm.deadline import Deadline, current
from nornir_torque_vm.errors import DeadlineExceeded, HypervisorError, TorqueVMError
from nornir_torque_vm.render.metadata import METADATA_URI, parse_metadata
from nornir_torque_vm.tasks.parallel import in_parallel
from nornir_torque_vm.tasks.selection import Selection

LANE = 5
"""Requests that libvirtd serves of one connection at a time."""
LANES = 4
"""Connections to one node at most: 20 requests, as many as libvirtd has workers."""

_ELEMENT = 2
"""``VIR_DOMAIN_METADATA_ELEMENT``: one line, where the whole XML of twenty guests costs 40 ms."""
_NO_METADATA = 80
"""``VIR_ERR_NO_DOMAIN_METADATA``."""
_FILES = -1
"""Stands for ``meanwhile`` among the numbers of the lanes."""


class Ending:
    """One run over the domains of a node: look at all of them, then end those that are meant.

    The order matters. Ending a domain keeps a worker of libvirtd for 0.2 s; a question that arrives when
    twenty are being ended waits as long. So everything is asked, and every connection made, before.

    :param graceful: seconds each guest gets to shut down by itself.
    :param dry: only look.
    """

    def __init__(self, node: str, chosen: Selection, *, graceful: float = 0.0, dry: bool = False) -> None:
        self._node, self._chosen, self._graceful, self._dry = node, chosen, graceful, dry
        self._meant: set[str] = set()
        self._gone: set[str] = set()  # ended by themselves before they could be looked at
        self._looked = threading.Event()
        self.ended: list[str] = []
        """Those that were meant, and are gone; in a dry run, those that would go."""
        self.spared: list[str] = []
        """Those that are not meant, or not ours, whatever they are called."""
        self.failures: dict[str, BaseException] = {}
        """Those that may still exist, and why."""

    def run(
        self, domains: Mapping[str, Any], uri: str, connections: int, meanwhile: Callable[[], None]
    ) -> None:
        """Go through ``domains``.

        :param domains: name → ``virDomain`` of the caller's connection.
        :param uri: for more connections, when there are more domains than one can serve.
        :param connections: how many there may be in all.
        :param meanwhile: called once on the caller's connection, beside the rest if there is much to do.
        :raises Exception: what ``meanwhile`` raised; the domains have been gone through all the same.
        """
        lanes = max(1, min(LANES, connections, math.ceil(len(domains) / LANE)))
        steps = [*range(lanes), _FILES] if lanes > 1 else [0]

        def step(number: int) -> None:
            if number == _FILES:
                meanwhile()
            elif number == 0:
                self._first_lane(domains, lanes)
            else:
                self._other_lane(list(domains)[number::lanes], uri)

        outcome = in_parallel(step, steps, len(steps), f"destroy on {self._node}")
        self._end_all({name: domains[name] for name in self._left()})  # of a lane that never opened
        late = DeadlineExceeded("the time was up before its guests were gone", node=self._node)
        settled = {*self.ended, *self.spared, *self.failures, *self._gone}
        self.failures.update(dict.fromkeys(set(domains) - settled, late))
        if lanes == 1:
            meanwhile()
        elif (error := outcome[_FILES]) is not None:
            raise error

    def _first_lane(self, domains: Mapping[str, Any], lanes: int) -> None:
        """Look at all domains, give the others the sign, and end a share."""
        try:
            self._each(domains, self._look)
        finally:
            self._looked.set()
        self._end_all(dict(list(domains.items())[::lanes]))

    def _other_lane(self, names: Sequence[str], uri: str) -> None:
        """Get ready to end a share over a connection of its own; do so at the sign."""
        from libvirt import libvirtError

        with lease(uri, self._node) as conn:
            mine = {}
            for name in names:
                with contextlib.suppress(libvirtError):  # it is gone: the first lane will see
                    mine[name] = conn.lookupByName(name)
            self._looked.wait(current.get().clamp(threading.TIMEOUT_MAX))
            self._end_all(mine)

    def _left(self) -> set[str]:
        return self._meant - {*self.ended, *self.failures}

    def _each(self, domains: Mapping[str, Any], work: Callable[[str, Any], None]) -> None:
        """Do something with each domain, as many at a time as a connection serves; keep what fails."""
        outcome = in_parallel(
            lambda name: work(name, domains[name]), domains, LANE, f"destroy on {self._node}"
        )
        self.failures.update((name, error) for name, error in outcome.items() if error is not None)

    def _look(self, name: str, domain: Any) -> None:
        """Find out whether a domain is meant.

        :raises HypervisorError: libvirt does not say.
        """
        from libvirt import libvirtError

        try:
            record = parse_metadata(domain.metadata(_ELEMENT, METADATA_URI))
        except libvirtError as exc:
            if exc.get_error_code() == NO_DOMAIN:
                self._gone.add(name)
                return
            if exc.get_error_code() != _NO_METADATA:
                raise map_error(exc, self._node) from exc
            record = None
        if record is not None and self._chosen.wants(record):
            self._meant.add(name)
        else:
            self.spared.append(name)

    def _end_all(self, domains: Mapping[str, Any]) -> None:
        meant = {name: domain for name, domain in domains.items() if name in self._meant}
        if self._dry:
            self.ended.extend(meant)
        else:
            self._each(meant, self._end)

    def _end(self, name: str, domain: Any) -> None:
        """End one domain; one that is gone is a success.

        :raises HypervisorError: it is still there.
        :raises DeadlineExceeded: the time is up.
        """
        from libvirt import libvirtError

        current.get().check()
        try:
            if self._graceful > 0.0:
                _ask_to_stop(domain, self._graceful)
            current.get().check()
            domain.destroy()
        except libvirtError as exc:
            if exc.get_error_code() not in (NO_DOMAIN, OPERATION_INVALID):
                raise map_error(exc, self._node) from exc
        try:
            domain.undefine()  # whoever started it may have been killed while it was defined: see start_guest
        except libvirtError as exc:
            if exc.get_error_code() not in (NO_DOMAIN, OPERATION_INVALID):
                raise map_error(exc, self._node) from exc
        self.ended.append(name)

    def error(self) -> BaseException | None:
        """One error for all that failed: the only one itself, or one that counts them."""
        if not self.failures:
            return None
        first = next(iter(self.failures.values()))
        if len(self.failures) == 1 or not isinstance(first, TorqueVMError):
            return first
        what = f"{len(self.failures)} guests could not be destroyed, the first because: {first.what}"
        if isinstance(first, HypervisorError):
            return type(first)(what, code=first.code, hint=first.hint, node=self._node)
        return type(first)(what, node=self._node)


def _ask_to_stop(domain: Any, seconds: float) -> None:
    """Press the power button and wait; that a guest ignores it is no error.

    :raises libvirt.libvirtError: the guest is gone.
    """
    from libvirt import libvirtError

    with contextlib.suppress(libvirtError):
        domain.shutdown()
    for _ in Deadline.after(current.get().clamp(seconds)).backoff(longest=0.5):
        domain.state()
