"""What a prologue asks TORQUE before it pins, and what it does about every kind of answer."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hook_kit import JOB, Site, ready

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import InventoryError, RequestError
from nornir_torque_vm.hooks import prologue, slots
from nornir_torque_vm.hooks.slots import joined, with_slots
from nornir_torque_vm.model import FileRef, Node
from nornir_torque_vm.request import Request

RAM = 64 << 20
NODES = (Node("node1", 2), Node("node2", 1))
EXEC_HOST = "node1/1,3+node2/0"


def told(exec_host: str) -> str:
    """What qstat says of the job."""
    return f"<Data><Job><Job_Id>{JOB}</Job_Id><exec_host>{exec_host}</exec_host></Job></Data>"


class Torque:
    """A qstat and a pbsnodes that print what they are told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "torque-bin"
        self.folder.mkdir()
        self.says("qstat", told(EXEC_HOST))
        nodes = "".join(f"<Node><name>node{n}</name><state>free</state><np>4</np></Node>" for n in (1, 2))
        self.says("pbsnodes", f"<Data>{nodes}</Data>")

    def says(self, name: str, text: str, *, err: str = "", code: int = 0, pause: float = 0) -> None:
        script = self.folder / name
        script.write_text(
            f"#!/bin/sh\nexec 3>&1\nsleep {pause}\ncat <<'E'\n{text}\nE\necho '{err}' >&2\nexit {code}\n"
        )
        script.chmod(0o755)

    def ask(self, nodes: tuple[Node, ...] = NODES, seconds: float = 30.0) -> tuple[tuple[Node, ...], str]:
        return with_slots(nodes, JOB, self.settings, Deadline.after(seconds))

    @property
    def settings(self) -> Settings:
        return Settings(real_qsub_on_nodes=str(self.folder / "qsub"))


@pytest.fixture
def torque(tmp_path: Path) -> Torque:
    return Torque(tmp_path)


def test_the_nodes_get_their_slots(torque: Torque) -> None:
    """In the nodefile's order, with the size of each node."""
    assert torque.ask() == (
        (Node("node1", 2, indexes=(1, 3), np=4), Node("node2", 1, indexes=(0,), np=4)), "",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "err", "code", "why"),
    [
        ("", "qstat: Unauthorized Request  17.head", 159, "qstat: Unauthorized Request  17.head"),
        ("", "", 1, "qstat ended with 1"),
        ("<Data/>", "", 0, "the answer is about another job"),
        ("<!DOCTYPE x><Data/>", "", 0, "the answer is not what qstat -x prints"),
        ("<Data", "", 0, "the answer is not XML"),
        (f"<Data><Job><Job_Id>{JOB}</Job_Id></Job></Data>", "", 0, "it does not say"),
        (
            told("node1/0"), "", 0,
            "the nodefile gives the job 2 slots of node1, exec_host 1 of 4",
        ),
    ],
)  # fmt: skip
def test_an_answer_that_does_not_tell_is_a_reason(
    torque: Torque, text: str, err: str, code: int, why: str
) -> None:
    """The nodes stay as they were; only who insists on being pinned is refused."""
    torque.says("qstat", text, err=err, code=code)
    assert torque.ask() == (NODES, f"the job's slots are not known: {why}")


def test_a_server_that_does_not_answer_costs_a_part_of_the_time_only(
    torque: Torque, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the hook may take."""
    monkeypatch.setattr(slots, "PATIENCE", 0.5)
    torque.says("pbsnodes", "", pause=60)
    before = time.monotonic()
    nodes, why = torque.ask(seconds=300)
    assert nodes == NODES
    assert "the server does not answer" in why
    assert time.monotonic() - before < 20


def test_contradictions_are_told_with_numbers() -> None:
    """A node that the server does not count has no slots to tell apart."""
    told = (Node("node1", 2, indexes=(0, 1)),)
    assert joined([Node("node1", 2)], told, {"node1": 2})[0].np == 2
    with pytest.raises(InventoryError, match="2 slots of node1, exec_host 2 of 0"):
        joined([Node("node1", 2)], told, {})
    with pytest.raises(InventoryError, match="1 slots of node9, exec_host 0 of 0"):
        joined([Node("node9", 1)], told, {"node1": 2})


@pytest.fixture
def site(tmp_path: Path, torque: Torque) -> Iterator[Site]:
    """One node of 16 processors where the job has slot 1 of 4: processors 4 to 7."""
    made = Site(tmp_path, ["node1"], real_qsub_on_nodes=torque.settings.real_qsub_on_nodes)
    torque.says("qstat", told("node1/1"))
    yield made
    made.close()


def run(site: Site, request: Request) -> list[dict[str, Any]]:
    """The placements that the prologue of a job with this request planned."""
    report = site.prologue(site.call(request.encode().removeprefix("vm1:")), ready)
    assert report.ok, report.sentences()
    return [guest["placement"] for guest in site.history("plan.json")["guests"]]


def test_a_job_is_pinned_to_its_slots(site: Site) -> None:
    """From what TORQUE tells to the plan."""
    (place,) = run(site, Request(vcpus=2, ram=RAM))
    assert place["vcpus"] == [[4], [5]]
    assert place["cpus"] == [4, 5, 6, 7]


def test_a_mapping_of_the_owners_counts(site: Site) -> None:
    """Read here and now, with the owner's rights."""
    mapping = site.folder / "map"
    mapping.write_text("0 0 3\n")
    ref = FileRef(str(mapping), hashlib.sha256(mapping.read_bytes()).hexdigest())
    (place,) = run(site, Request(vcpus=2, ram=RAM, vcpu_pinning=ref))
    assert place["vcpus"] == [[7], [4, 5, 6, 7]]


def test_a_mapping_that_changed_starts_nothing(site: Site) -> None:
    """Whatever it says by now."""
    mapping = site.folder / "map"
    mapping.write_text("0 0 3\n")
    with pytest.raises(RequestError, match="has changed since the job was submitted"):
        run(site, Request(ram=RAM, vcpu_pinning=FileRef(str(mapping), "0" * 64)))
    assert site.domains() == []


def test_who_insists_on_pinning_is_refused_where_nobody_tells(
    site: Site, torque: Torque, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default the guests float, and the log says why."""
    logged: list[str] = []
    monkeypatch.setattr(prologue, "log", lambda *words: logged.append(words[-1]))
    torque.says("qstat", "", err="qstat: no", code=1)
    (place,) = run(site, Request(vcpus=2, ram=RAM))
    assert (place["vcpus"], place["cpus"]) == ([], list(range(16)))
    assert (
        "guests are not pinned: TORQUE did not tell which of the node's slots the job has; "
        "the job's slots are not known: qstat: no"
    ) in "\n".join(logged)
    with pytest.raises(InventoryError, match="the guests cannot be pinned: TORQUE did not tell"):
        run(site, Request(vcpus=2, ram=RAM, vcpu_pinning=True))
