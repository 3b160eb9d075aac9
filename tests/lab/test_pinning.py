"""Pinned guests on a real node: what libvirt and the kernel say, and that jobs share no processor."""

from __future__ import annotations

import json
import os
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from driving import leftovers

from nornir_torque_vm.lab import Lab
from nornir_torque_vm.pinning.topology import cpus_of, cpus_text

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.cpu_count() == 1, reason="two jobs that share nothing need two processors"),
]


@pytest.fixture(scope="module")
def seen(lab: Lab) -> dict[str, Any]:
    """What pinning_probe saw."""
    image = next(path.name for path in lab.pool.iterdir() if path.name.startswith("micro"))
    argv = [sys.executable, str(Path(__file__).parent / "pinning_probe.py"), image]
    done = lab.run("node1", argv, seconds=240)
    assert done.stderr == ""
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", ["whole", "first", "second"])
def test_a_guest_runs_where_its_plan_says_and_nowhere_else(seen: dict[str, Any], name: str) -> None:
    """In the live domain's XML, and in the kernel for every thread of the emulator."""
    planned = seen[name]["cpus"]
    vcpu = ET.fromstring(seen[name]["xml"]).find("vcpu")  # noqa: S314 - libvirt's own
    assert vcpu is not None
    assert vcpu.get("cpuset") == cpus_text(planned)
    assert seen[name]["allowed"]
    for threads in seen[name]["allowed"].values():
        assert set(cpus_of(threads)) <= set(planned)


@pytest.mark.proves("vcpu_pinning")
def test_every_virtual_processor_has_its_own(seen: dict[str, Any]) -> None:
    """The kernel says so of the two threads that QEMU runs them on, libvirt of the same two."""
    whole = seen["whole"]
    one, other = whole["vcpus"]
    assert not set(one) & set(other)
    pins = ET.fromstring(whole["xml"]).findall("cputune/vcpupin")  # noqa: S314 - libvirt's own
    assert [pin.get("cpuset") for pin in pins] == [cpus_text(one), cpus_text(other)]
    for number, cpus in enumerate((one, other)):
        (allowed,) = [at for name, at in whole["allowed"].items() if name.startswith(f"CPU {number}/")]
        assert cpus_of(allowed) == tuple(cpus)


def test_two_jobs_on_one_node_share_no_processor(seen: dict[str, Any]) -> None:
    """Pinned or floating: each has what belongs to its own slots."""
    first, second = (set(seen[name]["cpus"]) for name in ("first", "second"))
    assert first
    assert second
    assert not first & second


def test_processors_of_another_jobs_guest_are_busy(seen: dict[str, Any]) -> None:
    """Should the slots ever be given out again while a guest is there: the job waits."""
    held = cpus_text(seen["second"]["cpus"])
    assert seen["third"] == {
        "type": "BusyError",
        "said": f"node node1: guests of job 4802.pin are on processors {held} still; "
        "try again when they are gone",
    }


@pytest.mark.proves("host_os_core_count")
def test_no_thread_of_a_guest_is_on_the_hosts_core(seen: dict[str, Any]) -> None:
    """The first core with all its threads; the job has all others, and none where there are none."""
    system = Path("/sys/devices/system/cpu")
    host = cpus_of((system / "cpu0/topology/thread_siblings_list").read_text())
    others = set(cpus_of((system / "online").read_text())) - set(host)
    if not others:
        assert "processors" in seen["rest"]["said"]
        return
    assert set(seen["rest"]["cpus"]) == others
    assert seen["rest"]["allowed"]
    for threads in seen["rest"]["allowed"].values():
        assert set(cpus_of(threads)) <= others


def test_nothing_is_left(seen: dict[str, Any], lab: Lab) -> None:
    """No guest, no file."""
    assert seen
    assert leftovers(lab) == {}
