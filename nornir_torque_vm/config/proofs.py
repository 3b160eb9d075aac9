"""Which test proves that a setting or a ``-vm`` key has its effect, read from the tests' sources.

A test says so itself: ``@pytest.mark.proves("vcpus", "vcpus_default")``, and ``"setting iocm_max_cores"``
of a setting that has the name of a key. Nothing is imported: the sources are read as the syntax trees they
are, so that the reference can be written where no test could run.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

MARK = "proves"


def proofs(tests: Path) -> Mapping[str, tuple[str, ...]]:
    """Return name → the tests that prove it, as ``lab/test_job.py::test_it``, sorted; none without tests.

    :param tests: directory of the tests.
    :raises SyntaxError: a source there cannot be read.
    """
    found: dict[str, set[str]] = {}
    for path in sorted(tests.rglob("test_*.py")):
        place = path.relative_to(tests).as_posix()
        for test, names in _marked(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
            for name in names:
                found.setdefault(name, set()).add(f"{place}::{test}")
    return {name: tuple(sorted(where)) for name, where in found.items()}


def _marked(tree: ast.Module) -> Iterator[tuple[str, list[str]]]:
    """Yield test → names it proves, for functions of the module and of its classes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names = [name for decorator in node.decorator_list for name in _names(decorator)]
            if names:
                yield node.name, names


def _names(decorator: ast.expr) -> Iterator[str]:
    """Yield the names in a decorator ``pytest.mark.proves("name", …)``."""
    if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == f"pytest.mark.{MARK}":
        yield from (str(ast.literal_eval(argument)) for argument in decorator.args)
