"""Figures of real guests for Prometheus, as the timer of a node would write them."""

from __future__ import annotations

import stat
import threading
import time
from pathlib import Path

import pytest
from driving import SMALL, Job, command, leftovers, settings
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from nornir_torque_vm.lab import Lab
from nornir_torque_vm.monitoring.textfile import NAME

pytestmark = pytest.mark.lab

FOLDER = "/var/lib/torque-vm/textfiles"
BUSY = 'end=$(($(date +%s) + 25)); while [ "$(date +%s)" -lt "$end" ]; do :; done'
"""Keeps the first guest's processor busy long enough to look twice."""


def file_of(lab: Lab, node: str) -> Path:
    return lab.root(node) / FOLDER.lstrip("/") / NAME


def written(lab: Lab, node: str) -> list[Sample]:
    """Let the node write its figures, and read them; empty when there is no file."""
    done = command(lab, "metrics", node=node)
    assert (done.returncode, done.stderr) == (0, "")
    path = file_of(lab, node)
    if not path.exists():
        return []
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    return [one for family in text_string_to_metric_families(path.read_text()) for one in family.samples]


def value(samples: list[Sample], name: str, **labels: str) -> float:
    """The one sample of that name with those labels."""
    (found,) = [
        one for one in samples if one.name == f"torque_vm_{name}" and labels.items() <= one.labels.items()
    ]
    return found.value


@pytest.mark.proves("snap_monitoring_enabled", "textfile_dir")
def test_the_figures_of_running_guests_grow_and_go_with_the_job(lab: Lab) -> None:
    """On each node its own guest's; what the start took on the first; nothing stays."""
    nodes = lab.node_names[:2]
    for node in nodes:
        file_of(lab, node).parent.mkdir(parents=True, exist_ok=True)
    with settings(lab, {"snap_monitoring_enabled": True, "textfile_dir": FOLDER}, *nodes):
        job = Job(lab, BUSY, SMALL, nodes=2)
        thread = threading.Thread(target=job.run)
        thread.start()
        first: list[Sample] = []
        end = time.monotonic() + 120
        while not any(one.labels.get("phase") == "health" for one in first):
            assert not job.over
            assert time.monotonic() < end
            first = written(lab, nodes[0])
        assert job.session.job is not None
        job_id = job.session.job.job.job_id
        other = written(lab, nodes[1])
        time.sleep(3)
        again = written(lab, nodes[0])
        thread.join()
        for rank, samples in enumerate((again, other)):
            whose = {"job": job_id, "user": "alice", "rank": str(rank), "guest": job.guest(rank)}
            assert 0.1 < value(samples, "guest_cpu_seconds_total", node=nodes[rank], **whose) < 300
            assert value(samples, "guest_memory_limit_bytes", **whose) == 192 << 20
            assert 32 << 20 < value(samples, "guest_memory_bytes", **whose) < 2 << 30
            assert value(samples, "guest_disk_read_bytes_total", **whose) > 1 << 20
            assert value(samples, "guest_network_received_bytes_total", **whose) > 0
            assert value(samples, "guest_network_sent_bytes_total", **whose) > 0
        used = [value(samples, "guest_cpu_seconds_total", rank="0") for samples in (first, again)]
        assert used[1] > used[0] + 0.5
        total = value(again, "job_start_phase_seconds", phase="total", job=job_id, user="alice")
        assert 1 < value(again, "job_start_phase_seconds", phase="address") < total < 120
        assert not [one for one in other if one.name == "torque_vm_job_start_phase_seconds"]
        for node in nodes:
            assert file_of(lab, node).exists()
            assert written(lab, node) == []
            assert list(file_of(lab, node).parent.iterdir()) == []
    assert leftovers(lab) == {}
