"""The floor of ``boot.py``: start domains whose disks and seeds are ready, and log in as soon as it works.

What ``boot_setup.py`` told comes as JSON on standard input, each guest's address added. Each guest has a
thread and a connection of its own; ssh, host key pinned, is tried again after 50 ms until one command has
succeeded. The answer is ``{"created": …, "healthy": …}``: when all domains ran and when all guests were
healthy, in seconds of the epoch. The domains are left running.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import os
import socket
import sys
import threading
import time
from typing import Any

PAUSE = 0.05
CONNECT = 0.1
"""Seconds for TCP alone. A guest without a network drops the first packet, and the kernel repeats it only
after a second: a new attempt is quicker."""
LOG_IN = 30.0
"""Seconds for everything after TCP; under emulation a key exchange alone takes one."""
VALIDATE = 16
"""``VIR_DOMAIN_START_VALIDATE``, as ours."""


def start(guest: dict[str, Any]) -> None:
    """Start the guest's domain."""
    import libvirt

    conn = libvirt.open(guest["uri"])
    conn.createXML(guest["xml"], VALIDATE)


def try_ssh(guest: dict[str, Any], key_text: str) -> bool:
    """Log in and run one command; False when that does not work yet."""
    import paramiko

    try:
        sock = socket.create_connection((guest["address"], 22), timeout=CONNECT)
    except OSError:
        return False
    sock.settimeout(LOG_IN)
    transport = paramiko.Transport(sock)
    transport.banner_timeout = transport.auth_timeout = LOG_IN
    kind, blob = guest["host_key"].split()[:2]
    key = paramiko.Ed25519Key.from_private_key(io.StringIO(key_text))
    try:
        transport.start_client(timeout=LOG_IN)
        if transport.get_remote_server_key() != paramiko.PKey.from_type_string(kind, base64.b64decode(blob)):
            return False
        transport.auth_publickey("root", key)
        channel = transport.open_session(timeout=LOG_IN)
        channel.exec_command("true")
        return bool(channel.recv_exit_status() == 0)
    except (paramiko.SSHException, EOFError, OSError):
        return False
    finally:
        transport.close()


def main() -> None:
    """Do it for all guests at once."""
    order = json.load(sys.stdin)
    created: list[float] = []
    healthy: list[float] = []

    def boot(guest: dict[str, Any]) -> None:
        start(guest)
        created.append(time.time())
        while not try_ssh(guest, order["key"]):
            time.sleep(PAUSE)
        healthy.append(time.time())

    logging.getLogger("paramiko").addHandler(logging.NullHandler())
    threads = [threading.Thread(target=boot, args=(guest,), daemon=True) for guest in order["guests"]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    complete = len(healthy) == len(threads)
    if complete:
        print(json.dumps({"created": max(created), "healthy": max(healthy)}), flush=True)
    os._exit(0 if complete else 1)


if __name__ == "__main__":
    main()
