"""Nodefiles and exec_host: order, slots, and no host name that could be anything else."""

from __future__ import annotations

import pathlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_torque_vm.errors import InventoryError
from nornir_torque_vm.model import Node
from nornir_torque_vm.nodefile import fold, parse_exec_host, parse_nodefile, valid_host

label = st.from_regex(r"[a-z0-9]([a-z0-9_-]{0,10}[a-z0-9])?", fullmatch=True)
hosts = st.lists(label, min_size=1, max_size=3).map(".".join)


def test_nodes_are_in_order_of_first_appearance_with_their_slots() -> None:
    """Each line is a slot, wherever it stands (recorded on TORQUE: 1:ppn=2+1:ppn=1)."""
    assert parse_nodefile("node2\nnode1\nnode1\nnode2\nnode2\n") == (Node("node2", 3), Node("node1", 2))


def test_blank_lines_comments_and_carriage_returns_do_not_count() -> None:
    """What people and Windows editors add changes nothing."""
    assert parse_nodefile("# my nodes\r\n\r\n \tnode1 \r\n#node2\nnode1") == (Node("node1", 2),)


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n"])
def test_an_empty_nodefile_is_an_error(text: str) -> None:
    """It names the cause and what a nodefile has to hold."""
    with pytest.raises(InventoryError) as caught:
        parse_nodefile(text)
    assert str(caught.value) == (
        "the nodefile names no node; it must have one host name a line, once per slot"
    )


BAD_HOSTS = [
    "n'1", 'n"1', "n/1", "../n1", "n 1", "n\t1", "n\x001", "n\u00a01", "-n1", "n1-", ".n1", "n1.", "n..1",
    "n1.-b", "n:1", "n$1", "n;1", "n\\1", "nö1", "n1\x85n2", "n1\u2028n2", "n<1", "n&1", "n@1", "n%1", "[n1]",
    "a" * 64, "a." * 126 + "aa",
]  # fmt: skip


@pytest.mark.parametrize("name", BAD_HOSTS)
def test_a_bad_host_name_is_refused_with_its_line(name: str) -> None:
    """A quote, slash, blank or control character never gets beyond the parser."""
    assert not valid_host(name)
    with pytest.raises(InventoryError) as caught:
        parse_nodefile(f"node1\n{name}\n")
    assert str(caught.value).startswith("line 2 of the nodefile has ")
    assert "which is not a host name; host names are letters, digits, dots, '_' and inner '-'" in str(
        caught.value
    )
    assert "at most 253 characters" in str(caught.value)
    assert str(caught.value).isprintable()


def test_the_bad_name_is_shown_quoted() -> None:
    """Where, what, and what it should be."""
    with pytest.raises(InventoryError) as caught:
        parse_nodefile("n1/0\n")
    assert str(caught.value).startswith("line 1 of the nodefile has 'n1/0', which is not a host name; ")


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "7",
        "node-1",
        "node_1",
        "_a",
        "a_",
        "N1.Cluster.example",
        "10.89.0.11",
        "a" * 63,
        "a." * 126 + "a",
    ],
)
def test_good_host_names(name: str) -> None:
    """Labels up to 63 characters, names up to 253."""
    assert valid_host(name)
    assert parse_nodefile(name) == (Node(name, 1),)


@pytest.mark.parametrize("name", ["", "a\n", "\na", "a" * 254])
def test_a_host_name_is_the_whole_text(name: str) -> None:
    """No line end is forgiven by the pattern itself."""
    assert not valid_host(name)


@given(st.lists(hosts, min_size=1, max_size=30))
def test_slots_add_up_to_the_lines(names: list[str]) -> None:
    """No line is lost or counted twice, and the first node stays first."""
    nodes = parse_nodefile("\n".join(names) + "\n")
    assert {node.name: node.slots for node in nodes} == {name: names.count(name) for name in names}
    assert [node.name for node in nodes] == list(dict.fromkeys(names))


@given(st.text(max_size=80))
def test_any_text_is_a_nodefile_or_an_inventory_error(text: str) -> None:
    """Hostile text never gets through as something else."""
    try:
        nodes = parse_nodefile(text)
    except InventoryError as error:
        said = str(error)
        assert said.isprintable()
    else:
        assert all(re.fullmatch(r"[A-Za-z0-9_.-]{1,253}", node.name) for node in nodes)
        assert not any(node.name.startswith(("-", ".")) for node in nodes)


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("tnode/0-1", {"tnode": (0, 1)}),
        ("node3/0-1+node2/0+node1/2-5", {"node3": (0, 1), "node2": (0,), "node1": (2, 3, 4, 5)}),
        ("n1/1+n1/0", {"n1": (0, 1)}),
        ("n2/1+n1/0+n2/0", {"n2": (0, 1), "n1": (0,)}),
        ("n1/0,2,4-5", {"n1": (0, 2, 4, 5)}),
        ("n1/0-3+n1/3", {"n1": (0, 1, 2, 3)}),
        (" n1.x.example/7-7\n", {"n1.x.example": (7,)}),
        ("n1/99999", {"n1": (99999,)}),
    ],
)
def test_exec_host_of_all_torque_versions(text: str, nodes: dict[str, tuple[int, ...]]) -> None:
    """6.x writes ranges, 4.x a part per slot; an index counts once, and is kept."""
    expected = tuple(Node(name, len(indexes), indexes=indexes) for name, indexes in nodes.items())
    assert parse_exec_host(text) == expected


@pytest.mark.parametrize("text", ["", "n1", "n1/0+", "n1/0+n2", "+n1/0"])
def test_a_part_without_slots_is_refused(text: str) -> None:
    """The message shows the form."""
    with pytest.raises(
        InventoryError, match=r"^exec_host .* cannot be read at .*; it must look like node1/0-3"
    ):
        parse_exec_host(text)


def test_the_part_that_cannot_be_read_is_named() -> None:
    """The whole text and the part at fault."""
    with pytest.raises(InventoryError, match=r"^exec_host 'n1/0[+]n2' cannot be read at 'n2'; "):
        parse_exec_host("n1/0+n2")


@pytest.mark.parametrize(
    "slots", ["", "a", "1-", "-1", "0/1", "3-2", "0-1-2", "0,", "1.5", "100000", "0-999999999", "٣"]
)
def test_bad_slots_are_refused(slots: str) -> None:
    """Backward, open and huge ranges, and what is no number."""
    with pytest.raises(InventoryError) as caught:
        parse_exec_host(f"n1/{slots}")
    assert " for slots of n1; slots are a number or a range such as 0-3, at most 99999" in str(caught.value)
    assert str(caught.value).startswith("exec_host has '")


@pytest.mark.parametrize("name", ["", "n'1", "n 1", "-n", "[n]"])
def test_exec_host_names_are_checked_too(name: str) -> None:
    """The same rule as in nodefiles."""
    with pytest.raises(InventoryError, match=r"^exec_host has .* which is not a host name"):
        parse_exec_host(f"{name}/0")


@given(st.dictionaries(hosts, st.sets(st.integers(0, 40), min_size=1), min_size=1, max_size=5))
def test_both_forms_of_exec_host_mean_the_same(slots: dict[str, set[int]]) -> None:
    """One part per slot, or a list of slots per node: same nodes, same order, same counts."""
    old = "+".join(f"{name}/{index}" for name, indexes in slots.items() for index in sorted(indexes))
    new = "+".join(f"{name}/{','.join(map(str, sorted(indexes)))}" for name, indexes in slots.items())
    expected = tuple(
        Node(name, len(indexes), indexes=tuple(sorted(indexes))) for name, indexes in slots.items()
    )
    assert parse_exec_host(old) == parse_exec_host(new) == expected


@given(st.text(alphabet="n1-+/,0239 '[]", max_size=30))
def test_any_text_is_an_exec_host_or_an_inventory_error(text: str) -> None:
    """Hostile text never gets through as something else."""
    try:
        nodes = parse_exec_host(text)
    except InventoryError as error:
        said = str(error)
        assert said.isprintable()
    else:
        assert all(node.slots >= 1 and valid_host(node.name) for node in nodes)


@pytest.mark.parametrize(
    ("names", "folded"),
    [
        ([], ""),
        (["login"], "login"),
        (["node1"], "node1"),
        (["node1", "node2"], "node[1-2]"),
        (["node9", "node10", "node11"], "node[9-11]"),
        (["node09", "node10"], "node[09-10]"),
        (["node9", "node09", "node10"], "node[9,09-10]"),
        (["node099", "node100"], "node[099-100]"),
        (["node3", "node1", "node1", "node5"], "node[1,3,5]"),
        ([f"node{n:02}" for n in range(1, 17)] + ["node20", "login"], "node[01-16,20],login"),
        (["n1.a.example", "n2.a.example", "n1.b"], "n[1-2].a.example,n1.b"),
        (["j17-r1", "j17-r0"], "j17-r[0-1]"),
        (["node", "node1", "node2"], "node,node[1-2]"),
        (["node", "node7"], "node,node7"),
        (["rack1node1", "rack1node2", "rack2node1"], "rack1node[1-2],rack2node1"),
        (["b1", "a1", "b2"], "b[1-2],a1"),
    ],
)
def test_many_names_fold_into_one_short_text(names: list[str], folded: str) -> None:
    """Runs of numbers in brackets, padding kept, groups in order of first appearance."""
    assert fold(names) == folded


def unfold(text: str) -> set[str]:
    """The names a folded text stands for."""
    names: set[str] = set()
    for head, numbers, tail in re.findall(r"([^,\[]*)(?:\[([^\]]*)\])?([^,]*)(?:,|$)", text):
        for piece in numbers.split(","):
            first, _, last = piece.partition("-")
            span = range(int(first), int(last or first) + 1) if piece else ()
            names |= {f"{head}{number:0{len(first)}}{tail}" for number in span} or {head + tail}
    return names - {""}


@given(
    st.sets(
        st.builds(
            "{}{}{}".format,
            st.sampled_from(["n", "node-", "r1c"]),
            st.integers(0, 120).map(str) | st.integers(0, 120).map("{:03}".format) | st.just(""),
            st.sampled_from(["", ".example"]),
        )
    )
)
def test_folding_loses_no_name(names: set[str]) -> None:
    """A folded text stands for exactly the names that went in."""
    assert unfold(fold(sorted(names))) == names


def test_the_sample_nodefile_is_one() -> None:
    """What the site kit ships can be read."""
    sample = pathlib.Path(__file__).parents[2] / "inventory" / "nodefile.sample"
    assert parse_nodefile(sample.read_text(encoding="utf-8")) == (Node("node1", 2), Node("node2", 2))
