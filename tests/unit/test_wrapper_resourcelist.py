"""The values of ``-l``: read as qsub reads them, and measured as a hook gets them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_torque_vm.errors import RequestError
from nornir_torque_vm.wrapper.resourcelist import SITE_BYTES, check_fits, read_resources, resource_list_size


@pytest.mark.parametrize(
    ("texts", "resources"),
    [
        ([], {}),
        ([""], {}),
        (["nodes=2:ppn=4"], {"nodes": "2:ppn=4"}),
        (["nodes=4,walltime=10:00"], {"nodes": "4", "walltime": "10:00"}),
        (["walltime=1:00", "nodes=2"], {"walltime": "1:00", "nodes": "2"}),
        (["nodes=1", "mem=1gb,nodes=2"], {"nodes": "2", "mem": "1gb"}),
        (["nodes=1,nodes=3"], {"nodes": "3"}),
        ([" nodes = 2:ppn=4"], {"nodes": "2:ppn=4"}),
        (["nodes=2 ,mem=1gb"], {"nodes": "2 ", "mem": "1gb"}),
        (['software="a,b",mem=1gb'], {"software": "a,b", "mem": "1gb"}),
        (["software='a,b'"], {"software": "a,b"}),
        (["software='a\",mem=1gb"], {"software": "a", "mem": "1gb"}),
        (["other=x'y,z'"], {"other": "y,z"}),
        (["hostlist=n[1,2],mem=1gb"], {"hostlist": "n[1,2]", "mem": "1gb"}),
        (["a=[1,b=2],c=3,d=[4,e=5"], {"a": "[1,b=2]", "c": "3", "d": "[4,e=5"}),
        (["a='[1',b=2,c=3"], {"a": "[1", "b": "2", "c": "3"}),
        (["gpus=2"], {"gres": "gpus:2"}),
        (["gpus=2,gres=matlab:1"], {"gres": "matlab:1"}),
        (["gres=matlab:1,gpus=2"], {"gres": "gpus:2"}),
        (['gpus="2",mem=1gb'], {"gres": 'gpus:"', "mem": "1gb"}),
        (["mem="], {"mem": ""}),
        (["feature=ib:fast"], {"feature": "ib:fast"}),
        (["'a'=b"], {"'a'": "b"}),
        (["a='b'c=d"], {"a": "b", "c": "d"}),
        (["walltime=1=2"], {"walltime": "1=2"}),
        (["walltime=10 'x'"], {"walltime": "x"}),
    ],
)
def test_values_are_read_as_qsub_reads_them(texts: list[str], resources: dict[str, str]) -> None:
    """Commas, quotes, brackets, ``gpus``, and the later value of a name: all by qsub's rules."""
    assert read_resources(texts) == resources


@pytest.mark.parametrize(
    "text", ["nodes", "nodes=2,", "nodes=2,mem", ",nodes=2", "=2", " ", "a='b' ", "a='b\"c", "nodes=2,,mem=1"]
)
def test_what_qsub_refuses_is_left_to_qsub(text: str) -> None:
    """One value that qsub refuses is enough."""
    assert read_resources(["mem=1gb", text]) is None


@given(
    st.dictionaries(
        st.from_regex(r"[a-f][a-z_]{0,5}", fullmatch=True),
        st.from_regex(r"[a-z0-9:+=#.]{0,9}", fullmatch=True),
    )
)
def test_plain_resources_come_back_as_they_were_written(resources: dict[str, str]) -> None:
    """Together in one value or in one each."""
    texts = [f"{name}={value}" for name, value in resources.items()]
    assert read_resources(texts) == resources
    assert read_resources([",".join(texts)]) == resources


@given(st.text(alphabet="ab=,'\"[] \tg1\udce9é", max_size=20))
def test_any_text_is_read_or_left_to_qsub(text: str) -> None:
    """Names have neither blanks nor separators; reading always ends."""
    for name in read_resources([text]) or {}:
        assert name
        assert not set(name) & set("=, \t")


def handed_over(resources: dict[str, str]) -> dict[str, str]:
    """Which resources pbs_mom writes into its buffer, by the rule of its resc_to_string."""
    written: dict[str, str] = {}
    room = 2048
    for name, value in resources.items():
        need = len(name.encode()) + len(value.encode()) + 3
        if need >= room:
            continue
        if written:
            room -= 1
        room -= need
        written[name] = value
    return written


@given(st.dictionaries(st.sampled_from(["nodes", "other", "mem", "gres", "software"]), st.integers(0, 1100)))
def test_what_fits_reaches_the_hooks_completely(lengths: dict[str, int]) -> None:
    """A list that passes loses nothing, in whatever place TORQUE puts what it adds itself."""
    resources = {name: "é" * (length // 2) for name, length in lengths.items()}
    full = {"walltime": "10000:00:00"} | resources
    if "nodes" in resources:
        full["neednodes"] = resources["nodes"]
    try:
        check_fits(resources)
    except RequestError:
        assert resource_list_size(resources) > 2048
    else:
        assert handed_over(full) == full


def test_nodes_count_twice() -> None:
    """The server hands the request for nodes on as ``nodes`` and as ``neednodes``."""
    size = resource_list_size({"nodes": "2:ppn=4", "mem": "4gb"})
    assert size == SITE_BYTES + len("nodes2:ppn=4") + 4 + len("neednodes2:ppn=4") + 4 + len("mem4gb") + 4
    assert resource_list_size({}) == SITE_BYTES


def test_the_limit_is_exact_and_the_sentence_names_the_longest() -> None:
    """2048 bytes pass, 2049 do not; the user reads what to shorten."""
    room = 2048 - SITE_BYTES - len("other") - 4
    check_fits({"other": "x" * room})
    with pytest.raises(RequestError) as caught:
        check_fits({"mem": "1gb", "other": "x" * room})
    assert str(caught.value) == (
        "the job's resources take 2058 bytes and TORQUE hands at most 2048 to a node; "
        f"shorten the -vm request, which takes {room + 9} of them"
    )
    with pytest.raises(RequestError, match="shorten nodes=, which takes 2022 of them"):
        check_fits({"nodes": "n" * 1000, "other": "x" * 1500})
