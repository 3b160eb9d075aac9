"""Benchmarks that reach into a lab by hand still measure; what that is worth is for ``make bench``."""

from __future__ import annotations

import importlib

import pytest
from driving import leftovers

from bench.ratio import Measured
from nornir_torque_vm.lab import Lab

pytestmark = pytest.mark.lab


@pytest.mark.parametrize("name", ["destroy", "starter"])
def test_a_benchmark_measures_and_leaves_nothing(lab: Lab, name: str) -> None:
    """With a single pair; each reads or makes what is a job's on nodes, past the package."""
    found = importlib.import_module(f"bench.{name}").measure(lab, 1)
    lines: list[Measured] = found if isinstance(found, list) else [found]
    assert lines
    assert all(len(line.ours) == 1 and line.ours[0] > 0 for line in lines)
    assert leftovers(lab) == {}
