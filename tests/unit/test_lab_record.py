"""What is remembered of a lab, and how little it is trusted."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nornir_torque_vm.lab import health, processes, record
from nornir_torque_vm.lab.record import LabRecord, Running

HOST = Running("node1", "0" * 64, init=11, init_start=101)


def test_a_record_reads_back_as_it_was(tmp_path: Path) -> None:
    """Slots, names in order, processes, TORQUE; readable by root only, since it lies beside keys."""
    written = LabRecord(4, ("node1", "node2"), {"node1": HOST}, ("/opt/torque/bin", "/opt/torque/sbin"))
    written.save(tmp_path / "lab.json")
    assert record.load(tmp_path / "lab.json") == written
    assert (tmp_path / "lab.json").stat().st_mode & 0o777 == 0o600


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.text(), st.sampled_from(["[]", "{}", '{"slots": 1, "nodes": 2}', '{"hosts": {"a": {}}}', "null"])
    )
)
def test_a_damaged_record_is_no_record(tmp_path: Path, text: str) -> None:
    """Processes are then found by their command lines instead."""
    (tmp_path / "lab.json").write_text(text, errors="surrogatepass")
    assert record.load(tmp_path / "lab.json") == LabRecord()


def test_no_file_is_no_record(tmp_path: Path) -> None:
    """A lab that is down."""
    assert record.load(tmp_path / "lab.json") == LabRecord()


def test_a_host_lives_as_long_as_this_very_first_process() -> None:
    """A process id alone could belong to somebody else by now."""
    me = processes.read(os.getpid())
    assert me is not None
    assert Running("a", "", me.pid, me.start).alive
    assert not Running("a", "", me.pid, me.start + 1).alive


def test_entering_joins_all_namespaces_and_ties_the_program_to_its_starter() -> None:
    """Absolute paths only: the environment may be the one of a batch job."""
    words = HOST.enter()
    assert words[0].startswith("/")
    assert {"--mount", "--net", "--uts", "--pid"} <= set(words)
    assert words[words.index("--target") + 1] == "11"
    assert words[-3:] == ["/usr/bin/setpriv", "--pdeathsig", "KILL"]


TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0B00590A:4082 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0B00590A:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2 1 0 100 0 0 10 0
   2: 0B00590A:0016 0C00590A:D2F0 01 00000000:00000000 02:000A7214 00000000     0        0 3 1 0 100 0 0 10 0
   3: 0B00590A:9C40 0C00590A:4082 01 00000000:00000000 02:000A7214 00000000     0        0 4 1 0 100 0 0 10 0
"""
"""As seen on a node with one ssh connection to it and one TLS connection from it."""


def test_listening_ports_are_told_from_connections() -> None:
    """An open connection does not prove that the daemon still listens."""
    assert health.ports(TCP, health.LISTEN) == {22, 16514}
    assert health.ports("", health.LISTEN) == frozenset()
