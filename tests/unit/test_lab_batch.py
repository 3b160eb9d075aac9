"""What the lab tells the daemons of a TORQUE, and how it finds one."""

from __future__ import annotations

from pathlib import Path

import pytest

from nornir_torque_vm.errors import LabError
from nornir_torque_vm.lab import pbs_server, torque
from nornir_torque_vm.lab.files import DIRECTORIES, Directory, File
from nornir_torque_vm.lab.layout import lab_nodes
from nornir_torque_vm.lab.torque import Torque

NODES = lab_nodes(2)


def installed(prefix: Path, home: str = "/var/spool/torque") -> str:
    """Make programs below ``prefix`` that look like TORQUE's; return a PATH with them."""
    for name in torque.PROGRAMS:
        folder = prefix / ("sbin" if name in {"pbs_server", "pbs_sched", "pbs_mom", "trqauthd"} else "bin")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"#!/bin/sh\necho 'Version:  6.1.3'\necho 'Serverhome:  {home}'\n")
        (folder / name).chmod(0o755)
    return f"{prefix}/bin:{prefix}/sbin"


def test_a_machine_without_a_torque_is_told_in_one_sentence(tmp_path: Path) -> None:
    """The sentence with which tests are skipped; a few names are enough."""
    assert torque.torque_missing(str(tmp_path)) == (
        "no TORQUE on the PATH: pbs_server, pbs_sched and 9 more not found"
    )
    path = installed(tmp_path / "torque")
    (tmp_path / "torque/bin/pbsdsh").unlink()
    assert torque.torque_missing(path) == "no TORQUE on the PATH: pbsdsh not found"


def test_a_torque_for_another_spool_directory_is_none_for_the_lab(tmp_path: Path) -> None:
    """Its programs have the directory built in; the lab's hosts have only the usual one."""
    path = installed(tmp_path / "torque", home="/opt/spool")
    said = "the TORQUE on the PATH was built for /opt/spool, not for /var/spool/torque"
    assert torque.torque_missing(path) == said
    with pytest.raises(LabError, match=said):
        torque.find_torque(path)


def test_a_server_that_says_nothing_of_itself_is_no_torque(tmp_path: Path) -> None:
    """Something else may have the same name."""
    path = installed(tmp_path / "torque")
    (tmp_path / "torque/sbin/pbs_server").write_text("#!/bin/sh\nexit 1\n")
    assert torque.torque_missing(path) == (
        "the TORQUE on the PATH was built for an unknown directory, not for /var/spool/torque"
    )


def test_the_directories_of_its_programs_are_found_but_not_that_of_a_qsub_in_front(tmp_path: Path) -> None:
    """A qsub of somebody else's may come first on the PATH: it is not shown to the lab's hosts."""
    path = installed(tmp_path / "torque")
    (tmp_path / "front").mkdir()
    (tmp_path / "front/qsub").write_text("#!/bin/sh\n")
    (tmp_path / "front/qsub").chmod(0o755)
    path = f"{tmp_path}/front:{path}"
    assert torque.torque_missing(path) is None
    found = torque.find_torque(path)
    assert set(found.directories) == {f"{tmp_path}/torque/bin", f"{tmp_path}/torque/sbin"}
    assert found.program("qsub") == f"{tmp_path}/torque/bin/qsub"
    assert found.path.split(":")[-2:] == list(found.directories)


def test_hosts_show_what_lies_in_directories_of_their_own() -> None:
    """Programs below /usr are seen anyway; of a home directory only TORQUE's prefix is shown."""
    assert Torque(("/usr/local/bin", "/usr/local/sbin")).shown() == {}
    prefix = "/home/bob/torque"
    assert Torque((f"{prefix}/bin", f"{prefix}/sbin")).shown() == {prefix: prefix}


def test_daemons_stay_in_the_foreground_and_are_waited_for(tmp_path: Path) -> None:
    """The first process of a host must see them end; the head's start before any node's."""
    installed(tmp_path)
    there = Torque((f"{tmp_path}/bin", f"{tmp_path}/sbin"))
    daemons = {daemon.name: daemon for daemon in (*there.head_daemons(), *there.node_daemons())}
    assert set(daemons) == {"trqauthd", "pbs_server", "pbs_sched", "pbs_mom"}
    for name, daemon in daemons.items():
        assert daemon.argv[0] == f"{tmp_path}/sbin/{name}"
        assert "-F" in daemon.argv or "PBSDEBUG" in daemon.env
    ports = [daemons[name].tcp for name in ("pbs_server", "pbs_sched", "pbs_mom")]
    assert ports == [(15001,), (15004,), (15002, 15003)]


def test_the_server_knows_every_node_with_its_slots_and_the_property() -> None:
    """Jobs with guests ask for that property."""
    assert torque.node_list(NODES, 3) == "node1 np=3 vm\nnode2 np=3 vm\n"


def test_what_proves_that_the_server_is_configured_comes_last() -> None:
    """A server that was killed between two commands must not be taken for ready."""
    commands = torque.server_commands(NODES).splitlines()
    assert commands[-1] == torque.LAST_COMMAND == "set server default_queue = batch"
    assert "set server scheduling = True" in commands


def test_jobs_may_be_submitted_from_the_head_and_from_nodes() -> None:
    """Any of them is a submit host; only root on the head manages."""
    commands = torque.server_commands(NODES)
    for host in ("= head", "+= node1", "+= node2"):
        assert f"set server submit_hosts {host}\n" in commands
    assert "set server managers = root@head\n" in commands


def test_the_mom_has_the_time_limit_of_the_settings_and_copies_within_home() -> None:
    """Whole seconds: the MOM reads nothing else."""
    config = torque.mom_config(45.5)
    assert "$prologalarm 45\n" in config
    assert "$usecp *:/home /home\n" in config
    assert "$pbsserver head\n" in config


@pytest.mark.parametrize(
    ("directories", "state"),
    [
        (torque.HEAD_DIRECTORIES, torque.head_state(NODES, 4)),
        (torque.NODE_DIRECTORIES, torque.node_state(300.0)),
    ],
    ids=["head", "node"],
)
def test_every_file_of_a_daemon_has_a_directory_that_is_made(
    directories: tuple[Directory, ...], state: tuple[File, ...]
) -> None:
    """With the modes TORQUE wants: it refuses directories that others may write to."""
    made = [""]
    for directory in (*DIRECTORIES, *directories):
        assert directory.path.rpartition("/")[0] in made, directory.path
        made.append(directory.path)
        assert not directory.mode & 0o022 or directory.mode == 0o1777, directory.path
    assert {file.path.rpartition("/")[0] for file in state} <= set(made)


@pytest.mark.parametrize(
    ("state", "usable"),
    [
        ("free", True),
        ("job-exclusive", True),
        ("job-exclusive,busy", True),
        ("offline", True),
        ("down", False),
        ("down,offline", False),
        ("unknown", False),
    ],
)
def test_a_node_is_usable_unless_its_mom_is_silent(state: str, usable: bool) -> None:
    """A full node and one that an administrator took out are in order."""
    assert pbs_server.usable(state) is usable


def test_states_are_read_whatever_stands_beside_them() -> None:
    """``pbsnodes -l all`` of TORQUE 6.1.3, a note included."""
    listed = "node1                free\nnode2                down,offline        disk is full\n\n"
    assert pbs_server.parse_states(listed) == {"node1": "free", "node2": "down,offline"}
    assert pbs_server.parse_states("") == {}
