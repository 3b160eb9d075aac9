"""Running a program inside a lab host."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence

from nornir_torque_vm.errors import LabError
from nornir_torque_vm.lab.record import Running
from nornir_torque_vm.lab.spec import ENVIRONMENT


def run(
    host: Running,
    argv: Sequence[str],
    *,
    seconds: float,
    check: bool = True,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program as root in ``/`` of a host and return what it printed.

    :raises LabError: it was not done after ``seconds``, or it failed and ``check`` is set.
    """
    try:
        done = subprocess.run(
            [*host.enter(), *argv],
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            env={**ENVIRONMENT, **(env or {})},
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise LabError(f"{argv[0]} was not done after {seconds:g} s", node=host.name) from None
    if check and done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise LabError(f"{argv[0]} failed with code {done.returncode}: {''.join(last)}", node=host.name)
    return done
