"""How long until a job's guests are healthy on a real TORQUE: ``python -m bench.boot_torque`` (root).

Like ``bench.boot``, with four nodes that have one micro guest each, and the hook run by ``pbs_mom`` for a job
that qsub submitted. Needs TORQUE's programs on the PATH. Ours begins when the hook marks its job, the first
thing it does: the MOM's fork and the start of a shell before that, some 3 ms, do not count. The floor's clock
starts before its process is made, as in ``bench.boot``.
"""

from __future__ import annotations

import contextlib
import time
import xml.etree.ElementTree as ET
from pathlib import Path

from bench import child
from bench.boot import HISTORY, LIMIT, Boots, middle, milestones
from bench.cluster import bench_lab
from bench.pairs import alternate, main
from bench.ratio import Measured
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.lab import HEAD, Lab
from nornir_torque_vm.lab.files import SPOOL, USER
from nornir_torque_vm.request import parse_request

NAME = "boot on TORQUE"
NODES = 4
REQUEST = "vcpus=1,ram=192M,vms_per_node=1"
SECONDS = 180.0
"""After which a job is given up."""
MARKERS = "run/torque-vm/markers"


class TorqueBoots(Boots):
    """Takes measurements on a lab with a TORQUE."""

    def first(self) -> None:
        """Run a job, once the MOMs have read of our job starter; the floor's guests take its id later."""
        for node in self.lab.node_names:
            pid = (self.lab.root(node) / SPOOL[1:] / "mom_priv/mom.lock").read_text().strip("\n\0")
            self.lab.run(node, ["kill", "-s", "HUP", pid])
        self.floor_job = self._submit()
        self._await(self.floor_job)

    def ours(self) -> float:
        """Run a job; return the seconds from its hook's first act until all its guests were healthy."""
        return self._await(self._submit())

    def _submit(self) -> str:
        """Submit a job of a few seconds as the lab's user; return its id."""
        nodes = "+".join(self.lab.node_names)
        words = ["qsub", "-T", "vm", "-j", "oe", "-l", f"nodes={nodes}", "-l", f"other={self.other}"]
        as_user = ["/usr/bin/env", "-C", USER.home, f"HOME={USER.home}", "/usr/bin/setpriv", "--reuid",
                   str(USER.uid), "--regid", str(USER.gid), "--init-groups"]  # fmt: skip
        # It lasts a while, since its marker has to be seen.
        submitted = self.lab.run(HEAD, [*as_user, *words], input="sleep 5\n", seconds=SECONDS)
        return submitted.stdout.strip()

    def _await(self, job_id: str) -> float:
        """Wait until a job is over; return when its guests were healthy, as :meth:`ours` does."""
        began, chief = self._marked(job_id)
        record = chief / HISTORY / f"{job_id}.1"
        self._over(job_id)
        if not (record / "report.json").exists():
            raise child.Failed(f"job {job_id} left no report: did its guests start?")
        marks = milestones(record / "events.jsonl", began)
        if "check_health" not in marks:
            raise child.Failed(f"job {job_id} did not start")
        self.details.append({**marks, "end": marks["publish_roster"]})
        return marks["check_health"]

    def _marked(self, job_id: str) -> tuple[float, Path]:
        """Wait for the marker on its first node; return its time, since the epoch, and the node's root."""
        for _ in Deadline.after(SECONDS).backoff(0.1):
            chief = self._state(job_id)[1]
            marker = self.lab.root(chief) / MARKERS / job_id if chief else None
            with contextlib.suppress(OSError):
                if marker is not None:
                    return marker.stat().st_mtime, self.lab.root(chief)
        raise child.Failed(f"job {job_id} was never marked")

    def _over(self, job_id: str) -> None:
        """Wait until the job is over, epilogue included; seldom enough not to disturb its guests' start."""
        end = time.monotonic() + SECONDS
        while self._state(job_id)[0] != "C":
            if time.monotonic() > end:
                raise child.Failed(f"job {job_id} did not end")
            time.sleep(2.0)

    def _state(self, job_id: str) -> tuple[str, str]:
        """State of a job, and the first node it is on or ``""``."""
        job = ET.fromstring(self.lab.run(HEAD, ["qstat", "-f", "-x", job_id]).stdout)  # noqa: S314 - our server's
        return job.findtext(".//job_state", ""), job.findtext(".//exec_host", "").partition("/")[0]


def measure(lab: Lab, pairs: int) -> list[Measured]:
    """Measure on a lab with a TORQUE."""
    boots = TorqueBoots(lab, other=parse_request([REQUEST]).encode())
    boots.warm_up()
    boots.floor()
    boots.details.clear()
    boots.floors.clear()
    taken = alternate(f"{NAME}: {NODES} guests on {NODES} nodes", boots.ours, boots.floor, pairs)
    notes = {"until": middle(boots.details), "floor until": middle(boots.floors)}
    return [
        Measured(NAME, f"{NODES} guests on {NODES} nodes, until healthy, wall", LIMIT, *taken, notes=notes)
    ]


def run(pairs: int) -> list[Measured]:
    """Measure in a lab of our own."""
    with bench_lab(nodes=NODES, torque=True) as lab:
        return measure(lab, pairs)


if __name__ == "__main__":
    main(run)
