"""The work of a prologue: survey, plan, boot, hand over. What its end means is judged elsewhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from nornir_torque_vm.addresses.giving import addressed
from nornir_torque_vm.baseimages.own import job_image
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.datadisk.opening import opened_disk
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.engine import Engine
from nornir_torque_vm.guestscripts.reading import scripts_of
from nornir_torque_vm.guestscripts.script import GuestScript, in_order
from nornir_torque_vm.hooks.guestscripts import keep_said
from nornir_torque_vm.hooks.lastwords import keep_last_words
from nornir_torque_vm.hooks.slots import floating, pins_of, with_slots
from nornir_torque_vm.hooks.usermetadata import metadata_of
from nornir_torque_vm.imagecache.naming import copy_name
from nornir_torque_vm.machine.shape import shape_of
from nornir_torque_vm.model import Job, JobKeys, Node, NodeFacts, Plan, Shape
from nornir_torque_vm.plan import make_plan
from nornir_torque_vm.render.cloudinit.metadata import with_metadata
from nornir_torque_vm.report import Report
from nornir_torque_vm.request import Request
from nornir_torque_vm.runstate.handover import HandOver
from nornir_torque_vm.runstate.jobstate import History, JobState
from nornir_torque_vm.sshkeys import make_job_keys
from nornir_torque_vm.tasks.check_health import Probe


class Start:
    """The start of one attempt of a job's guests.

    :param engine: tells its processors what happens.
    :param deadline: by when all guests have to be ready.
    :param probe: tells when a guest is ready, in place of ssh and cloud-init; see ``check_health``.
    """

    def __init__(
        self,
        settings: Settings,
        deadline: Deadline,
        engine: Engine,
        job: Job,
        state: JobState,
        history: History,
        probe: Probe | None = None,
    ) -> None:
        self.settings, self.deadline, self.engine = settings, deadline, engine
        self.job, self.state, self.history, self.probe = job, state, history, probe
        self.beside: list[str] = []
        """What the line in syslog says beside the verdict."""
        self.listen: Callable[[Deadline], None] = lambda _: None
        """Keeps the last words of guests that failed; to be called before they are removed."""

    def run(self, request: Request, nodes: Sequence[Node]) -> Report:
        """Start the guests and hand them over.

        :returns: the verdicts; when it is not ok, what was made is still there.
        :raises TorqueVMError: the job could not even be planned.
        """
        image = job_image(request, self.settings, self.job.owner, self.deadline)
        facts, failed = self.survey(nodes, shape_of(request, self.settings), copy_name(image, self.settings))
        if failed is not None:
            return self.failed(failed)
        nodes, unknown = with_slots(nodes, self.job.id, self.settings, self.deadline)
        pins = pins_of(request, self.job.owner, self.deadline)
        scripts = scripts_of(request, self.settings, self.job.owner, image, self.deadline)
        added = metadata_of(request, self.settings, self.job.owner, self.deadline)
        plan = make_plan(request, self.settings, self.job, nodes, image, facts, pins)
        plan = with_metadata(plan, added, self.settings)
        plan = addressed(plan, self.settings, facts, self.deadline, unknown)
        self.beside += floating(plan, unknown)
        with opened_disk(request, self.settings, self.job.owner, image, self.deadline) as opened:
            disk, fd = opened or (None, None)
            plan = dataclasses.replace(plan, disk=disk)
            keys = make_job_keys([guest.name for guest in plan.guests])
            self.state.save(plan, keys, scripts)
            self.history.write("plan", plan)
            return self.boot(plan, keys, scripts, fd)

    def survey(
        self, nodes: Sequence[Node], shape: Shape, copy: str = ""
    ) -> tuple[dict[str, NodeFacts], Report | None]:
        """What the nodes have when nothing of the job's earlier attempts is there; a report if it failed."""
        facts, survey = self.engine.survey(nodes, shape=shape, copy=copy)
        if not survey.ok:
            return facts, survey
        removed = self.make_way(nodes)
        if not removed.ok:
            return facts, removed
        if any(entry.changed for entry in removed.hosts):
            facts, survey = self.engine.survey(nodes, shape=shape, copy=copy)
        return facts, None if survey.ok else survey

    def make_way(self, nodes: Sequence[Node]) -> Report:
        """Remove what an earlier attempt left on the nodes, whose prologue was killed; mark the sisters.

        Always: if that was on another mother superior, nothing here tells of it, and its guests have the same
        MAC addresses; nor of a sister's prologue that was killed, and counted as a success. No processors:
        mostly there is nothing to do, and the timeline need not say so.
        """
        engine = Engine(self.settings, self.deadline)
        return Report.combined((engine.destroy(nodes, self.job.id), engine.mark(nodes, self.job.id)))

    def boot(self, plan: Plan, keys: JobKeys, scripts: Sequence[GuestScript], disk: int | None) -> Report:
        """Boot the plan's guests, and tell the nodes that they are the job's.

        :param disk: descriptor of the plan's disk.
        """
        first = in_order(scripts, before=True)
        boot = self.engine.boot(plan, keys, scripts=first, disk=disk, probe=self.probe)
        keep_said(self.history, boot.runs)
        self.beside += self.engine.warnings
        if not boot.report.ok:
            self.listen = lambda end: keep_last_words(self.settings, end, plan, keys, boot, self.history)
            return self.failed(boot.report)
        self.deadline.check()
        # From here on nobody looks into the guests' folders as root. No processors: it takes milliseconds.
        closed = Engine(self.settings, self.deadline).close(plan)
        if not closed.ok:
            return self.failed(Report.combined((boot.report, closed)))
        # The sisters first: as soon as the job's shell runs, it may ask for tasks there.
        if plan.nodes[1:]:
            given = HandOver.of(plan, keys, boot.addresses)
            handed = self.engine.hand_over(plan.nodes[1:], given, plan.job.owner)
            if not handed.ok:
                return self.failed(Report.combined((boot.report, handed)))
            self.deadline.check()
        self.state.hand_over(plan, keys, boot.addresses)
        self.history.write("report", boot.report)
        return boot.report

    def failed(self, report: Report) -> Report:
        """Keep a failed report."""
        self.history.write("report", report)
        return report
