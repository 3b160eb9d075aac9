"""The main job on real parts: nodefile → Nornir → guests → job inside them → nothing left."""

from __future__ import annotations

import threading

import pytest
from driving import SMALL, Job, emulators, history, leftovers, pool_state, started, wait_for

from nornir_torque_vm.lab import Lab

pytestmark = pytest.mark.lab


def test_a_job_on_two_nodes_runs_inside_its_four_guests_and_leaves_nothing(lab: Lab) -> None:
    """Its output and exit code are the script's, every guest of its nodefile answers, and all is gone."""
    before = pool_state(lab.pool)
    script = (
        'echo "$(hostname) $(id -un) $# $1"; pwd; umask\n'
        'sort -u "$PBS_NODEFILE"; echo "$PBS_NP $PBS_NUM_NODES"\n'
        'for guest in $(sort -u "$PBS_NODEFILE"); do ssh "$guest" hostname; done\n'
        "echo to stderr >&2; exit 37"
    )
    job = Job(lab, script, f"{SMALL},vms_per_node=2", nodes=2, arguments=("two words",))
    ended = job.run()
    number = ended.outcome.job_id.partition(".")[0]
    guests = [f"j{number}-r{rank}" for rank in range(4)]
    assert job.lines == [f"{guests[0]} alice 1 two words", "/home/alice", "0077", *guests, "4 4", *guests]
    assert "to stderr" in job.errors
    assert (ended.exit_code, ended.outcome.exit_status, ended.outcome.fate) == (37, 37, "start")
    assert leftovers(lab) == {}
    assert pool_state(lab.pool) == before, "base images keep owner, mode, mtime and content"


def test_the_timeline_names_every_phase_of_every_guest(lab: Lab) -> None:
    """What a site wants to know after a slow start: which guest spent how long where."""
    ended = Job(lab, "true", f"{SMALL},vms_per_node=2").run()
    rows = ended.timeline.rows()
    assert len(rows) == 2
    for row in rows:
        assert {"image", "start", "address", "health", "run", "destroy"} <= set(row.phases)
        assert row.phases["address"] > 0.1
    assert history(lab, ended, "verdict")["outcome"] == "ok"


@pytest.mark.proves("image_pool")
def test_the_pool_may_be_read_only(lab: Lab) -> None:
    """The lab mounts it so; a root-owned 0444 file on a read-only mount is all that is needed."""
    mount = lab.run("node1", ["findmnt", "-n", "-o", "OPTIONS", "-T", "/srv/torque-vm/images"]).stdout
    assert "ro" in mount.strip().split(",")


def test_a_deleted_job_ends_by_the_signal_and_leaves_nothing(lab: Lab) -> None:
    """What qdel sends reaches the process inside the guest: its trap runs, TORQUE sees the signal."""
    job = Job(lab, "trap 'echo trapped; exit 9' TERM; echo ready; while :; do sleep 0.2; done")
    done: list[int] = []
    thread = threading.Thread(target=lambda: done.append(job.run().outcome.exit_status))
    thread.start()
    wait_for(lambda: "ready" in job.lines, 60)
    job.session.cancel()
    thread.join(60)
    assert "trapped" in job.lines
    assert done == [256 + 15]
    assert leftovers(lab) == {}


def test_a_job_over_its_walltime_is_ended(lab: Lab) -> None:
    """TORQUE's exit status for it is -11."""
    ended = Job(lab, "sleep 600", walltime=3).run()
    assert ended.outcome.exit_status == -11
    assert leftovers(lab) == {}


def test_a_guest_that_dies_while_booting_fails_the_job_at_once_with_its_last_words(lab: Lab) -> None:
    """Nobody waits for the deadline when the emulator is gone; the job would be requeued."""
    job = Job(lab, "true", f"{SMALL},vms_per_node=2")

    def kill_one() -> None:
        wait_for(lambda: started(job) == 2, 60)
        lab.run("node1", ["kill", "-9", str(emulators(lab, "node1")[0])])

    killer = threading.Thread(target=kill_one)
    killer.start()
    ended = job.run()
    killer.join()
    report = history(lab, ended, "report")
    assert ended.outcome.fate == "requeue"
    assert ended.exit_code == 122
    assert [host["error"]["type"] for host in report["hosts"] if host["error"]] == ["GuestDied"]
    assert leftovers(lab) == {}
