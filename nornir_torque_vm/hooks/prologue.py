"""The mother superior's root prologue: from a job's nodefile to guests that are ready, or to nothing.

On any failure every node is cleaned before the exit code is given: TORQUE runs no epilogue on sisters
after a failed start.
"""

from __future__ import annotations

import dataclasses
import os
import secrets
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from nornir_torque_vm.accounts import owner_named
from nornir_torque_vm.addresses.release import given_back
from nornir_torque_vm.config import settings as settings_module
from nornir_torque_vm.config.settings import KILL_MARGIN, Settings
from nornir_torque_vm.consolefile.leave import leave
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.engine import Engine
from nornir_torque_vm.errors import (
    Blame,
    Cancelled,
    RequestError,
    SettingsError,
    TorqueVMError,
)
from nornir_torque_vm.exitcodes import BLAME, HookExit, outcome_of
from nornir_torque_vm.hooks.arguments import HookCall, parse_prologue
from nornir_torque_vm.hooks.clock import began as hook_began
from nornir_torque_vm.hooks.decision import Decision, decide
from nornir_torque_vm.hooks.figures import keep_figures
from nornir_torque_vm.hooks.frame import cancel_on_signal, log, log_unforeseen, pause, run_hook, sentence_of
from nornir_torque_vm.hooks.imagecache import leave_behind
from nornir_torque_vm.hooks.momconfig import require_starter
from nornir_torque_vm.hooks.offlining import Offlining
from nornir_torque_vm.hooks.standin import tell_owner
from nornir_torque_vm.hooks.starting import Start
from nornir_torque_vm.hooks.stdio import say
from nornir_torque_vm.hooks.verdict import Verdict
from nornir_torque_vm.inventory.torque import read_nodefile, server_of
from nornir_torque_vm.model import Job, Node
from nornir_torque_vm.processors.events import JsonLinesEvents
from nornir_torque_vm.processors.statusline import for_owner
from nornir_torque_vm.report import Report
from nornir_torque_vm.request import Request, find_in_resources
from nornir_torque_vm.runstate.handover import MARKERS
from nornir_torque_vm.runstate.jobrecord import JobRecord
from nornir_torque_vm.runstate.jobstate import History, JobState
from nornir_torque_vm.tasks.check_health import Probe
from nornir_torque_vm.threads import await_stragglers

HOOK = "prologue"
UNREADABLE_PAUSE = 10.0
"""Seconds before a job is requeued because the settings cannot be read."""
LAST_WORDS = 2.0
"""Seconds kept for ending the process before the MOM would kill it."""
STRAGGLERS_SHARE = 0.1
"""Part of the teardown margin that calls under way get to end, before what they made is removed."""


class Prologue:
    """One run of the prologue.

    :param deadline: by when all guests have to be ready.
    :param probe: tells when a guest is ready, in place of ssh and cloud-init; see ``check_health``.
    :param marker: file that is there as long as the job wants its guests; None: it always does.
    """

    def __init__(
        self,
        call: HookCall,
        settings: Settings,
        deadline: Deadline,
        probe: Probe | None = None,
        marker: Path | None = None,
    ) -> None:
        self.call, self.settings, self.deadline, self.probe = call, settings, deadline, probe
        self.marker = marker
        self.decision = Decision(HookExit.START)
        """What to do about the end of :meth:`run`."""
        self.ended: Report | BaseException | None = None
        """How it ended."""
        self.beside: list[str] = []
        """What else the line in syslog says."""

    def run(self) -> Report:
        """Start the job's guests and hand them over; on failure leave nothing behind but a refusal.

        :raises TorqueVMError: the job could not even be planned.
        """
        history = History.next_attempt(self.settings.history_dir, self.call.job_id)
        try:
            report = self.attempt(history)
        except BaseException as error:
            self.judge(error, sentence_of(error), history)
            raise
        self.judge(report, "; ".join(report.sentences()), history)
        return report

    def judge(self, what: Report | BaseException, sentence: str, history: History) -> None:
        """Decide what the end means for the job, and keep it."""
        self.ended = what
        site = {outcome.name.lower() for outcome, blame in BLAME.items() if blame is Blame.SITE}
        faults = sum(outcome in site for outcome in history.earlier_outcomes())
        self.decision = decide(outcome_of(what), sentence, faults, self.settings)
        if self.decision.refusal:
            self.leave_console(history)
            self.refuse()
        history.write("verdict", Verdict.of(what, sentence, self.decision))
        log(HOOK, self.call.job_id, "; ".join((sentence or "ready", *self.beside)))

    def leave_console(self, history: History) -> None:
        """Give the owner what the guests said last, and say where; a job without that has to do without."""
        call, refusal = self.call, self.decision.refusal
        try:
            directory = os.environ.get("PBS_O_WORKDIR", "")
            owner = owner_named(call.user)
            path = leave(self.settings, history, call.job_name, directory, owner, refusal)
        except TorqueVMError as error:
            self.beside.append(str(error))
            return
        if path:
            where = f"{path} on {os.uname().nodename.partition('.')[0]}"
            self.decision = dataclasses.replace(self.decision, refusal=f"{refusal}; console in {where}")

    def refuse(self) -> None:
        """Let whoever starts the job tell the owner; where that is not possible the job is aborted."""
        try:
            tell_owner(self.call, self.settings, self.decision)
        except TorqueVMError as error:
            self.beside.append(f"the owner cannot be told: {error}")
            self.decision = Decision(HookExit.ABORT)

    def attempt(self, history: History) -> Report:
        """Do the work of :meth:`run`."""
        history.write("job", self.record(history.attempt))
        require_starter(self.settings.torque_home)
        request = self.request()
        self.see_to_copy()
        nodes = read_nodefile(self.call.nodefile)
        job = Job(
            id=self.call.job_id,
            server=server_of(self.call.job_id, self.settings),
            owner=owner_named(self.call.user),
            attempt=history.attempt,
            nonce=secrets.token_hex(4),
        )
        state = JobState(self.settings.run_dir, job)
        report, start = Report(), None
        with state.lock(self.deadline), history.events() as events:
            self.check_wanted()
            engine = Engine(self.settings, self.deadline, [JsonLinesEvents(events, job.id), *for_owner()])
            try:
                start = Start(self.settings, self.deadline, engine, job, state, history, self.probe)
                report = start.run(request, nodes)
            finally:
                if start is not None:
                    self.beside += start.beside
                if not report.ok:
                    self.undo(nodes, job, state, history, start)
        return report

    def see_to_copy(self) -> None:
        """Have this node copy the job's image for those who boot it next; this start does not wait for it."""
        if self.settings.image_cache:
            try:
                leave_behind(self.call.job_id, self.call.resources)
            except OSError as error:
                self.beside.append(f"the image is not copied: {error.strerror}")

    def record(self, attempt: int) -> JobRecord:
        """What is known of the job before anything of it was judged."""
        call = self.call
        return JobRecord(
            call.job_id, attempt, call.user, call.job_name, call.queue, call.resources, began=time.time()
        )

    def check_wanted(self) -> None:
        """Make sure that no epilogue was here first: TORQUE runs it beside a prologue after a qdel (TF 1.8).

        :raises Cancelled: it was, and took the marker away; what is started now nobody would end.
        """
        if self.marker is not None and not self.marker.exists():
            raise Cancelled("the job ended before its guests were started")

    def request(self) -> Request:
        """What the job asks for, judged anew: the user could have written anything into the job."""
        request = find_in_resources(self.call.resources)
        if request is None:
            raise RequestError(
                "the job is marked as a VM job and carries no VM request",
                hint="submit it with -vm, not with -T vm",
            )
        return request

    def undo(
        self, nodes: Sequence[Node], job: Job, state: JobState, history: History, start: Start | None
    ) -> None:
        """Remove what was made, on every node, in a time of its own; never changes the verdict.

        The plan stays when something could not be removed: the epilogue has to know where.
        """
        deadline = Deadline.after(self.settings.teardown_margin)
        try:
            await_stragglers(Deadline.after(self.settings.teardown_margin * STRAGGLERS_SHARE))
            if start is not None:
                start.listen(deadline)
            if state.plan() is not None:
                self.beside += keep_figures(self.settings, deadline, nodes, history)
            engine = Engine(self.settings, deadline)
            removed = engine.destroy(nodes, job.id)
            self.beside += [f"not cleaned up: {sentence}" for sentence in removed.sentences()]
            self.beside += engine.warnings
            if removed.ok:
                if any(entry.changed for entry in removed.hosts):
                    self.beside += given_back(state, self.settings, deadline)
                state.remove()
        except Exception as error:  # noqa: BLE001 - what led here is what TORQUE has to be told
            self.beside.append(f"not cleaned up: {sentence_of(error)}")


def conclude(prologue: Prologue, began: float) -> HookExit:
    """Run the prologue; wait where TORQUE would start the job again at once; return the exit code.

    The user is told here what no job starter will tell. One line: it lands before the job's own errors.

    :param began: when the hook began, on the monotonic clock.
    """
    sentence = ""
    try:
        sentence = "; ".join(prologue.run().sentences())
    except Exception as error:
        if prologue.decision == Decision(HookExit.START):  # it was not judged: there is not even a history
            raise
        sentence = sentence_of(error)
        log_unforeseen(HOOK, prologue.call.job_id, error)
    decision, settings = prologue.decision, prologue.settings
    if sentence and not decision.refusal:
        say(sentence)
    last = Deadline(began + settings.prologalarm - KILL_MARGIN - LAST_WORDS)
    # TORQUE does not start an interactive job again, and its owner waits at the terminal.
    over = Deadline.after(0.0 if os.isatty(2) else decision.pause)
    if prologue.ended is not None:  # before TORQUE starts the job again, so that it does so elsewhere
        Offlining(prologue.call, settings, last).judge(prologue.ended)
    pause(min(over.remaining(), last.remaining()))
    return decision.exit


def main() -> None:
    """Entry of ``python -I -m nornir_torque_vm.hooks.prologue``; argv as a MOM gives it."""
    began = hook_began()
    arguments = sys.argv[1:]

    def body() -> HookExit:
        call = parse_prologue(arguments, os.environ)
        try:
            settings = settings_module.load()
        except SettingsError:
            pause(UNREADABLE_PAUSE)  # there is no telling how often this happened before
            raise
        deadline = Deadline(began + settings.prologue_seconds())
        cancel_on_signal(deadline)
        marker = Path(settings.run_dir, MARKERS, call.job_id)
        return conclude(Prologue(call, settings, deadline, marker=marker), began)

    run_hook(HOOK, arguments[0] if arguments else "?", body)


if __name__ == "__main__":
    main()
