"""The CI plugin that lets no skip pass unseen."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

MODULE = """
import pytest

def test_runs():
    pass

@pytest.mark.skip(reason="no QEMU here")
def test_needs_a_lab():
    pass

@pytest.mark.torque
@pytest.mark.skip(reason="no pbs_server here")
def test_needs_torque():
    pass

@pytest.mark.xfail(reason="known", strict=True)
def test_expected_failure():
    assert False
"""
MARKERS = "[pytest]\nmarkers =\n    torque: needs TORQUE\n"


def test_a_skip_fails_unless_the_test_needs_torque(pytester: pytest.Pytester) -> None:
    """One skipped lab test turns the run red and says why it was skipped."""
    pytester.makeini(MARKERS)
    pytester.makepyfile(MODULE)
    result = pytester.runpytest("-p", "tests.strict_skips")
    result.assert_outcomes(passed=1, errors=1, skipped=1, xfailed=1)
    result.stdout.fnmatch_lines(["*test_needs_a_lab was skipped, which must not happen here: *no QEMU here*"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_without_the_plugin_a_skip_is_no_failure(pytester: pytest.Pytester) -> None:
    """On a developer's machine the same module is green."""
    pytester.makeini(MARKERS)
    pytester.makepyfile(MODULE)
    result = pytester.runpytest()
    result.assert_outcomes(passed=1, skipped=2, xfailed=1)
    assert result.ret == pytest.ExitCode.OK


def test_a_module_that_skips_itself_fails(pytester: pytest.Pytester) -> None:
    """``pytest.skip(allow_module_level=True)`` does not slip through at collection."""
    pytester.makepyfile("import pytest\npytest.skip('no root', allow_module_level=True)\n")
    result = pytester.runpytest("-p", "tests.strict_skips")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*was skipped, which must not happen here: *no root*"])
