"""Tasks beside the job's first shell: those of a MOM, on all nodes, and those of ``pbsdsh`` in a guest."""

from __future__ import annotations

import json
import threading

import pytest
from driving import SMALL, Job, leftovers, wait_for

from nornir_torque_vm.driver.session import Ended
from nornir_torque_vm.lab import Lab

pytestmark = pytest.mark.lab

BOOT = 180.0
"""Seconds for four guests on a busy machine."""
SCRIPT = """\
task='echo "from pbsdsh $PBS_VNODENUM $(hostname) $ODD"; exit $PBS_VNODENUM'
ODD='a b' pbsdsh -s sh -c "$task"
echo "pbsdsh ended with $?"; pbsdsh -u -n 4 true || echo refused
echo ready; until [ -e /tmp/go ]; do sleep 0.2; done; exit 37
"""


def test_tasks_enter_the_guests_of_their_nodes(lab: Lab) -> None:
    """A MOM's by slot, on the sister too, for whom the hand-over is there; pbsdsh's by the nodefile."""
    job = Job(lab, SCRIPT, f"{SMALL},vms_per_node=2", nodes=2)
    done: list[Ended] = []
    thread = threading.Thread(target=lambda: done.append(job.run()))
    thread.start()
    wait_for(lambda: "ready" in job.lines or done, BOOT)
    batch = job.session.job
    assert batch is not None
    given = lab.root("node2") / "run/torque-vm/handover" / batch.job.job_id / "given"
    assert (given.stat().st_uid, given.stat().st_mode & 0o777) == (2001, 0o400)
    assert json.loads(given.read_text())["user"] == "alice"

    def task(slot: int) -> int | str:
        words = 'echo "from a MOM $PBS_VNODENUM $(hostname) $PWD $(id -un)"; echo oops >&2; exit 3'
        return batch.task(["/bin/sh", "-c", words], slot).outcome

    assert [task(slot) for slot in range(4)] == [3] * 4
    assert batch.task(["/bin/touch", "/tmp/go"], 0).outcome == 0
    thread.join(BOOT)
    (ended,) = done
    number = batch.job.job_id.partition(".")[0]
    guests = [f"j{number}-r{rank}" for rank in range(4)]
    assert job.lines[:7] == [
        *(f"from pbsdsh {rank} {guest} a b" for rank, guest in enumerate(guests)),
        "pbsdsh ended with 0", "refused", "ready",
    ]  # fmt: skip
    assert sorted(job.lines[7:]) == [
        f"from a MOM {n} {guest} /home/alice alice" for n, guest in enumerate(guests)
    ]
    assert job.errors.count("oops") == 4
    assert [line for line in job.errors.splitlines() if "exit status" in line] == [
        f"pbsdsh(): task {slot} exit status {slot}" for slot in (1, 2, 3)
    ]
    assert ended.exit_code == 37
    assert leftovers(lab) == {}
