"""What a prologue does about its end: start the job, requeue it after a pause, or let the user know. Pure.

Measured on TORQUE 6.1.3 (TF 1.6): a prologue that ends with 1 aborts the job, whose output is then never
delivered, so nobody reads why; one that ends with anything else but 0 is started again at once, 18 times in
8 seconds, for ever. So a job that cannot run is *started* with a refusal in place of a hand-over: the
job starter prints the sentence where the job's errors go and ends. And what another attempt may mend is
requeued after a pause, a limited number of times when the site is to blame.
"""

from __future__ import annotations

import dataclasses

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import Blame
from nornir_torque_vm.exitcodes import BLAME, RUN, HookExit, Outcome, RunExit


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """The hook's exit code and what else has to happen."""

    exit: HookExit
    pause: float = 0.0
    """Seconds to wait before the hook ends."""
    refusal: str = ""
    """Sentence for the job's owner, told by the job starter; empty when the job is not refused."""
    job_exit: RunExit = RunExit.OK
    """Exit code of a refused job."""


def decide(outcome: Outcome, sentence: str, earlier_faults: int, settings: Settings) -> Decision:
    """Return what an outcome leads to.

    :param sentence: why the guests are not ready.
    :param earlier_faults: attempts of this job that failed by the site's fault.
    """
    blame = BLAME[outcome]
    if blame is None:
        return Decision(HookExit.START)
    if blame is Blame.NOBODY:
        return Decision(HookExit.REQUEUE, settings.requeue_pause if outcome is Outcome.BUSY else 0.0)
    if blame is Blame.SITE and earlier_faults < settings.max_requeues:
        return Decision(HookExit.REQUEUE, settings.requeue_pause)
    if blame is Blame.SITE and earlier_faults:
        sentence = f"{sentence}; given up after {earlier_faults + 1} attempts"
    return Decision(HookExit.START, refusal=sentence, job_exit=RUN[outcome])
