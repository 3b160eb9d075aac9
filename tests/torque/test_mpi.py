"""MPI in the guests of two nodes, on a real TORQUE."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from guest_jobs import guest_names, hooked
from mpi_job import compiled, mpi_script, told
from remains import assert_nothing_left
from torque_kit import output, qsub, wait_for_state

from nornir_torque_vm.guestimages import build
from nornir_torque_vm.lab import Lab, torque_missing
from nornir_torque_vm.lab.files import USER
from nornir_torque_vm.lab.layout import cache_dir
from nornir_torque_vm.request import parse_request

pytestmark = [pytest.mark.torque, pytest.mark.guest, pytest.mark.timeout(1800)]

PATIENCE = 900.0
"""Seconds for four Debian guests that share two cores under emulation, and for the job in them."""


@pytest.fixture
def patient_torque_lab(lab_possible: None, micro: object) -> Iterator[Lab]:
    """Two nodes whose guests may take their time, with our hooks and job starter."""
    missing = torque_missing()
    if missing:
        pytest.skip(missing)
    build("debian", cache_dir())
    settings = {"timeout": PATIENCE, "prologalarm": PATIENCE + 60}
    lab = Lab(f"test-{os.getpid()}-torque-mpi", nodes=2, torque=True, settings=settings)
    try:
        lab.up()
        with hooked(lab):
            yield lab
    finally:
        lab.down()


def test_mpirun_finds_the_guests_of_a_job_by_itself(patient_torque_lab: Lab, tmp_path: Path) -> None:
    """Ranks on all guests of two nodes, in nodefile order, as the user, over pinned host keys."""
    lab = patient_torque_lab
    request = parse_request(["img=debian.qcow2,vcpus=1,ram=512M,vms_per_node=2"]).encode()
    words = ["-T", "vm", "-l", "nodes=2:ppn=2,walltime=1:00:00", "-l", f"other={request}"]
    job = qsub(lab, words, script="#!/bin/sh\n" + mpi_script(compiled(tmp_path)))
    done = wait_for_state(lab, job, seconds=2 * PATIENCE)
    said = output(lab, done).splitlines()
    assert said == told(guest_names(job, 4), USER.uid), output(lab, done, "Error")
    assert done["exit_status"] == "0"
    assert_nothing_left(lab, job)
