"""From the words that come to qsub to a job of the embedded driver."""

from __future__ import annotations

import pytest

from nornir_torque_vm.driver.batch import Submission
from nornir_torque_vm.driver.submitted import seconds, submission_of
from nornir_torque_vm.errors import LabError, RequestError

HOSTS = ("n1", "n2", "n3")
PLAIN = b"#!/bin/sh\necho hello\n"


def submitted(*words: str, script: bytes = PLAIN) -> Submission:
    return submission_of(words, script, HOSTS)


def test_a_job_that_asks_for_nothing_gets_one_slot() -> None:
    """And is named after its script, wherever that is."""
    assert submitted("/home/alice/job.sh") == Submission(PLAIN, "job.sh", ("n1",), 1)
    assert submitted().name == "STDIN"


def test_what_the_wrapper_submits_is_read_back() -> None:
    """Nodes and slots as raised, other resources as they ride in the job, in their order."""
    made = submitted(
        "-l", "nodes=2,walltime=1:00", "-N", "mine", "-F", "one 'two words'", "-T", "vm",
        "-l", "other=vm1:ram=192M,nodes=2:ppn=4:vm,mem=1gb", "job.sh",
    )  # fmt: skip
    assert (made.name, made.hosts, made.ppn, made.walltime) == ("mine", ("n1", "n2"), 4, 60)
    assert made.resources == ("other=vm1:ram=192M", "mem=1gb")
    assert made.arguments == ("one", "two words")


def test_directives_count_and_the_command_line_wins() -> None:
    """Resource by resource for -l, as a whole for the others; later ones win among themselves."""
    script = b"#!/bin/sh\n#PBS -N inside -l nodes=3:ppn=2\n#PBS -l walltime=20,mem=1gb -N later\necho\n"
    assert submitted("job.sh", script=script) == Submission(
        script, "later", HOSTS, 2, ("mem=1gb",), walltime=20
    )
    made = submitted("-l", "nodes=1", "-N", "outside", "job.sh", script=script)
    assert (made.name, made.hosts, made.ppn, made.walltime) == ("outside", ("n1",), 1, 20)


def test_the_prefix_of_directives_may_be_another() -> None:
    """Given by -C, as the wrapper does where the script itself has to stay."""
    script = b"#PBS -N mine\n#X -N other\n"
    assert submitted("-C", "#X", "job.sh", script=script).name == "other"
    assert submitted("-C", "#NONE", "job.sh", script=script).name == "job.sh"


@pytest.mark.parametrize("text", ["-m abe -M me@here -q batch -A x -j oe -o out -e err -p 5 -r n -v A=1 -V"])
def test_options_that_do_not_say_which_job_it_is_are_left_out(text: str) -> None:
    """There is no queue, and no mail."""
    assert submitted(*text.split(), "job.sh") == submitted("job.sh")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["-I", "-x", "./tool"], "no commands of interactive jobs"),
        (["-T", "other", "job.sh"], "no job types"),
        (["-l", "nodes=4", "job.sh"], "asks for 4 nodes, and the lab has 3"),
        (["-l", "nodes=1:ppn=2+1", "job.sh"], "as many slots"),
    ],
)
def test_what_the_driver_has_not_is_refused(words: list[str], sentence: str) -> None:
    """Rather than run as something else."""
    with pytest.raises(LabError, match=sentence):
        submitted(*words)


@pytest.mark.parametrize(
    ("words", "script", "sentence"),
    [
        (["-Y", "job.sh"], PLAIN, "qsub has no option -Y"),
        (["job.sh"], b"#PBS -Y\n", "qsub has no option -Y"),
        (["job.sh"], b"#PBS -N 'x\n", "script line 1: unmatched '"),
        (["-l", "nodes", "job.sh"], PLAIN, "qsub would refuse -l 'nodes'"),
        (["-l", "nodes=2:", "job.sh"], PLAIN, "TORQUE would refuse nodes='2:'"),
        (["-l", "walltime=soon", "job.sh"], PLAIN, "walltime='soon' is no time"),
    ],
)
def test_what_torque_refuses_is_refused(words: list[str], script: bytes, sentence: str) -> None:
    """By a sentence of ours."""
    with pytest.raises(RequestError, match=sentence):
        submitted(*words, script=script)


@pytest.mark.parametrize(
    ("text", "members", "limit"),
    [("0-3", (0, 1, 2, 3), None), ("7", (7,), None), ("1,5-6,3%2", (1, 3, 5, 6), 2), ("2-3,3", (2, 3), None)],
)
def test_members_of_an_array(text: str, members: tuple[int, ...], limit: int | None) -> None:
    """Each once, in order; with ``%`` only so many at the same time."""
    made = submitted("-t", text, "job.sh")
    assert (made.array, made.array_limit) == (members, limit)


def test_an_interactive_job_may_have_no_script() -> None:
    """And is none of many."""
    made = submitted("-I", "-N", "mine", script=b"")
    assert (made.interactive, made.name, made.script) == (True, "mine", b"")
    with pytest.raises(RequestError, match="an interactive job cannot be an array"):
        submitted("-I", "-t", "1-2")


@pytest.mark.parametrize("text", ["", "a", "1-", "3-1", "1;2", "1%", "1%0", "1%x", "0-1000", "-3", "1,,2"])
def test_what_names_no_members_is_refused(text: str) -> None:
    """An empty range too."""
    with pytest.raises(RequestError, match=r"-t .* (names no|are more than)"):
        submitted("-t", text, "job.sh")


@pytest.mark.parametrize(
    ("text", "value"), [("90", 90), ("2:05", 125), ("01:00:10", 3610), ("100:00:00", 360000)]
)
def test_a_walltime_in_seconds(text: str, value: int) -> None:
    """As TORQUE reads it."""
    assert seconds(text) == value
