"""From a call with ``-vm`` to what the real qsub gets: every word and every directive keeps its meaning."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from words_kit import EXAMPLES, options, scripts, words

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import RequestError
from nornir_torque_vm.model import Distro
from nornir_torque_vm.request import Request, find_in_resources
from nornir_torque_vm.wrapper.directives import Header, read_header
from nornir_torque_vm.wrapper.getopt import CommandLine, read_words, scan_words
from nornir_torque_vm.wrapper.resolve import COMMAND_LINE, ImageFacts, Resolved, gather, resolve
from nornir_torque_vm.wrapper.submission import (
    Call,
    Found,
    Submission,
    compose,
    find_requests,
    mark_job,
    need_of,
    refused_by_qsub,
)

SITE = Settings(img_default="debian.qcow2")
INLINE = b"#!/bin/sh\n#PBS -l nodes=2 -N name\n#PBS -vm ram=1G\necho\n"


def job(*asked: str, site: Settings = SITE) -> Resolved:
    """Resolve requests as the command line has them."""
    return resolve(gather((COMMAND_LINE, text) for text in asked), site, ImageFacts("debian.qcow2"))


def find(line: str | list[str], script: bytes | None = None, source: str = "file") -> Found:
    """Read a call; the script is job.sh."""
    given = tuple(line.split() if isinstance(line, str) else line)
    return find_requests(Call(given, script, "job.sh" if source == "file" else "", source))


def submitted(
    line: str | list[str], script: bytes | None = None, source: str = "file", **site: Any
) -> Submission:
    """Compose a call for an image that exists."""
    found = find(line, script, source)
    chosen = Settings(img_default="debian.qcow2", **site)
    return compose(found, resolve(gather(found.texts), chosen, ImageFacts("debian.qcow2")), chosen)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("-vm vcpus=2 job.sh", "-T vm -l other=vm1:vcpus=2,nodes=1:ppn=2:vm job.sh"),
        ("job.sh -vm vcpus=2", "-T vm -l other=vm1:vcpus=2,nodes=1:ppn=2:vm job.sh"),
        ("job.sh -z -vm vcpus=2", "job.sh -z -T vm -l other=vm1:vcpus=2,nodes=1:ppn=2:vm"),
        ("-z -vm vcpus=2 -- x", "-z -T vm -l other=vm1:vcpus=2,nodes=1:ppn=2:vm -- x"),
        (
            "-lnodes=2:ppn=8 -vm vcpus=2 job.sh",
            "-lnodes=2:ppn=8 -T vm -l other=vm1:vcpus=2,nodes=2:ppn=8:vm job.sh",
        ),
        ("-vm vcpus=2 -N", "-T vm -l other=vm1:vcpus=2,nodes=1:ppn=2:vm -N"),
        ("-vm vcpus=2 -C", "-T vm -l other=vm1:vcpus=2,nodes=1:ppn=2:vm -C"),
        (
            "-l mem=1gb,walltime=9 -vm vcpus=2,ram=1G job.sh",
            "-l mem=1gb,walltime=9 -T vm -l other=vm1:ram=1G:vcpus=2,nodes=1:ppn=2:vm,mem=1536mb job.sh",
        ),
    ],
)
def test_ours_come_behind_the_last_option(line: str, expected: str) -> None:
    """There they win, and every word of the user stays where it was."""
    assert submitted(line).words == tuple(expected.split())


def test_requests_in_the_script_count_before_those_of_the_command_line() -> None:
    """With the line they stand in."""
    found = find("-vm vcpus=2 job.sh -vm vcpus=3", INLINE)
    assert found.texts == [
        ("script line 3", "ram=1G"), (COMMAND_LINE, "vcpus=2"), (COMMAND_LINE, "vcpus=3")
    ]  # fmt: skip
    assert find("-C #X job.sh", b"#PBS -vm a=1\n#X -vm b=2\n").texts == [("script line 2", "b=2")]


def test_a_plain_script_is_not_copied() -> None:
    """Its own path goes to qsub."""
    done = submitted("-vm vcpus=2 job.sh", b"#PBS -N x\n")
    assert (done.script, done.script_word) == (None, None)


def test_a_copy_stands_for_the_script_and_gets_its_name() -> None:
    """Output files are named by it."""
    done = submitted("./dir/job.sh", INLINE.replace(b"-N name", b""))
    assert done.script_word is not None
    assert done.words[done.script_word] == "./dir/job.sh"
    assert done.words[-3:-1] == ("-N", "job.sh")
    assert done.script == INLINE.replace(b"-N name", b"").replace(b"#PBS -vm", b"##PBS -vm")
    assert "-N" not in submitted("job.sh", INLINE).words


def test_a_script_that_runs_where_it_is_keeps_its_path_and_loses_its_directives() -> None:
    """Its options go before the user's words, so that those win; the prefix occurs nowhere in it."""
    script = INLINE + b"# #NO-DIRECTIVES, #NO-DIRECTIVES-1\n"
    done = submitted("-I -x -C #PBS job.sh", script)
    assert " ".join(done.words) == (
        "-l nodes=2 -N name -I -x -C #PBS -T vm -l other=vm1:ram=1G,nodes=2:vm -C #NO-DIRECTIVES-2 job.sh"
    )
    assert done.script is None
    inline = submitted("-I job.sh", b"#PBS -x -CX -E\n" + INLINE)
    assert inline.words[:6] == ("-x", "-E", "-l", "nodes=2", "-N", "name")


def test_a_bad_directive_of_such_a_script_is_refused() -> None:
    """Outside of the script qsub would not see it."""
    with pytest.raises(RequestError, match=r"^script line 1: qsub has no option -Q"):
        submitted("-I -x job.sh", b"#PBS -Q\n" + INLINE)


@pytest.mark.parametrize(
    ("line", "script", "sentence"),
    [
        ("-T fast job.sh", b"", "-T fast cannot be combined with -vm"),
        ("job.sh", b"\n#PBS -Tvm\n", "script line 2: -T vm cannot be combined with -vm"),
        ("-l other=x job.sh", b"", "-l other= cannot be combined with -vm"),
        ("job.sh", b"#PBS -lnodes=2,other=x\n", "script line 1: -l other= cannot be combined with -vm"),
        ("-L tasks=1 job.sh", b"", "-L 'tasks=1' cannot"),
        ("job.sh", b"#PBS -L tasks=1\n", "-L 'tasks=1' cannot"),
        ("-l procs=4 job.sh", b"", "-l procs=4 does not say what each node gives"),
        (f"-l nodes={'node01+' * 120}node02 job.sh", b"", "the job's resources take"),
        ("-zl nodes=2 job.sh", b"", "qsub reads this command line in two ways"),
    ],
)
def test_what_excludes_guests_is_one_sentence(line: str, script: bytes, sentence: str) -> None:
    """On the command line and in the script."""
    with pytest.raises(RequestError) as raised:
        submitted(f"-vm vcpus=1 {line}", script + b"#PBS -vm ram=1G\n")
    assert str(raised.value).startswith(sentence)


def test_what_qsub_refuses_in_l_is_left_to_it() -> None:
    """The job is marked all the same."""
    done = submitted("-l nodes=2, -vm vcpus=2 job.sh")
    assert done.words == ("-l", "nodes=2,", "-T", "vm", "-l", "other=vm1:vcpus=2", "job.sh")
    assert refused_by_qsub(find("-z -vm foo missing.sh")) == ("-z", "-T", "vm", "missing.sh")


def test_the_filter_marks_a_header_alone() -> None:
    """It has the script's directives, and a command line without requests."""
    marked, raised = mark_job(read_words(["-z"]), read_header(b"#PBS -l nodes=3\n"), job("vcpus=2"), SITE)
    assert marked == ("-T", "vm", "-l", "other=vm1:vcpus=2,nodes=3:ppn=2:vm")
    assert raised.nodes == 3


def test_what_a_node_has_to_give() -> None:
    """The guests' processors and memory, what is kept for input and output, and for the node itself."""
    site = Settings(host_os_core_count=2, host_os_ram_mb=1024, iocm_enabled=True)
    need = need_of(job("vcpus=4,vms_per_node=2,ram=1G,iocm=on,iocm_max_cores=3", site=site), site)
    assert (need.cores, need.memory) == (13, 3 << 30)
    assert need.why == (
        "2 guests of 4 processors, 1G of memory, 3 for input and output, 2 for the node itself on each node"
    )
    plain = need_of(job("vcpus=1"), SITE, memory=False)
    assert (plain.cores, plain.why) == (1, "1 guest of 1 processor on each node")


def test_a_node_gives_the_memory_that_its_guests_share_once() -> None:
    """As large as it is made: a power of two."""
    site = Settings(img_default="o.qcow2", unclot_enabled=True, ramdisk_dir="/memory", host_os_ram_mb=1024)
    asked = gather([(COMMAND_LINE, "vms_per_node=2,ram=1G,unclot=on,unclot_shmem=600M")])
    need = need_of(resolve(asked, site, ImageFacts("o.qcow2", Distro.OSV)), site)
    assert need.memory == 4 << 30
    assert "1G of memory, 1G of shared memory" in need.why


def test_what_was_raised_is_one_sentence() -> None:
    """With memory in it where memory was raised or may have been."""
    assert submitted("-l nodes=2 -vm vcpus=2,ram=1G job.sh").raised.sentence == (
        "asked for nodes=2:ppn=2:vm instead of nodes=2: 1 guest of 2 processors on each node"
    )
    assert "1G of memory" in submitted("-l pmem=1gb -vm vcpus=2,ram=1G job.sh").raised.sentence


@pytest.mark.proves("node_property", "pbs_exclusive_node_alloc", "request_mem")
def test_settings_decide_what_is_asked_for_besides() -> None:
    """Property, memory and the policy of the nodes."""
    done = submitted(
        "-vm vcpus=1,ram=512M job.sh", node_property="", request_mem=True, pbs_exclusive_node_alloc=True
    )
    assert done.words[3] == "other=vm1:ram=512M:vcpus=1,nodes=1,mem=1gb,naccesspolicy=uniqueuser"


def effective(line: CommandLine, header: Header) -> list[tuple[str, str | None]]:
    """All options in the order in which qsub processes them."""
    return options(header) + [(option.letter, option.value) for option in line.options]


asking = st.builds(
    lambda before, after: [*before, "-vm", "ram=1G", *after, "job.sh"], words, words
)  # in most places a request


@settings(max_examples=EXAMPLES)
@given(words | asking, scripts, st.booleans(), st.booleans())
@example(["-I", "-x", "job.sh"], INLINE, True, False)
@example(["-CX", "job.sh"], b"X -vm a\n", True, False)
@example(["-zl", "nodes=2", "job.sh"], INLINE, True, False)
@example(["job.sh", "-vm", "a", "-l", "nodes=2"], INLINE, True, True)
@example(["-Ix", "job.sh"], b"#PBS -vm a=1 -CX\n", True, False)
def test_everything_else_keeps_its_meaning(
    given_words: list[str], script: bytes, from_file: bool, posixly_correct: bool
) -> None:
    """Whatever the words and the script: qsub sees the same options, and ours where they win."""
    source = "file" if from_file else "stdin"
    try:
        found = find_requests(Call(tuple(given_words), script, "job.sh", source, posixly_correct))
        before = scan_words(found.plain.words)
        done = compose(found, job("vcpus=2"), SITE)
    except RequestError as error:
        assert "\n" not in str(error)  # noqa: PT017 - refused in one line, or else composed
        return
    if not found.texts or (before.script is None and from_file):
        return
    line = read_words(done.words, posixly_correct=posixly_correct)
    scan = scan_words(done.words)
    content = script if done.script is None else done.script
    prefix = "#PBS" if scan.prefix is None else scan.prefix
    header = read_header(content, prefix, from_stdin=not from_file, posixly_correct=posixly_correct)
    assert not line.requests
    assert not header.has_request
    kept = iter(effective(line, header))
    lifted = done.script is None and found.header.has_request
    for option in effective(found.plain, found.header):
        assert (lifted and option[0] == "C") or option in kept  # a look for what is not there uses them up
    assert line.values("T") == ["vm"]
    assert find_in_resources(line.values("l")[-1]) == Request(vcpus=2)
    operands = [[at.words[index] for index in at.operands] for at in (found.plain, line)]
    assert operands[0] == operands[1]
    assert done.script_word in (None, *line.operands)
    if scan.script is None or before.script is None:
        assert scan.script is before.script
    else:
        assert done.words[scan.script] == found.plain.words[before.script]
    assert content.count(b"\n") == script.count(b"\n")
