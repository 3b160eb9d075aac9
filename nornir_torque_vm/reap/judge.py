"""Whether a job is over, from what this node and the server say about it. Pure.

What counts, and why:

* A live process at work on the job, or a job file of this node's MOM: the job is not over, whatever a server
  says. A server forgets a job at once (``qdel -p``) that its MOM still runs, and one that was set up anew
  knows none. The MOM has no file of a one-node job while its prologue runs, so the processes count too.
* The server's word, but only about jobs of its own: those with its name in their id, and a number that it
  has given out already. To everything else it answers "unknown" as well.
* "Unknown job" and state C are proofs. That the server may not tell us about a job is not: it knows it.
* No server knows a self-test. It is over when the host that made it has no process for it any more; elsewhere
  when it began longer ago than any may last.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping

SELFTEST = "selftest"
"""Begins what stands in the place of a batch server's name in a self-test's job id; the name of the host that
made it follows after a dash. No job has such an id."""
LONGEST_SELFTEST = 2 * 86_400.0
"""Seconds within which a self-test has ended: ``timeout`` is a day at most, and so is what comes after it."""
WORKING = frozenset({"Active", "Idle", "Scheduling"})
"""States of a server that has read its jobs and answers for them."""


class Said(enum.Enum):
    """What the server said about one job."""

    COMPLETED = enum.auto()
    UNKNOWN_ID = enum.auto()
    EXISTS = enum.auto()
    """In any other state, or in one that we are not told."""
    NOTHING = enum.auto()
    """No answer, or none that can be understood."""


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """The server's answer about one job; ``detail`` in words."""

    said: Said
    detail: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Server:
    """Who answers, and which ids are its own."""

    name: str
    state: str
    next_number: int
    """The number its next job gets; equal and larger ones were never given out."""
    alias: str = ""
    """Its ``job_suffix_alias``: stands at the end of job ids, empty for none."""
    shows_name: bool = True
    """Its ``display_job_server_suffix``: whether job ids have its name."""

    @property
    def plain(self) -> bool:
        """Whether its ids are ``number.name``, as those of a server to which nobody said otherwise."""
        return self.shows_name and not self.alias

    def owns(self, job_id: str) -> bool:
        """Whether an id has this server's name, in the form it gives ids."""
        suffix = job_id.partition(".")[2]
        if not self.shows_name:
            return suffix in {"", self.name}
        return suffix == (f"{self.name}.{self.alias}" if self.alias else self.name)


@dataclasses.dataclass(frozen=True, slots=True)
class Facts:
    """All that is known about a job of which something was found."""

    slug: str
    """Its number, ``17`` or ``17-3``: what the names of its domains and files have."""
    job_ids: tuple[str, ...]
    """Full ids that this node knows with that number; see :func:`ids_of`."""
    worker: str = ""
    """Which live process is at work on it, in words; empty for none."""
    mom_jobs: frozenset[str] | None = frozenset()
    """Numbers of the jobs of this node's MOM; None when they cannot be told."""
    mom_error: str = ""
    server: Server | None = None
    """None when no server answers."""
    server_error: str = ""
    answers: Mapping[str, Answer] = dataclasses.field(default_factory=dict)
    """By job id."""
    here: str = ""
    """This node's name."""
    now: float = 0.0
    """Seconds since the epoch."""


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the job is proven over, and why, or why not."""

    over: bool
    reason: str


def ids_of(slug: str, known: tuple[str, ...], server: Server | None) -> tuple[str, ...]:
    """The job ids to ask about: those that are known, else the one the server would have given.

    Files of guests alone do not tell a job's server. Empty when the id cannot be told.
    """
    if known or server is None or not server.plain:
        return known
    number, _, index = slug.partition("-")
    return (f"{number}[{index}].{server.name}" if index else f"{number}.{server.name}",)


def judge(facts: Facts) -> Verdict:
    """Say whether a job is over."""
    if facts.job_ids and all(map(is_selftest, facts.job_ids)):
        return _judge_selftest(facts)
    why_not = _at_work(facts) or _no_server(facts) or _not_its_own(facts)
    if why_not:
        return Verdict(False, why_not)
    reasons = []
    for job_id in facts.job_ids:
        answer = facts.answers.get(job_id, Answer(Said.NOTHING, "it was not asked"))
        if answer.said is Said.EXISTS:
            return Verdict(False, answer.detail or "the server knows it")
        if answer.said is Said.NOTHING:
            return Verdict(False, f"the server did not say: {answer.detail}")
        reasons.append(answer.detail)
    return Verdict(True, reasons[0])


def is_selftest(job_id: str) -> bool:
    """Whether a job id is that of a self-test: the second it began, and who made it."""
    number, _, server = job_id.partition(".")
    return number.isdecimal() and server.startswith(f"{SELFTEST}-")


def _judge_selftest(facts: Facts) -> Verdict:
    if facts.worker:
        return Verdict(False, facts.worker)
    host = facts.job_ids[0].partition(f".{SELFTEST}-")[2]
    if host == facts.here.partition(".")[0]:
        return Verdict(True, "a self-test of this host, which is not at work on it any more")
    age = facts.now - int(facts.slug.partition("-")[0])
    if age > LONGEST_SELFTEST:
        return Verdict(True, f"a self-test that began {age / 3600:.0f} hours ago")
    return Verdict(False, f"a self-test of {host}: run torque-vm destroy there, or wait for two days")


def judge_by_order(facts: Facts) -> Verdict:
    """Say whether a job that an administrator declares to be over can be taken for it.

    Not while its MOM has it: without its marker the rest of it would run on the node itself.
    """
    why_not = facts.worker
    if not why_not and facts.mom_jobs and facts.slug in facts.mom_jobs:
        why_not = "this node's pbs_mom has it; its guests alone go with torque-vm destroy"
    return Verdict(not why_not, why_not or "by order")


def settle(verdict: Verdict, over_for: float, grace: float) -> Verdict:
    """Wait for the grace time: a job counts as over when it was for that long.

    :param over_for: seconds since it was first found to be over.
    """
    if not verdict.over or over_for >= grace:
        return verdict
    return Verdict(False, f"{verdict.reason}; seen for {over_for:.0f} of {grace:.0f} s")


def _at_work(facts: Facts) -> str:
    if facts.worker:
        return facts.worker
    if facts.mom_jobs is None:
        return facts.mom_error or "this node's pbs_mom cannot be asked"
    return "this node's pbs_mom has it" if facts.slug in facts.mom_jobs else ""


def _no_server(facts: Facts) -> str:
    if facts.server is None:
        return facts.server_error or "no server was asked"
    if facts.server.state not in WORKING:
        return f"the server {facts.server.name} is in state {facts.server.state}"
    return ""


def _not_its_own(facts: Facts) -> str:
    server = facts.server
    if server is None:
        return "no server was asked"
    if not facts.job_ids:
        return "it cannot be told which server's job it is"
    for job_id in facts.job_ids:
        if not server.owns(job_id):
            return f"{job_id} is not a job of the server {server.name}"
    if int(facts.slug.partition("-")[0]) >= server.next_number:
        return f"the server {server.name} has given out no such number since it was set up"
    return ""
