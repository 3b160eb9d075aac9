"""What submitting a job costs on top of qsub itself: ``python -m bench.submit``.

Processor time of all processes of a submission. A recorder stands for the real qsub; what it costs alone,
measured in turn with the others, is taken off. Plain jobs have a limit in milliseconds, jobs with guests
one in starts of a bare Python.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.child import Failed
from bench.pairs import main, tell
from bench.ratio import Measured
from nornir_torque_vm.config.compiled import compile_settings
from nornir_torque_vm.sitekit import FRONTS, front_text

NAME = "submit"
LEAST = 30
"""A process takes milliseconds, so there can be many; fewer than this are not taken."""
PLAIN_LIMIT, GUESTS_LIMIT = 5.0, 12.0
"""Milliseconds; starts of a bare Python."""
BARE = [sys.executable, "-I", "-S", "-c", "pass"]
RECORDER = "#!/bin/sh\n:\n"
PLAIN = """\
#!/bin/bash
#PBS -N simulation
#PBS -l nodes=4:ppn=8,walltime=12:00:00
#PBS -m abe -M someone@example.org
#PBS -j oe

# Change the parameters below.
cd "$PBS_O_WORKDIR"
module load mpi
""" + "".join(f"mpirun ./solver --step {number} --input case.in\n" for number in range(40))
GUESTS = PLAIN.replace("#PBS -j oe", "#PBS -j oe\n#PBS -vm vms_per_node=2,ram=192M")


@dataclasses.dataclass(frozen=True, slots=True)
class Program:
    """Words, what they read through a pipe, and their exit code."""

    words: Sequence[str | Path]
    stdin: str = ""

    def cpu(self, folder: Path) -> float:
        """Run it, and return the processor time of it and all it waited for, in milliseconds.

        :raises Failed: it failed.
        """
        read, write = os.pipe()
        with open(read, "rb") as stdin:  # noqa: PTH123 - a descriptor
            with open(write, "w", encoding="ascii") as file:  # noqa: PTH123 - same; a pipe holds 64 KiB
                file.write(self.stdin)
            process = subprocess.Popen(
                self.words, cwd=folder, stdin=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise Failed(f"{' '.join(map(str, self.words))} failed ({process.returncode})")
        return (usage.ru_utime + usage.ru_stime) * 1000


@contextlib.contextmanager
def submit_host() -> Iterator[Path]:
    """Make a directory with settings, an image, fronts, scripts, and the recorder as ``real``."""
    with tempfile.TemporaryDirectory(prefix="torque-vm-bench-") as name:
        folder = Path(name)
        settings = {"image_pool": name, "img_default": "debian.qcow2", "real_qsub_on_nodes": f"{name}/real"}
        lines = (f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
        (folder / "settings.toml").write_text("".join(lines), encoding="utf-8")
        compile_settings(name)
        for front in FRONTS:
            executable(folder / front, front_text(front, etc=name))
        executable(folder / "real", RECORDER)
        (folder / "plain.sh").write_text(PLAIN, encoding="ascii")
        (folder / "guests.sh").write_text(GUESTS, encoding="ascii")
        subprocess.run(
            ["qemu-img", "create", "-q", "-f", "qcow2", folder / "debian.qcow2", "1G"], check=True, timeout=10
        )
        yield folder


def executable(path: Path, text: str) -> None:
    """Write a program."""
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


def programs(folder: Path) -> dict[str, Program]:
    """What is measured: the two floors, and submissions by what they are called."""
    options = ("-l", "nodes=2:ppn=4", "-V")
    request = ("-vm", "vms_per_node=2,ram=192M")
    return {
        "bare": Program(BARE),
        "recorder": Program([folder / "real", *options, "plain.sh"]),
        "plain job, file": Program([folder / "qsub", *options, "plain.sh"]),
        "plain job, pipe": Program([folder / "qsub", *options], PLAIN),
        "plain job, submit filter": Program([folder / "submit-filter", *options, "plain.sh"], PLAIN),
        "guests by option": Program([folder / "qsub", *options, *request, "plain.sh"]),
        "guests by directive": Program([folder / "qsub", *options, "guests.sh"]),
    }


def run(pairs: int) -> list[Measured]:
    """Measure all of it, in turn."""
    rounds = max(pairs, LEAST)
    with submit_host() as folder:
        each = programs(folder)
        for program in each.values():
            program.cpu(folder)  # the first run compiles modules and fills the page cache
        tell(f"{NAME}: {rounds} rounds")
        taken = [{name: program.cpu(folder) for name, program in each.items()} for _ in range(rounds)]
    return [line(name, taken) for name in each if name not in {"bare", "recorder"}]


def line(name: str, taken: Sequence[dict[str, float]]) -> Measured:
    """Return what one sort of submission cost. A filter has no recorder that would be taken off."""
    alone = [0.0 if "filter" in name else one["recorder"] for one in taken]
    on_top = [one[name] - qsub for one, qsub in zip(taken, alone, strict=True)]
    notes = {"qsub alone": round(statistics.median(alone), 4)}
    if name.startswith("plain"):
        return Measured(NAME, f"{name}, CPU on top of qsub", PLAIN_LIMIT, on_top, unit="ms", notes=notes)
    floor = [one["bare"] for one in taken]
    return Measured(NAME, f"{name}, CPU on top of qsub", GUESTS_LIMIT, on_top, floor, unit="ms", notes=notes)


if __name__ == "__main__":
    main(run)
