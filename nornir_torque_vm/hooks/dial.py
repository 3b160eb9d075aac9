"""Connects for ssh (``ProxyUseFdpass``), with ``TCP_NODELAY``. A program: ``python -I -S dial.py HOST PORT``.

ssh sets that option itself only after it has logged in. Until then it waits 40 ms, twice, for a guest that
delays its acknowledgements: half of a handshake.
"""

from __future__ import annotations

import contextlib
import socket
import sys

SECONDS = 20.0
"""Limit for the connection."""


def dial(host: str, port: int) -> socket.socket:
    """Connect to a guest.

    :raises OSError: it does not answer.
    """
    connection = socket.create_connection((host, port), timeout=SECONDS)
    connection.settimeout(None)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def main() -> int:
    """Hand the connection to ssh, which listens at the other end of our standard output.

    Without one nothing is said: ssh fails, and the job starter asks why.
    """
    with contextlib.suppress(OSError):
        with dial(sys.argv[1], int(sys.argv[2])) as connection, socket.socket(fileno=1) as ssh:
            socket.send_fds(ssh, [b"\0"], [connection.fileno()])
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
