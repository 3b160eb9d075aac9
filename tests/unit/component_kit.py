"""Components of other packages, installed for a test: the example, and what a test makes up."""

from __future__ import annotations

import importlib
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from topology_kit import GIB, Machine

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.model import Image, Job, Node, NodeFacts, Owner, Plan
from nornir_torque_vm.plan import make_plan
from nornir_torque_vm.request import Request

EXAMPLE = Path(__file__).parents[1] / "example_component"


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, project: Path = EXAMPLE) -> None:
    """Put a project's modules and what its pyproject.toml declares where an installer would."""
    about = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    for module in project.glob("*.py"):
        (folder / module.name).write_text(module.read_text())
    declare(folder, about["name"], about["entry-points"]["nornir_torque_vm.components"])
    monkeypatch.syspath_prepend(folder)


def declare(folder: Path, name: str, points: dict[str, str]) -> None:
    """Write the metadata of an installed distribution."""
    metadata = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = "".join(f"{key} = {value}\n" for key, value in points.items())
    (metadata / "entry_points.txt").write_text(f"[nornir_torque_vm.components]\n{lines}")


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The example component is installed."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    install(folder, monkeypatch)
    yield
    sys.modules.pop("torque_vm_notice", None)
    importlib.invalidate_caches()


JOB = Job("17.head", "head", Owner("alice", 2001, 2001, "users", "/home/alice"), nonce="0badcafe")
ROOM = NodeFacts(
    "n1", cpus=16, memory=64 * GIB, memory_free=0, domain_types={"x86_64": ("qemu", "kvm")},
    ramdisk=8 * GIB, topology=Machine(cells=2, cores=4, threads=2, numbering="far").topology(),
)  # fmt: skip
"""Sixteen processors; those of core n are n and n + 8."""


def slots(*indexes: int, np: int = 8) -> Node:
    """A node of which a job has these slots."""
    return Node("n1", len(indexes), indexes=indexes, np=np)


def plan_on(node: Node, *, settings: Settings, image: Image | None = None, **asked: Any) -> Plan:
    """The plan of a job that has this node, after a survey."""
    request = Request(**{"ram": GIB >> 2, **asked})
    return make_plan(request, settings, JOB, [node], image or Image("i", "/i"), {ROOM.node: ROOM})
