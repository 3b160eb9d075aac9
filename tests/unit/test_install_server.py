"""``torque-vm install server``: lines for qmgr, only those that are missing."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from node_kit import NodeHost, host

from nornir_torque_vm.errors import InstallError
from nornir_torque_vm.install.server import Knows, lines, read_server

__all__ = ["host"]

PRINTED = """\
#
# Set server attributes.
#
set server scheduling = True
set server managers = root@head
set server operators = root@head
set server operators += root@node2
set server keep_completed = 300
"""
XML = (
    "<Data><Node><name>node1</name><state>free</state><properties>fast,vm</properties></Node>"
    "<Node><name>node2</name><np>4</np></Node></Data>"
)
QMGR = """#!/bin/sh
echo "$0 $*" >>{log}
case $* in *print*) cat {printed} ;; *node2*) exit {code} ;; esac
"""


def test_what_the_server_says_is_understood() -> None:
    """Managers may do what operators may."""
    knows = read_server(PRINTED, XML)
    assert knows.operators == {"root@head", "root@node2"}
    assert knows.nodes == {"node1": {"fast", "vm"}, "node2": {""}}
    assert knows.keep_completed == 300
    assert read_server("", "").keep_completed == 0


def test_only_what_is_missing_is_a_line() -> None:
    """The property of one node, the right of the other."""
    assert lines(["node1", "node2"], "vm", read_server(PRINTED, XML)) == (
        "set node node2 properties += vm",
        "set server operators += root@node1",
    )


def test_a_server_that_forgets_jobs_at_once_is_told_to_keep_them() -> None:
    """The reaper removes nothing without the server's word; any number of seconds is the site's choice."""
    knows = Knows({"n": frozenset({"vm"})}, frozenset({"root@*"}))
    assert lines(["n"], "vm", knows) == ("set server keep_completed = 300",)
    assert lines(["n"], "", Knows({"n": frozenset()}, frozenset({"root@n"}), 1)) == ()


def test_an_unknown_node_is_said() -> None:
    """Before anything is changed."""
    with pytest.raises(InstallError, match="the server has no node n7; name nodes as pbsnodes does"):
        lines(["n7"], "vm", Knows({}))


def test_what_is_no_answer_is_said() -> None:
    """In one sentence."""
    with pytest.raises(InstallError, match="pbsnodes -x did not answer in XML"):
        read_server("", "<oops")


@pytest.fixture
def commands(host: NodeHost, monkeypatch: pytest.MonkeyPatch) -> Path:
    """TORQUE's commands, which note how they were called."""
    log, printed, xml = host.path("log"), host.give("printed", PRINTED), host.give("xml", XML)
    host.give("bin/qmgr", QMGR.format(log=log, printed=printed, code=0), 0o755)
    host.give("bin/pbsnodes", f"#!/bin/sh\ncat {xml}\n", 0o755)
    monkeypatch.setenv("PATH", f"{host.path('bin')}:/usr/bin:/bin")
    return log


def test_lines_are_printed_and_nothing_is_changed(host: NodeHost, commands: Path) -> None:
    """As one types them."""
    said = host.run("node1", "node2", role="server")
    assert said == (
        "qmgr -c 'set node node2 properties += vm'\nqmgr -c 'set server operators += root@node1'\n"
    )
    assert commands.read_text().splitlines() == [f"{host.path('bin/qmgr')} -c print server"]
    assert subprocess.run(["sh", "-c", said], check=False).returncode == 0
    assert len(commands.read_text().splitlines()) == 3


def test_applied_lines_are_told_to_qmgr(host: NodeHost, commands: Path) -> None:
    """Each by itself, and printed once it is done."""
    host.run("node1", "node2", "--apply", role="server")
    assert commands.read_text().splitlines()[1:] == [
        f"{host.path('bin/qmgr')} -a -c set node node2 properties += vm",
        f"{host.path('bin/qmgr')} -a -c set server operators += root@node1",
    ]


def test_a_refusal_ends_it(host: NodeHost, commands: Path) -> None:
    """What was done until then was printed."""
    host.give("bin/qmgr", QMGR.format(log=commands, printed=host.path("printed"), code=3), 0o755)
    said = host.run("node1", "node2", "--apply", role="server", code=1)
    assert said.startswith("torque-vm: qmgr set node node2 properties += vm failed: it did not say why")


def test_no_torque_here_is_said(host: NodeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """With where to run it."""
    monkeypatch.setattr("nornir_torque_vm.install.server._PLACES", ())
    monkeypatch.setenv("PATH", "/nonexistent")
    assert "qmgr was not found; run this where TORQUE's commands are" in host.run(
        "node1", role="server", code=1
    )
