"""What all benchmarks do alike: take turns, tell how it goes, show the results."""

from __future__ import annotations

import argparse
import datetime as dt
import os
import platform
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from bench.child import Failed
from bench.ratio import LEAST, Measured, table
from nornir_torque_vm.errors import TorqueVMError

Take = Callable[[], float]
"""Takes one measurement."""
Bench = Callable[[int], list[Measured]]
"""Takes a number of pairs, returns the lines of the table."""


def alternate(what: str, ours: Take, floor: Take | None, pairs: int) -> tuple[list[float], list[float]]:
    """Take ``pairs`` of measurements, turn by turn, and show each; without floor only ours."""
    found: tuple[list[float], list[float]] = ([], [])
    for number in range(1, pairs + 1):
        found[0].append(ours())
        line = f"{what}: {number}/{pairs}  ours {found[0][-1]:.2f}"
        if floor is not None:
            found[1].append(floor())
            line += f"  floor {found[1][-1]:.2f}  ratio {found[0][-1] / found[1][-1]:.2f}"
        tell(line)
    return found


def tell(line: str) -> None:
    """Show how it goes, on standard error."""
    print(line, file=sys.stderr, flush=True)


def main(*benches: Bench) -> NoReturn:
    """Run benchmarks as a program: the table and one line of JSON per result on standard output.

    Exit code 0: all within their limits; 1: at least one is not, or had too few pairs; 2: a failure.
    """
    parser = argparse.ArgumentParser(description="measure against the floor")
    parser.add_argument(
        "--pairs", type=int, default=LEAST, help=f"of measurements; default and least: {LEAST}"
    )
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: sys.exit(128 + number))  # so that a lab goes down
    load = [os.getloadavg()[0]]
    try:
        measured = [line for bench in benches for line in bench(options.pairs)]
    except (Failed, TorqueVMError) as error:
        tell(f"bench: {error}")
        sys.exit(2)
    load.append(os.getloadavg()[0])
    _show(measured, load)
    sys.exit(any(line.verdict not in {"ok", "-"} for line in measured))


def _show(measured: Sequence[Measured], load: Sequence[float]) -> None:
    facts = {
        "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(sys.orig_argv[1:]),
        "cpus": os.cpu_count(),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", ""),
        "python": platform.python_version(),
        "load": [round(value, 2) for value in load],
    }
    print(table(measured), flush=True)
    for line in measured:
        print(line.to_json(**facts), flush=True)
