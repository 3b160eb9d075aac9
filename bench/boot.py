"""How long until a job's guests are healthy: ``python -m bench.boot`` (root).

Four micro guests on two nodes of a lab. Ours is the real ``prologue.vm``, run by the driver as a MOM runs
it, for a job that is new each time: nothing is known beforehand. The floor is a program in the same node
that finds overlays and seeds ready and knows the guests' addresses. Both clocks start before the process is
made, so its start counts; the first line ends when all guests are healthy, the second, which has no limit,
when the process has ended: then our guests know each other and the job's owner has the keys.
"""

from __future__ import annotations

import dataclasses
import itertools
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import child
from bench.cluster import bench_lab, inside, python
from bench.pairs import alternate, main
from bench.ratio import Measured
from nornir_torque_vm.driver.batch import BatchJob, Submission
from nornir_torque_vm.driver.deploy import deploy_hooks
from nornir_torque_vm.lab import Lab
from nornir_torque_vm.lab.files import USER
from nornir_torque_vm.processors.replay import read_events
from nornir_torque_vm.request import parse_request

NAME = "boot"
PER_NODE = 2
REQUEST = f"vcpus=1,ram=192M,vms_per_node={PER_NODE}"
LIMIT = 1.15
SECONDS = 120.0
"""After which a program is killed."""
FLOOR_SERVER = "floor"
FLOOR_JOB = f"1.{FLOOR_SERVER}"
"""The floor's guests are always of this job, so they always get the same addresses."""
HISTORY = "var/log/torque-vm"


@dataclasses.dataclass
class Boots:
    """Takes measurements on a lab, and keeps when what was reached, in seconds after the start."""

    lab: Lab
    other: str = dataclasses.field(default_factory=lambda: parse_request([REQUEST]).encode())
    numbers: Iterator[int] = dataclasses.field(default_factory=lambda: itertools.count(2))
    details: list[Mapping[str, float]] = dataclasses.field(default_factory=list)
    floors: list[Mapping[str, float]] = dataclasses.field(default_factory=list)
    addresses: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """MAC → address of the floor's guests."""
    floor_job: str = FLOOR_JOB

    @property
    def node(self) -> str:
        """The mother superior."""
        return self.lab.node_names[0]

    def warm_up(self) -> None:
        """Learn the addresses of the floor's guests: a first job with its id has the same MAC addresses.

        Leases are not given back here: the floor's guests come again with theirs.
        """
        for node in self.lab.node_names:
            deploy_hooks(self.lab.root(node))
            settings = self.lab.root(node) / "etc/torque-vm/settings.toml"
            settings.write_text("release_leases = false\n" + settings.read_text(encoding="utf-8"))
        self.first()
        self.addresses = read_leases(self.lab.lease_file.read_text(encoding="ascii"))
        for mac, address in self.addresses.items():
            words = ("ip", "neigh", "replace", address, "lladdr", mac, "dev", "br0", "nud", "permanent")
            self.lab.run(self.node, words)  # else the floor may wait a second for ARP's next question

    def first(self) -> None:
        """Run the job that has the floor's id."""
        self._job(1, FLOOR_SERVER)

    def ours(self) -> float:
        """Run a job that is new; return the seconds until all its guests were healthy."""
        return self._job(next(self.numbers), "head")

    def floor(self) -> float:
        """Run the floor; return the seconds until all its guests were healthy."""
        where = (self.floor_job, f"other={self.other}", *self.lab.node_names)
        order = inside(self.lab, self.node, "boot_setup.py", *where, seconds=SECONDS)
        for guest in order["guests"]:
            guest["address"] = self.addresses[guest["mac"]]
        argv = [*self.lab.enter(self.node), *python("boot_floor.py")]
        began = time.time()
        try:
            cost = child.run(argv, seconds=SECONDS, order=order)
        finally:
            self._destroy(self.floor_job)
        marks = {mark: round(float(at) - began, 3) for mark, at in cost.answer.items()}
        self.floors.append({**marks, "end": cost.wall})
        return marks["healthy"]

    def _destroy(self, job_id: str) -> None:
        words = ("destroy", "--quiet", "--job", job_id, *self.lab.node_names)
        command = "import sys; from nornir_torque_vm.cli import main; sys.exit(main())"
        self.lab.run(self.node, [python("")[0], "-I", "-c", command, *words], seconds=SECONDS)

    def _job(self, number: int, server: str) -> float:
        """Run a job that does nothing; its epilogue is over when this returns."""
        submission = Submission(
            b"#!/bin/sh\nexit 0\n", NAME, self.lab.node_names, PER_NODE, resources=(f"other={self.other}",)
        )
        job = BatchJob(self.lab, submission, USER, number, server=server, alarm=SECONDS)
        started: list[float] = []
        wall, began = time.time(), time.monotonic()
        outcome = job.run(started=lambda: started.append(time.monotonic() - began), err=show)
        if outcome.fate != "start":
            raise child.Failed(f"job {outcome.job_id} did not start: its fate was to {outcome.fate}")
        record = self.lab.root(self.node) / HISTORY / f"{outcome.job_id}.1"
        marks = milestones(record / "events.jsonl", wall)
        self.details.append({**marks, "end": started[0]})
        return marks["check_health"]


def show(data: bytes) -> None:
    """Show what a hook has to say: why it failed."""
    sys.stderr.write(data.decode(errors="replace"))


def read_leases(text: str) -> dict[str, str]:
    """Return MAC → address from the text of dnsmasq's lease file."""
    rows = (line.split() for line in text.splitlines())
    return {row[1].lower(): row[2] for row in rows if len(row) >= 4}


def milestones(events: Path, began: float) -> dict[str, float]:
    """Return when the last host was through each task, in seconds after ``began`` (of the epoch)."""
    ended: dict[str, float] = {}
    for event in read_events(events.read_bytes().splitlines()):
        if event.kind in {"step_end", "host_end"}:
            ended[event.task] = round(event.t - began, 3)
    return ended


def middle(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the median of each number over all rows."""
    return {key: round(statistics.median(row[key] for row in rows), 3) for key in rows[0]}


def measure(lab: Lab, pairs: int) -> list[Measured]:
    """Measure on a lab of two nodes."""
    boots = Boots(lab)
    boots.warm_up()
    boots.floor()
    boots.details.clear()
    boots.floors.clear()
    guests = f"{PER_NODE * len(lab.nodes)} guests on {len(lab.nodes)} nodes"
    taken = alternate(f"{NAME}: {guests}", boots.ours, boots.floor, pairs)
    notes = {"until": middle(boots.details), "floor until": middle(boots.floors)}
    ends = ([row["end"] for row in boots.details], [row["end"] for row in boots.floors])
    return [
        Measured(NAME, f"{guests}, until healthy, wall", LIMIT, *taken, notes=notes),
        Measured(NAME, f"{guests}, until the hook's end, wall", None, *ends),
    ]


def run(pairs: int) -> list[Measured]:
    """Measure in a lab of our own."""
    with bench_lab() as lab:
        return measure(lab, pairs)


if __name__ == "__main__":
    main(run)
