"""Frames on the guests' bridge: a socket for them, and the header that all have. For Linux, as root."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterator
from typing import Self

BROADCAST = b"\xff" * 6
IP, ARP = 0x0800, 0x0806
"""Types of frames (IEEE 802 numbers)."""
LONGEST = 2048
"""More than a frame has on an Ethernet that guests are on and we look at."""


def mac_bytes(mac: str) -> bytes:
    """``02:00:…`` as six bytes."""
    return bytes.fromhex(mac.replace(":", ""))


def header(to: bytes, sender: bytes, kind: int) -> bytes:
    """The first 14 bytes of a frame."""
    return to + sender + struct.pack("!H", kind)


class Wire:
    """One kind of frames on an interface.

    :param kind: :data:`IP` or :data:`ARP`.
    :raises OSError: no such interface, it is down, or we are not root.
    """

    def __init__(self, interface: str, kind: int) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(kind))
        try:
            self._socket.bind((interface, kind))
            self.mac: bytes = self._socket.getsockname()[4]
        except OSError:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self._socket.close()

    def send(self, frame: bytes) -> None:
        """Send a frame; one that the interface has no room for now is lost, as any may be."""
        with contextlib.suppress(BlockingIOError, InterruptedError):
            self._socket.send(frame)

    def frames(self, seconds: float) -> Iterator[bytes]:
        """Yield what arrives within the next ``seconds``."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._socket.settimeout(left)
            with contextlib.suppress(TimeoutError):
                yield self._socket.recv(LONGEST)
