"""What TORQUE's qstat says about several jobs at once.

Facts (TORQUE 6.1.3, measured): ``qstat -f -x ID ID …`` prints one XML document for each job that it knows,
one after the other; of one that it does not know stderr says so, and the exit code is 153 then, whatever it
said of the others. A job that was sent back to the queue keeps its ``start_count``; ``comment`` is the
scheduler's word.
"""

from __future__ import annotations

import dataclasses
import re
import xml.etree.ElementTree as ET
from collections.abc import Collection, Mapping

from nornir_torque_vm.reap.qstat import COMPLETED, UNKNOWN_CODE, NoAnswer, jobs_in

_HEAD = re.compile(r"<\?xml[^>]*\?>")


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
    """A job as its server sees it."""

    state: str
    """The letter of its state; "" when the server has forgotten it."""
    starts: int = 0
    """How often it was started."""
    exit_status: int | None = None
    comment: str = ""

    @property
    def over(self) -> bool:
        """Whether nothing will come of it any more."""
        return self.state in {COMPLETED, ""}


FORGOTTEN = Seen("")


def parse_jobs(wanted: Collection[str], code: int, out: str, err: str) -> Mapping[str, Seen]:
    """Read what ``qstat -f -x`` answered about the jobs that it was asked about.

    :param code: its exit code.
    :raises NoAnswer: it is something else, or there is a job of which it says nothing.
    """
    documents = [text for text in _HEAD.split(out) if text.strip()]
    found = {job.findtext("Job_Id", "").strip(): _seen(job) for text in documents for job in jobs_in(text)}
    if code == UNKNOWN_CODE:
        unknown = set(re.findall(r"Unknown Job Id(?: Error)? (\S+)$", err, re.MULTILINE))
        found |= dict.fromkeys(unknown - found.keys(), FORGOTTEN)
    if missing := [job_id for job_id in wanted if job_id not in found]:
        lines = err.strip().splitlines() or [f"it says nothing of {missing[0]}"]
        raise NoAnswer(lines[-1].strip())
    return {job_id: found[job_id] for job_id in wanted}


def _seen(job: ET.Element) -> Seen:
    state = job.findtext("job_state", "").strip()
    if not re.fullmatch("[A-Z]", state):
        raise NoAnswer("the answer has no state")
    status = job.findtext("exit_status", "").strip()
    starts = job.findtext("start_count", "").strip()
    return Seen(
        state,
        int(starts) if re.fullmatch("[0-9]{1,9}", starts) else 0,
        int(status) if re.fullmatch("-?[0-9]{1,9}", status) else None,
        job.findtext("comment", "").strip(),
    )
