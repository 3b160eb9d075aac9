"""A job array: its members run side by side as far as the lab has nodes for them."""

from __future__ import annotations

import dataclasses
import queue
import threading
from concurrent import futures

from nornir_torque_vm.driver.batch import Submission
from nornir_torque_vm.driver.session import Ended, Session, Stream
from nornir_torque_vm.lab import Lab
from nornir_torque_vm.processors.base import EventProcessor


class Labelled:
    """Writes whole lines to a stream that several members share, each with the member's index before it."""

    def __init__(self, stream: Stream, index: int, gate: threading.Lock) -> None:
        self._stream, self._label, self._gate = stream, f"{index}: ".encode(), gate
        self._rest = b""

    def write(self, data: bytes) -> None:
        """Write the lines that are whole now."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        with self._gate:
            for line in lines:
                self._stream.write(self._label + line + b"\n")

    def flush(self) -> None:
        """Flush the stream below."""
        with self._gate:
            self._stream.flush()

    def finish(self) -> None:
        """Write what has no end of line."""
        if self._rest:
            self.write(b"\n")
            self.flush()


class ArraySession:
    """Runs the members of an array on a lab that is up, each on nodes of its own.

    :param out, err: take the members' lines, with the index before each.
    :param watch: shown the hooks' events; closed by the caller.
    """

    def __init__(self, lab: Lab, out: Stream, err: Stream, watch: EventProcessor | None = None) -> None:
        self.lab, self.out, self.err, self.watch = lab, out, err, watch
        self._gate = threading.Lock()
        self._sessions: list[Session] = []
        self._cancelled = False

    def run(self, submission: Submission, *, max_starts: int = 1, alarm: float = 300.0) -> dict[int, Ended]:
        """Run all members to their end; return how each ended, by index.

        :raises LabError: the lab cannot run one.
        """
        names, each = self.lab.node_names, len(submission.hosts)
        free: queue.SimpleQueue[tuple[str, ...]] = queue.SimpleQueue()
        places = [tuple(names[first : first + each]) for first in range(0, len(names) - each + 1, each)]
        for place in places:
            free.put(place)
        sequence = Session(self.lab, self.out, self.err).next_number()

        def member(index: int) -> Ended:
            hosts = free.get()
            try:
                mine = dataclasses.replace(submission, hosts=hosts)
                return self._member(mine, sequence, index, max_starts, alarm)
            finally:
                free.put(hosts)

        workers = min(len(places), submission.array_limit or len(places))
        with futures.ThreadPoolExecutor(workers) as pool:
            return dict(zip(submission.array, pool.map(member, submission.array), strict=True))

    def cancel(self) -> None:
        """Delete all members, those that have not begun too; safe in a signal handler."""
        self._cancelled = True
        for session in self._sessions:
            session.cancel()

    def _member(
        self, submission: Submission, sequence: int, index: int, max_starts: int, alarm: float
    ) -> Ended:
        out, err = (Labelled(stream, index, self._gate) for stream in (self.out, self.err))
        session = Session(self.lab, out, err, self.watch)
        self._sessions.append(session)
        if self._cancelled:
            session.cancel()
        try:
            return session.run(submission, max_starts=max_starts, alarm=alarm, number=(sequence, index))
        finally:
            out.finish()
            err.finish()
