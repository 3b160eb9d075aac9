"""Ends the domains of one node, up to twenty at a time, after a look at whose they are."""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Callable, Mapping
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

Find = Callable[[str], Any]
"""Name of a domain → its ``virDomain`` on some connection; raises ``libvirtError``."""


class Ending:
    """One run over the domains of a node.

    Looking at a domain and ending it is one step, so that no domain waits for the look at another; all
    connections take their work from one queue, so that one that cannot be opened costs nothing but time.

    :param graceful: seconds each guest gets to shut down by itself.
    :param dry: only look.
    """

    def __init__(self, node: str, chosen: Selection, *, graceful: float = 0.0, dry: bool = False) -> None:
        self._node, self._chosen, self._graceful, self._dry = node, chosen, graceful, dry
        self._queue: deque[str] = deque()
        self._here: Mapping[str, Any] = {}
        self.ended: list[str] = []
        """Those that were ours to end, and are gone."""
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
        :param meanwhile: called once; on the caller's connection while the others are being opened, or
            at the end when there are no others.
        :raises Exception: what ``meanwhile`` raised; the domains have been gone through all the same.
        """
        self._queue.extend(domains)
        self._here = domains
        lanes = max(1, min(LANES, connections, math.ceil(len(domains) / LANE)))

        def run_lane(number: int) -> None:
            if number > 0:
                with lease(uri, self._node) as conn:
                    self._work(conn.lookupByName)
                return
            first, then = (meanwhile, self._work_here) if lanes > 1 else (self._work_here, meanwhile)
            try:
                first()
            finally:  # whatever is wrong with the node's files, its guests have to go
                then()

        outcome = in_parallel(run_lane, range(lanes), lanes, f"destroy on {self._node}")
        unfinished = set(domains) - {*self.ended, *self.spared, *self.failures}
        late = DeadlineExceeded("the time was up before its guests were gone", node=self._node)
        self.failures.update(dict.fromkeys(unfinished, late))
        if outcome[0] is not None:
            raise outcome[0]

    def _work_here(self) -> None:
        self._work(lambda name: self._here[name])

    def _work(self, find: Find) -> None:
        workers = min(LANE, len(self._queue))
        in_parallel(lambda _: self._drain(find), range(workers), workers, f"destroy on {self._node}")

    def _drain(self, find: Find) -> None:
        while True:
            try:
                name = self._queue.popleft()
            except IndexError:
                return
            try:
                meant = self._end(find, name)
            except Exception as exc:  # noqa: BLE001 - belongs to this domain; the others go on
                self.failures[name] = exc
            else:
                (self.ended if meant else self.spared).append(name)

    def _end(self, find: Find, name: str) -> bool:
        """End one domain if it is meant; one that is gone is a success.

        :raises HypervisorError: it is still there.
        :raises DeadlineExceeded: the time is up.
        """
        from libvirt import libvirtError

        current.get().check()
        try:
            domain = find(name)
            record = parse_metadata(domain.metadata(_ELEMENT, METADATA_URI))
            if record is None or not self._chosen.wants(record):
                return False
            if self._dry:
                return True
            if self._graceful > 0.0:
                _ask_to_stop(domain, self._graceful)
            current.get().check()
            domain.destroy()
        except libvirtError as exc:
            if exc.get_error_code() == _NO_METADATA:
                return False
            if exc.get_error_code() not in (NO_DOMAIN, OPERATION_INVALID):
                raise map_error(exc, self._node) from exc
        return True

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
