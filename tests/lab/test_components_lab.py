"""Components on real nodes: what libvirt, the kernel and the guests say of I/O threads and shared memory."""

from __future__ import annotations

import json
import os
import sys
import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from driving import Job, leftovers, settings, shell, wait_for
from hostile_disk import trap

from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.lab import Lab
from nornir_torque_vm.pinning.topology import cpus_of, cpus_text

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(
        os.cpu_count() == 1, reason="what is kept for input and output is a processor of its own"
    ),
]


MEMORY, FIFO = "/var/lib/torque-vm/memory", "/var/tmp/trap"
SECONDS = 90.0
"""A job that takes longer waits for the FIFO."""


@pytest.fixture(scope="module")
def memory(lab: Lab) -> Iterator[str]:
    """A file system in memory on all nodes, for guests that share some."""
    for node in lab.node_names:
        options = "size=64m,mode=0711,nosuid,nodev,noexec"
        shell(lab, node, f"mkdir -p {MEMORY} && mount -t tmpfs -o {options} tmpfs {MEMORY}")
    changes = {"ramdisk_dir": MEMORY, "unclot_enabled": True, "unclot_distros": ["debian"]}
    with settings(lab, changes, *lab.node_names):
        yield MEMORY
    for node in lab.node_names:
        shell(lab, node, f"virsh -c qemu:///system pool-destroy torque-vm-ramdisk; umount {MEMORY}")


@pytest.fixture(scope="module")
def seen(lab: Lab, memory: str) -> dict[str, Any]:
    """What components_probe saw."""
    image = next(path.name for path in lab.pool.iterdir() if path.name.startswith("micro"))
    argv = [sys.executable, str(Path(__file__).parent / "components_probe.py"), image]
    done = lab.run("node1", argv, seconds=240)
    assert done.stderr == ""
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_guests_are_healthy_and_verified(seen: dict[str, Any]) -> None:
    """Both components looked at the live domains."""
    assert seen["boot"] == []


@pytest.mark.proves("iocm", "iocm_enabled")
def test_io_threads_and_emulators_are_on_what_is_kept_and_guests_are_not(seen: dict[str, Any]) -> None:
    """The kernel says so of every thread."""
    for place, threads in zip(seen["places"], seen["threads"], strict=True):
        assert len(place["kept"]) == 1
        assert not set(place["kept"]) & set(place["cpus"])
        processors = [set(cpus_of(cpus)) for name, cpus in threads.items() if name.startswith("CPU ")]
        others = {name: set(cpus_of(cpus)) for name, cpus in threads.items() if not name.startswith("CPU ")}
        assert processors == [set(place["cpus"])]
        assert any(name.startswith("IO iothread") for name in others)
        assert all(cpus == set(place["kept"]) for cpus in others.values()), others


def test_the_live_domain_has_its_disks_on_the_thread(seen: dict[str, Any]) -> None:
    """And the thread where the plan says."""
    domain = ET.fromstring(seen["xml"])  # noqa: S314 - libvirt's own
    drivers = [disk.get("iothread") for disk in domain.findall("devices/disk/driver")]
    assert drivers == ["1"] * len(drivers)
    (pin,) = domain.findall("cputune/iothreadpin")
    assert pin.get("cpuset") == cpus_text(seen["places"][0]["kept"])


@pytest.mark.proves("unclot", "unclot_enabled", "unclot_shmem")
def test_guests_of_one_node_see_each_others_memory(seen: dict[str, Any]) -> None:
    """A PCI device in each, and what one writes the other reads."""
    for lines in seen["devices"].values():
        assert "0x1af4 0x1110" in lines
    assert {int(text, 16) for text in seen["memory"].values()} == {0x7043BEEF}


def test_nobody_else_on_the_node_may_read_it(seen: dict[str, Any]) -> None:
    """It is the emulator's alone, as large as was asked for."""
    ((mode, _, size),) = seen["shared"].values()
    assert (mode, size) == (0o600, 1 << 20)
    (name,) = seen["shared"]
    assert name.startswith("tvm-4810-a1-")


def test_libvirt_looks_at_it_no_more_when_the_guests_are_ready(seen: dict[str, Any]) -> None:
    """Until then it could be removed from any node; where every account can put files it never looks."""
    (name,) = seen["shared"]
    assert seen["open"] == ["torque-vm-ramdisk", f"torque-vm-ramdisk-{name}"]
    assert seen["closed"] == ["torque-vm-ramdisk"]


def test_components_cost_a_prologue_next_to_nothing(seen: dict[str, Any]) -> None:
    """All that both do with the guests of one node, at the best of three."""
    assert seen["seconds"] < 0.2


def test_it_outlives_a_crash_and_the_reaper_removes_it(seen: dict[str, Any]) -> None:
    """Neither the emulator nor libvirt does."""
    assert seen["crashed"] == seen["shared"]
    assert seen["reaped"] == [["removed", list(seen["shared"])]]
    assert seen["after"] == []


def test_what_guests_and_accounts_put_into_memory_holds_no_job_up(lab: Lab, memory: str) -> None:
    """Neither that which guests share, nor /dev/shm; on all nodes of a job it goes with the job."""
    nodes, asked = lab.node_names[:2], "vcpus=1,ram=192M,unclot=true,unclot_shmem=1M"
    device = "echo device $(cat /sys/bus/pci/devices/*/device | grep -c 0x1110)"
    job = Job(lab, "echo ready; sleep 600", asked, nodes=2)
    thread = threading.Thread(target=job.run)
    thread.start()
    with ExitStack() as traps:
        lures = {node: traps.enter_context(trap(lab.root(node), FIFO)) for node in nodes}
        for node, lure in lures.items():
            path = lab.root(node) / "dev/shm/tvm-1"
            path.write_bytes(lure)
            traps.callback(path.unlink)
        try:
            wait_for(lambda: "ready" in job.lines or job.over, SECONDS)
            assert not job.over, job.errors
            for node, lure in lures.items():
                (path,) = (lab.root(node) / memory[1:]).glob("*/memory")
                with path.open("r+b") as file:  # as root of a guest does
                    file.write(lure)
            other = Job(lab, device, asked, nodes=2)
            second = threading.Thread(target=other.run, daemon=True)
            second.start()
            second.join(SECONDS)
            assert other.lines == ["device 1"], other.errors or "it hangs"
        finally:
            job.session.cancel()
            thread.join(SECONDS)
    assert leftovers(lab) == {}
    for _ in Deadline.after(10.0).backoff(0.5):  # the other node removes it by itself
        left = [str(path) for node in nodes for path in (lab.root(node) / memory[1:]).rglob("*")]
        if not left:
            break
    assert left == []


def test_nothing_is_left(seen: dict[str, Any], lab: Lab) -> None:
    """No guest, no file."""
    assert seen
    assert leftovers(lab) == {}
