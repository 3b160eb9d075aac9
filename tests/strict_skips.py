"""A pytest plugin for continuous integration: a skipped test counts as failed unless it needs TORQUE.

Elsewhere a machine that cannot run a kind of test skips it; on a machine that is meant to run them
all, such a skip would hide a missing installation step. ``.ci/run`` loads it with ``-p``.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Why it was skipped; pytest keeps (path, line, reason)."""
    return report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)


def _fail(report: pytest.TestReport | pytest.CollectReport) -> None:
    report.longrepr = f"{report.nodeid} was skipped, which must not happen here: {_reason(report)}"
    report.outcome = "failed"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a test's skip into a failure; an expected failure (xfail) is no skip."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and item.get_closest_marker("torque") is None:
        _fail(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn the skip of a whole module into a failure."""
    report: Any = yield
    if report.skipped:
        _fail(report)
    return report  # type: ignore[no-any-return]
