"""How virConnects are opened: in order, kept alive, not too many at once, silently, cheaply."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import threading
import time
import types
from collections.abc import Iterator

import pytest
from libvirt_kit import connect, domains, limit, write_node
from nornir_kit import eventually, nornir_of

from nornir_torque_vm.connections import virconnect
from nornir_torque_vm.connections.libvirt import lease
from nornir_torque_vm.connections.virconnect import endpoint, is_own_world, is_test, pool
from nornir_torque_vm.errors import DeadlineExceeded

KEPT_ALIVE = f"keepalive {virconnect.KEEPALIVE_INTERVAL} {virconnect.KEEPALIVE_COUNT}"


@pytest.fixture(autouse=True)
def _no_connection_is_left() -> Iterator[None]:
    yield
    pool.close_all()


class FakeLibvirt:
    """Records in which order the library is used, and how many opens happen at once."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.opening = self.most = 0
        self.lock, self.gate = threading.Lock(), threading.Event()
        self.module = types.SimpleNamespace(
            libvirtError=OSError,
            registerErrorHandler=lambda handler, context: self.calls.append("silence"),
            virEventRegisterDefaultImpl=lambda: self.calls.append("event loop"),
            virEventRunDefaultImpl=self.fail,
            open=self.open,
        )
        self.connection = types.SimpleNamespace(
            setKeepAlive=lambda interval, count: self.calls.append(f"keepalive {interval} {count}"),
            isAlive=lambda: 1,
            close=lambda: self.calls.append("close"),
        )

    def fail(self) -> None:
        raise OSError("poll failed")

    def open(self, uri: str) -> types.SimpleNamespace:
        with self.lock:
            self.calls.append("open")
            self.opening += 1
            self.most = max(self.most, self.opening)
        self.gate.wait(5)
        with self.lock:
            self.opening -= 1
        return self.connection


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeLibvirt:
    made = FakeLibvirt()
    monkeypatch.setattr(virconnect, "_library", [])
    monkeypatch.setattr(virconnect, "_gates", {})
    monkeypatch.setitem(sys.modules, "libvirt", made.module)
    return made


def test_silence_and_event_loop_come_first_and_once_then_keepalive_before_any_use(fake: FakeLibvirt) -> None:
    """Without keepalive even dropping a connection to a frozen daemon blocks for ever."""
    fake.gate.set()
    first = connect("qemu+ssh://root@n1/system")
    assert fake.calls == ["silence", "event loop", "open", "keepalive 10 12"]
    connect("qemu+ssh://root@n2/system")
    assert fake.calls[4:] == ["open", "keepalive 10 12"]
    first.close()
    assert eventually(lambda: fake.calls[6:] == ["close"])


def test_the_test_driver_is_not_kept_alive(fake: FakeLibvirt) -> None:
    """It has no daemon and refuses."""
    fake.gate.set()
    connect("test:///default")
    assert fake.calls == ["silence", "event loop", "open"]


def test_at_most_eight_connections_to_an_endpoint_are_opened_at_once(fake: FakeLibvirt) -> None:
    """Sshd drops logins beyond ten unauthenticated ones, at random."""

    def use() -> None:
        with lease("qemu+ssh://root@n1/system?keyfile=a"):
            pass

    threads = [threading.Thread(target=use) for _ in range(20)]
    for thread in threads:
        thread.start()
    assert eventually(lambda: fake.opening == 8)
    other = threading.Thread(target=lambda: connect("qemu+ssh://root@n2/system"))
    other.start()
    assert eventually(lambda: fake.opening == 9)
    fake.gate.set()
    for thread in (*threads, other):
        thread.join()
    assert (fake.calls.count("open"), fake.most) == (21, 9)


def test_an_open_that_queued_too_long_is_not_begun(fake: FakeLibvirt) -> None:
    """When a node comes back, those who gave up do not storm it."""
    uri = "qemu+ssh://root@n1/system"
    held = [threading.Thread(target=lambda: lease(uri).__enter__()) for _ in range(8)]
    for thread in held:
        thread.start()
    assert eventually(lambda: fake.opening == 8)
    with limit(0.1), pytest.raises(DeadlineExceeded):
        connect(uri)
    fake.gate.set()
    for thread in held:
        thread.join()
    time.sleep(0.05)
    assert fake.calls.count("open") == 8


@pytest.mark.parametrize(
    ("uri", "test", "own_world", "who"),
    [
        ("test:///default", True, False, "test"),
        ("test:///default?x=1", True, False, "test"),
        ("test:///tmp/n1.xml", True, True, "test"),
        ("test+ssh://n1/default", False, False, "n1"),
        ("test://n1/default", False, False, "n1"),
        ("qemu:///system", False, False, "qemu"),
        ("qemu+ssh://root@n1:2222/system?keyfile=/k", False, False, "n1:2222"),
        ("qemu+tls://n1/system?pkipath=/p", False, False, "n1"),
    ],
)
def test_uris_tell_the_driver_and_whom_they_contact(uri: str, test: bool, own_world: bool, who: str) -> None:
    """Limits are per endpoint, whatever the transport's parameters are."""
    assert (is_test(uri), is_own_world(uri), endpoint(uri)) == (test, own_world, who)


def test_libvirt_prints_nothing_of_its_own(tmp_path: pathlib.Path) -> None:
    """The binding writes each error to stderr unless told otherwise; a hook's stderr is the user's."""
    script = (
        "import sys\n"
        "from nornir_torque_vm.connections.libvirt import lease\n"
        "try: lease(sys.argv[1]).__enter__()\n"
        "except Exception as error: print(type(error).__name__)\n"
    )
    argv = [sys.executable, "-c", script, f"qemu+unix:///system?socket={tmp_path}/nobody"]
    done = subprocess.run(argv, capture_output=True, check=True, text=True)
    assert (done.stdout, done.stderr) == ("HypervisorUnreachable\n", "")


def test_a_thousand_file_nodes_are_cheap(tmp_path: pathlib.Path) -> None:
    """Less than 1 ms of CPU for each node, its connection, one call and the end included."""
    uris = {f"n{n}": write_node(tmp_path, f"n{n}") for n in range(1000)}
    nornir = nornir_of(uris, uris=uris)
    connect("test:///default").close()  # the import of libvirt is not what we measure
    began = time.process_time()
    assert not nornir.run(domains).failed
    nornir.close_connections()
    assert time.process_time() - began < 1.0
