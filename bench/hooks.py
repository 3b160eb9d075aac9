"""What our hooks cost jobs without guests, and a sister's MOM: ``python -m bench.hooks``.

With ``qsub -T`` jobs without guests never meet our hooks. Where TORQUE has no ``-T`` all four slots are ours
for every job: processor time of all processes of a hook, beyond what the site's own takes. A sister's hooks
of a job with guests keep its MOM: wall time until they end.
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.pairs import main, tell
from bench.ratio import Measured
from bench.submit import LEAST, Program, executable
from nornir_torque_vm.sitekit import HOOKS, hook_text

NAME = "hooks"
PLAIN_LIMIT, SISTER_LIMIT = 30.0, 1000.0
"""Milliseconds of processor time; of wall time."""
SITE = "#!/bin/sh\n:\n"
PROLOGUE = ("17.head", "alice", "users", "job", "nodes=2:ppn=4{other}", "batch", "", "/path/17.SC")
EPILOGUE = (*PROLOGUE[:4], "0", PROLOGUE[4], "", "batch", "", "0", "/path/17.SC")


def words(folder: Path, name: str, other: str = "") -> list[str | Path]:
    """A hook and what a MOM says of the job."""
    given = PROLOGUE if name.startswith("prologue") else EPILOGUE
    return [folder / name, *(word.format(other=other) for word in given)]


@contextlib.contextmanager
def mom_priv() -> Iterator[Path]:
    """Make a directory with our hooks under both names, and one of the site's behind each plain one.

    In place of Python stands a program that waits: a sister's MOM is not to wait for it.
    """
    with tempfile.TemporaryDirectory(prefix="torque-vm-bench-") as name:
        folder = Path(name)
        executable(folder / "python", "#!/bin/sh\nexec sleep 2\n")
        for hook in HOOKS:
            text = hook_text(hook, python=f"{name}/python", run_dir=f"{name}/run")
            executable(folder / hook, text)
            if hook.endswith(".vm"):
                plain = hook.removesuffix(".vm")
                executable(folder / plain, text)
                executable(folder / f"{plain}.site", SITE)
        yield folder


def wall(folder: Path, name: str) -> float:
    """Milliseconds that a hook of a job with guests keeps its MOM."""
    start = time.perf_counter()
    argv = words(folder, name, ",other=vm1:ram=1G")
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, timeout=60)
    return (time.perf_counter() - start) * 1000


def run(pairs: int) -> list[Measured]:
    """Measure all of it, in turn."""
    rounds = max(pairs, LEAST)
    plain = [hook.removesuffix(".vm") for hook in HOOKS if hook.endswith(".vm")]
    sisters = [f"{slot}.vm" for slot in plain if slot.endswith("parallel")]
    with mom_priv() as folder:
        site = Program([folder / "prologue.site"])
        each = {slot: Program(words(folder, slot)) for slot in plain}
        tell(f"{NAME}: {rounds} rounds")
        taken = [
            {slot: program.cpu(folder) - site.cpu(folder) for slot, program in each.items()}
            for _ in range(rounds)
        ]
        kept = {slot: [wall(folder, slot) for _ in range(rounds)] for slot in sisters}
    cpu = [
        Measured(NAME, f"{slot} without -T, job without guests, CPU", PLAIN_LIMIT,
                 [one[slot] for one in taken], unit="ms")
        for slot in plain
    ]  # fmt: skip
    return cpu + [
        Measured(NAME, f"{slot}, a sister's MOM is kept", SISTER_LIMIT, times, unit="ms")
        for slot, times in kept.items()
    ]


if __name__ == "__main__":
    main(run)
