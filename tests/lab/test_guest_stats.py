"""What real guests have used, taken at the end of a real job."""

from __future__ import annotations

import json

import pytest
from driving import SMALL, Job, command, history, leftovers

from nornir_torque_vm.lab import Lab

pytestmark = pytest.mark.lab


def test_a_job_of_two_guests_leaves_the_figures_of_both(lab: Lab) -> None:
    """Processor time, memory, disk and network of each, before they are gone."""
    ended = Job(
        lab, 'for guest in $(sort -u "$PBS_NODEFILE"); do ssh "$guest" hostname; done', SMALL, nodes=2
    ).run()
    assert ended.exit_code == 0
    kept = history(lab, ended, "stats")
    assert kept["missing"] == {}
    assert [one["node"] for one in kept["guests"]] == ["node1", "node2"]
    for one in kept["guests"]:
        assert 0.1 < one["cpu_seconds"] < 300
        assert 32 << 20 < one["memory"] < 2 << 30
        assert one["memory_limit"] == 192 << 20
        assert one["disk_read"] > 1 << 20
        assert one["disk_written"] is not None
        assert one["net_received"] > 0
        assert one["net_sent"] > 0
    assert leftovers(lab) == {}
    listed = json.loads(command(lab, "jobs", "--json").stdout)["jobs"]
    newest = listed[0]
    assert (newest["job"], newest["state"], newest["owner"]) == (ended.outcome.job_id, "over", "alice")
    assert 1 < newest["ready_after"] < 120
    shown = command(lab, "job", ended.outcome.job_id)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "no figures" not in shown.stdout
    assert "CPU SECONDS" in shown.stdout
