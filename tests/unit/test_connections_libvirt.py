"""The libvirt connection: one virConnect per URI and few hosts, never waited for too long."""

from __future__ import annotations

import pathlib
import socket
import sys
import time
from collections.abc import Iterator

import pytest
from libvirt_kit import connect, create, domains, limit, write_node
from nornir_kit import nornir_of

from nornir_torque_vm.connections import pool as pool_module
from nornir_torque_vm.connections import virconnect
from nornir_torque_vm.connections.libvirt import LibvirtConnection, lease, map_error, mapped
from nornir_torque_vm.connections.virconnect import pool
from nornir_torque_vm.errors import (
    DeadlineExceeded,
    HypervisorError,
    HypervisorUnreachable,
    InventoryError,
)
from nornir_torque_vm.report import Report, Status
from nornir_torque_vm.runners.deadline import DeadlineRunner


@pytest.fixture(autouse=True)
def _no_connection_is_left() -> Iterator[None]:
    yield
    pool.close_all()


@pytest.fixture
def node_uri(tmp_path: pathlib.Path) -> str:
    """A hypervisor of its own, in a file."""
    return write_node(tmp_path, "n1")


@pytest.fixture
def frozen(tmp_path: pathlib.Path) -> Iterator[str]:
    """The URI of a daemon that accepts connections and never answers, as one under SIGSTOP does."""
    path = tmp_path / "libvirt.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(8)
        yield f"qemu+unix:///system?socket={path}"


# --- what a task gets ------------------------------------------------------------------------------


def test_a_task_gets_a_real_virconnect(node_uri: str) -> None:
    """Not a wrapper: whatever libvirt can do, a task can."""
    import libvirt

    connection = connect(node_uri).connection
    assert isinstance(connection, libvirt.virConnect)
    assert connection.getURI() == node_uri


def test_hosts_of_one_node_see_the_same_hypervisor(tmp_path: pathlib.Path) -> None:
    """A node and its guests are hosts of their own and meet on one libvirt; other nodes are apart."""
    uris = {name: write_node(tmp_path, name[:2]) for name in ("n1", "n1g0", "n1g1", "n2", "n2g0")}
    nornir = nornir_of(uris, uris=uris)
    nornir.filter(filter_func=lambda host: host.name.endswith("g0")).run(create)
    seen = {host: multi[0].result for host, multi in nornir.run(domains).items()}
    assert seen == {
        "n1": ["on-n1g0"], "n1g0": ["on-n1g0"], "n1g1": ["on-n1g0"], "n2": ["on-n2g0"], "n2g0": ["on-n2g0"],
    }  # fmt: skip


def test_what_a_file_node_holds_survives_the_end_of_its_hosts(node_uri: str) -> None:
    """The next Nornir object of the process finds it, as it would on a daemon; close_all wipes it."""
    for task, found in ((create, None), (domains, ["on-h0"])):
        nornir = nornir_of(["h0"], uris={"h0": node_uri})
        result = nornir.run(task)
        nornir.close_connections()
        assert result["h0"][0].result == found
    pool.close_all()
    assert nornir_of(["h0"], uris={"h0": node_uri}).run(domains)["h0"][0].result == []


def test_the_default_test_hypervisor_is_fresh_for_whoever_comes_next() -> None:
    """Nothing lasts that libvirt itself would forget."""
    uris = {"h0": "test:///default"}
    nornir = nornir_of(uris, uris=uris)
    nornir.run(create)
    nornir.close_connections()
    assert pool.count("test:///default") == 0
    assert nornir_of(uris, uris=uris).run(domains)["h0"][0].result == ["test"]


def test_sixteen_hosts_of_a_node_use_four_connections() -> None:
    """Four share one; libvirtd serves five requests of a connection at a time."""
    uris = {f"g{n}": "test:///default" for n in range(16)}
    nornir = nornir_of(uris, DeadlineRunner(num_workers=16), uris=uris)
    assert not nornir.run(domains).failed
    assert pool.count("test:///default") == 4
    nornir.close_connections()
    assert pool.count("test:///default") == 0


def test_the_number_of_connections_per_node_can_be_set() -> None:
    """The sshd behind a URI may allow fewer."""
    uris = {f"g{n}": "test:///default" for n in range(16)}
    assert not nornir_of(uris, uris=uris, max_connections=2).run(domains).failed
    assert pool.count("test:///default") == 2


def test_a_connection_that_was_lost_is_opened_anew(node_uri: str) -> None:
    """Teardown must work on a node whose daemon was restarted during the job."""
    host = connect(node_uri)
    before = host.connection
    assert host.connection is before
    pool.close_all()
    assert host.connection is not before
    assert host.connection.isAlive()
    host.close()
    host.close()
    with pytest.raises(HypervisorError, match="node n1: the libvirt connection is not open"):
        _ = host.connection


def test_a_lease_is_an_own_connection() -> None:
    """For long calls that should not queue behind those of other hosts."""
    with lease("test:///default") as mine, lease("test:///default") as other:
        assert mine is not other
        assert pool.count("test:///default") == 0
    assert mine.isAlive.__self__ is mine
    with pytest.raises(Exception, match="invalid connection pointer"):
        mine.listAllDomains()


def test_a_lease_of_a_file_node_is_the_shared_connection(node_uri: str) -> None:
    """A second one would not see its domains."""
    host = connect(node_uri)
    with lease(node_uri) as mine:
        assert mine is host.connection
    assert host.connection.isAlive()


# --- failures --------------------------------------------------------------------------------------


def test_a_daemon_that_is_not_there_is_unreachable(tmp_path: pathlib.Path) -> None:
    """One line that says where, why and what to do."""
    with pytest.raises(HypervisorUnreachable) as caught:
        connect(f"qemu+unix:///system?socket={tmp_path}/nobody")
    assert caught.value.code == 38
    assert str(caught.value) == (
        f"node n1: cannot open qemu+unix:///system: Failed to connect socket to '{tmp_path}/nobody': "
        "No such file or directory; check that libvirtd runs there and that this host may connect to it"
    )


def test_a_frozen_daemon_makes_its_host_late_and_no_other(frozen: str) -> None:
    """libvirt.open has no timeout of its own and would block for ever."""
    uris = {"frozen": frozen, "fine": "test:///default"}
    began = time.monotonic()
    results = nornir_of(uris, DeadlineRunner(run_timeout=0.4), uris=uris).run(domains)
    assert 0.4 <= time.monotonic() - began < 1.4
    assert [entry.status for entry in Report.from_results(results).hosts] == [Status.LATE, Status.OK]


def test_a_frozen_daemon_is_unreachable_where_there_is_no_deadline(
    frozen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plain script with Nornir's own runner gets an answer as well."""
    monkeypatch.setattr(pool_module, "OPEN_TIMEOUT", 0.2)
    for opening in (lambda: connect(frozen), lambda: lease(frozen, "n1").__enter__()):
        with pytest.raises(HypervisorUnreachable, match=r"node n1: qemu\+unix:///system did not answer"):
            opening()
    assert pool.count(frozen) == 0


def test_an_open_that_the_deadline_ends_is_late(frozen: str) -> None:
    """The status of such a host is late, not failed."""
    with limit(0.2), pytest.raises(DeadlineExceeded, match=r"late in opening qemu\+unix:///system$"):
        connect(frozen)


def test_a_host_without_uri_is_the_inventorys_fault() -> None:
    """Instead of libvirt's own guess at some local hypervisor."""
    for extras in (None, {}, {"uri": ""}):
        with pytest.raises(InventoryError, match="node n1: the libvirt connection has no uri"):
            LibvirtConnection().open("n1", None, None, None, None, extras)


def test_a_missing_binding_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A submit host has no libvirt-python, and need not."""
    monkeypatch.setattr(virconnect, "_library", [])
    monkeypatch.setitem(sys.modules, "libvirt", None)
    with pytest.raises(HypervisorError, match="libvirt-python is not installed; pip install"):
        connect("test:///default")


class FakeLibvirtError(Exception):
    """A libvirtError with the three things we look at."""

    def __init__(self, code: int | None, domain: int | None, message: str) -> None:
        super().__init__(f"{message} (long)")
        self.code, self.domain, self.message = code, domain, message

    def get_error_code(self) -> int | None:
        return self.code

    def get_error_domain(self) -> int | None:
        return self.domain

    def get_error_message(self) -> str:
        return self.message


@pytest.mark.parametrize(
    ("code", "domain", "message", "unreachable"),
    [
        (38, 7, "unable to connect to server at 'a2:16514': Connection refused", True),
        (39, 7, "Cannot write data: Broken pipe", True),
        (45, 7, "authentication failed: Failed to verify peer's certificate", True),
        (1, 7, "internal error: client socket is closed", True),
        (1, 13, "internal error: connection closed due to keepalive timeout", True),
        (85, 50, "SSH transport error: Remote command terminated with non-zero code: 1", True),
        (38, 0, "Cannot get interface MTU on 'br-none': No such device", False),
        (38, 18, "cannot write data: No space left on device", False),
        (42, 10, "Domain not found", False),
        (55, 10, "Requested operation is not valid: domain is not running", False),
        (1, 10, "internal error: process exited while connecting to monitor", False),
    ],
)
def test_errors_are_judged_by_code_and_domain(
    code: int, domain: int, message: str, unreachable: bool
) -> None:
    """Code 38 is a missing bridge as well as a missing daemon; the domain tells them apart."""
    error = map_error(FakeLibvirtError(code, domain, message + ".\n"), node="n1", guest="j1-r0")
    assert isinstance(error, HypervisorUnreachable) is unreachable
    assert (error.code, error.what, error.node, error.guest) == (code, message, "n1", "j1-r0")


def test_a_refused_credential_hints_at_credentials() -> None:
    """Where to look differs from a daemon that is down."""
    assert "key or certificate" in str(map_error(FakeLibvirtError(45, 7, "authentication failed")))
    assert "key or certificate" not in str(map_error(FakeLibvirtError(39, 7, "broken")))


def test_an_error_that_libvirt_forgot_to_fill_in_keeps_its_text() -> None:
    """The binding raises such ones when it fails itself."""
    assert map_error(FakeLibvirtError(None, None, "")).what == "(long)"
    assert map_error(ValueError("odd")).what == "odd"


def test_calls_in_a_block_have_their_errors_mapped(node_uri: str) -> None:
    """And only libvirt's."""
    conn = connect(node_uri).connection
    with pytest.raises(HypervisorError, match="node n1: Domain not found") as caught, mapped("n1"):
        conn.lookupByName("nobody")
    assert caught.value.code == 42
    with pytest.raises(KeyError), mapped("n1"):
        raise KeyError("mine")
