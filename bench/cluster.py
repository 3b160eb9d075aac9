"""A lab for benchmarks, with a name of its own, and nothing of it afterwards."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench import child
from bench.pairs import tell
from nornir_torque_vm.errors import LabError
from nornir_torque_vm.guestimages import build
from nornir_torque_vm.lab import Lab

NAME = "bench"
NODES = 2
HERE = Path(__file__).parent


@contextlib.contextmanager
def bench_lab(nodes: int = NODES, *, torque: bool = False) -> Iterator[Lab]:
    """Bring a fresh lab up, with the micro image in its pool; take it down whatever happens.

    :param torque: with the TORQUE on the PATH.

    :raises LabError, ImageBuildError: it cannot be had, or another benchmark is using it.
    """
    lab = Lab(NAME, nodes, torque=torque)
    with _alone(lab.paths.cache):
        build("micro", lab.paths.cache, progress=tell)
        lab.down()  # what a killed benchmark left
        try:
            lab.up()
            yield lab
        finally:
            lab.down()


@contextlib.contextmanager
def _alone(cache: Path) -> Iterator[None]:
    """Keep a second benchmark away, from whatever checkout: labs are known by their name in the cache.

    The lock is on the directory itself, so that it leaves no file.
    """
    cache.mkdir(parents=True, exist_ok=True)
    fd = os.open(cache, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise LabError("another benchmark is running", hint="wait until it has ended") from None
    finally:
        os.close(fd)


def inside(lab: Lab, node: str, program: str, *words: str, seconds: float, order: Any = None) -> child.Answer:
    """Run one of this directory's programs in a node, as a hook would run there; return its answer.

    :raises child.Failed: it failed or took longer than ``seconds``.
    """
    argv = [*lab.enter(node), *python(program), *words]
    return child.run(argv, seconds=seconds, order=order).answer


def python(program: str) -> Sequence[str]:
    """The words that run one of this directory's programs."""
    return (sys.executable, "-I", str(HERE / program))
