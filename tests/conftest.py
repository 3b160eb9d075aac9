"""What all tests share: a steady hypothesis, and a lab of two nodes for those that need real ones."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from nornir_torque_vm.deadline import NEVER, current
from nornir_torque_vm.guestimages import build
from nornir_torque_vm.lab import Lab, tools, torque_missing
from nornir_torque_vm.lab.layout import cache_dir

# How long one example takes says something about the machine's other work, not about the code.
settings.register_profile("steady", deadline=None)
settings.load_profile("steady")

# A run in the background (nohup, "&" of a shell) ignores these, and so would every process it starts:
# jobs in guests would seem to lose signals that nobody took from them.
for _number, _handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGQUIT, signal.SIG_DFL),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)


@pytest.fixture(autouse=True)
def _no_deadline_of_an_earlier_test() -> Iterator[None]:
    """A command sets its deadline for its whole process, which here is that of all tests."""
    token = current.set(NEVER)
    yield
    current.reset(token)


@pytest.fixture(autouse=True)
def signals_given_back() -> Iterator[None]:
    """A hook that a test runs in this process takes signals for itself; Ctrl-C shall still end the tests."""
    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def why_not() -> str:
    """Why no lab can be built here; empty when one can."""
    if os.geteuid() != 0:
        return "the lab needs root"
    missing = tools.missing()
    return f"the lab needs {', '.join(missing)}" if missing else ""


@pytest.fixture(scope="session")
def lab_possible() -> None:
    """Skip where no lab can be built."""
    reason = why_not()
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def micro(lab_possible: None) -> Path:
    """The micro guest's image, built when it is not there yet or its recipe changed."""
    return build("micro", cache_dir())


@pytest.fixture(scope="session")
def lab(micro: Path) -> Iterator[Lab]:
    """Two nodes, up, shared by all tests of the session: leave them as you found them."""
    remove_forgotten()
    cluster = Lab(f"test-{os.getpid()}", nodes=2)
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()


@pytest.fixture(scope="session")
def torque_lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Three nodes and a head with a TORQUE, up, shared by all tests of the session: leave them as they were.

    Where no TORQUE is on the PATH the test is skipped, with the reason.
    """
    reason = why_not() or torque_missing()
    if reason:
        pytest.skip(reason)
    request.getfixturevalue("micro")
    remove_forgotten()
    cluster = Lab(f"test-{os.getpid()}-torque", nodes=3, torque=True)
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()


def remove_forgotten() -> None:
    """Remove the labs of test sessions that were killed; their names end in a process id that is gone."""
    for state in (cache_dir() / "lab").glob("test-*"):
        owner = state.name.split("-")[1]
        if state.is_dir() and not Path("/proc", owner).exists():
            Lab(state.name).down()
