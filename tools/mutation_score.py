"""Print what mutmut found and fail below the floor: ``mutation_score.py STATISTICS.json PERCENT``.

A mutant counts as killed when a test failed on it or ran into its time limit; one that no test reaches
counts as survived.
"""  # noqa: INP001 - a script, no package

from __future__ import annotations

import json
import sys
from pathlib import Path


def main(path: str, floor: float) -> int:
    """Return 1 when the score is below ``floor`` percent."""
    counts: dict[str, int] = json.loads(Path(path).read_text())
    killed, total = counts["killed"] + counts["timeout"], counts["total"] - counts["skipped"]
    score = 100 * killed / total if total else 0.0
    print(f"mutation score {score:.1f} %: {killed} of {total} mutants killed; the floor is {floor:g} %")
    return int(score < floor)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2])))
