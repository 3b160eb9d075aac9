"""Jobs whose guests cannot start, on the lab's TORQUE: watched while they run, and what their owner reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from failing import BUSY_MACHINE, read_bytes
from guest_jobs import NOTE, guest_names, hosts_noted, submit
from remains import assert_nothing_left
from torque_kit import output, wait_for_state

from nornir_torque_vm.exitcodes import RunExit
from nornir_torque_vm.lab import Lab

CHIEF, SISTER = "node3", "node2"
"""A job's mother superior, where nothing else runs, and its sister, where the bystander is, too."""
MARGIN = 6.0
HOOKS = {
    "timeout": BUSY_MACHINE,
    "teardown_margin": MARGIN,
    "requeue_pause": 1,
    "max_requeues": 0,
    "offline_after": 0,
}
"""A job is given up at once, and no node is taken out."""
TIMES = (12.0, 30.0, 60.0, BUSY_MACHINE)
"""Deadlines to try where a test is about what is said at the end of one: a busy machine boots slowly."""


class WatchedJob:
    """A job with a guest on each of its nodes, the first of which is :data:`CHIEF`.

    :param script: what follows a line that notes where it runs.
    """

    def __init__(
        self, lab: Lab, script: str = "echo never", *, nodes: str = f"{CHIEF}+{SISTER}", image: str = ""
    ) -> None:
        self.lab, self.over, self.count = lab, False, nodes.count("+") + 1
        self.job_id = submit(lab, NOTE + script, nodes=nodes, image=image)

    def record(self) -> Path:
        """The directory of its newest attempt in the history; of the first, when there is none yet."""
        folder = self.lab.root(CHIEF) / "var/log/torque-vm"
        attempts = [int(path.name.rpartition(".")[2]) for path in folder.glob(f"{self.job_id}.*")]
        return folder / f"{self.job_id}.{max(attempts, default=1)}"

    def written(self, name: str) -> bytes:
        """A file of its newest attempt's history; empty as long as it is not there."""
        return read_bytes(self.record() / name)

    def history(self, name: str) -> Any:
        """One of the tables of its newest attempt's history."""
        return json.loads(self.written(f"{name}.json"))

    def events(self) -> list[dict[str, Any]]:
        """What happened in its newest attempt."""
        return [json.loads(line) for line in self.written("events.jsonl").splitlines()]

    def judged_at(self) -> float:
        """When its newest attempt's prologue gave its verdict, its last word; seconds since the epoch."""
        return (self.record() / "verdict.json").stat().st_mtime

    def guest(self, rank: int) -> str:
        """Host name of one of its guests."""
        return guest_names(self.job_id, self.count)[rank]

    def ended(self) -> dict[str, str]:
        """Wait for its end; return its attributes. Its script ran on no node."""
        try:
            done = wait_for_state(self.lab, self.job_id, seconds=2 * BUSY_MACHINE)
        finally:
            self.over = True
        assert done["exec_host"].startswith(f"{CHIEF}/")
        assert hosts_noted(self.lab, self.job_id) == []
        return done

    def told(self, exit_status: RunExit, starts: int = 1) -> str:
        """Wait until it is given up; return the only line in its error file. It never ran anywhere."""
        done = self.ended()
        (line,) = output(self.lab, done, "Error").splitlines()
        assert (done["exit_status"], done["start_count"]) == (str(int(exit_status)), str(starts)), line
        assert output(self.lab, done) == ""
        assert line.startswith("torque-vm: ")
        assert line.isprintable()
        return line.removeprefix("torque-vm: ")

    def statuses(self, name: str = "report") -> dict[str, str]:
        """Host → its status in a report of the history."""
        return {host["host"]: host["status"] for host in self.history(name)["hosts"]}

    def assert_nothing_left(self) -> None:
        """Make sure that nothing of it is left on any host."""
        assert_nothing_left(self.lab, self.job_id)


@pytest.fixture(scope="module")
def blameless(vm_lab: Lab) -> Iterator[None]:
    """What the tests of a module make nodes look guilty of is forgotten in the end."""
    yield
    for node in vm_lab.node_names:
        for path in (vm_lab.root(node) / "var/log/torque-vm/nodes").glob("*"):
            path.unlink()
