"""Speaks to the REST interface of one OSv guest, whose answers are hostile: few bytes, in a limited time."""

from __future__ import annotations

import contextlib
import http.client
import socket

from nornir_torque_vm.errors import GuestError
from nornir_torque_vm.osv.calls import PORT, Call, text_of
from nornir_torque_vm.threads import Call as Thread

LIMIT = 1 << 16
"""Bytes of an answer that are read."""


class NoAnswer(GuestError):
    """The guest does not answer, or breaks off."""


class Declined(GuestError):
    """The guest answers that it will not: ``status`` is HTTP's, the text its reason."""

    def __init__(self, what: str, status: int) -> None:
        super().__init__(what)
        self.status = status


class Rest:
    """One guest's interface; a connection for each call, as it keeps none open.

    :param address: IPv4 address.
    """

    def __init__(self, address: str, port: int = PORT) -> None:
        self.address, self.port = address, port

    def ask(self, call: Call, seconds: float) -> bytes:
        """Make a call and return its answer, at most :data:`LIMIT` bytes.

        :param seconds: all of it may take, however slowly the guest speaks.
        :raises NoAnswer: it is late, refuses the connection, breaks off, or speaks no HTTP.
        :raises Declined: its status is not 200.
        """
        connection = http.client.HTTPConnection(self.address, self.port, timeout=max(seconds, 0.01))
        thread = Thread(lambda: self._ask(connection, call), name=f"ask {self.address}").start()
        try:
            status, answer = thread.wait(seconds)
        except TimeoutError:
            thread.abandon()
            raise NoAnswer(f"{call.path} is not answered within {seconds:.1f} s") from None
        except (OSError, http.client.HTTPException) as error:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise NoAnswer(f"port {self.port} does not answer: {why}") from error
        finally:
            if connection.sock is not None:  # wakes a thread that still reads
                with contextlib.suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)
        if status != http.HTTPStatus.OK:
            raise Declined(f"{call.path}: {text_of(answer)[:200] or 'no reason'} (HTTP {status})", status)
        return answer

    @staticmethod
    def _ask(connection: http.client.HTTPConnection, call: Call) -> tuple[int, bytes]:
        with contextlib.closing(connection):
            connection.request(call.method, call.target)
            response = connection.getresponse()
            return response.status, response.read(LIMIT)
