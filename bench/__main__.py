"""All benchmarks: ``python -m bench`` (root), or ``make bench``. Takes about a quarter of an hour."""

from __future__ import annotations

from bench import boot, components, destroy, hooks, orchestration, starter, submit
from bench.cluster import bench_lab
from bench.pairs import main
from bench.ratio import Measured


def run(pairs: int) -> list[Measured]:
    """Measure everything, in one lab."""
    with bench_lab() as lab:
        in_lab = [*boot.measure(lab, pairs), destroy.measure(lab, pairs), *starter.measure(lab, pairs)]
        in_lab.append(components.measure(lab, pairs))
    return [*in_lab, *orchestration.run(pairs), *submit.run(pairs), *hooks.run(pairs)]


if __name__ == "__main__":
    main(run)
