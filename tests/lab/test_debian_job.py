"""A job in four guests of a real Debian: systemd, cloud-init, OpenSSH, the guest agent and Open MPI."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
from driving import Job, leftovers
from mpi_job import compiled, mpi_script, told

from nornir_torque_vm.guestimages import build
from nornir_torque_vm.lab import Lab
from nornir_torque_vm.lab.files import USER
from nornir_torque_vm.lab.layout import cache_dir

pytestmark = [pytest.mark.lab, pytest.mark.guest, pytest.mark.timeout(1800)]

PATIENCE = 600.0
"""Seconds for four guests that share two cores under emulation."""
SCRIPT = """\
id -un; id -u; hostname; sort -u $PBS_NODEFILE; cloud-init status; . /etc/os-release; echo $ID
echo guests; for guest in $(sort -u $PBS_NODEFILE); do ssh $guest hostname; done
echo mpirun; {mpi}
echo pbsdsh; pbsdsh -s -u hostname
exit 5
"""


@dataclasses.dataclass(frozen=True)
class Told:
    """What a job said and left."""

    exit_code: int
    guests: list[str]
    parts: dict[str, list[str]]
    errors: str
    left: dict[str, list[str]]


@pytest.fixture(scope="module")
def job(micro: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """One job for all tests, since four such guests take minutes; the micro image is for the test of KVM."""
    build("debian", cache_dir())
    script = SCRIPT.format(mpi=mpi_script(compiled(tmp_path_factory.mktemp("mpi"))))
    lab = Lab("debian", nodes=2, settings={"timeout": PATIENCE, "prologalarm": PATIENCE + 60})
    try:
        lab.up()
        made = Job(lab, script, "img=debian.qcow2,vcpus=1,ram=512M,vms_per_node=2", nodes=2)
        made.alarm = PATIENCE + 60
        ended = made.run()
        number = ended.outcome.job_id.partition(".")[0]
        guests = [f"j{number}-r{rank}" for rank in range(4)]
        left = leftovers(lab)
        if leases := lab.lease_file.read_text():
            left["leases"] = leases.splitlines()
        yield Told(ended.exit_code, guests, parts(made.lines), made.errors, left)
    finally:
        lab.down()


def parts(lines: list[str]) -> dict[str, list[str]]:
    """Lines by the heading they stand under."""
    found: dict[str, list[str]] = {"": []}
    for line in lines:
        if line in {"guests", "mpirun", "pbsdsh"}:
            found[line] = []
        else:
            found[list(found)[-1]].append(line)
    return found


def test_the_guests_are_what_cloud_init_made_of_them(job: Told) -> None:
    """Accounts, names, keys and nodefile are what the job needs; its exit code is the script's."""
    known = [USER.name, str(USER.uid), job.guests[0], *job.guests, "status: done", "debian"]
    assert job.parts[""] == known, job.errors
    assert job.parts["guests"] == job.guests
    assert job.exit_code == 5


def test_mpirun_starts_a_rank_on_each_line_of_the_nodefile(job: Told) -> None:
    """Of two nodes, in its order, as the user, with no host file and no question about host keys."""
    assert job.parts["mpirun"] == told(job.guests, USER.uid), job.errors
    assert job.parts["pbsdsh"] == job.guests
    assert job.errors == ""


def test_nothing_of_the_job_stays_on_the_nodes(job: Told) -> None:
    """Neither guests nor files."""
    assert job.left == {}
