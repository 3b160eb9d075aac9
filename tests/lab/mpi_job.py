"""A job's script with an MPI program in it, for guests that have Open MPI."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest
from driving import have

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


def compiled(folder: Path) -> str:
    """Compile the program with this machine's Open MPI, which is the guests' too; return it as base64."""
    missing = have("mpicc")
    if missing:
        pytest.skip(f"{missing[0]} is not installed")
    (folder / "ranks.c").write_text(RANKS)
    subprocess.run(["mpicc", "-O", "-s", "-o", "a.out", "ranks.c"], cwd=folder, check=True, timeout=120)
    return base64.encodebytes((folder / "a.out").read_bytes()).decode()


def mpi_script(program: str) -> str:
    """A script that puts the program into every guest and starts it as one would on one machine."""
    return (
        f"base64 -d >/tmp/a.out <<'END'\n{program}END\nchmod 755 /tmp/a.out\n"
        "for guest in $(uniq $PBS_NODEFILE | tail -n +2); do scp -pq /tmp/a.out $guest:/tmp || exit 3; done\n"
        "cd /tmp; mpirun ./a.out | sort\n"
    )


def told(guests: list[str], uid: int) -> list[str]:
    """What the program prints when each line of the nodefile, in its order, has a rank."""
    count = len(guests)
    total = sum(range(count))
    return [
        f"rank {rank} of {count} on {guest} as {uid}: the ranks' sum is {total}"
        for rank, guest in enumerate(guests)
    ]
