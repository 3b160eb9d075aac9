"""Jobs with guests on one node of a real TORQUE: each within its own slot, one as its owner's file says."""

from __future__ import annotations

import hashlib
import xml.etree.ElementTree as ET

import pytest
from start_kit import SECONDS, site
from torque_kit import delete, eventually, job_attributes, qsub, user_file, wait_for_state

from nornir_torque_vm.identity import job_slug
from nornir_torque_vm.lab import HEAD, Lab
from nornir_torque_vm.model import FileRef
from nornir_torque_vm.pinning.topology import cpus_of
from nornir_torque_vm.render.metadata import HELD, METADATA_URI
from nornir_torque_vm.request import Request

__all__ = ["site"]
pytestmark = pytest.mark.torque

NODE, MAPPING = "node1", "# guest vcpu processors\n0 0 0\n"
VIRSH = ["virsh", "-c", "qemu:///system"]


def submit(lab: Lab, request: Request) -> str:
    """Submit a job for a slot of the node."""
    words = ["-T", "vm", "-l", f"nodes={NODE}:ppn=1,other={request.encode()}"]
    return qsub(lab, words, stdin="sleep 300\n")


def domain(lab: Lab, job_id: str) -> ET.Element | None:
    """The domain of a job's guest, once there is one."""
    names = lab.run(NODE, [*VIRSH, "list", "--name"]).stdout.split()
    found = [name for name in names if name.startswith(f"tvm-{job_slug(job_id)}-a")]
    if not found:
        return None
    done = lab.run(NODE, [*VIRSH, "dumpxml", found[0]], check=False)
    return ET.fromstring(done.stdout) if done.stdout else None  # noqa: S314 - libvirt's own


def bound(found: ET.Element | None) -> tuple[set[int], list[set[int]]]:
    """The processors that are the job's own, and those of each virtual processor."""
    assert found is not None
    record = found.find(f"metadata/{{{METADATA_URI}}}job")
    assert record is not None
    pins = [set(cpus_of(pin.get("cpuset", ""))) for pin in found.findall("cputune/vcpupin")]
    return set(cpus_of(record.get(HELD, ""))), pins


def test_jobs_on_one_node_share_no_processor(site: Lab) -> None:
    """Slots by qstat, sizes by pbsnodes, the file by its owner's rights: as users and sites have it."""
    path = user_file(site, "mapping", MAPPING, 0o600)
    file = FileRef(path, hashlib.sha256(MAPPING.encode()).hexdigest())
    size = site.slots
    site.run(HEAD, ["qmgr", "-c", f"set node {NODE} np = 2"])
    submitted: list[str] = []
    try:
        for pinning in (None, file):
            submitted.append(submit(site, Request(vcpus=1, ram=192 << 20, vcpu_pinning=pinning)))
            eventually(lambda: domain(site, submitted[-1]) is not None, SECONDS)
        hosts = {job_attributes(site, job)["exec_host"] for job in submitted}
        assert hosts == {f"{NODE}/0", f"{NODE}/1"}
        (first, (pin,)), (second, (mapped,)) = (bound(domain(site, job)) for job in submitted)
        assert first
        assert second
        assert not first & second
        assert pin <= first
        assert mapped == {min(second)}
    finally:
        for job in submitted:
            delete(site, job)
        for job in submitted:
            wait_for_state(site, job, seconds=SECONDS)
        site.run(HEAD, ["qmgr", "-c", f"set node {NODE} np = {size}"])
