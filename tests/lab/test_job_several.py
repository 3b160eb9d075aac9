"""Several jobs at the same time: the members of an array, and two jobs on one node."""

from __future__ import annotations

import io
import threading

import pytest
from driving import Job, leftovers, pool_state, wait_for

from nornir_torque_vm.driver.array import ArraySession
from nornir_torque_vm.driver.session import Ended
from nornir_torque_vm.lab import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]


def test_every_member_of_an_array_runs_in_a_guest_of_its_own(lab: Lab) -> None:
    """Four on two nodes; each knows its index, and its exit code is its own."""
    script = 'echo "$PBS_JOBID $PBS_ARRAYID $PBS_JOBNAME $(hostname) $(cat $PBS_NODEFILE)"; exit $PBS_ARRAYID'
    job = Job(lab, script, array=(0, 1, 2, 3)).submission
    out, err = io.BytesIO(), io.BytesIO()
    ended = ArraySession(lab, out, err).run(job)
    number = ended[0].outcome.job_id.partition("[")[0]
    assert sorted(out.getvalue().decode().splitlines()) == [
        f"{i}: {number}[{i}].head {i} test-{i} j{number}-{i}-r0 j{number}-{i}-r0" for i in range(4)
    ], err.getvalue()
    assert [one.exit_code for one in ended.values()] == [0, 1, 2, 3]
    assert leftovers(lab) == {}


def test_two_jobs_at_once_on_one_node_do_not_meet(lab: Lab) -> None:
    """Guests, files and ends of their own; the first that ends takes nothing of the other's away."""
    before = pool_state(lab.pool)
    meet = "until [ -e /tmp/go ]; do sleep 0.2; done; "
    jobs = [Job(lab, f"echo ready; {meet}hostname; exit {code}") for code in (0, 37)]
    done: dict[int, Ended] = {}

    def run(index: int) -> None:
        done[index] = jobs[index].run()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: done or all("ready" in job.lines for job in jobs), 300)
        running = lab.run("node1", ["virsh", "-c", "qemu:///system", "list", "--name"]).stdout.split()
        assert len(running) == 2
        for job, thread, left in ((jobs[0], threads[0], 1), (jobs[1], threads[1], 0)):
            batch = job.session.job
            assert batch is not None
            assert batch.task(["/bin/touch", "/tmp/go"], 0).outcome == 0
            thread.join(120)
            listed = lab.run("node1", ["virsh", "-c", "qemu:///system", "list", "--name"]).stdout.split()
            assert len(listed) == left
    finally:
        for job, thread in zip(jobs, threads, strict=True):
            job.session.cancel()
            thread.join(120)
    names = [f"j{done[index].outcome.job_id.partition('.')[0]}-r0" for index in range(2)]
    assert [job.lines for job in jobs] == [["ready", name] for name in names]
    assert [done[index].exit_code for index in range(2)] == [0, 37]
    assert leftovers(lab) == {}
    assert pool_state(lab.pool) == before
