"""What orchestrating a job costs by itself: ``python -m bench.orchestration``.

libvirt's test driver stands for the nodes, each with a world of its own, and guests are healthy at once;
so what is left is our own work, from the nodefile to nothing left. Limits: processor time of the whole
process as a multiple of importing ``nornir, jinja2, libvirt``, and time on the clock when libvirt is slow.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench import child
from bench.pairs import alternate, main
from bench.ratio import Measured

NAME = "orchestration"
HERE = Path(__file__).parent
LIMITS = {1: 3.0, 16: 5.0, 256: 25.0}
"""Nodes → how many times the processor time of the floor."""
SLOW_NODES, SLOW_CALL, SLOW_LIMIT = 1000, 0.05, 10.0
"""How many nodes, seconds every call of libvirt takes longer, seconds the whole process may take."""
SECONDS = 120.0
"""After which a process is killed."""
MEMORY = Path("/dev/shm")  # noqa: S108 - a mount point, names in it are made up by tempfile
"""Holds the files of all nodes: in truth every node has a disk of its own, and ours is not measured."""
NODE = """\
<node>
  <cpu><mhz>3000</mhz><model>any</model><active>64</active><nodes>2</nodes><sockets>2</sockets><cores>16</cores><threads>1</threads></cpu>
  <memory>268435456</memory>
</node>
"""


@contextlib.contextmanager
def laid_out(nodes: int) -> Iterator[Path]:
    """Make a directory with settings, nodefile, request, image and a world for each node."""
    where = MEMORY if os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="torque-vm-bench-", dir=where) as name:
        folder = Path(name)
        names = [f"bench{number:04}" for number in range(1, nodes + 1)]
        for node in names:
            (folder / f"{node}.xml").write_text(NODE, encoding="ascii")
        (folder / "nodefile").write_text("".join(f"{node}\n" for node in names), encoding="ascii")
        (folder / "resources").write_text(f"nodes={nodes},other=vm1:ram=64M", encoding="ascii")
        settings = {
            "node_uri": f"test://{folder}/{{node}}.xml",
            "image_pool": str(folder),
            "img_default": "image.qcow2",
            "volume_dir": str(folder / "volumes"),
        }
        lines = (f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
        (folder / "settings.toml").write_text("".join(lines), encoding="ascii")
        subprocess.run(
            ["qemu-img", "create", "-q", "-f", "qcow2", folder / "image.qcow2", "1G"], check=True, timeout=10
        )
        yield folder


def ours(folder: Path, pause: float = 0.0) -> child.Cost:
    """Orchestrate one job in a process of its own."""
    argv = [sys.executable, "-I", str(HERE / "orchestration_ours.py"), str(folder), str(pause)]
    return child.run(argv, seconds=SECONDS)


def floor() -> child.Cost:
    """Only import, in a process of its own."""
    return child.run([sys.executable, "-I", str(HERE / "orchestration_floor.py")], seconds=SECONDS)


def cost(nodes: int, limit: float, pairs: int) -> Measured:
    """Measure processor time on so many nodes."""
    what = f"{nodes} node{'s' if nodes > 1 else ''}, CPU"
    with laid_out(nodes) as folder:
        ours(folder)  # the first run compiles modules and fills the page cache
        floor()
        taken = alternate(f"{NAME}: {what}", lambda: ours(folder).cpu, lambda: floor().cpu, pairs)
    return Measured(NAME, what, limit, *taken)


def slow(pairs: int) -> Measured:
    """Measure the time on the clock with a slow libvirt."""
    what = f"{SLOW_NODES} nodes, {SLOW_CALL * 1000:g} ms a call, wall"
    calls: set[int] = set()

    def take() -> float:
        spent = ours(folder, SLOW_CALL)
        calls.add(spent.answer["calls"])
        return spent.wall

    with laid_out(SLOW_NODES) as folder:
        taken, _ = alternate(f"{NAME}: {what}", take, None, pairs)
    return Measured(NAME, what, SLOW_LIMIT, taken, notes={"calls": max(calls)})


def run(pairs: int) -> list[Measured]:
    """Measure all of it."""
    return [*(cost(nodes, limit, pairs) for nodes, limit in LIMITS.items()), slow(pairs)]


if __name__ == "__main__":
    main(run)
