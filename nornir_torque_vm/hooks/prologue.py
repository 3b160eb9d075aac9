"""The mother superior's root prologue: from a job's nodefile to guests that are ready, or to nothing.

On any failure every node is cleaned before the exit code is given: TORQUE runs no epilogue on sisters
after a failed start.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Sequence

from nornir_torque_vm import settings as settings_module
from nornir_torque_vm.accounts import owner_named
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.engine import Engine
from nornir_torque_vm.errors import RequestError
from nornir_torque_vm.hooks.arguments import HookCall, parse_prologue
from nornir_torque_vm.hooks.frame import cancel_on_signal, log, run_hook, sentence_of, tell
from nornir_torque_vm.hooks.verdict import Verdict
from nornir_torque_vm.images import image_for
from nornir_torque_vm.inventory.torque import read_nodefile, server_of
from nornir_torque_vm.model import Job, Node
from nornir_torque_vm.plan import make_plan
from nornir_torque_vm.processors.events import JsonLinesEvents
from nornir_torque_vm.report import Report
from nornir_torque_vm.request import Request, find_in_resources
from nornir_torque_vm.settings import Settings
from nornir_torque_vm.sshkeys import make_job_keys
from nornir_torque_vm.state import History, JobState
from nornir_torque_vm.tasks.check_health import Probe
from nornir_torque_vm.threads import await_stragglers

HOOK = "prologue"
STRAGGLERS_SHARE = 0.1
"""Part of the teardown margin that calls under way get to end, before what they made is removed."""


class Prologue:
    """One run of the prologue.

    :param deadline: by when all guests have to be ready.
    :param probe: tells when a guest is ready, in place of ssh and cloud-init; see ``check_health``.
    """

    def __init__(
        self, call: HookCall, settings: Settings, deadline: Deadline, probe: Probe | None = None
    ) -> None:
        self.call, self.settings, self.deadline, self.probe = call, settings, deadline, probe

    def run(self) -> Report:
        """Start the job's guests and hand them over; on failure leave nothing behind.

        :raises TorqueVMError: the job could not even be planned.
        """
        history = History.next_attempt(self.settings.history_dir, self.call.job_id)
        try:
            report = self.attempt(history)
        except BaseException as error:
            history.write("verdict", Verdict.of(error, sentence_of(error)))
            raise
        history.write("verdict", Verdict.of(report, "; ".join(report.sentences())))
        return report

    def attempt(self, history: History) -> Report:
        """Do the work of :meth:`run`."""
        request = self.request()
        nodes = read_nodefile(self.call.nodefile)
        job = Job(
            id=self.call.job_id,
            server=server_of(self.call.job_id, self.settings),
            owner=owner_named(self.call.user),
            attempt=history.attempt,
            nonce=secrets.token_hex(4),
        )
        state = JobState(self.settings.run_dir, job)
        report = Report()
        with state.lock(self.deadline), history.events() as events:
            engine = Engine(self.settings, self.deadline, [JsonLinesEvents(events, job.id)])
            try:
                report = self.start(engine, request, nodes, job, state, history)
            finally:
                if not report.ok:
                    self.undo(nodes, job, state)
        return report

    def request(self) -> Request:
        """What the job asks for, judged anew: the user could have written anything into the job."""
        request = find_in_resources(self.call.resources)
        if request is None:
            raise RequestError(
                "the job is marked as a VM job and carries no VM request",
                hint="submit it with -vm, not with -T vm",
            )
        return request

    def start(
        self,
        engine: Engine,
        request: Request,
        nodes: Sequence[Node],
        job: Job,
        state: JobState,
        history: History,
    ) -> Report:
        """Survey, plan, boot, hand over. Returns the verdicts; a report that is not ok needs undoing."""
        if job.attempt > 1:
            # An earlier attempt may have been killed, here or with its mother superior.
            removed = engine.destroy(nodes, job.id)
            if not removed.ok:
                return self.failed(removed, history)
        image = image_for(request, self.settings)
        facts, survey = engine.survey(nodes)
        if not survey.ok:
            return self.failed(survey, history)
        plan = make_plan(request, self.settings, job, nodes, image, facts)
        keys = make_job_keys([guest.name for guest in plan.guests])
        state.save(plan, keys)
        history.write("plan", plan)
        boot = engine.boot(plan, keys, probe=self.probe)
        if not boot.report.ok:
            return self.failed(boot.report, history)
        self.deadline.check()
        state.hand_over(plan, keys, boot.addresses)
        history.write("report", boot.report)
        log(HOOK, job.id, f"{len(plan.guests)} guests ready on {len(nodes)} nodes")
        return boot.report

    def failed(self, report: Report, history: History) -> Report:
        """Keep a failed report and say why it failed."""
        history.write("report", report)
        tell(HOOK, self.call.job_id, "; ".join(report.sentences()))
        return report

    def undo(self, nodes: Sequence[Node], job: Job, state: JobState) -> None:
        """Remove what was made, on every node, in a time of its own; never changes the verdict.

        The plan stays when something could not be removed: the epilogue has to know where.
        """
        deadline = Deadline.after(self.settings.teardown_margin)
        try:
            await_stragglers(Deadline.after(self.settings.teardown_margin * STRAGGLERS_SHARE))
            engine = Engine(self.settings, deadline)
            removed = engine.destroy(nodes, job.id)
            for sentence in removed.sentences():
                log(HOOK, job.id, f"not cleaned up: {sentence}")
            if removed.ok:
                state.remove()
        except Exception as error:  # noqa: BLE001 - what led here is what TORQUE has to be told
            log(HOOK, job.id, f"not cleaned up: {sentence_of(error)}")


def main() -> None:
    """Entry of ``python -I -m nornir_torque_vm.hooks.prologue``; argv as a MOM gives it."""
    began = time.monotonic()
    arguments = sys.argv[1:]

    def body() -> Report:
        call = parse_prologue(arguments, os.environ)
        settings = settings_module.load()
        deadline = Deadline(began + settings.prologue_seconds())
        cancel_on_signal(deadline)
        return Prologue(call, settings, deadline).run()

    run_hook(HOOK, arguments[0] if arguments else "?", body)


if __name__ == "__main__":
    main()
