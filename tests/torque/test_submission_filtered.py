"""The submit filter on a real TORQUE: plain qsub understands ``#PBS -vm``, and the wrapper does not mind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from submission_kit import (
    FRONT,
    SCRIPT,
    Job,
    SubmitHost,
    differences,
    parent,
    stopped,
    submit_host,
    waiting,
    write_script,
)
from submission_lines import LINES, Line, named
from torque_kit import jobs

__all__ = ["parent", "stopped", "submit_host", "waiting"]
pytestmark = [pytest.mark.torque, pytest.mark.usefixtures("waiting")]

QUOTED = [line for line in LINES if "it's" in line.text]
"""Those with one quote in a word, which breaks TORQUE's way to call a filter."""
FILTERED = [line for line in LINES if line not in QUOTED]


@pytest.fixture
def filtered(submit_host: SubmitHost) -> Iterator[SubmitHost]:
    """The head with the filter on, as a site has it."""
    with submit_host.filtered():
        yield submit_host


def too_small(line: Line, plain: Job) -> bool:
    """Whether the command line asks for less than the guests need: it beats every filter."""
    given = plain.attributes[0]
    wanted = line.expected(given)
    names = ("nodes", "mem", "pmem")
    return any(
        f"{n}=" in line.text and given[f"Resource_List.{n}"] != wanted[f"Resource_List.{n}"] for n in names
    )


class TestJobs:
    @pytest.mark.parametrize("line", FILTERED, ids=named)
    def test_wrapper_filter_and_both_give_the_same_job(
        self, filtered: SubmitHost, line: Line, parent: str
    ) -> None:
        """It is the plain one and the request. The filter alone refuses what it has no way to raise."""
        typed, wrapped = (line.typed(job=SCRIPT, vm=vm).replace("PARENT", parent) for vm in (False, True))
        write_script(filtered.lab, line.script(vm=False))
        plain = filtered.submitted(filtered.real, typed, env=line.env)
        made = [filtered.submitted(FRONT, wrapped, env=line.env)]
        write_script(filtered.lab, line.script(vm=True))
        made.append(filtered.submitted(FRONT, typed, env=line.env))
        if too_small(line, plain):
            code, _, err = filtered.typed(filtered.real, typed, env=line.env)
            assert (code, "the command line asks for" in err) == (1, True)
        else:
            made.append(filtered.submitted(filtered.real, typed, env=line.env))
        for job in made:
            assert differences([line.expected(one) for one in plain.attributes], job.attributes) == []
        assert [job.script for job in made[:2]] == [plain.script] * 2, "the wrapper leaves nothing to do"

    @pytest.mark.parametrize("line", [Line("-N x"), Line("-j oe", directives=("-l nodes=2",), nodes="2:vm")])
    def test_a_script_on_standard_input_too(self, filtered: SubmitHost, line: Line) -> None:
        """By plain qsub, and by the wrapper, which replays it."""
        plain = filtered.submitted(filtered.real, line.text, stdin=line.script(vm=False))
        for program in (filtered.real, FRONT):
            job = filtered.submitted(program, line.text, stdin=line.script(vm=True))
            assert differences([line.expected(plain.only)], job.attributes) == []

    @pytest.mark.parametrize("words", ["-I JOB", "-I -x JOB", "-I -N x -v 'A=$HOME `id`' JOB"])
    def test_an_interactive_job_with_a_script_too(self, filtered: SubmitHost, words: str) -> None:
        """TORQUE calls the filter twice then: for the script, and for no script at all."""
        line = Line(words, directives=("-l nodes=2:ppn=2",), nodes="2:ppn=2:vm")
        write_script(filtered.lab, line.script(vm=False))
        plain = filtered.at_terminal(filtered.real, line.typed(job=SCRIPT, vm=False))
        write_script(filtered.lab, line.script(vm=True))
        for program in (filtered.real, FRONT):
            job = filtered.at_terminal(program, line.typed(job=SCRIPT, vm=False))
            assert differences([line.expected(plain.only)], job.attributes) == []

    def test_the_filter_leaves_a_plain_job_alone(self, filtered: SubmitHost) -> None:
        """The same script, byte for byte."""
        line = Line("JOB", directives=("-N mine",))
        write_script(filtered.lab, line.script(vm=False))
        job = filtered.submitted(filtered.real, SCRIPT)
        assert job.script == line.script(vm=False).encode()
        assert "jobtype" not in job.only

    def test_a_bad_request_is_refused_by_the_filter(self, filtered: SubmitHost) -> None:
        """In one line, before TORQUE's own; nothing is in the queue."""
        write_script(filtered.lab, "#!/bin/sh\n#PBS -vm vcpus=many\ntrue\n")
        before = jobs(filtered.lab).keys()
        code, out, err = filtered.typed(filtered.real, SCRIPT)
        ours, theirs = err.splitlines()
        assert (code, out) == (1, "")
        assert ours.startswith("torque-vm: script line 2: -vm key vcpus is 'many'")
        assert theirs == "qsub: submit filter returned an error code, aborting job submission."
        assert jobs(filtered.lab).keys() == before


class TestQuotes:
    @pytest.mark.parametrize("line", QUOTED, ids=named)
    def test_one_quote_breaks_any_filter_on_torque(self, filtered: SubmitHost, line: Line) -> None:
        """Its shell sees an unterminated quote before our filter is called: with the wrapper and without."""
        before = jobs(filtered.lab).keys()
        for program, vm in ((filtered.real, False), (FRONT, True)):
            write_script(filtered.lab, line.script(vm=False))
            code, out, err = filtered.typed(program, line.typed(job=SCRIPT, vm=vm))
            assert (code != 0, out) == (True, "")
            assert "Unterminated quoted string" in err
        assert jobs(filtered.lab).keys() == before

    @pytest.mark.parametrize("words", ["-v \"C='x y'\"", '-N "a\'b" -A "c\'d"', "-v 'D=\"x\" $HOME `id`'"])
    def test_what_torque_stands_the_filter_stands(self, filtered: SubmitHost, words: str) -> None:
        """Its shell makes other words of these, but the filter asks qsub itself."""
        line = Line(f"{words} VM JOB")
        write_script(filtered.lab, line.script(vm=False))
        plain = filtered.submitted(filtered.real, line.typed(job=SCRIPT, vm=False))
        made = [filtered.submitted(FRONT, line.typed(job=SCRIPT, vm=True))]
        write_script(filtered.lab, line.script(vm=True))
        made += [
            filtered.submitted(program, line.typed(job=SCRIPT, vm=False))
            for program in (FRONT, filtered.real)
        ]
        for job in made:
            assert differences([line.expected(plain.only)], job.attributes) == []
