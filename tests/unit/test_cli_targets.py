"""Which nodes and guests a command is about."""

from __future__ import annotations

from pathlib import Path

import pytest

from nornir_torque_vm.cli.targets import GUEST_KEYS, Targets, choose, facts_of
from nornir_torque_vm.errors import InventoryError
from nornir_torque_vm.found import FoundGuest
from nornir_torque_vm.model import Node

HOSTS = """
node1: {groups: [fast], data: {rack: a, slots: 4}}
node2: {hostname: 10.0.0.2, groups: [fast], data: {rack: b}}
node3: {data: {rack: b}}
"""
GROUPS = "fast: {data: {network: ib}}\n"


@pytest.fixture
def inventory(tmp_path: Path) -> str:
    (tmp_path / "hosts.yaml").write_text(HOSTS)
    (tmp_path / "groups.yaml").write_text(GROUPS)
    return str(tmp_path)


def found(rank: int = 0, job: str = "17.head", node: str = "node1") -> FoundGuest:
    return FoundGuest(job, "head", 1, "alice", "0badcafe", rank, f"j17-r{rank}", node, f"tvm-{rank}",
                      "some-uuid", "02:00:00:00:00:01", "running", 2, 1 << 30)  # fmt: skip


def names(targets: Targets) -> list[str]:
    return [node.name for node in targets.nodes]


def test_host_names_count_in_their_order() -> None:
    """Each once."""
    assert choose(["n2", "n1", "n2"], None, None, []).nodes == (Node("n2", 2), Node("n1"))


def test_a_nodefile_is_read_as_torque_writes_it(tmp_path: Path) -> None:
    """One line per slot."""
    (tmp_path / "nodes").write_text("n1\nn1\nn2\n")
    assert choose([], str(tmp_path / "nodes"), None, []).nodes == (Node("n1", 2), Node("n2"))


def test_in_a_job_its_own_nodefile_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is named goes before it."""
    (tmp_path / "nodes").write_text("n1\n")
    monkeypatch.setenv("PBS_NODEFILE", str(tmp_path / "nodes"))
    assert names(choose([], None, None, [])) == ["n1"]
    assert names(choose(["n7"], None, None, [])) == ["n7"]


def test_no_nodes_at_all_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody wants a command to pick some."""
    monkeypatch.delenv("PBS_NODEFILE", raising=False)
    with pytest.raises(InventoryError, match="nobody says which nodes"):
        choose([], None, None, [])


@pytest.mark.parametrize(
    ("nodes", "nodefile", "path"),
    [(["n1"], "file", None), (["n1"], None, "path"), ([], "file", "path")],
)
def test_nodes_are_named_in_one_way(nodes: list[str], nodefile: str | None, path: str | None) -> None:
    """Two ways may contradict each other."""
    with pytest.raises(InventoryError, match="named twice"):
        choose(nodes, nodefile, path, [])


@pytest.mark.parametrize("name", ["a/b", "a'b", "", "-n", "a b"])
def test_what_is_no_host_name_is_refused(name: str) -> None:
    """It would become part of a URI and of file names."""
    with pytest.raises(InventoryError):
        choose([name], None, None, [])


@pytest.mark.parametrize("file", ["", "/hosts.yaml"])
def test_a_simple_inventory_is_its_folder_or_its_hosts_file(inventory: str, file: str) -> None:
    """Groups and defaults lie beside it; what it says of connections is kept."""
    chosen = choose([], None, inventory + file, [])
    assert chosen.nodes == (Node("node1", 4), Node("node2", 1, "10.0.0.2"), Node("node3"))
    assert chosen.base is not None
    assert chosen.base.hosts["node1"]["network"] == "ib"


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ([], ["node1", "node2", "node3"]),
        (["rack=b"], ["node2", "node3"]),
        (["rack=b", "network=ib"], ["node2"]),
        (["name=node3"], ["node3"]),
        (["hostname=10.0.0.2"], ["node2"]),
        (["slots=4"], ["node1"]),
        (["rack=c"], []),
        ([" rack = b "], ["node2", "node3"]),
    ],
)
def test_filters_ask_the_inventorys_own_data(inventory: str, filters: list[str], expected: list[str]) -> None:
    """Of hosts and of their groups; all have to hold."""
    chosen = choose([], None, inventory, filters)
    assert names(chosen) == expected
    assert chosen.guest_filters == {}


def test_a_filter_that_is_not_about_nodes_is_about_guests(inventory: str) -> None:
    """Both kinds together."""
    chosen = choose([], None, inventory, ["rack=a", "owner=alice"])
    assert (names(chosen), chosen.guest_filters) == (["node1"], {"owner": "alice"})


def test_guests_are_kept_by_filter_and_job() -> None:
    """Numbers are compared as they are written."""
    guests = [found(0), found(1), found(0, "18.head"), found(2, node="node2")]
    kept = choose(["node1"], None, None, ["rank=0"]).keep(guests, "17.head")
    assert kept == [guests[0]]
    assert choose(["node1"], None, None, []).keep(guests, None) == guests
    assert choose(["node1"], None, None, ["node=node2"]).keep(guests, None) == [guests[3]]


def test_every_key_for_guests_is_a_fact_of_guests() -> None:
    """So no filter can fail on a guest that exists."""
    assert set(GUEST_KEYS) <= set(facts_of(found()))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("racks=b", "no node or guest has a 'racks' to filter by; did you mean rack?"),
        ("onwer=alice", "no node or guest has a 'onwer' to filter by; did you mean owner?"),
        ("rack", "the filter 'rack' is not KEY=VALUE"),
    ],
)
def test_a_filter_nobody_understands_is_refused(inventory: str, text: str, sentence: str) -> None:
    """Else it would silently select nothing, or everything."""
    with pytest.raises(InventoryError) as caught:
        choose([], None, inventory, [text])
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "cannot be read: No such file or directory"),
        ("- a\n- list\n", "is not one that Nornir can use"),
        ("node1: {data: [}\n", "is not one that Nornir can use"),
        ("node1: {groups: [missing]}\n", "is not one that Nornir can use"),
        ("../node1: {}\n", "'../node1' is not a host name"),
        ("node1: {data: {slots: many}}\n", "node1 has slots 'many'"),
        ("node1: {data: {slots: 0}}\n", "node1 has slots 0"),
    ],
)
def test_an_inventory_that_cannot_be_used_is_one_line(
    tmp_path: Path, text: str | None, sentence: str
) -> None:
    """YAML's own messages have several."""
    if text is not None:
        (tmp_path / "hosts.yaml").write_text(text)
    with pytest.raises(InventoryError) as caught:
        choose([], None, str(tmp_path), [])
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_inventory_without_hosts_selects_nothing(tmp_path: Path) -> None:
    """An empty file is one."""
    (tmp_path / "hosts.yaml").write_text("{}\n")
    assert choose([], None, str(tmp_path), []).nodes == ()
