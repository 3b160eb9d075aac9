"""A job in four guests of a real Debian: systemd, cloud-init, OpenSSH and the guest agent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from driving import Job, leftovers

from nornir_torque_vm.guestimages import build
from nornir_torque_vm.lab import Lab
from nornir_torque_vm.lab.layout import cache_dir

pytestmark = [pytest.mark.lab, pytest.mark.guest, pytest.mark.timeout(1500)]

PATIENCE = 600.0
"""Seconds for four guests that share two cores under emulation."""


@pytest.fixture(scope="module")
def patient_lab(micro: object) -> Iterator[Lab]:
    """Two nodes whose guests may take their time; the micro image is for the test of KVM."""
    build("debian", cache_dir())
    lab = Lab("debian", nodes=2, settings={"timeout": PATIENCE, "prologalarm": PATIENCE + 60})
    try:
        lab.up()
        yield lab
    finally:
        lab.down()


def test_a_job_runs_inside_four_debian_guests_that_cloud_init_personalised(patient_lab: Lab) -> None:
    """Accounts, names, keys and nodefile are what the job needs; nothing of it stays on the nodes."""
    script = (
        "id -un; id -u; hostname; sort -u $PBS_NODEFILE; cloud-init status; . /etc/os-release; echo $ID\n"
        "for guest in $(sort -u $PBS_NODEFILE); do ssh $guest hostname; done\n"
        "exit 5"
    )
    job = Job(patient_lab, script, "img=debian.qcow2,vcpus=1,ram=512M,vms_per_node=2", nodes=2)
    job.alarm = PATIENCE + 60
    ended = job.run()
    number = ended.outcome.job_id.partition(".")[0]
    guests = [f"j{number}-r{rank}" for rank in range(4)]
    assert ended.exit_code == 5, (job.lines, job.errors)
    assert job.lines[:3] == ["alice", "2001", guests[0]]
    assert job.lines[3:7] == guests
    assert job.lines[7:9] == ["status: done", "debian"]
    assert job.lines[9:13] == guests
    assert leftovers(patient_lab) == {}
