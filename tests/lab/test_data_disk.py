"""The user's own disk in real jobs: what one wrote the next one reads, nobody else gets it meanwhile."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator

import pytest
from driving import SMALL, Job, history, leftovers, settings, shell, wait_for

from nornir_torque_vm.guestimages import build
from nornir_torque_vm.lab import Lab
from nornir_torque_vm.lab.files import USER
from nornir_torque_vm.lab.layout import cache_dir

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

PLACE = f"{USER.home}/disks"
MAKE = f"cd {PLACE}; truncate -s 32M new.img; mkfs.ext4 -q new.img"
"""As docs/submitting.md tells users."""


@pytest.fixture(scope="module")
def disk_lab(lab: Lab) -> Iterator[Lab]:
    """The lab with an image that knows ext4, and the owner's directory of disks, closed to everybody else."""
    build("micro-files", cache_dir())
    shell(lab, "node1", f"mkdir -p {PLACE}; {MAKE}; qemu-img convert -f raw -O qcow2 new.img data.qcow2")
    shell(lab, "node1", f"cd {PLACE}; chown -R {USER.uid}:{USER.gid} .; chmod -R go= .")
    with settings(lab, {"img_default": "micro-files.qcow2"}, *lab.node_names):
        yield lab
    shell(lab, "node1", f"rm -rf {PLACE}")


def asked(name: str, more: str = "") -> str:
    return f"{SMALL},disk={PLACE}/{name}{more}"


@contextlib.contextmanager
def running(job: Job, word: str) -> Iterator[None]:
    """The job has printed a word; it is deleted in the end."""
    thread = threading.Thread(target=job.run)
    thread.start()
    try:
        wait_for(lambda: word in job.lines or not thread.is_alive(), 240)
        assert word in job.lines, job.errors
        yield
    finally:
        job.session.cancel()
        thread.join(120)


def state(lab: Lab, name: str) -> tuple[int, int, int]:
    status = (lab.root("node1") / PLACE[1:] / name).stat()
    return status.st_uid, status.st_gid, status.st_mode & 0o777


@pytest.mark.proves("disk")
def test_what_a_job_wrote_the_next_one_reads(disk_lab: Lab) -> None:
    """The first guest alone has it; the file stays its owner's, on the node and in the guest."""
    look = "grep ' /data ' /proc/mounts | cut -d' ' -f 2-4 | cut -d, -f 1-3; ls -ld /data | cut -c 1-10"
    script = (
        f"echo kept >/data/file; id -un; {look}; cat /sys/block/vdc/serial; echo\n"
        "for guest in $(uniq $PBS_NODEFILE); do ssh $guest 'grep -c /data /proc/mounts'; done; exit 0"
    )
    first = Job(disk_lab, script, asked("data.qcow2", ",vms_per_node=2"))
    ended = first.run()
    assert (ended.exit_code, first.errors) == (0, "")
    assert first.lines == [
        "alice", "/data ext4 rw,nosuid,nodev", "drwxr-xr-x", "torque-vm-data", "1", "0",
    ]  # fmt: skip
    assert state(disk_lab, "data.qcow2") == (USER.uid, USER.gid, 0o600)
    assert {"disk", "unmount"} <= set(ended.timeline.rows()[0].phases)
    assert history(disk_lab, ended, "plan")["disk"] == {"path": f"{PLACE}/data.qcow2", "format": "qcow2"}
    second = Job(disk_lab, "cat /data/file; rm /data/file", asked("data.qcow2"))
    assert (second.run().exit_code, second.lines) == (0, ["kept"])
    assert leftovers(disk_lab) == {}
    check = shell(disk_lab, "node1", f"qemu-img check {PLACE}/data.qcow2")
    assert "No errors were found on the image" in check


def test_what_a_deleted_job_wrote_is_on_the_disk_and_nobody_else_had_it_meanwhile(disk_lab: Lab) -> None:
    """Up to its last moment, by a process that still has its file open; a raw disk this time."""
    first = Job(
        disk_lab,
        "trap 'echo last >&3' TERM; exec 3>/data/log; echo ready; while :; do sleep 1; done",
        asked("new.img"),
    )
    with running(first, "ready"):
        second = Job(disk_lab, "echo never", asked("new.img"))
        ended = second.run()
        assert (ended.outcome.fate, ended.exit_code, second.lines) == ("requeue", 121, [])
        assert f"disk '{PLACE}/new.img' is in use by another job" in second.errors
        assert history(disk_lab, ended, "verdict")["outcome"] == "busy"
        # Whoever locks as QEMU does is kept away, too.
        tried = shell(disk_lab, "node1", f"qemu-img resize -f raw {PLACE}/new.img 33M 2>&1 || true")
        assert "lock" in tried
    assert first.session.job is not None
    (events,) = (disk_lab.root("node1") / "var/log/torque-vm").glob(
        f"{first.session.job.job.job_id}.1/events.jsonl"
    )
    let_go = [line for line in map(json.loads, events.read_text().splitlines()) if line["phase"] == "unmount"]
    assert let_go[-1]["status"] in {"ok", "changed"}, "not merely written back by chance"
    third = Job(disk_lab, "cat /data/log", asked("new.img"))
    assert (third.run().exit_code, third.lines) == (0, ["last"])
    assert leftovers(disk_lab) == {}


@pytest.mark.parametrize(
    ("name", "make", "why"),
    [
        ("none.img", "truncate -s 8M none.img", "no ext4 or xfs that this guest can mount"),
        (
            "root.img",
            "cp new.img root.img; chown 0 root.img",
            "cannot be opened here by alice: Permission denied",
        ),
        ("link.img", "ln -s /etc/passwd link.img", "cannot be opened here by alice"),
    ],
)
def test_a_disk_that_cannot_be_had_ends_the_job_with_a_sentence(
    disk_lab: Lab, name: str, make: str, why: str
) -> None:
    """No file system is made by anybody but its owner; root's rights open nothing."""
    shell(disk_lab, "node1", f"cd {PLACE}; {make}; chown -h {USER.uid} none.img link.img 2>/dev/null || true")
    job = Job(disk_lab, "echo never", asked(name))
    ended = job.run()
    assert (ended.exit_code, job.lines) == (120, [])
    assert why in job.errors
    assert leftovers(disk_lab) == {}
