"""How long it takes to end twenty guests on one node: ``python -m bench.destroy`` (root).

Both sides are programs in the node that start anew each time. Ours asks libvirt what the job has there,
ends it, and looks for files to remove; the floor knows the names and only ends the domains.
"""

from __future__ import annotations

from bench.cluster import bench_lab, inside
from bench.pairs import alternate, main
from bench.ratio import Measured
from nornir_torque_vm.lab import Lab

NAME = "destroy"
DOMAINS = 20
LIMIT = 1.3
SECONDS = 60.0
"""After which a program is killed."""


def measure(lab: Lab, pairs: int) -> Measured:
    """Measure on the first node of a lab."""
    node = lab.node_names[0]

    def made() -> tuple[str, list[str]]:
        answer = inside(lab, node, "destroy_setup.py", str(DOMAINS), seconds=SECONDS)
        return answer["job"], answer["domains"]

    def ours() -> float:
        job, _ = made()
        return float(inside(lab, node, "destroy_ours.py", job, seconds=SECONDS)["seconds"])

    def floor() -> float:
        _, names = made()
        return float(inside(lab, node, "destroy_floor.py", seconds=SECONDS, order=names)["seconds"])

    ours()  # the first of each warms modules and caches up, and makes our storage pool
    floor()
    what = f"{DOMAINS} paused domains on one node, wall"
    return Measured(NAME, what, LIMIT, *alternate(f"{NAME}: {what}", ours, floor, pairs))


def run(pairs: int) -> list[Measured]:
    """Measure in a lab of our own."""
    with bench_lab() as lab:
        return [measure(lab, pairs)]


if __name__ == "__main__":
    main(run)
