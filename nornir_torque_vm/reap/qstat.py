"""Asking the server with TORQUE's own qstat, and understanding its answers.

Facts (TORQUE 6.1.3, measured): ``qstat ID`` always asks the server of ``server_name``, whatever server the id
names. About a job that is not its own it answers as about one that is over: exit code 153, which is
15001 modulo 256, and ``qstat: Unknown Job Id Error ID``. Who is no manager and asks about another's job
gets 159 and ``Unauthorized Request`` unless ``query_other_jobs`` is set, but 153 for a job there is not. A
stopped server never answers. ``-x`` does not change what ``-B`` prints.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import TorqueVMError
from nornir_torque_vm.pbsnodes import environment
from nornir_torque_vm.reap.judge import Answer, Said, Server

PATIENCE = 20.0
"""Seconds an answer may take."""
UNKNOWN_CODE = 153
"""``PBSE_UNKJOBID`` as an exit code."""
UNAUTHORIZED_CODE = 159
"""``PBSE_PERM`` as an exit code."""
ANSWER_LIMIT = 1 << 20
"""Characters of an answer that are believed."""
COMPLETED = "C"
_PLACES = "/usr/local/bin:/usr/bin:/opt/torque/bin"
"""Where TORQUE's commands are usually, for a caller with a short PATH."""


class NoAnswer(TorqueVMError):
    """The server cannot be asked, or does not answer."""


class Qstat:
    """The qstat of a node.

    :param program: absolute path; empty when there is none.
    :param deadline: no answer is waited for beyond it.
    """

    def __init__(self, program: str, deadline: Deadline) -> None:
        self.program, self.deadline = program, deadline
        self._silent = ""

    @classmethod
    def find(cls, qsub: str, deadline: Deadline) -> Qstat:
        """The one beside TORQUE's own qsub, or else on the PATH."""
        return cls(shutil.which("qstat", path=str(Path(qsub).parent)) or shutil.which("qstat")
                   or shutil.which("qstat", path=_PLACES) or "", deadline)  # fmt: skip

    def server(self) -> Server:
        """Who answers.

        :raises NoAnswer: nobody, or not as a server does.
        """
        done = self._run("-B", "-f")
        if done.returncode != 0:
            raise NoAnswer(f"no server answers: {last_line(done.stderr, done.returncode)}")
        found = parse_server(done.stdout)
        if found is None:
            raise NoAnswer("what qstat -B says cannot be understood")
        return found

    def job(self, job_id: str) -> Answer:
        """What the server says about one job."""
        try:
            done = self._run("-f", "-x", job_id)
        except NoAnswer as error:
            return Answer(Said.NOTHING, error.what)
        return parse_job(job_id, done.returncode, done.stdout, done.stderr)

    def exec_host(self, job_id: str) -> str:
        """Which slots of which nodes a job has, as the server writes it.

        :raises NoAnswer: the server does not say.
        """
        done = self._run("-f", "-x", job_id)
        found = _attribute(job_id, done.stdout, "exec_host") if done.returncode == 0 else ""
        if not found:
            raise NoAnswer(last_line(done.stderr, done.returncode) if done.returncode else "it does not say")
        return found

    def output_path(self, job_id: str) -> str:
        """Where the job's output goes: ``HOST:PATH``.

        :raises NoAnswer: the server does not say.
        """
        done = self._run("-f", "-x", job_id)
        if done.returncode:
            raise NoAnswer(last_line(done.stderr, done.returncode))
        return _attribute(job_id, done.stdout, "Output_Path")

    def whereabouts(self, job_id: str) -> Whereabouts:
        """Where a job is, by its id with or without its server.

        :raises NoAnswer: the server does not say, or knows no such job.
        """
        done = self._run("-f", "-x", job_id)
        if done.returncode == UNKNOWN_CODE:
            raise NoAnswer("the server knows no such job", hint="qstat lists those it knows", job=job_id)
        if done.returncode:
            raise NoAnswer(last_line(done.stderr, done.returncode), job=job_id)
        return parse_whereabouts(job_id, done.stdout)

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        if not self.program:
            raise NoAnswer("there is no qstat on this node")
        if self._silent:  # one question is enough to find out
            raise NoAnswer(self._silent)
        try:
            return subprocess.run(
                [self.program, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                errors="replace", timeout=self.deadline.clamp(PATIENCE), check=False,
                env=environment(os.environ),
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            self._silent = f"the server does not answer within {error.timeout:.0f} s"
            raise NoAnswer(self._silent) from None
        except OSError as error:
            raise NoAnswer(f"{self.program} cannot be run: {error.strerror}") from None


@dataclasses.dataclass(frozen=True, slots=True)
class Whereabouts:
    """A job's whole id, its state's letter, and its nodes as the server writes them; "" before it has any."""

    job_id: str
    state: str
    exec_host: str = ""


def parse_whereabouts(job_id: str, out: str) -> Whereabouts:
    """Read what ``qstat -f -x`` prints about one job.

    :raises NoAnswer: it is about something else.
    """
    found = re.search(r"<Job_Id>([^<]*)</Job_Id>", out)
    whole = found[1] if found else ""
    if job_id not in {whole, whole.partition(".")[0]}:
        raise NoAnswer("the answer is about another job", job=job_id)
    job = _job(whole, out)
    state, nodes = job.findtext("job_state", ""), job.findtext("exec_host", "")
    return Whereabouts(whole, state.strip(), nodes.strip())


def parse_server(text: str) -> Server | None:
    """Read what ``qstat -B -f`` prints; None unless it is about one server and has all that counts."""
    names = re.findall(r"^Server: *(\S+)$", text, re.MULTILINE)
    facts = dict(re.findall(r"^ {4}(\w+) = (.*)$", text, re.MULTILINE))
    number = facts.get("next_job_number", "")
    if len(names) != 1 or not re.fullmatch(r"[0-9]{1,18}", number) or "server_state" not in facts:
        return None
    return Server(
        name=names[0],
        state=facts["server_state"],
        next_number=int(number),
        alias=facts.get("job_suffix_alias", ""),
        shows_name=facts.get("display_job_server_suffix", "True") == "True",
    )


def parse_job(job_id: str, code: int, out: str, err: str) -> Answer:
    """Read what ``qstat -f -x`` answered about one job: only exactly what is expected is a proof."""
    said = err.strip()
    if code == 0:
        return _state(job_id, out)
    named = re.escape(job_id) + ("" if "." in job_id else r"(?:\.\S+)?")  # qstat adds its server's name
    if code == UNKNOWN_CODE and re.fullmatch(rf"qstat: Unknown Job Id(?: Error)? {named}", said):
        return Answer(Said.UNKNOWN_ID, "the server knows no such job")
    if code == UNAUTHORIZED_CODE and "Unauthorized Request" in said:
        return Answer(Said.EXISTS, "the server knows it, and does not tell this node its state")
    return Answer(Said.NOTHING, last_line(err, code))


def last_line(err: str, code: int) -> str:
    """The last line of what qstat complained about."""
    lines = err.strip().splitlines()
    return lines[-1].strip() if lines else f"qstat ended with {code}"


def jobs_in(out: str) -> list[ET.Element]:
    """The jobs in one XML document of an answer; a document type is refused, for entities come from there.

    :raises NoAnswer: it is something else.
    """
    if len(out) > ANSWER_LIMIT or "<!" in out:
        raise NoAnswer("the answer is not what qstat -x prints")
    try:
        return ET.fromstring(out).findall("Job")  # noqa: S314 - no document type, so no entities
    except ET.ParseError:
        raise NoAnswer("the answer is not XML") from None


def _job(job_id: str, out: str) -> ET.Element:
    """The one job in the answer.

    :raises NoAnswer: it is about something else.
    """
    jobs = jobs_in(out)
    if len(jobs) != 1 or jobs[0].findtext("Job_Id") != job_id:
        raise NoAnswer("the answer is about another job")
    return jobs[0]


def _attribute(job_id: str, out: str, name: str) -> str:
    return _job(job_id, out).findtext(name, "").strip()


def _state(job_id: str, out: str) -> Answer:
    """The state of the one job in the answer."""
    try:
        job = _job(job_id, out)
    except NoAnswer as error:
        return Answer(Said.NOTHING, error.what)
    states = [state.text or "" for state in job.findall("job_state")]
    if len(states) != 1 or not re.fullmatch("[A-Z]", states[0]):
        return Answer(Said.NOTHING, "the answer has no state")
    if states[0] == COMPLETED:
        return Answer(Said.COMPLETED, "the server says that it is completed")
    return Answer(Said.EXISTS, f"the server has it in state {states[0]}")
