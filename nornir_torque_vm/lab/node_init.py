"""The first process of a lab host: makes its tree, starts its daemons, inherits its orphans.

Runs as ``python -I -S node_init.py init.json`` in fresh namespaces; standard library only. Orders are in
the JSON file (``spec.py``). Until it reads ``go`` from standard input nothing is started, and when that
ends instead, whoever builds the lab has died: then this host ends too. When this process ends, the
kernel ends everything else in its process namespace.
"""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from typing import Any, NoReturn

IPV6_OFF = "/proc/sys/net/ipv6/conf/{}/disable_ipv6"


def make_tree(commands: "list[list[str]]", environment: "dict[str, str]") -> None:
    """Run the set-up commands; the first that fails ends this process, its message in the log."""
    null = os.open(os.devnull, os.O_RDONLY)  # now, because /dev is empty for a while
    for argv in commands:
        code = subprocess.call(argv, env=environment, stdin=null)
        if code:
            sys.exit(f"{' '.join(argv)} failed with code {code}")
    os.close(null)


def mount_points() -> "list[str]":
    """Return where something is mounted, from mountinfo (proc(5)), which writes odd characters in octal."""
    with open("/proc/self/mountinfo") as table:  # noqa: PTH123 -- quick to start
        return [re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), line.split()[4]) for line in table]


def seal(machine: "list[str]", writable: "list[str]", environment: "dict[str, str]") -> None:
    """Make the machine's own mounts read-only here, so that nothing in this host can change the machine."""
    for point in machine:
        if not any(point == top or point.startswith(f"{top}/") for top in writable):
            subprocess.call(["/usr/bin/mount", "-o", "remount,bind,ro", point], env=environment)


def quiet_network() -> None:
    """No IPv6: nobody uses it here, and its router solicitations delay nothing but readers of dumps."""
    for scope in ("all", "default"):
        with contextlib.suppress(OSError), open(IPV6_OFF.format(scope), "w") as file:  # noqa: PTH123
            file.write("1")


def start(daemon: "dict[str, Any]", logs: str, environment: "dict[str, str]") -> int:
    """Start one daemon in a session of its own, output to its log; return its process id."""
    log = os.open(f"{logs}/{daemon['name']}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    pid = os.posix_spawn(
        daemon["argv"][0],
        daemon["argv"],
        environment | daemon["env"],
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, log, 1),
            (os.POSIX_SPAWN_DUP2, log, 2),
        ],
        setsid=True,
    )
    os.close(log)
    return pid


def reap(daemons: "dict[int, str]", exited: str) -> NoReturn:
    """Collect whatever ends, for ever: QEMU processes and other orphans become children of this one.

    A daemon that ends leaves a note: a file of its name with its exit code (negative: a signal).
    """
    while True:
        try:
            pid, status = os.wait()
        except ChildProcessError:
            time.sleep(1)
            continue
        if pid in daemons:
            with open(f"{exited}/{daemons.pop(pid)}", "w") as file:  # noqa: PTH123 -- quick to start
                file.write(f"{os.waitstatus_to_exitcode(status)}\n")


def main() -> NoReturn:
    """Build the host, wait for the word, run it."""
    with open(sys.argv[1]) as file:  # noqa: PTH123 -- quick to start
        spec = json.load(file)
    os.umask(0o022)
    socket.sethostname(spec["hostname"])
    quiet_network()
    machine = mount_points()
    make_tree(spec["setup"], spec["environment"])
    seal(machine, spec["writable"], spec["environment"])
    os.chdir("/")
    if sys.stdin.readline() != "go\n":
        sys.exit("nobody said go")
    daemons = {}
    for daemon in spec["daemons"]:
        try:
            daemons[start(daemon, spec["logs"], spec["environment"])] = daemon["name"]
        except OSError as exc:
            sys.exit(f"{daemon['argv'][0]} cannot be started: {exc.strerror}")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    reap(daemons, spec["exited"])


if __name__ == "__main__":
    main()
