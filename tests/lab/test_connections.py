"""The connections between real nodes: libvirtd over TLS, frozen and killed; OpenSSH with pinned keys."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nornir_torque_vm.lab import Lab

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def own(lab_possible: None) -> Iterator[Lab]:
    """Nodes whose daemons may be stopped and killed."""
    cluster = Lab(f"test-{os.getpid()}-connections", nodes=2)
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()


def probe(cluster: Lab, *words: str) -> dict[str, Any]:
    """Run a function of connection_probe in node1."""
    script = Path(__file__).parent / "connection_probe.py"
    done = cluster.run("node1", [sys.executable, str(script), *words], seconds=60)
    assert done.stderr == ""
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_failures_of_the_way_and_of_the_daemon_are_told_apart(own: Lab) -> None:
    """A missing bridge has the same code as a missing daemon and is no reason to give the node up."""
    found = probe(own, "errors")
    assert found["hostname"]["value"] == "node2"
    told = {name: (entry["error"], entry["code"]) for name, entry in found.items() if name != "hostname"}
    assert told == {
        "no bridge": ("HypervisorError", 38),
        "no domain": ("HypervisorError", 42),
        "no certificate": ("HypervisorUnreachable", 38),
        "no daemon": ("HypervisorUnreachable", 38),
    }
    assert found["no bridge"]["value"].startswith("node node2: Cannot get interface MTU on 'br-none'")


@pytest.mark.parametrize("when", ["before", "connected"])
def test_a_frozen_daemon_costs_its_own_node_only_and_only_the_deadline(own: Lab, when: str) -> None:
    """Whether it froze before or after we connected; closing does not block, and nothing is left later."""
    found = probe(own, "frozen", when)
    assert found["run"]["value"] == ["ok", "late"]
    assert 1.5 <= found["run"]["seconds"] < 2.5
    assert found["close"]["seconds"] < 1
    assert (found["left"] > 0, found["later"]) == (True, 0)


def test_keepalive_ends_a_call_that_is_never_answered(own: Lab) -> None:
    """Without it the call, and even dropping the connection, would block for ever."""
    found = probe(own, "silent")
    assert found["call"]["error"] == "HypervisorUnreachable"
    assert 2.5 <= found["call"]["seconds"] < 15
    assert found["again"]["value"] == "node2"


def test_a_restarted_daemon_is_connected_anew(own: Lab) -> None:
    """Hosts of a run that outlives their daemon need nothing but to ask for their connection again."""
    found = probe(own, "restarted")
    assert found["gone"]["error"] == "HypervisorUnreachable"
    assert found["old"]["error"] == "HypervisorUnreachable"
    assert found["new"]["value"] == "node2"


def test_thirty_guests_of_a_node_share_five_connections(own: Lab) -> None:
    """More would only queue in libvirtd, which has twenty workers for all its clients."""
    found = probe(own, "many", "30")
    assert (found["connections"], found["alive"]) == (5, 30)
    assert found["seconds"] < 5


@pytest.mark.proves("node_shell_user", "node_shell_key", "node_shell_known_hosts")
def test_commands_on_a_node_use_one_login_and_the_pinned_key(own: Lab) -> None:
    """Thirty logins at once would meet the sshd's limit; an unknown key is refused."""
    found = probe(own, "shell")
    assert (found["hosts"], found["logins"]) == (30, 1)
    assert found["hostname"]["value"] == "node2\n"
    assert found["failing"]["value"] == [7, "out\n", "err\n"]
    assert found["killed"]["value"] == -1
    assert found["neighbours"]["value"] is True
    assert found["unknown key"]["error"] == "NodeShellError"


def test_commands_in_a_guest_work_with_a_real_sshd(own: Lab) -> None:
    """OpenSSH orders its messages differently from the server of the unit tests."""
    found = probe(own, "guest")
    assert found["open"]["error"] == ""
    assert found["run"]["value"] == [7, "in\n", "err\n"]
    assert found["much"]["value"] is True
    assert found["killed"]["value"] == -1
    assert found["background"]["value"] == 3
    assert found["background"]["seconds"] < 3
    assert found["slow"]["error"] == "SshUnreachable"
    assert found["slow"]["seconds"] < 2
    assert found["other key"]["error"] == "SshHostKeyMismatch"
    assert found["nobody"]["error"] == "SshAuthFailed"
