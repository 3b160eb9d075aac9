"""``nodes=``: taken apart and put together again without loss, raised, never lowered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_torque_vm.errors import RequestError
from nornir_torque_vm.wrapper.nodespec import NodeSpec, Words, read_nodes

NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9._-]{0,8}", fullmatch=True) | st.sampled_from(
    ["vm", "bigmem", "shared", "reseterr", "ppn", "gpus", "node01.cluster"]
)
DEVICES = st.builds("{}={}".format, st.sampled_from(["gpus", "mics"]), st.integers(1, 9))


@st.composite
def parts(draw: st.DrawFn, *, counted: bool, ppn: bool) -> Words:
    """One part: a count or a name, then properties, devices and at most one ``ppn=``, in any order."""
    words = draw(st.lists(NAMES | DEVICES, min_size=0 if counted else 1, max_size=4))
    if ppn and draw(st.booleans()):
        words.insert(draw(st.integers(0, len(words))), f"ppn={draw(st.integers(1, 64))}")
    return (str(draw(st.integers(1, 300))), *words) if counted else tuple(words)


@st.composite
def specs(draw: st.DrawFn) -> str:
    """A node request that TORQUE takes."""
    common_ppn = draw(st.integers(0, 9)) == 0
    part = st.booleans().flatmap(lambda counted: parts(counted=counted, ppn=not common_ppn))
    own = draw(st.lists(part, min_size=1, max_size=5))
    common = draw(st.lists(parts(counted=False, ppn=False), max_size=2))
    if common_ppn:
        common.append((f"ppn={draw(st.integers(1, 64))}",))
    return str(NodeSpec(tuple(own), tuple(common)))


def taken_apart(text: str) -> list[tuple[int, int, set[str]]]:
    """Nodes, processors and all other words of each part, found without the code under test."""
    own, _, behind = text.partition("#")
    common = behind.replace("#", ":").split(":") if behind else []
    result = []
    for part in own.split("+"):
        words = part.split(":")
        count = int(words.pop(0)) if words[0].isdigit() else 1
        words += common
        ppn = next((int(word[4:]) for word in words if word.startswith("ppn=")), 1)
        result.append((count, ppn, {word for word in words if not word.startswith("ppn=")}))
    return result


def read(text: str) -> NodeSpec:
    """Read a request that is known to be right."""
    spec = read_nodes(text)
    assert spec is not None
    return spec


@given(specs())
def test_what_was_taken_apart_is_put_together_as_it_was(text: str) -> None:
    """Order, properties, devices, host names and ``#`` stay where they were."""
    spec = read(text)
    assert str(spec) == text
    assert spec.nodes == sum(count for count, _, _ in taken_apart(text))
    assert list(spec.ppns) == [ppn for _, ppn, _ in taken_apart(text)]


@given(specs(), st.integers(1, 80), st.sampled_from(["vm", "bigmem", "hypervisor.1", ""]))
def test_every_part_gives_what_is_needed_and_loses_nothing(text: str, cores: int, node_property: str) -> None:
    """Each part: as many nodes, enough processors but no fewer than asked, all its words, the property."""
    raised = str(read(text).raised(cores, node_property))
    for before, after in zip(taken_apart(text), taken_apart(raised), strict=True):
        assert after[0] == before[0]
        assert after[1] == max(before[1], cores)
        assert after[2] == before[2] | ({node_property} if node_property else set())


@given(specs(), st.integers(1, 80), st.sampled_from(["vm", "bigmem", ""]))
def test_raising_again_changes_nothing(text: str, cores: int, node_property: str) -> None:
    """The wrapper and the submit filter may both see a job; the second one finds nothing to do."""
    once = read(text).raised(cores, node_property)
    assert read(str(once)).raised(cores, node_property) == once


@given(specs(), st.integers(1, 80))
def test_words_keep_their_order(text: str, cores: int) -> None:
    """Without the words that were added or raised, the raised request is the old one."""
    raised = read(text).raised(cores, "only-ours")
    kept = [
        [word for word in words if not word.startswith("ppn=") and word != "only-ours"]
        for words in raised.parts
    ]
    assert kept == [[word for word in words if not word.startswith("ppn=")] for words in read(text).parts]


@pytest.mark.parametrize(
    ("text", "raised"),
    [
        ("1", "1:ppn=4:vm"),
        ("2:ppn=2", "2:ppn=4:vm"),
        ("2:ppn=4", "2:ppn=4:vm"),
        ("2:ppn=16:vm", "2:ppn=16:vm"),
        ("2:vm:ppn=1", "2:vm:ppn=4"),
        ("2:bigmem:fast", "2:ppn=4:bigmem:fast:vm"),
        ("node01", "node01:ppn=4:vm"),
        ("vm", "vm:ppn=4"),
        ("ppn=2", "ppn=4:vm"),
        ("2:ppn", "2:ppn=4:ppn:vm"),
        ("node01:ppn=2+node02:ppn=2", "node01:ppn=4:vm+node02:ppn=4:vm"),
        ("1:ppn=8:bigmem+4:ppn=2", "1:ppn=8:bigmem:vm+4:ppn=4:vm"),
        ("1:gpus=2:reseterr:shared", "1:ppn=4:gpus=2:reseterr:shared:vm"),
        ("2:ppn=1#shared", "2:ppn=4:vm#shared"),
        ("2+3#ppn=2", "2:vm+3:vm#ppn=4"),
        ("2+3#ppn=8#vm", "2+3#ppn=8#vm"),
        ("2#vm:fast", "2:ppn=4#vm:fast"),
        ("007:ppn=02", "007:ppn=4:vm"),
    ],
)
def test_requests_and_what_becomes_of_them(text: str, raised: str) -> None:
    """4 processors and the property vm on every node."""
    assert str(read(text).raised(4, "vm")) == raised


@pytest.mark.parametrize(
    "text",
    ["", " ", "2 ", " 2", "2:", ":ppn=2", "2+", "+2", "2++3", "2:PPN=2", "2:ppn=", "2:ppn=0",
     "2:ppn=x", "2:ppn=2x", "2:mem=4gb", "2:3", "node01:3", "2x", "-2", "_a", "a/0", "a|b", "node\u00e9", "٢",
     "2:ppn=٢", "a b", "nodes=2", "1+nodes=2"],
)  # fmt: skip
def test_what_torque_refuses_is_left_to_qsub(text: str) -> None:
    """None: the message is TORQUE's own, and nothing of ours hides it."""
    assert read_nodes(text) is None


TWICE = "states ppn= more than once for the same nodes; state it once in each part"
BEHIND = (
    "has more than properties behind the '#'; "
    "they count for every part, so write them last: nodes=2+node07#bigmem"
)


@pytest.mark.parametrize(
    ("text", "shown", "sentence"),
    [
        ("0:ppn=2", "'0:ppn=2'", "asks for 0 nodes; ask for 1 at least"),
        ("2+000", "'000'", "asks for 0 nodes; ask for 1 at least"),
        ("2:ppn=2:ppn=4", "'2:ppn=2:ppn=4'", TWICE),
        ("1+2:ppn=2#ppn=4", "'1+2:ppn=2#ppn=4'", TWICE),
        ("2#ppn=2:ppn=2", "'2#ppn=2:ppn=2'", TWICE),
        ("2#shared+3", "'2#shared+3'", BEHIND),
        ("2#", "'2#'", BEHIND),
        ("2#3", "'2#3'", BEHIND),
        ("2147483648", "'2147483648'", "has a number that is too large for TORQUE"),
        ("2:ppn=4294967298", "'2:ppn=4294967298'", "has a number that is too large for TORQUE"),
        ("1" * 5000, "'" + "1" * 58 + "…", "has a number that is too large for TORQUE"),
        ("0" * 79 + "1", "'" + "0" * 58 + "…", "has a number that is too large for TORQUE"),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, shown: str, sentence: str) -> None:
    """TORQUE would take these for something else than they say, or never run the job."""
    with pytest.raises(RequestError) as caught:
        read_nodes(text)
    assert str(caught.value) == f"nodes={shown} {sentence}"


def test_the_largest_number_torque_reads_is_taken() -> None:
    """The limit itself is still a number to TORQUE."""
    assert read("2147483647").nodes == 2147483647
    assert read("1:ppn=" + "0" * 69 + "2147483647").ppns == (2147483647,)


@given(
    st.text(max_size=30)
    | st.lists(st.sampled_from([*"12:+#=", "ppn=", "node", "gpus=1"]), max_size=9).map("".join)
)
def test_any_text_is_read_refused_or_left_alone(text: str) -> None:
    """Nothing else than a RequestError comes out, and what is read is what was written."""
    try:
        spec = read_nodes(text)
    except RequestError as error:
        assert "\n" not in str(error)  # noqa: PT017 - not raised is fine, too
    else:
        assert spec is None or str(spec) == text
