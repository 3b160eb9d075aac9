"""What components add to a prologue: ``python -m bench.components`` (root).

Four micro guests on two nodes, with processors kept for I/O and shared memory: the time until the components
are loaded, and for all their steps, without what guests need anyway. There is no floor: without components
there is nothing to do.
"""

from __future__ import annotations

from bench.cluster import bench_lab, inside
from bench.pairs import main
from bench.ratio import Measured
from nornir_torque_vm.lab import Lab

NAME = "components"
LIMIT = 0.2
MEMORY = "/var/lib/torque-vm/memory"
SECONDS = 300.0
"""After which the program is killed."""


def measure(lab: Lab, pairs: int) -> Measured:
    """Measure on a lab of two nodes."""
    node, *_ = lab.node_names
    mount = f"mkdir -p {MEMORY} && mount -t tmpfs -o size=64m,mode=0711 tmpfs {MEMORY}"
    for name in lab.node_names:
        lab.run(name, ["sh", "-c", f"mountpoint -q {MEMORY} || {{ {mount}; }}"])
    answer = inside(lab, node, "components_ours.py", str(pairs), MEMORY, *lab.node_names, seconds=SECONDS)
    taken = [answer["load"] + seconds for seconds in answer["steps"]]
    case = "4 guests on 2 nodes, kept processors and shared memory, wall"
    return Measured(NAME, case, LIMIT, taken, notes={"load": answer["load"]})


def run(pairs: int) -> list[Measured]:
    """Measure in a lab of our own."""
    with bench_lab() as lab:
        return [measure(lab, pairs)]


if __name__ == "__main__":
    main(run)
