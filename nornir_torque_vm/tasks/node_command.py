"""Running a command of the site's on a node, for tasks that cannot do with libvirt."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence

from nornir.core.task import Task

from nornir_torque_vm.connections.command import CommandResult
from nornir_torque_vm.deadline import current
from nornir_torque_vm.errors import NodeShellError
from nornir_torque_vm.inventory.hostdata import node_of
from nornir_torque_vm.tasks.common import NODE_SHELL, connection

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
KEPT = 1 << 16
"""Bytes of output that are looked at, of each stream."""
SAID = 200
"""Characters of that which an error repeats."""
PATIENCE = 60.0
"""Seconds a command may take when the deadline leaves more."""
LAST_WAIT = 1.0
"""Seconds one that was killed is waited for: in a dead file system it does not even die."""


def on_node(task: Task, argv: Sequence[str]) -> CommandResult:
    """Run an argument list on the task's node: here as it is, elsewhere over the node shell.

    What it leaves running keeps nobody waiting.

    :raises NodeShellError: it cannot be started, or takes too long; it is ended then.
    :raises DeadlineExceeded: the time is up.
    """
    current.get().check()
    if not task.host.get("local"):
        done: CommandResult = connection(task, NODE_SHELL).run(argv)
        return done
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd="/", start_new_session=True,
                env={"PATH": PATH, "LANG": "C.UTF-8"},
            )  # fmt: skip
        except OSError as error:
            raise NodeShellError(
                f"cannot run {argv[0]}: {error.strerror}", node=node_of(task.host)
            ) from error
        try:
            rc = process.wait(current.get().clamp(PATIENCE))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(LAST_WAIT)
            raise NodeShellError(f"{argv[0]} did not end in time", node=node_of(task.host)) from None
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read(KEPT).decode(errors="replace"))
    return CommandResult(rc, *texts)


def must_on_node(task: Task, argv: Sequence[str]) -> CommandResult:
    """Run an argument list on the task's node that has to succeed.

    :raises NodeShellError: it did not; with what it said last.
    """
    done = on_node(task, argv)
    if not done.ok:
        said = " ".join((done.stderr.strip() or done.stdout).split())[-SAID:] or "it said nothing"
        raise NodeShellError(f"{argv[0]} ended with {done.rc}: {said}", node=node_of(task.host))
    return done
