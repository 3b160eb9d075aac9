"""Plans, keys and hostile texts for the tests of what is rendered."""

from __future__ import annotations

import dataclasses
import functools
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from nornir_torque_vm.model import Guest, Image, Job, JobKeys, Node, Owner, Plan, Shape
from nornir_torque_vm.render.domain import GuestVolumes
from nornir_torque_vm.sshkeys import make_job_keys

ALICE = Owner("alice", 2001, 2002, "staff", "/home/alice", "/bin/bash", (("hpc", 3000), ("staff", 2002)))
IMAGE = Image("micro.qcow2", "/srv/torque-vm/images/micro.qcow2", virtual_size=1 << 30)
VOLUMES = GuestVolumes("/v/disk.qcow2", "/v/seed.iso", "/v/console.log")

legal = st.text(
    st.characters(exclude_categories=["Cs"]).filter(
        lambda char: (char >= " " or char in "\t\n\r") and char not in "\ufffe\uffff"
    ),
    max_size=40,
)
"""Any text that may be written down."""
illegal = st.characters(max_codepoint=31, exclude_characters="\t\n\r") | st.sampled_from(
    ["\ufffe", "\uffff", "\ud800", "\udfff"]
)
"""A character that may not."""


def cpu_seconds(action: Callable[[], object], times: int) -> float:
    """Processor time of one ``action``: the best of five series, so that a busy machine does not matter."""

    def series() -> float:
        began = time.thread_time()
        for _ in range(times):
            action()
        return (time.thread_time() - began) / times

    return min(series() for _ in range(5))


def parse_xml(text: str) -> ET.Element:
    """Read what we have just written."""
    return ET.fromstring(text)  # noqa: S314 - our own


def plan_of(guests: int = 2, owner: Owner = ALICE, image: Image = IMAGE, **shape: Any) -> Plan:
    """A plan of that many guests on one node; ``shape`` overrides fields of their shape."""
    made = Shape(**{"vcpus": 2, "ram": 192 << 20, **shape})
    return Plan(
        job=Job("17[3].head", "head.site", owner, attempt=2, nonce="c0ffee00"),
        nodes=(Node("node1", guests, "10.89.0.11"),),
        guests=tuple(
            Guest(
                name=f"j17-3-r{rank}", rank=rank, node="node1", index=rank, mac=f"02:00:00:00:00:{rank:02x}",
                uuid=f"0f0e0d0c-0b0a-8908-8706-0504030201{rank:02x}", domain=f"tvm-17-3-a2-r{rank}-01234567",
                shape=made,
            )
            for rank in range(guests)
        ),
        image=image,
    )  # fmt: skip


def owned_by(**changes: Any) -> Plan:
    """A plan whose owner differs from alice in these fields."""
    return plan_of(owner=dataclasses.replace(ALICE, **changes))


@functools.cache
def keys_for(guests: int = 2) -> JobKeys:
    """Keys for :func:`plan_of` that many guests, the same at every call."""
    return make_job_keys(guest.name for guest in plan_of(guests).guests)
