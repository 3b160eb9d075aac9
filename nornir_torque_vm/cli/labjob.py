"""What ``run`` and ``demo`` share: a lab for the time of a job, and Ctrl-C that cleans up."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator

from nornir_torque_vm.driver.array import ArraySession
from nornir_torque_vm.driver.batch import Submission
from nornir_torque_vm.driver.session import Ended, Session
from nornir_torque_vm.driver.terminal import Desk
from nornir_torque_vm.errors import RequestError
from nornir_torque_vm.guestimages import build
from nornir_torque_vm.lab import Lab
from nornir_torque_vm.processors.progress import progress


@contextlib.contextmanager
def borrowed_lab(name: str, nodes: int, *, keep: bool = False, quiet: bool = False) -> Iterator[Lab]:
    """A lab that is up and has at least so many nodes; one that had to be made goes away again.

    The micro image is built when the lab's pool has none.

    :raises LabError, ImageBuildError: it cannot be had.
    """

    def tell(line: str) -> None:
        if not quiet:
            print(line, file=sys.stderr, flush=True)

    lab = Lab(name)
    existing = lab.status()
    mine = not existing
    if mine or not all(node.ok for node in existing) or len(existing) < nodes:
        lab = Lab(name, max(nodes, len(existing)))
    build("micro", lab.paths.cache, progress=tell)
    try:
        lab.up()
        tell(f"lab {name}: {', '.join(lab.node_names)} up")
        yield lab
    finally:
        if mine and not keep:
            lab.down()
            tell(f"lab {name}: down, nothing left")


def run_job(lab: Lab, submission: Submission, *, max_starts: int = 1, quiet: bool = False) -> Ended:
    """Run a job on the lab with its output on stdout and stderr; Ctrl-C deletes the job, in order.

    :raises LabError: the lab cannot run it.
    """
    watch = None if quiet else progress(sys.stderr)
    session = Session(lab, sys.stdout.buffer, sys.stderr.buffer, watch)
    with cancelling(session):
        try:
            return session.run(submission, max_starts=max_starts)
        finally:
            if watch is not None:
                watch.close()


def run_array(
    lab: Lab, submission: Submission, *, max_starts: int = 1, quiet: bool = False
) -> dict[int, Ended]:
    """Run the members of an array; lines of their output begin with their index. See :func:`run_job`.

    :return: how each ended, by index.
    """
    watch = None if quiet else progress(sys.stderr)
    session = ArraySession(lab, sys.stdout.buffer, sys.stderr.buffer, watch)
    with cancelling(session):
        try:
            return session.run(submission, max_starts=max_starts)
        finally:
            if watch is not None:
                watch.close()


def run_interactive(lab: Lab, submission: Submission, *, max_starts: int = 1) -> Ended:
    """Run an interactive job at this terminal, where its prologue tells how far it is. See :func:`run_job`.

    :raises RequestError: there is no terminal.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise RequestError("an interactive job needs a terminal as standard input and output")
    desk = Desk(sys.stdin.fileno(), sys.stdout.fileno())
    before = signal.signal(signal.SIGWINCH, lambda *_: desk.fit())
    session = Session(lab, sys.stdout.buffer, sys.stderr.buffer)
    try:
        with cancelling(session):
            return session.run(submission, max_starts=max_starts, desk=desk)
    finally:
        signal.signal(signal.SIGWINCH, before)


@contextlib.contextmanager
def cancelling(session: Session | ArraySession) -> Iterator[None]:
    """While it lasts, SIGINT and SIGTERM delete the job; KeyboardInterrupt follows when it is gone."""
    caught: list[int] = []

    def cancel(number: int, _frame: object) -> None:
        caught.append(number)
        os.write(2, b"torque-vm: deleting the job, please wait\n")  # print() may have been interrupted
        session.cancel()

    before = {number: signal.signal(number, cancel) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if caught:
        raise KeyboardInterrupt
