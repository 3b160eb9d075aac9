"""Jobs with guests on the lab's TORQUE, as users submit them, and what they leave on any host."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from driving import leftovers
from remains import ENDING_SECONDS, assert_nothing_left, domains, left_of
from submission_kit import FRONT, SubmitHost
from torque_kit import configure_mom, delete, eventually, job_attributes, qsub, restore_mom, wait_for_state

from nornir_torque_vm.driver.deploy import deploy_hooks
from nornir_torque_vm.identity import job_slug
from nornir_torque_vm.lab import HEAD, Lab
from nornir_torque_vm.lab.files import SPOOL, USER

GUEST_SECONDS = 180.0
"""How long a job with guests may take from its submission to its end; they are emulated."""
SMALL = "vcpus=1,ram=192M"
NOTE = 'uname -n >>"$HOME/where-$PBS_JOBID"\n'
"""First line of scripts that must not run on a node; see :func:`hosts_noted`."""


@contextlib.contextmanager
def hooked(lab: Lab) -> Iterator[None]:
    """Hooks and job starter on all nodes for a while, as a site has them."""
    folders = {node: mom_priv(lab, node) for node in lab.node_names}
    there = {node: {path.name for path in folder.iterdir()} for node, folder in folders.items()}
    configs = {node: (folder / "config").read_text() for node, folder in folders.items()}
    try:
        for node, folder in folders.items():
            line = f"$job_starter {deploy_hooks(lab.root(node))}"
            configure_mom(lab, node, *([] if line in (folder / "config").read_text() else [line]))
        yield
    finally:
        for node, folder in folders.items():
            restore_mom(lab, node, configs[node])
            for path in [path for path in folder.iterdir() if path.name not in there[node]]:
                path.unlink()


@pytest.fixture(scope="module")
def vm_lab(submit_host: SubmitHost) -> Iterator[Lab]:
    """The lab as a site that offers guests: wrapper and filter on the head, hooks and starter on the nodes.

    In the end nothing of any job may be left.
    """
    lab = submit_host.lab
    with hooked(lab), submit_host.filtered():
        yield lab
        eventually(lambda: leftovers(lab) == {}, ENDING_SECONDS)
        for node in lab.node_names:
            assert list((lab.root(node) / "tmp").glob("torque-vm-*")) == []


def mom_priv(lab: Lab, node: str) -> Path:
    """A MOM's directory, as seen from here."""
    return lab.root(node) / SPOOL[1:] / "mom_priv"


def submit(
    lab: Lab,
    script: str,
    *words: str,
    nodes: str = "1",
    guests: int = 1,
    image: str = "",
    program: str = FRONT,
) -> str:
    """Submit a job through the wrapper, with this many guests on each node; return its id.

    :param image: name of the guests' image, when it is not the site's own.
    """
    request = f"{SMALL},vms_per_node={guests}" + (f",img={image}" if image else "")
    text = f"#!/bin/sh\n{script}\n"
    return qsub(lab, ["-l", f"nodes={nodes}", "-vm", request, *words], script=text, program=program)


def number(job_id: str) -> str:
    """What a job's guests are named after, ``17`` or ``17-3``."""
    return job_slug(job_id)


def guest_names(job_id: str, count: int) -> list[str]:
    """Host names of a job's guests, by rank."""
    return [f"j{number(job_id)}-r{rank}" for rank in range(count)]


def printed(lab: Lab, job_id: str) -> str:
    """What a job that runs has printed so far."""
    chief = job_attributes(lab, job_id).get("exec_host", "").partition("/")[0]
    path = lab.root(chief) / SPOOL[1:] / "spool" / f"{job_id}.OU" if chief else None
    return path.read_text() if path and path.exists() else ""


def await_printed(lab: Lab, job_id: str, text: str) -> None:
    """Wait until a job has printed a text."""
    eventually(lambda: text in printed(lab, job_id), GUEST_SECONDS)


def hosts_noted(lab: Lab, job_id: str) -> list[str]:
    """Nodes on which a script that begins with :data:`NOTE` ran; none, if it ran in guests or not at all."""
    path = lab.root(HEAD) / USER.home[1:] / f"where-{job_id}"
    words = path.read_text().split() if path.exists() else []
    return [word for word in words if word in lab.node_names]


@dataclasses.dataclass(frozen=True)
class Bystander:
    """A job on two nodes that nothing is done to, and what was there of it when it began."""

    lab: Lab
    job_id: str
    domains: dict[str, list[str]]

    def assert_untouched(self) -> None:
        """Make sure that it goes on as if nothing had happened: the same guests, and it still prints."""
        known = job_attributes(self.lab, self.job_id)
        assert (known["job_state"], known["start_count"]) == ("R", "1")
        assert domains(self.lab, self.job_id) == self.domains
        before = printed(self.lab, self.job_id)
        eventually(lambda: len(printed(self.lab, self.job_id)) > len(before))


@pytest.fixture(scope="module")
def bystander(vm_lab: Lab) -> Iterator[Bystander]:
    """Another job, on node1 and node2, during all tests of a module."""
    job = submit(vm_lab, "while echo on; do sleep 1; done", nodes="node1+node2")
    await_printed(vm_lab, job, "on")
    seen = " ".join(left_of(vm_lab, job))
    kinds = ("domain tvm-", "file run/torque-vm/handover/", "file var/lib/torque-vm/", "process ", "lease ")
    for kind in kinds:
        assert kind in seen, "else its absence later says nothing"
    found = Bystander(vm_lab, job, domains(vm_lab, job))
    yield found
    found.assert_untouched()
    delete(vm_lab, job)
    wait_for_state(vm_lab, job, seconds=GUEST_SECONDS)
    assert_nothing_left(vm_lab, job)
