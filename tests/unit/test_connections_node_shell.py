"""Commands on a node over netmiko: strict host keys, exit status, one login for all who share a node."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from ssh_server import SshServer, free_port, mute_listener, private_key

from nornir_torque_vm import deadline
from nornir_torque_vm.connections import node_shell
from nornir_torque_vm.connections.command import CommandResult
from nornir_torque_vm.connections.node_shell import NodeShellConnection
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import DeadlineExceeded, NodeShellError

KEY = private_key()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A directory with our key in it."""
    directory = tmp_path_factory.mktemp("node_shell")
    (directory / "key").write_text(KEY)
    (directory / "key").chmod(0o600)
    return directory


@pytest.fixture(scope="module")
def server(files: pathlib.Path) -> Iterator[SshServer]:
    """One server for all tests here, known to the known_hosts file."""
    made = SshServer(accept=KEY)
    (files / "known_hosts").write_text(made.known_hosts)
    yield made
    made.stop()


@pytest.fixture(autouse=True)
def _no_login_is_left() -> Iterator[None]:
    yield
    node_shell.pool.close_all()


def connect(files: pathlib.Path, port: int, **extras: str) -> NodeShellConnection:
    options = {"key_file": str(files / "key"), "known_hosts": str(files / "known_hosts"), "node": "node1"}
    connection = NodeShellConnection()
    connection.open("127.0.0.1", "root", None, port, None, options | extras)
    return connection


def test_a_command_returns_its_status_and_both_streams(server: SshServer, files: pathlib.Path) -> None:
    """Netmiko alone knows neither status nor stderr."""
    shell = connect(files, server.port)
    assert shell.run(["sh", "-c", "echo out; echo err >&2; exit 7"]) == CommandResult(7, "out\n", "err\n")
    shell.close()


def test_arguments_arrive_as_they_are(server: SshServer, files: pathlib.Path) -> None:
    """The far side's shell gets each of them quoted."""
    nasty = ["$(reboot)", "a b", "'\"`", "*", "", "\\", "-n"]
    shell = connect(files, server.port)
    assert shell.run(["printf", "<%s>", *nasty]).stdout == "".join(f"<{text}>" for text in nasty)
    shell.close()


def test_hosts_of_one_node_share_a_login(server: SshServer, files: pathlib.Path) -> None:
    """Twenty guests that ask their node for its neighbours are one ssh login, not twenty."""
    before = server.logins
    shells: list[NodeShellConnection] = []
    results: list[str] = []

    def use() -> None:
        shell = connect(files, server.port)
        shells.append(shell)
        results.append(shell.run(["sh", "-c", "sleep 0.1; echo ok"]).stdout)

    threads = [threading.Thread(target=use) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == ["ok\n"] * 20
    assert server.logins == before + 1
    assert server.busiest <= node_shell.SESSIONS
    for shell in shells:
        shell.close()
    assert node_shell.pool.count(shells[0]._login) == 0


def test_a_lost_login_is_made_anew(server: SshServer, files: pathlib.Path) -> None:
    """A node's sshd may be restarted between two phases."""
    shell = connect(files, server.port)
    server.transports[-1].close()
    end = time.monotonic() + 5
    while shell._link is not None and shell._link.usable and time.monotonic() < end:
        time.sleep(0.01)
    assert shell.run(["echo", "again"]).stdout == "again\n"
    shell.close()


def test_an_unknown_host_key_is_refused(
    server: SshServer, files: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """Netmiko accepts every key by default; this connection none that is not pinned."""
    before = server.logins
    for content in ("", server.known_hosts.replace("127.0.0.1", "127.0.0.2")):
        (tmp_path / "known_hosts").write_text(content)
        with pytest.raises(NodeShellError, match=r"node node1: cannot log in .* not found in known_hosts"):
            connect(files, server.port, known_hosts=str(tmp_path / "known_hosts"))
    assert server.logins == before


def test_another_key_than_the_pinned_one_is_refused(server: SshServer, files: pathlib.Path,
                                                    tmp_path: pathlib.Path) -> None:  # fmt: skip
    """Somebody else answers at the node's address."""
    other = SshServer(accept=KEY)
    before = server.logins
    pinned = other.known_hosts.replace(str(other.port), str(server.port))
    (tmp_path / "known_hosts").write_text(pinned)
    with pytest.raises(NodeShellError, match=r"node node1: cannot log in .* does not match"):
        connect(files, server.port, known_hosts=str(tmp_path / "known_hosts"))
    assert server.logins == before
    other.stop()


def test_a_refused_login_names_what_to_check(server: SshServer, files: pathlib.Path,
                                             tmp_path: pathlib.Path) -> None:  # fmt: skip
    """One line: netmiko's own message has twelve."""
    (tmp_path / "key").write_text(private_key())
    with pytest.raises(NodeShellError) as caught:
        connect(files, server.port, key_file=str(tmp_path / "key"))
    sentence = str(caught.value)
    assert sentence.startswith(f"node node1: cannot log in as root@127.0.0.1:{server.port}: Authentication")
    assert sentence.endswith(
        "check node_shell_user, node_shell_key and node_shell_known_hosts in the settings"
    )
    assert "\n" not in sentence


@pytest.mark.parametrize("role", ["key_file", "known_hosts"])
def test_a_missing_file_is_named(files: pathlib.Path, role: str) -> None:
    """Netmiko would ignore a missing known_hosts, and fail obscurely on a missing key."""
    with pytest.raises(NodeShellError, match="file /nowhere/x does not exist"):
        connect(files, free_port(), **{role: "/nowhere/x"})


def test_a_node_that_refuses_fails_at_once(server: SshServer, files: pathlib.Path) -> None:
    """No sshd there."""
    began = time.monotonic()
    with pytest.raises(NodeShellError, match="Unable to connect to port"):
        connect(files, free_port())
    assert time.monotonic() - began < 5


def test_a_node_that_does_not_answer_is_late(server: SshServer, files: pathlib.Path) -> None:
    """Nothing waits longer than the deadline, whatever netmiko does meanwhile."""
    connect(files, server.port).close()  # netmiko is imported now: that is not what we measure
    token = deadline.current.set(Deadline.after(0.3))
    began = time.monotonic()
    try:
        with mute_listener() as port, pytest.raises(DeadlineExceeded, match="node node1: cannot log in"):
            connect(files, port)
    finally:
        deadline.current.reset(token)
    assert time.monotonic() - began < 1.5


def test_no_command_outlives_its_timeout(server: SshServer, files: pathlib.Path) -> None:
    """A hung node costs what the caller allows."""
    shell = connect(files, server.port)
    began = time.monotonic()
    with pytest.raises(NodeShellError, match=r"cannot run sleep as root@.*: no answer in time"):
        shell.run(["sleep", "20"], timeout=0.3)
    assert time.monotonic() - began < 1.5
    shell.close()


def test_the_accounts_own_key_is_used_when_none_is_given(
    server: SshServer, files: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ssh would; without any there is nothing to try."""
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(NodeShellError, match="there is no private key to log in with"):
        connect(files, server.port, key_file="")
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "id_ed25519").write_text(KEY)
    connect(files, server.port, key_file="").close()


def test_many_threads_may_open_the_first_connection_at_once(files: pathlib.Path) -> None:
    """The modules of netmiko import each other in circles: one thread imports, the others wait."""
    script = (
        "import sys, threading\n"
        "from nornir_torque_vm.connections.node_shell import NodeShellConnection\n"
        "from nornir_torque_vm.errors import NodeShellError\n"
        "said = []\n"
        "def use(port):\n"
        "    extras = {'key_file': sys.argv[1]}\n"
        "    try: NodeShellConnection().open('127.0.0.1', 'root', None, port, None, extras)\n"
        "    except NodeShellError as error: said.append('Unable to connect' in str(error))\n"
        "threads = [threading.Thread(target=use, args=(port,)) for port in range(1, 9)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
        "print(said)\n"
    )
    argv = [sys.executable, "-c", script, str(files / "key")]
    done = subprocess.run(argv, capture_output=True, check=True, text=True)
    assert (done.stdout, done.stderr) == (f"{[True] * 8}\n", "")


def test_nothing_is_printed_when_a_login_fails(files: pathlib.Path) -> None:
    """Paramiko logs whole tracebacks; without a handler Python would put them on stderr."""
    script = (
        "import pathlib, ssh_server, sys, test_connections_node_shell as t\n"
        "here = pathlib.Path(sys.argv[1])\n"
        "with ssh_server.hanging_up() as port:\n"
        "    try: t.connect(here, port, known_hosts='')\n"
        "    except t.NodeShellError as error: print(error)\n"
    )
    argv = [sys.executable, "-c", script, str(files)]
    done = subprocess.run(argv, cwd=__file__.rpartition("/")[0], capture_output=True, check=True, text=True)
    assert "Error reading SSH protocol banner" in done.stdout
    assert done.stderr == ""


def test_a_connection_that_was_never_opened_says_so() -> None:
    """Instead of an attribute error."""
    with pytest.raises(NodeShellError, match="not open"):
        NodeShellConnection().run(["true"])
