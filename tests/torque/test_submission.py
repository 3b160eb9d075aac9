"""Command lines on a real pbs_server: a job with guests is the plain one, but for the request.

Each is submitted with TORQUE's own qsub and with ours, and what the server holds of the jobs is compared
attribute by attribute, and their scripts byte by byte. What may differ is all in ``Line.expected``.
"""

from __future__ import annotations

import re
import shlex

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
from torque_kit import jobs, user_run

__all__ = ["parent", "stopped", "submit_host", "waiting"]
pytestmark = [pytest.mark.torque, pytest.mark.usefixtures("waiting")]


PLACES = ((False, False), (True, False), (False, True))
"""Whether the request is among the words, and whether it is in the script."""


class Ways:
    """One line to be submitted in several ways."""

    def __init__(self, host: SubmitHost, line: Line, parent: str) -> None:
        self.host, self.line, self.parent = host, line, parent

    def submit(self, program: str, *, job: str, words: bool = False, inline: bool = False) -> Job:
        """Submit the line; the request is among the words, or in the script, or nowhere."""
        script = self.line.script(vm=inline)
        if job:
            write_script(self.host.lab, script, job)
        typed = self.typed(job, words=words)
        return self.host.submitted(program, typed, stdin=None if job else script, env=self.line.env)

    def typed(self, job: str, *, words: bool) -> str:
        return self.line.typed(job=job, vm=words).replace("PARENT", self.parent)

    def check(self, plain: Job, ours: Job) -> None:
        """Compare a job with guests with the plain one."""
        expected = [self.line.expected(one) for one in plain.attributes]
        assert differences(expected, ours.attributes) == []
        assert ours.script == plain.script


@pytest.fixture
def ways(submit_host: SubmitHost, line: Line, parent: str) -> Ways:
    return Ways(submit_host, line, parent)


@pytest.mark.parametrize("line", LINES, ids=named)
@pytest.mark.parametrize("job", [SCRIPT, ""], ids=["file", "stdin"])
def test_a_job_with_guests_is_the_plain_job_and_the_request(ways: Ways, line: Line, job: str) -> None:
    """Wherever script and request come from; a request in the script is a comment in what the job runs."""
    host = ways.host
    plain = ways.submit(host.real, job=job)
    ways.check(plain, ways.submit(FRONT, job=job, words=True))
    ways.check(plain, ways.submit(FRONT, job=job, inline=True))
    assert plain.script == line.script(vm=False).encode()


@pytest.mark.parametrize("line", [line for line in LINES if line.interactive], ids=named)
def test_so_is_an_interactive_job(ways: Ways, line: Line) -> None:
    """At a terminal; there is no script."""
    host = ways.host
    plain = host.at_terminal(host.real, ways.typed("-I", words=False))
    ours = host.at_terminal(FRONT, ways.typed("-I", words=True))
    ways.check(plain, ours)
    assert (ours.only["interactive"], ours.script) == ("True", None)


@pytest.mark.parametrize("words", ["-I -N x JOB", "-I -x JOB"])
def test_so_is_an_interactive_job_with_a_script(submit_host: SubmitHost, parent: str, words: str) -> None:
    """Its directives count; with -x the node gets the path of the user's own file to run."""
    line = Line(f"{words} VM", directives=("-l nodes=2:ppn=2", "-v A='b c'"), nodes="2:ppn=2:vm")
    ways = Ways(submit_host, line, parent)
    seen = []
    for request, inline in PLACES:
        program = FRONT if request or inline else submit_host.real
        write_script(submit_host.lab, line.script(vm=inline))
        seen.append(submit_host.at_terminal(program, ways.typed(SCRIPT, words=request)))
    plain, *ours = seen
    for job in ours:
        ways.check(plain, job)
    assert plain.only.get("inter_cmd", "").split("/")[-1] == (SCRIPT if "-x" in words else "")


@pytest.mark.parametrize(
    "name",
    [
        "1job.sh", ".hidden", "a+b=c,d@e:f.sh", "job*.sh", "it's.sh", "#x.sh", "-", "x" * 100, "./job.sh",
        "sub/../job.sh", "/home/alice/job.sh",
    ],
)  # fmt: skip
def test_the_name_of_the_script_names_the_job(submit_host: SubmitHost, name: str) -> None:
    """Also where qsub reads a copy."""
    line, names = Line("VM"), []
    user_run(submit_host.lab, ["mkdir", "-p", "sub"])
    for program, inline in ((submit_host.real, False), (FRONT, True)):
        write_script(submit_host.lab, line.script(vm=inline), name.removeprefix("/home/alice/"))
        job = submit_host.submitted(program, shlex.quote(name if name != "-" else "./-"))
        names.append(job.only["Job_Name"])
    assert names == [name.rpartition("/")[2]] * 2


@pytest.mark.parametrize("name", ["my job.sh", "ü.sh"])
def test_of_some_names_no_job_name_can_be_made(submit_host: SubmitHost, name: str) -> None:
    """Qsub refuses them, of the copy in other words: there its name was given with -N."""
    for program, inline in ((submit_host.real, False), (FRONT, True)):
        write_script(submit_host.lab, Line("VM").script(vm=inline), name)
        code, out, err = submit_host.typed(program, shlex.quote(name))
        assert (code, out) == (2, "")
        assert ("illegal -N value" if inline else "cannot form a valid job name") in err


def test_the_arguments_of_the_submission_show_the_request(submit_host: SubmitHost) -> None:
    """The one attribute that tells which words came to qsub: the user's, ours, and the copy's name."""
    line = Line("-l nodes=2 -N x VM JOB", nodes="2:vm")
    ours = "-T vm -l other=vm1:ram=192M,nodes=2:vm"
    write_script(submit_host.lab, line.script(vm=False))
    words = submit_host.submitted(FRONT, line.typed(job=SCRIPT, vm=True))
    assert words.submit_args == f"-l nodes=2 -N x {ours} {SCRIPT}"
    write_script(submit_host.lab, line.script(vm=True))
    inline = submit_host.submitted(FRONT, line.typed(job=SCRIPT, vm=False))
    assert re.fullmatch(rf"-l nodes=2 -N x {ours} /proc/self/fd/\d+", inline.submit_args)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("-vm vcpus=many job.sh", "vcpus"),
        ("-vm img=nothing.qcow2 job.sh", "nothing.qcow2"),
        ("-vm ram=1G -T other job.sh", "-T other cannot be combined with -vm"),
        ("-vm ram=1G -l procs=3 job.sh", "-l procs=3"),
        ("-vm vms_per_node=99 -I", "vms_per_node is 99"),
    ],
)
def test_a_refused_request_leaves_no_job(submit_host: SubmitHost, words: str, sentence: str) -> None:
    """One line, and nothing in the queue."""
    write_script(submit_host.lab, "true\n")
    before = jobs(submit_host.lab).keys()
    code, out, err = submit_host.typed(FRONT, words)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith("torque-vm: ")
    assert sentence in err
    assert jobs(submit_host.lab).keys() == before
