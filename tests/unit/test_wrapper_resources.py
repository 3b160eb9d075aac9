"""What users ask with ``-l``, and what is asked of TORQUE for their guests."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_torque_vm.errors import RequestError
from nornir_torque_vm.wrapper.nodespec import NodeSpec, read_nodes
from nornir_torque_vm.wrapper.qsubsize import read_size
from nornir_torque_vm.wrapper.resources import (
    Need,
    Raised,
    check_fits,
    raise_resources,
    read_resources,
    refuse_task_requests,
    resource_list_size,
)

M, G = 1 << 20, 1 << 30
TWO_GUESTS = Need(4, 4608 * M, "2 guests of 2 processors and 2G on each node")
"""Two guests of two processors and 2G, and 512M for the node."""


def asked(*texts: str, need: Need = TWO_GUESTS, request_mem: bool = False, exclusive: bool = False) -> Raised:
    """Raise the values of one or more ``-l`` at a site whose property is ``vm``."""
    given = read_resources(texts)
    assert given is not None
    return raise_resources(given, need, node_property="vm", request_mem=request_mem, exclusive=exclusive)


def change(after: str, before: str) -> str:
    """Return the sentence about a raised request."""
    return f"asked for {after} instead of {before}: {TWO_GUESTS.why}"


@pytest.mark.parametrize(
    ("texts", "additions", "sentence", "nodes"),
    [
        # one kind of nodes, as most people write it
        ([], "nodes=1:ppn=4:vm", change("nodes=1:ppn=4:vm", "one processor"), 1),
        (["walltime=01:00:00"], "nodes=1:ppn=4:vm", change("nodes=1:ppn=4:vm", "one processor"), 1),
        (["nodes=1"], "nodes=1:ppn=4:vm", change("nodes=1:ppn=4:vm", "nodes=1"), 1),
        (["nodes=2"], "nodes=2:ppn=4:vm", change("nodes=2:ppn=4:vm", "nodes=2"), 2),
        (["nodes=2:ppn=2"], "nodes=2:ppn=4:vm", change("nodes=2:ppn=4:vm", "nodes=2:ppn=2"), 2),
        (["nodes=2:ppn=4"], "nodes=2:ppn=4:vm", "", 2),
        (["nodes=2:ppn=16"], "nodes=2:ppn=16:vm", "", 2),
        (["nodes=2:ppn=4:vm"], "", "", 2),
        (["nodes=2:vm"], "nodes=2:ppn=4:vm", change("nodes=2:ppn=4:vm", "nodes=2:vm"), 2),
        (["nodes=ppn=8"], "nodes=ppn=8:vm", "", 1),
        # with other resources, in one -l or several, the last one wins
        (["nodes=4,walltime=10:00"], "nodes=4:ppn=4:vm", change("nodes=4:ppn=4:vm", "nodes=4"), 4),
        (["walltime=1:00", "nodes=2"], "nodes=2:ppn=4:vm", change("nodes=2:ppn=4:vm", "nodes=2"), 2),
        (["nodes=8:ppn=8", "nodes=2:ppn=8"], "nodes=2:ppn=8:vm", "", 2),
        (['nodes="2:ppn=8"'], "nodes=2:ppn=8:vm", "", 2),
        # properties, host names, several parts, devices
        (
            ["nodes=2:bigmem"],
            "nodes=2:ppn=4:bigmem:vm",
            change("nodes=2:ppn=4:bigmem:vm", "nodes=2:bigmem"),
            2,
        ),
        (["nodes=2:ppn=8:ib:bigmem"], "nodes=2:ppn=8:ib:bigmem:vm", "", 2),
        (["nodes=node01"], "nodes=node01:ppn=4:vm", change("nodes=node01:ppn=4:vm", "nodes=node01"), 1),
        (
            ["nodes=node01:ppn=2+node02:ppn=2"],
            "nodes=node01:ppn=4:vm+node02:ppn=4:vm",
            change("nodes=node01:ppn=4:vm+node02:ppn=4:vm", "nodes=node01:ppn=2+node02:ppn=2"),
            2,
        ),
        (["nodes=node01.cluster:ppn=4+3:ppn=4"], "nodes=node01.cluster:ppn=4:vm+3:ppn=4:vm", "", 4),
        (
            ["nodes=1:ppn=8:bigmem+4:ppn=16:gpus=2:reseterr:exclusive_process"],
            "nodes=1:ppn=8:bigmem:vm+4:ppn=16:gpus=2:reseterr:exclusive_process:vm",
            "",
            5,
        ),
        (
            ["nodes=1:ppn=2:bigmem+4:ppn=16"],
            "nodes=1:ppn=4:bigmem:vm+4:ppn=16:vm",
            change("nodes=1:ppn=4:bigmem:vm+4:ppn=16:vm", "nodes=1:ppn=2:bigmem+4:ppn=16"),
            5,
        ),
        (
            ["nodes=" + "+".join(f"cluster-node-{number:02}:ppn=2" for number in range(6))],
            "nodes=" + "+".join(f"cluster-node-{number:02}:ppn=4:vm" for number in range(6)),
            change("nodes=…cluster-node-00:ppn=4:vm… and 5 more", "nodes=…cluster-node-00:ppn=2… and 5 more"),
            6,
        ),
        (
            ["nodes=" + "+".join(f"cluster-node-{number}:ppn={6 - number}" for number in range(4))],
            "nodes=" + "+".join(f"cluster-node-{number}:ppn={max(4, 6 - number)}:vm" for number in range(4)),
            change("nodes=…cluster-node-3:ppn=4:vm…", "nodes=…cluster-node-3:ppn=3…"),
            4,
        ),
        (
            ["nodes=1:gpus=1"],
            "nodes=1:ppn=4:gpus=1:vm",
            change("nodes=1:ppn=4:gpus=1:vm", "nodes=1:gpus=1"),
            1,
        ),
        (["nodes=1:ppn=4:mics=1"], "nodes=1:ppn=4:mics=1:vm", "", 1),
        (["nodes=1:ppn=4#shared"], "nodes=1:ppn=4:vm#shared", "", 1),
        (["nodes=2#excl"], "nodes=2:ppn=4:vm#excl", change("nodes=2:ppn=4:vm#excl", "nodes=2#excl"), 2),
        (["nodes=2+1#ppn=2"], "nodes=2:vm+1:vm#ppn=4", change("nodes=2:vm+1:vm#ppn=4", "nodes=2+1#ppn=2"), 3),
        # memory of the whole job
        (["nodes=2:ppn=4:vm,mem=4gb"], "mem=9gb", change("mem=9gb", "mem=4gb"), 2),
        (["nodes=2:ppn=4:vm,mem=9gb"], "", "", 2),
        (["nodes=2:ppn=4:vm,mem=64GB"], "", "", 2),
        (["nodes=1:ppn=4:vm,mem=4gb"], "mem=4608mb", change("mem=4608mb", "mem=4gb"), 1),
        (["nodes=1:ppn=4:vm,mem=4608m"], "", "", 1),
        (["nodes=1:ppn=4:vm,mem=512mw"], "mem=4608mb", change("mem=4608mb", "mem=512mw"), 1),
        (["nodes=1:ppn=4:vm,mem=4096"], "mem=4608mb", change("mem=4608mb", "mem=4096"), 1),
        (["nodes=2:ppn=4:vm,vmem=4194304kb"], "vmem=9gb", change("vmem=9gb", "vmem=4194304kb"), 2),
        (
            ["nodes=2,mem=4gb,vmem=20gb"],
            "nodes=2:ppn=4:vm,mem=9gb",
            change("nodes=2:ppn=4:vm, mem=9gb", "nodes=2, mem=4gb"),
            2,
        ),
        (
            ["mem=2gb"],
            "nodes=1:ppn=4:vm,mem=4608mb",
            change("nodes=1:ppn=4:vm, mem=4608mb", "one processor, mem=2gb"),
            1,
        ),
        # memory of each processor: 4608mb / 4 = 1152mb, / 5 = 921.6mb, / 8 = 576mb
        (["nodes=2:ppn=4:vm,pmem=1gb"], "pmem=1152mb", change("pmem=1152mb", "pmem=1gb"), 2),
        (["nodes=2:ppn=4:vm,pmem=2048mb"], "", "", 2),
        (["nodes=2:ppn=5:vm,pmem=1mb"], "pmem=922mb", change("pmem=922mb", "pmem=1mb"), 2),
        (["nodes=2:ppn=8:vm,pmem=576mb,pvmem=1mb"], "pvmem=576mb", change("pvmem=576mb", "pvmem=1mb"), 2),
        (
            ["nodes=2:ppn=2,pmem=1gb"],
            "nodes=2:ppn=4:vm,pmem=1152mb",
            change("nodes=2:ppn=4:vm, pmem=1152mb", "nodes=2:ppn=2, pmem=1gb"),
            2,
        ),
        (["nodes=1:ppn=4:vm+1:ppn=8:vm,pmem=1gb"], "pmem=1152mb", change("pmem=1152mb", "pmem=1gb"), 2),
        # what stays as it is
        (["nodes=2:ppn=4:vm,naccesspolicy=singlejob"], "", "", 2),
        (["nodes=2:ppn=4:vm,feature=ib,gres=matlab:1,software=matlab,gpus=1"], "", "", 2),
        (["nodes=2:ppn=4:vm,other=note,walltime=24:00:00,cput=1:00:00,file=10gb,nice=5"], "", "", 2),
        (["nodes=2:ppn=4:vm", "epilogue=/home/alice/e.sh,prologue=p.sh,qos=high,advres=alice.1"], "", "", 2),
        # what qsub refuses, it refuses itself
        (["nodes=two words"], "", "", 0),
        (["nodes=2:ppn=four,mem=1gb"], "", "", 0),
        (["nodes=2:mem=4gb"], "", "", 0),
        (["nodes="], "", "", 0),
        (["nodes=2:ppn=4:vm,mem=4 gb"], "", "", 2),
        (["nodes=2:ppn=4:vm,mem=1.5gb,pmem=lots"], "", "", 2),
        (["nodes=2:ppn=4:vm,mem="], "", "", 2),
    ],
)
def test_requests_and_what_is_asked_for(texts: list[str], additions: str, sentence: str, nodes: int) -> None:
    """Two guests of 2 processors and 2G on each node: 4 processors and 4608mb of it."""
    expected = read_resources([additions])
    assert expected is not None
    assert asked(*texts) == Raised(expected, sentence, nodes)


OTHER_WAY = "does not say what each node gives its guests"


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        (["procs=8"], f"-l procs=8 {OTHER_WAY}; write -l nodes=2:ppn=4 instead"),
        (["procs=9,walltime=1:00"], f"-l procs=9 {OTHER_WAY}; write -l nodes=3:ppn=4 instead"),
        (["procs=0"], f"-l procs=0 {OTHER_WAY}; write -l nodes=1:ppn=4 instead"),
        (["procs=many"], f"-l procs=many {OTHER_WAY}; write -l nodes=N:ppn=M instead"),
        (["nodes=2:ppn=4", "procs=8"], f"-l procs=8 {OTHER_WAY}; leave it out and state ppn= in nodes="),
        (["ncpus=8"], f"-l ncpus=8 {OTHER_WAY}; write -l nodes=1:ppn=8 instead"),
        (["ncpus=1,mem=4gb"], f"-l ncpus=1 {OTHER_WAY}; write -l nodes=1:ppn=4 instead"),
        (["nodes=2,ncpus=4"], f"-l ncpus=4 {OTHER_WAY}; leave it out and state ppn= in nodes="),
        (["size=16"], f"-l size=16 {OTHER_WAY}; write -l nodes=4:ppn=4 instead"),
        (["mppwidth=6"], f"-l mppwidth=6 {OTHER_WAY}; write -l nodes=2:ppn=4 instead"),
        (["nodes=2,mppmem=1gb"], f"-l mppmem=1gb {OTHER_WAY}; leave it out and state ppn= in nodes="),
        (["mppnodes=1"], f"-l mppnodes=1 {OTHER_WAY}; write -l nodes=N:ppn=M instead"),
        (
            ["select=2:ncpus=4:mem=4gb"],
            f"-l select=2:ncpus=4:mem=4gb {OTHER_WAY}; write -l nodes=N:ppn=M instead",
        ),
        (["trl=2@500:4@250"], f"-l trl=2@500:4@250 {OTHER_WAY}; write -l nodes=N:ppn=M instead"),
        (["geometry='(0,1)'"], f"-l geometry=(0,1) {OTHER_WAY}; write -l nodes=N:ppn=M instead"),
        (["select=2:ncpus=4:mem=4gb:arch=linux"], f"-l select='2:ncpus=4:mem=4gb:arch=linux' {OTHER_WAY}; "),
        (["procs=" + "9" * 5000], f"-l procs='{'9' * 58}… {OTHER_WAY}; write -l nodes=N:ppn=M instead"),
        (["procs=\x1b[2J"], f"-l procs='\\x1b[2J' {OTHER_WAY}; write -l nodes=N:ppn=M instead"),
        (["nodes=2:ppn=2:ppn=4"], "nodes='2:ppn=2:ppn=4' states ppn= more than once for the same nodes; "),
        (["nodes=0"], "nodes='0' asks for 0 nodes; ask for 1 at least"),
    ],
)
def test_other_ways_to_ask_for_processors_are_refused(texts: list[str], sentence: str) -> None:
    """One sentence says what to write instead, with the numbers where they are clear."""
    with pytest.raises(RequestError) as caught:
        asked(*texts)
    assert str(caught.value).startswith(sentence)


def test_the_new_kind_of_request_is_refused() -> None:
    """TORQUE takes ``-L`` only without ``nodes=``, which guests need."""
    refuse_task_requests([])
    with pytest.raises(RequestError) as caught:
        refuse_task_requests(["tasks=2:lprocs=4"])
    assert str(caught.value) == (
        "-L 'tasks=2:lprocs=4' cannot be raised to what guests need; "
        "write -l nodes=N:ppn=M instead, N nodes with M processors each"
    )


@pytest.mark.parametrize(
    ("texts", "additions"),
    [
        (["nodes=2:ppn=4:vm"], {"mem": "9gb"}),
        (["nodes=2:ppn=4:vm,mem="], {"mem": "9gb"}),
        (["nodes=2:ppn=4:vm,vmem=10gb"], {"mem": "9gb"}),
        (["nodes=2:ppn=4:vm,mem=10gb"], {}),
        (["nodes=2:ppn=4:vm,pmem=2gb"], {}),
        (["nodes=2:ppn=4:vm,pvmem=2gb"], {}),
    ],
)
def test_a_site_may_want_the_memory_of_every_job(texts: list[str], additions: dict[str, str]) -> None:
    """With request_mem ``mem`` is added where the user named none; that is nothing to report."""
    assert asked(*texts, request_mem=True) == Raised(additions, "", 2)


def test_nodes_may_be_kept_for_one_user() -> None:
    """With exclusive nodes a policy is asked for, but a user's own stays."""
    assert asked("nodes=1:ppn=4:vm", exclusive=True).additions == {"naccesspolicy": "uniqueuser"}
    assert asked("nodes=1:ppn=4:vm,naccesspolicy=singlejob", exclusive=True).additions == {}


def test_a_node_file_needs_nodes() -> None:
    """Even where one processor and no property are enough, ``nodes=`` is asked for."""
    need = Need(1, G)
    raised = raise_resources({}, need, node_property="", request_mem=False, exclusive=False)
    assert raised == Raised({"nodes": "1"}, "", 1)


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        (["nodes=1"], "each node needs 4 processors for its guests and itself"),
        (["nodes=1:ppn=4,mem=1gb"], "each node needs 4608mb of memory for its guests and itself"),
        (["mem=1gb"], "each node needs 4 processors and 4608mb of memory for its guests and itself"),
    ],
)
def test_the_reason_names_what_was_raised(texts: list[str], reason: str) -> None:
    """Where the caller gives no reason in words, the numbers are one."""
    assert asked(*texts, need=Need(4, 4608 * M)).sentence.endswith(f": {reason}")


def test_memory_of_each_processor_is_rounded_up() -> None:
    """One byte more than 4 times 1152mb is not met by 1152mb."""
    assert asked("nodes=1:ppn=4:vm,pmem=1mb", need=Need(4, 4608 * M + 1)).additions == {"pmem": "1153mb"}


def test_a_message_repeats_nothing_that_does_not_print() -> None:
    """TORQUE ignores what stands behind a size, a terminal does not."""
    raised = asked("nodes=1:ppn=4:vm,mem=1gb\x1b[2J")
    assert raised.sentence == change("mem=4608mb", "mem='1gb\\x1b[2J'")


WORDS = st.sampled_from(["bigmem", "vm", "gpus=1", "node01", "ib"])
PARTS = st.builds(
    lambda count, words, ppn: (str(count), *words, *([f"ppn={ppn}"] if ppn else [])),
    st.integers(1, 50),
    st.lists(WORDS, max_size=3),
    st.integers(0, 40),
)
NODES = st.lists(PARTS, min_size=1, max_size=4).map(lambda parts: str(NodeSpec(tuple(parts))))
SIZES = st.builds(
    "{}{}{}".format, st.integers(0, 5000), st.sampled_from("kmgt"), st.sampled_from(["", "b", "w"])
)
GIVEN = st.fixed_dictionaries(
    {}, optional={"nodes": NODES, **dict.fromkeys(("mem", "vmem", "pmem", "pvmem"), SIZES)}
)
NEEDS = st.builds(Need, st.integers(1, 64), st.integers(1, 1 << 44))


@given(GIVEN, NEEDS, st.booleans())
def test_the_job_has_what_its_guests_need(resources: dict[str, str], need: Need, request_mem: bool) -> None:
    """Afterwards every node gives enough processors, and all memory there is named is enough."""
    raised = raise_resources(resources, need, node_property="vm", request_mem=request_mem, exclusive=False)
    effective = {**resources, **raised.additions}
    spec = read_nodes(effective["nodes"])
    assert spec is not None
    assert spec.nodes == raised.nodes
    assert min(spec.ppns) >= need.cores
    assert all("vm" in words for words in spec.parts)
    sizes = {name: read_size(text) or 0 for name, text in effective.items() if name != "nodes"}
    assert set(sizes) >= ({"mem"} if request_mem and not set(sizes) & {"pmem", "pvmem"} else set())
    for name, size in sizes.items():
        if name.startswith("p"):
            assert all(size * ppn >= need.memory for ppn in spec.ppns)
        else:
            assert size >= need.memory * spec.nodes
        assert size >= (read_size(resources.get(name, "0")) or 0)


@given(GIVEN, NEEDS, st.booleans(), st.booleans())
def test_a_raised_request_is_not_raised_again(
    resources: dict[str, str], need: Need, request_mem: bool, exclusive: bool
) -> None:
    """What the wrapper asked for is enough for the submit filter, and nothing is said twice."""
    first = raise_resources(resources, need, node_property="vm", request_mem=request_mem, exclusive=exclusive)
    effective = {**resources, **first.additions}
    second = raise_resources(
        effective, need, node_property="vm", request_mem=request_mem, exclusive=exclusive
    )
    assert second == Raised({}, "", first.nodes)
    assert all(resources.get(name) != value for name, value in first.additions.items())


@given(GIVEN, NEEDS)
def test_a_sentence_is_one_line_and_only_for_raised_numbers(resources: dict[str, str], need: Need) -> None:
    """It names every raised resource as it was and as it is, unless ``nodes=`` would be long."""
    raised = raise_resources(resources, need, node_property="vm", request_mem=False, exclusive=False)
    before = read_nodes(resources.get("nodes", "1"))
    memory = [name for name in raised.additions if name != "nodes"]
    assert before is not None
    assert bool(raised.sentence) == (min(before.ppns) < need.cores or bool(memory))
    assert "\n" not in raised.sentence
    for name in memory:
        assert f"{name}={raised.additions[name]}" in raised.sentence.partition(" instead of ")[0]
        assert f"{name}={resources[name]}" in raised.sentence.partition(" instead of ")[2]


def test_the_whole_request_of_a_job_is_measured() -> None:
    """The caller joins what was given, what is added and ``other``; the faces of the module are one."""
    effective = {"walltime": "1:00:00", **asked("nodes=2").additions, "other": "vm1:vcpus=2"}
    assert resource_list_size(effective) < 300
    check_fits(effective)


def test_reading_resources_is_quick() -> None:
    """Nothing but the standard library's light part and our errors and messages is imported."""
    code = (
        "import __future__, sys, dataclasses, re, enum, warnings; before = set(sys.modules)\n"
        "import nornir_torque_vm.wrapper.resources\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    run = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    names = {"config", "config.fields", "config.kinds", "errors", "sizes", "wrapper"}
    names |= {f"wrapper.{name}" for name in ("nodespec", "qsubsize", "resourcelist", "resources")}
    assert set(run.stdout.split()) == {"nornir_torque_vm", *(f"nornir_torque_vm.{name}" for name in names)}
