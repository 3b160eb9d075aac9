"""Hand-overs for libvirts that refuse: what is told, and what is undone. The rest is in ``tests/lab``."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from nornir_torque_vm.errors import HypervisorError, StateError, StorageError
from nornir_torque_vm.storage import Kind, run_state, sealed
from nornir_torque_vm.storage.sealed import SealedFile

NO_POOL, SYSTEM_ERROR, OPERATION_INVALID = 49, 38, 55
DIRECTORY = "/run/torque-vm/handover"
JOB = "17[3].head"
COPY = f"{JOB}+given"


def refusal(code: int, number: int = 0) -> Exception:
    import libvirt

    error: Exception = libvirt.libvirtError("no")
    error.err = (code, 18, "no", 2, None, None, None, number, -1)  # type: ignore[attr-defined]
    return error


class Libvirt:
    """A connection, its pools and volumes in one: writes down what is asked, and refuses one thing."""

    def __init__(
        self, refused: str = "", error: Exception | None = None, pools: tuple[str, ...] = ()
    ) -> None:
        self.refused, self.error, self.pools, self.asked = refused, error, pools, list[str]()

    def storagePoolLookupByName(self, name: str) -> Libvirt:  # noqa: N802
        if name not in self.pools and name != "torque-vm-handover":
            raise refusal(NO_POOL)
        return self

    def isPersistent(self) -> bool:  # noqa: N802
        return False

    def isActive(self) -> bool:  # noqa: N802
        return True

    def __getattr__(self, name: str) -> Any:
        def ask(*_: Any) -> Libvirt:
            self.asked.append(name)
            if name == self.refused and self.error is not None:
                raise self.error
            return self

        return ask


class Around:
    """The directory around: what is in it, and what was done there."""

    there: tuple[str, ...] = ()

    def __init__(self, conn: Libvirt, directory: str, *, node: str, kind: Kind) -> None:
        self.conn, self.directory, self.node, self.pool = conn, directory, node, kind.pool

    def path(self, name: str) -> str:
        return f"{self.directory}/{name}"

    def names(self, prefix: str) -> list[str]:
        return [name for name in self.there if name.startswith(prefix)]

    def put(self, name: str, data: bytes) -> None:
        self.conn.asked.append(f"put {name} {data.decode()}")

    def remove(self, name: str) -> bool:
        from nornir_torque_vm.connections.libvirt import mapped

        self.conn.asked.append(f"remove {name}")
        if self.conn.refused == f"remove {name}" and self.conn.error is not None:
            with mapped(self.node):
                raise self.conn.error
        return name in self.there


@pytest.fixture(autouse=True)
def around(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed, "VolumeStorage", Around)


def hand_over(conn: Libvirt) -> SealedFile:
    return SealedFile(conn, DIRECTORY, JOB, "given", copy=COPY, kind=run_state("handover"), node="n2")


def test_the_directory_is_opened_when_it_is_in_no_pool_any_more() -> None:
    """And only then; what was uploaded is gone by then."""
    conn = Libvirt()
    hand_over(conn).give(b"text", (1, 2))
    assert conn.asked == [
        "createXML", f"put {COPY} text", "storagePoolCreateXML", "storageVolLookupByName", "createXMLFrom",
        f"remove {COPY}", "destroy", "storagePoolDefineXML", "build", "undefine",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "step", ["createXML", "storagePoolCreateXML", "createXMLFrom", "destroy", "storagePoolDefineXML", "build"]
)
def test_what_was_made_is_undone_and_nothing_is_opened(step: str) -> None:
    """Whatever is refused; the pool that was defined goes, too."""
    conn = Libvirt(step, refusal(SYSTEM_ERROR, errno.EIO))
    with pytest.raises(HypervisorError, match=r"^node n2: no$"):
        hand_over(conn).give(b"text", (1, 2))
    undone = [] if step == "createXML" else [f"remove {COPY}", "delete"]
    assert conn.asked[len(conn.asked) - len(undone) :] == undone
    assert ("build" in conn.asked) == (step == "build")
    assert ("undefine" in conn.asked) == (step == "build")


def test_a_full_disk_is_called_one() -> None:
    """Not libvirt's fault."""
    conn = Libvirt("createXMLFrom", refusal(SYSTEM_ERROR, errno.ENOSPC))
    with pytest.raises(StorageError, match=f"no space is left on the file system of {DIRECTORY}"):
        hand_over(conn).give(b"text", (1, 2))


def test_a_directory_that_is_there_gets_no_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner may have written into what is in it."""
    monkeypatch.setattr(Around, "there", (JOB,))
    conn = Libvirt()
    with pytest.raises(StateError) as caught:
        hand_over(conn).give(b"text", (1, 2))
    assert str(caught.value) == (
        f"node n2: {DIRECTORY}/{JOB} is there already; remove it there: torque-vm reap --job {JOB}"
    )
    assert conn.asked == []


def test_a_directory_of_a_hand_over_that_was_given_is_left_to_its_node() -> None:
    """Libvirt removes empty ones; another refusal is told."""
    for number in (errno.ENOTEMPTY, errno.EIO):
        conn = Libvirt(f"remove {JOB}", refusal(SYSTEM_ERROR, number))
        if number == errno.ENOTEMPTY:
            assert hand_over(conn).withdraw() is False
        else:
            with pytest.raises(HypervisorError):
                hand_over(conn).withdraw()
        assert conn.asked == [f"remove {COPY}", f"remove {JOB}"]


def test_pools_that_were_left_are_closed_before_anything_else() -> None:
    """Those of this job."""
    conn = Libvirt(pools=(f"torque-vm-handover-{JOB}", f"torque-vm-handover-{JOB}+open"))
    hand_over(conn).withdraw()
    assert conn.asked[:3] == ["destroy", "destroy", f"remove {COPY}"]
