"""What this package costs, measured against programs that do only what cannot be avoided.

``make bench`` runs all of it; ``python -m bench.boot``, ``.destroy``, ``.orchestration`` and ``.submit``
run one each.
A measurement and its floor alternate (A B A B …), so that both see the same machine; the limit holds for
the median of the ratios of neighbours. See docs/benchmarks.md.
"""
