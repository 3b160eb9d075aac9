"""Hand-overs on a real libvirtd: whatever their owners make of them, nobody looks into them as root."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import libvirt
import pytest
from hostile_disk import trap

from nornir_torque_vm.connections.virconnect import library
from nornir_torque_vm.errors import HypervisorError, StateError
from nornir_torque_vm.lab import Lab
from nornir_torque_vm.storage import run_state
from nornir_torque_vm.storage.sealed import SealedFile

pytestmark = pytest.mark.lab

DIRECTORY = "/run/torque-vm/test-sealed"
NODE = "node1"
FIFO = "/var/tmp/trap-sealed"
KIND = run_state("test-sealed")
JOB, OTHER = "17[3].head", "18.head"
COPY = f"{JOB}+given"
ALICE = (2001, 2002)
SECONDS = 20.0
"""What takes longer waits for the FIFO."""


class Node:
    """The libvirtd of a node, reached by its socket."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.root = lab, lab.root(NODE)
        self.files = self.root / DIRECTORY[1:]
        self.uri = f"qemu+unix:///system?socket={self.root}/run/libvirt/libvirt-sock"
        self.conn = library().open(self.uri)

    def of(self, job: str) -> SealedFile:
        return SealedFile(self.conn, DIRECTORY, job, "given", copy=f"{job}+given", kind=KIND, node=NODE)

    def pools(self) -> list[str]:
        """Ours, active or not."""
        return sorted(
            name for pool in self.conn.listAllStoragePools() if (name := pool.name()).startswith(KIND.pool)
        )

    def there(self) -> dict[str, int]:
        """What lies there, with the modes."""
        found = sorted(self.files.rglob("*"))
        return {str(path.relative_to(self.files)): path.lstat().st_mode & 0o777 for path in found}

    def as_alice(self, script: str) -> str:
        """What a shell of the owner's says."""
        words = ["setpriv", "--reuid=2001", "--regid=2002", "--clear-groups", "sh", "-c", script]
        return self.lab.run(NODE, words, check=False).stdout

    def forget(self) -> None:
        for name in self.pools():
            pool = self.conn.storagePoolLookupByName(name)
            for step in (pool.destroy, pool.undefine):
                with contextlib.suppress(libvirt.libvirtError):
                    step()
        self.lab.run(NODE, ["rm", "-rf", DIRECTORY])


@pytest.fixture
def node(lab: Lab) -> Iterator[Node]:
    made = Node(lab)
    made.forget()
    yield made
    made.forget()
    made.conn.close()


def in_time(action: Callable[[], object]) -> None:
    """Do something that must not hang."""
    ended: list[BaseException | None] = []

    def run() -> None:
        try:
            action()
        except BaseException as error:  # noqa: BLE001 - told by the other thread
            ended.append(error)
        else:
            ended.append(None)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(SECONDS)
    assert ended, "it hangs"
    if ended[0] is not None:
        raise ended[0]


def test_its_owner_alone_can_read_it_and_no_pool_is_left(node: Node) -> None:
    """Beside it there is nothing; nor is there of another one."""
    text = b"{" + b"x" * 70_001 + b"}\n"
    node.of(JOB).give(text, ALICE)
    node.of(OTHER).give(b"{}", (2003, 2003))
    path = node.files / JOB / "given"
    assert path.read_bytes() == text
    assert node.there() == {JOB: 0o711, f"{JOB}/given": 0o400, OTHER: 0o711, f"{OTHER}/given": 0o400}
    status = path.stat()
    assert (status.st_uid, status.st_gid, path.parent.stat().st_uid) == (*ALICE, 0)
    assert node.pools() == [KIND.pool]
    assert node.as_alice(f"wc -c <'{DIRECTORY}/{JOB}/given'") == f"{len(text)}\n"
    assert node.as_alice(f"ls '{DIRECTORY}/{JOB}' || cat {DIRECTORY}/{OTHER}/given") == ""


def test_a_file_that_its_owner_has_written_holds_nobody_up(node: Node) -> None:
    """A header that leads to a FIFO: for the next hand-over, a look at the pool, a removal."""
    node.of(JOB).give(b" " * 4096, ALICE)
    with trap(node.root, FIFO) as lure:
        lure_at = node.root / "var/tmp/lure"
        lure_at.write_bytes(lure)
        lure_at.chmod(0o644)
        given = f"'{DIRECTORY}/{JOB}/given'"
        assert node.as_alice(f"chmod 600 {given} && cat /var/tmp/lure >{given} && echo done") == "done\n"
        in_time(lambda: node.of(OTHER).give(b"x" * 1000, ALICE))
        in_time(lambda: node.conn.storagePoolLookupByName(KIND.pool).refresh())
        in_time(lambda: node.of(OTHER).close())

        def again() -> None:
            with pytest.raises(StateError, match="is there already"):
                node.of(JOB).give(b"x", ALICE)

        in_time(again)
        in_time(lambda: node.of(JOB).withdraw())
        in_time(node.pools)
    assert (node.files / JOB / "given").read_bytes() == lure
    assert node.pools() == [KIND.pool]


def test_one_that_is_there_is_not_touched(node: Node) -> None:
    """Nobody knows what is in it. Only its node removes it; then, at once, there can be another."""
    node.of(JOB).give(b"first", ALICE)
    with pytest.raises(StateError) as caught:
        node.of(JOB).give(b"second", ALICE)
    hint = f"remove it there: torque-vm reap --job {JOB}"
    assert str(caught.value) == f"node {NODE}: {DIRECTORY}/{JOB} is there already; {hint}"
    assert node.of(JOB).withdraw() is False
    assert (node.files / JOB / "given").read_bytes() == b"first"
    node.lab.run(NODE, ["rm", "-r", f"{DIRECTORY}/{JOB}"])
    node.of(JOB).give(b"second", ALICE)
    assert (node.files / JOB / "given").read_bytes() == b"second"


STEPS = (
    "virStoragePool.createXML", "virStorageVol.upload", "virConnect.storagePoolCreateXML",
    "virStoragePool.createXMLFrom", "virStoragePool.destroy", "virConnect.storagePoolDefineXML",
    "virStoragePool.build", "virStoragePool.undefine",
)  # fmt: skip


def test_what_a_step_refuses_leaves_nothing_behind_that_libvirt_can_remove(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing open: from the definition on the node has to remove what is there."""
    node.of(OTHER).give(b"x", ALICE)
    for step in STEPS:
        place, _, name = step.partition(".")
        real, failed = getattr(getattr(libvirt, place), name), list[int]()

        def refused(*words: Any, real: Any = real, failed: list[int] = failed) -> Any:
            if failed:
                return real(*words)
            failed.append(1)
            raise libvirt.libvirtError("no")

        with monkeypatch.context() as patched:
            patched.setattr(getattr(libvirt, place), name, refused)
            with pytest.raises(HypervisorError):
                node.of(JOB).give(b"x", ALICE)
        assert failed, step
        assert node.pools() == [KIND.pool], step
        left = {name: mode for name, mode in node.there().items() if not name.startswith(OTHER)}
        if step.endswith(("destroy", "storagePoolDefineXML", "build")):
            assert left == {JOB: 0o700, f"{JOB}/given": 0o400}, step
        elif step.endswith("undefine"):
            assert left == {JOB: 0o711, f"{JOB}/given": 0o400}
        else:
            assert left == {}, step
        node.lab.run(NODE, ["rm", "-rf", f"{DIRECTORY}/{JOB}"])


def die_at(uri: str, step: str) -> None:
    """What a process does that is killed before it takes a step."""
    place, _, name = step.partition(".")
    setattr(getattr(libvirt, place), name, lambda *_: os._exit(9))
    SealedFile(library().open(uri), DIRECTORY, JOB, "given", copy=COPY, kind=KIND).give(b"x", ALICE)


@pytest.mark.parametrize("step", STEPS)
def test_whoever_is_killed_on_the_way_leaves_a_closed_directory_or_one_without_a_pool(
    node: Node, step: str
) -> None:
    """And the next attempt, when the node has removed that, is not hindered."""
    node.of(OTHER).give(b"x", ALICE)
    process = multiprocessing.get_context("spawn").Process(target=die_at, args=(node.uri, step))
    process.start()
    process.join()
    assert process.exitcode == 9
    active = [name for name in node.pools() if node.conn.storagePoolLookupByName(name).isActive()]
    assert active == [KIND.pool] or node.there()[JOB] == 0o700
    assert node.there().get(JOB) == (None if step == STEPS[0] else 0o711 if step == STEPS[-1] else 0o700)
    node.lab.run(NODE, ["rm", "-rf", f"{DIRECTORY}/{JOB}"])
    node.of(JOB).give(b"next", ALICE)
    assert (node.files / JOB / "given").read_bytes() == b"next"
    assert node.pools() == [KIND.pool]
    assert node.there() == {JOB: 0o711, f"{JOB}/given": 0o400, OTHER: 0o711, f"{OTHER}/given": 0o400}
