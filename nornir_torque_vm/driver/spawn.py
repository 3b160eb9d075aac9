"""Start one program the way a MOM does: runs inside the node, standard library only.

Reads one JSON line from standard input (the fields of ``driver.mom.Order``), then signal names, one
a line, to send to the program's process group; the end of standard input means SIGKILL. Prints one
JSON line when the program is over: ``{"session": PID, "code": CODE}``, CODE negative for a signal. A program
at a terminal gets one of this node's, whose other end goes through the socket that the order names.
"""

import contextlib
import fcntl
import json
import os
import pwd
import signal
import socket
import subprocess
import sys
import termios
import threading
from typing import Any

EXEC_FAILED = 255
TERMINAL = "terminal"
"""In place of a file's path: a terminal of this node, whose other end goes to the socket in the order."""


def open_spool(path: str, owner: "str | None") -> int:
    """Append to a spool file; one that is made now belongs to the job's owner."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    if owner:
        user = pwd.getpwnam(owner)
        os.fchown(fd, user.pw_uid, user.pw_gid)
    return fd


def open_terminal(order: "dict[str, Any]") -> int:
    """Make a terminal that is the user's, send its other end away, and return its own."""
    master, own = os.openpty()
    user = pwd.getpwnam(order["spool_owner"])
    os.fchown(own, user.pw_uid, user.pw_gid)
    with socket.socket(fileno=order["socket"]) as away:
        socket.send_fds(away, [b"t"], [master])
    os.close(master)
    return own


def settle(order: "dict[str, Any]", terminal: int) -> None:
    """In the child: session, files, directory, umask and user, in the MOM's order."""
    os.setsid()
    if terminal >= 0:
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
        if order["stdin"] == TERMINAL:
            os.dup2(terminal, 0)
    for number, path in ((1, order["stdout"]), (2, order["stderr"])):
        if path is None:
            os.close(number)
        elif path == TERMINAL:
            os.dup2(terminal, number)
        else:
            fd = open_spool(path, order["spool_owner"]) if path != os.devnull else os.open(path, os.O_WRONLY)
            os.dup2(fd, number)
            os.close(fd)
    os.chdir(order["cwd"])
    os.umask(order["umask"])
    if order["user"] != "root":
        user = pwd.getpwnam(order["user"])
        os.initgroups(user.pw_name, user.pw_gid)
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)


def relay(session: int) -> None:
    """Pass signals on until the end of standard input, which kills."""
    for line in sys.stdin:
        send(session, line.strip())
    send(session, "SIGKILL")


def send(session: int, name: str) -> None:
    """Signal the program's whole process group; one that is gone is no error."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(session, signal.Signals[name])


def main() -> int:
    """Start the program and report how it ended."""
    order = json.loads(sys.stdin.readline())
    terminal = open_terminal(order) if order["socket"] >= 0 else -1
    text = order["stdin"] != TERMINAL and order["stdin"]
    try:
        child = subprocess.Popen(
            order["argv"],
            executable=order["program"],
            env=order["env"],
            stdin=subprocess.PIPE if text else subprocess.DEVNULL,
            preexec_fn=lambda: settle(order, terminal),  # noqa: PLW1509 - the only thread there is
        )
    except (OSError, subprocess.SubprocessError) as exc:  # a MOM's child then ends with 255
        why = exc if isinstance(exc, OSError) else f"no user {order['user']}, or no directory {order['cwd']}"
        print(f"{order['program']}: {why}", file=sys.stderr)
        print(json.dumps({"session": 0, "code": EXEC_FAILED}), flush=True)
        return 0
    if terminal >= 0:
        os.close(terminal)
    if child.stdin is not None:
        # It need not read what it is given, and may be gone already.
        with contextlib.suppress(BrokenPipeError), child.stdin as pipe:
            pipe.write(text.encode(errors="surrogateescape"))
    threading.Thread(target=relay, args=(child.pid,), daemon=True).start()
    code = child.wait()
    print(json.dumps({"session": child.pid, "code": code}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
