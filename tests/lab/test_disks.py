"""Where guests' disks are on real nodes: what is written before they boot, and what a full one means."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import broken_images
import pytest
from driving import Job, history, leftovers, settings, shell, wait_for
from failing import BUSY_MACHINE, Bystander, covered, host_pids

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.engine import Engine
from nornir_torque_vm.guestimages import micro as recipe
from nornir_torque_vm.inventory.build import build_inventory
from nornir_torque_vm.lab import Lab
from nornir_torque_vm.lab.layout import cache_dir
from nornir_torque_vm.model import Image, Node, Owner
from nornir_torque_vm.model import Job as PlannedJob
from nornir_torque_vm.plan import make_plan
from nornir_torque_vm.report import Report
from nornir_torque_vm.request import Request
from nornir_torque_vm.sshkeys import make_job_keys
from nornir_torque_vm.tasks import destroy, prepare_image

pytestmark = pytest.mark.lab

HOOKS = {"timeout": BUSY_MACHINE, "teardown_margin": 15.0, "requeue_pause": 0}
MEMORY, VOLUMES = "/var/tmp/memory", "/var/lib/torque-vm/volumes"
MiB = 1 << 20
LIMIT = 32
"""MiB a disk in memory may take."""
GUESTS, MOST = 10, 5 * MiB
"""Guests of a job that copies no image, and bytes that may be written for each before it boots."""
WRITE = "dd if=/dev/zero of=/dev/vda bs=1M seek={start} count={count} conv=fsync 2>&1 && echo written"
"""Writes MiB of the disk beyond what the guest booted from, and waits until they are there."""


@pytest.fixture(scope="module")
def bystander(lab: Lab) -> Iterator[Bystander]:
    """Another job's guests, on the disk that is not meant."""
    other = Bystander(lab)
    try:
        yield other
    finally:
        other.remove()


@pytest.fixture(scope="module")
def memory(lab: Lab) -> Iterator[Path]:
    """A file system for two disks in memory on both nodes; that of the first is returned."""
    for node in lab.node_names:
        options = f"size={2 * LIMIT}m,mode=0711,nosuid,nodev,noexec"
        shell(lab, node, f"mkdir -p {MEMORY} && mount -t tmpfs -o {options} tmpfs {MEMORY}")
    with settings(lab, {"ramdisk_dir": MEMORY, "ramdisk_mb": LIMIT}, *lab.node_names):
        yield lab.root("node1") / MEMORY[1:]
    for node in lab.node_names:
        shell(lab, node, f"umount {MEMORY}")


@pytest.fixture(scope="module")
def image(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A guest with a disk of 128 MiB that the job's user may write, all of it."""
    path = lab.pool / f"writable-{lab.name}.qcow2"
    init = (Path(recipe.__file__).parent / "micro_root/init").read_text()
    before = "dropbear -s"
    assert before in init
    init = init.replace(before, f"chmod 0666 /dev/vda\n{before}", 1)
    parts, work = cache_dir() / "images/micro", tmp_path_factory.mktemp("image")
    name = broken_images.make(parts, path, work, programs={"init": init.encode()})
    subprocess.run(["qemu-img", "resize", "-q", path, "128M"], check=True)
    yield name
    path.unlink()


def used(directory: Path) -> int:
    """Bytes that files take in a directory."""
    return sum(path.stat().st_blocks * 512 for path in directory.iterdir() if path.exists())


class Looking(threading.Thread):
    """Looks at a directory while a job runs."""

    def __init__(self, job: Job, directory: Path) -> None:
        super().__init__(daemon=True)
        self._job, self._directory = job, directory
        self.most = 0
        """Bytes that files took there, at most."""
        self.start()

    def run(self) -> None:
        """Look until the job is over."""
        while not self._job.over:
            with contextlib.suppress(FileNotFoundError):  # removed between two looks
                self.most = max(self.most, used(self._directory))
            time.sleep(0.1)


@pytest.mark.proves("fs_type", "ramdisk_dir", "ramdisk_mb")
def test_a_guest_that_fills_its_disk_in_memory_is_told_and_takes_nobody_elses_room(
    lab: Lab, bystander: Bystander, memory: Path, image: str
) -> None:
    """An I/O error for what is too much; it goes on, and the guest beside it can write its own share."""
    script = f"""
    {WRITE.format(start=16, count=2 * LIMIT)} || echo told
    ssh $(sed -n 2p $PBS_NODEFILE) '{WRITE.format(start=16, count=LIMIT - 8)}'
    echo going on
    sleep 3
    """
    job = Job(lab, script, f"vcpus=1,ram=192M,vms_per_node=2,fs_type=ramdisk,img={image}")
    looking = Looking(job, memory)
    with settings(lab, HOOKS, "node1"):
        ended = job.run()
    assert ended.exit_code == 0, job.errors
    assert job.lines[-1] == "going on"
    assert "told" in job.lines
    assert job.lines.count("written") == 1
    assert any("rror" in line for line in job.lines[: job.lines.index("told")])
    assert (2 * LIMIT - 16) * MiB <= looking.most <= 2 * LIMIT * MiB
    assert list(memory.iterdir()) == []
    bystander.untouched()


def test_a_full_disk_of_the_node_is_an_error_in_the_guest_and_the_end_of_the_job_frees_it(
    lab: Lab, bystander: Bystander, image: str
) -> None:
    """The end of its own disk is told as any system tells it; nobody is paused."""
    script = f"""
    {WRITE.format(start=16, count=64)} || echo told
    {WRITE.format(start=120, count=16)} || echo told
    echo going on
    """
    job = Job(lab, script, f"vcpus=1,ram=192M,img={image}")
    with settings(lab, HOOKS, "node1"), covered(lab, "node1", VOLUMES, "48m") as cover:
        cover()
        ended = job.run()
        there = leftovers(lab).get("node1", [])
    assert ended.exit_code == 0, job.errors
    told = [number for number, line in enumerate(job.lines) if line == "told"]
    first, second = job.lines[: told[0]], job.lines[told[0] : told[1]]
    assert any("I/O error" in line or "Input/output error" in line for line in first)
    assert any("No space left on device" in line for line in second)
    assert len(told) == 2
    assert job.lines[-1] == "going on"
    assert [name for name in there if name not in bystander.left["node1"]] == []
    bystander.untouched()


@pytest.fixture(scope="module")
def large(lab: Lab) -> Iterator[Image]:
    """An image of a usual size with more data in it than ten guests may write."""
    path = "/var/tmp/large.qcow2"
    lab.run("node1", ["qemu-img", "create", "-q", "-f", "qcow2", path, "8G"])
    lab.run("node1", ["qemu-io", "-c", "write -q -P 7 1G 64M", path])
    yield Image("large.qcow2", path, virtual_size=8 << 30)
    lab.run("node1", ["rm", path])


@pytest.mark.parametrize("fs_type", ["sharedfs", "ramdisk"])
def test_ten_guests_copy_no_image(
    lab: Lab, bystander: Bystander, memory: Path, large: Image, fs_type: str
) -> None:
    """What they have on the node, and what its libvirtd wrote, children and sockets included."""
    root = lab.root("node1")
    uri = f"qemu+unix:///system?socket={root}/run/libvirt/libvirt-sock"
    site = Settings(local_uri=uri, ramdisk_dir=MEMORY, ramdisk_mb=LIMIT, max_vms_per_node=GUESTS)
    owner = Owner("alice", 2001, 2001, "alice", "/home/alice")
    request = Request(vms_per_node=GUESTS, fs_type=fs_type, hypervisor="qemu")
    plan = make_plan(request, site, PlannedJob("4900.disks", "disks", owner), [Node("node1")], large)
    keys = make_job_keys(guest.name for guest in plan.guests)
    inventory = build_inventory(plan, site, keys=keys, here="node1")
    (daemon,) = host_pids(lab, "node1", "libvirtd")
    volumes = root / VOLUMES[1:]
    before = written_by(daemon), used(volumes), used(memory)
    engine = Engine(site, Deadline.after(BUSY_MACHINE))
    try:
        report = Report.from_results(engine.run(inventory, prepare_image, role="guest"))
        assert report.ok, report.sentences()
        after = written_by(daemon), used(volumes), used(memory)
    finally:
        engine.run(inventory, destroy, role="node")
    grown = [later - earlier for earlier, later in zip(before, after, strict=True)]
    print(f"{fs_type}: written by libvirtd, in volumes, in memory, per guest: {[n // GUESTS for n in grown]}")
    assert 0 < sum(grown[1:]) <= grown[0] < GUESTS * MOST
    assert (grown[2] > 0) is (fs_type == "ramdisk")
    assert leftovers(lab) == bystander.left
    assert list(memory.iterdir()) == []


def written_by(pid: int) -> int:
    """Bytes a process has written, its ended children's too: to files, pipes and sockets (proc(5))."""
    words = Path(f"/proc/{pid}/io").read_text().split()
    return int(words[words.index("wchar:") + 1])


@pytest.fixture
def cached(lab: Lab) -> Iterator[dict[str, Path]]:
    """A pool of the nodes' own with the micro guest, whose digest it states; their copies, by node."""
    name, pool, copies = "micro.qcow2", "/var/tmp/pool", "/var/tmp/copies"
    image = (lab.pool / name).read_bytes()
    catalogue = json.dumps({name: {"sha256": hashlib.sha256(image).hexdigest()}})
    places = [lab.root(node) / pool[1:] for node in lab.node_names]
    for place in places:
        place.mkdir()
        (place / name).write_bytes(image)
        (place / "catalogue.json").write_text(catalogue)
    site = {"image_pool": pool, "img_default": name, "image_cache": copies, "image_cache_mb": 64}
    with settings(lab, {**HOOKS, **site}, *lab.node_names):
        yield {node: lab.root(node) / copies[1:] for node in lab.node_names}
    for place in (*places, *(lab.root(node) / copies[1:] for node in lab.node_names)):
        shutil.rmtree(place)


@pytest.mark.proves("image_cache", "image_cache_mb")
def test_each_node_copies_the_image_of_a_job_for_the_next_one(
    lab: Lab, bystander: Bystander, cached: dict[str, Path]
) -> None:
    """The first job waits for none, though a sister may be as fast; the second is on the copies."""
    pool = (lab.root("node1") / "var/tmp/pool/micro.qcow2").read_bytes()
    copy = f"{hashlib.sha256(pool).hexdigest()}.qcow2"
    bases = []
    for _ in range(2):
        job = Job(lab, "echo there", nodes=2)
        ended = job.run()
        assert (ended.exit_code, job.lines) == (0, ["there"]), job.errors
        bases.append([guest["base"] for guest in history(lab, ended, "plan")["guests"]])
        wait_for(lambda: all((folder / copy).exists() for folder in cached.values()), BUSY_MACHINE)
    assert (bases[0][0], bases[1]) == ("", [f"/var/tmp/copies/{copy}"] * 2)
    assert all((folder / copy).read_bytes() == pool for folder in cached.values())
    bystander.untouched()
