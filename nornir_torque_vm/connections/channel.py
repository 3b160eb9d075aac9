"""One command over one ssh channel: exit status, both streams, and an end in time.

Takes any paramiko transport, so guests and nodes share it. What paramiko itself does not bound is
bounded here: ``exec_command`` waits for ever for an answer, reading waits for ever for output.
"""

from __future__ import annotations

import contextlib
import logging
import select
import time
from typing import TYPE_CHECKING

from nornir_torque_vm.connections.command import CommandResult
from nornir_torque_vm.threads import Call

if TYPE_CHECKING:
    from paramiko import Channel, Transport

OUTPUT_LIMIT = 4 << 20
"""Bytes kept of each stream; a guest belongs to a stranger, what exceeds this is thrown away."""
CHUNK = 32768
AFTER_EXIT = 1.0
"""Seconds to wait for the end of the output once the command has exited: something it left in the
background may hold the streams open for ever."""
POLL, POLL_SENDING = 0.1, 0.01
"""Longest time, in seconds, until the exit status is noticed, and until there is room to send."""
_SILENT = logging.NullHandler()


def quiet() -> None:
    """Keep paramiko's tracebacks off stderr where no logging is set up; our errors say what failed."""
    logging.getLogger("paramiko").addHandler(_SILENT)  # the same one again is no second one


def run_on(transport: Transport, command: str, stdin: bytes, seconds: float) -> CommandResult:
    """Run ``command`` by the far side's shell and return what came of it.

    :raises TimeoutError: it was not over after ``seconds``; the channel is closed, which ends it.
    :raises paramiko.SSHException, EOFError, OSError: the connection is lost or the far side refuses.
    """
    until = time.monotonic() + seconds
    channel = _open(transport, seconds)
    try:
        Call(lambda: channel.exec_command(command), name="ssh exec").start().wait(until - time.monotonic())
        return _Exchange(channel, stdin).finish(until)
    finally:
        channel.close()  # also frees the thread that may still wait for an answer to exec


def _open(transport: Transport, seconds: float) -> Channel:
    began = time.monotonic()
    from paramiko import SSHException

    try:
        return transport.open_session(timeout=max(seconds, 0.001))
    except SSHException as error:
        if transport.is_active() and time.monotonic() - began >= seconds:
            raise TimeoutError from error
        raise


class _Exchange:
    """The bytes that still have to go out, and those that came in."""

    def __init__(self, channel: Channel, stdin: bytes) -> None:
        self._channel = channel
        self._unsent = memoryview(stdin)
        self._sending = True
        self._out, self._err = bytearray(), bytearray()
        self._poll = select.poll()  # select.select fails beyond 1024 open files
        self._poll.register(channel.fileno(), select.POLLIN)

    def finish(self, until: float) -> CommandResult:
        """Exchange until the command has exited and its output has ended."""
        end = until
        exited = False
        while True:
            self._send()
            self._receive(min(end, time.monotonic() + POLL))
            if self._channel.exit_status_ready() and not exited:
                exited, end = True, min(until, time.monotonic() + AFTER_EXIT)
            if exited and self._drained:
                return self._result()
            left = end - time.monotonic()
            if left <= 0.0:
                if exited:
                    return self._result()
                raise TimeoutError
            pause = POLL_SENDING if self._sending else POLL
            self._poll.poll(min(left, pause) * 1000)

    @property
    def _drained(self) -> bool:
        channel = self._channel
        ended = channel.eof_received or channel.closed
        return ended and not channel.recv_ready() and not channel.recv_stderr_ready()

    def _send(self) -> None:
        if not self._sending:
            return
        with contextlib.suppress(OSError):  # the command may exit without reading its input
            while self._unsent and self._channel.send_ready():
                self._unsent = self._unsent[self._channel.send(bytes(self._unsent[:CHUNK])) :]
            if not self._unsent:
                self._channel.shutdown_write()
                self._sending = False
            return
        self._sending = False

    def _receive(self, end: float) -> None:
        """Take what is there, some of either stream in turn: there may always be more."""
        more = True
        while more:
            more = False
            if self._channel.recv_ready():
                more = True
                _keep(self._out, self._channel.recv(CHUNK))
            if self._channel.recv_stderr_ready():
                more = True
                _keep(self._err, self._channel.recv_stderr(CHUNK))
            more = more and time.monotonic() < end

    def _result(self) -> CommandResult:
        out, err = (bytes(data).decode(errors="replace") for data in (self._out, self._err))
        return CommandResult(self._channel.recv_exit_status(), out, err)


def _keep(buffer: bytearray, data: bytes) -> None:
    buffer += data[: OUTPUT_LIMIT - len(buffer)]
