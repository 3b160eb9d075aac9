"""A job in four guests of a real Debian: systemd, cloud-init, OpenSSH and the guest agent."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from driving import Job, have, leftovers

from nornir_torque_vm.guestimages import build
from nornir_torque_vm.lab import Lab
from nornir_torque_vm.lab.layout import cache_dir

pytestmark = [pytest.mark.lab, pytest.mark.guest, pytest.mark.timeout(1500)]

PATIENCE = 600.0
"""Seconds for four guests that share two cores under emulation."""

RANKS = """
#include <mpi.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv) {
    int rank, size, sum;
    char host[256];
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    gethostname(host, sizeof host);
    printf("rank %d of %d on %s as %d: the ranks' sum is %d\\n", rank, size, host, (int)getuid(), sum);
    return MPI_Finalize();
}
"""
"""An MPI program that needs all its ranks: the sum comes from everybody."""


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


def compiled(folder: Path) -> str:
    """Compile the MPI program with this machine's Open MPI, which is the guests' too; return it as base64."""
    missing = have("mpicc")
    if missing:
        pytest.skip(f"{missing[0]} is not installed")
    (folder / "ranks.c").write_text(RANKS)
    subprocess.run(["mpicc", "-O", "-s", "-o", "a.out", "ranks.c"], cwd=folder, check=True, timeout=120)
    return base64.encodebytes((folder / "a.out").read_bytes()).decode()


def mpi_script(program: str) -> str:
    """A job's script that puts the program into every guest and starts it as one would on one machine."""
    return (
        f"base64 -d >/tmp/a.out <<'END'\n{program}END\nchmod 755 /tmp/a.out\n"
        "for guest in $(uniq $PBS_NODEFILE | tail -n +2); do scp -pq /tmp/a.out $guest:/tmp || exit 3; done\n"
        "uniq $PBS_NODEFILE; cd /tmp; mpirun ./a.out | sort; pbsdsh -s -u hostname"
    )


def test_mpirun_starts_a_rank_on_each_line_of_the_nodefile(patient_lab: Lab, tmp_path: Path) -> None:
    """Of two nodes, in its order, as the user, with no host file and no question about host keys."""
    script = mpi_script(compiled(tmp_path))
    job = Job(patient_lab, script, "img=debian.qcow2,vcpus=1,ram=512M,vms_per_node=2", nodes=2)
    job.alarm = PATIENCE + 60
    ended = job.run()
    number = ended.outcome.job_id.partition(".")[0]
    guests = [f"j{number}-r{rank}" for rank in range(4)]
    told = [f"rank {rank} of 4 on {guest} as 2001: the ranks' sum is 6" for rank, guest in enumerate(guests)]
    assert job.lines == [*guests, *told, *guests], job.errors
    assert (ended.exit_code, job.errors) == (0, "")
    assert leftovers(patient_lab) == {}
