"""What hooks and commands do with nodes and guests, each run under one shared deadline.

Builds ``Nornir(...)`` by hand: ``InitNornir`` would load every plugin that happens to be installed
and may write a log file into the current directory.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from nornir.core import Nornir
from nornir.core.configuration import Config, LoggingConfig
from nornir.core.inventory import Inventory
from nornir.core.plugins.connections import ConnectionPlugin, ConnectionPluginRegister
from nornir.core.processor import Processor, Processors
from nornir.core.task import AggregatedResult, Result

from nornir_torque_vm.addresses.giving import Listening
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.connections.guest_ssh import GuestSshConnection
from nornir_torque_vm.connections.libvirt import LibvirtConnection
from nornir_torque_vm.connections.node_shell import NodeShellConnection
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.found import FoundGuest
from nornir_torque_vm.guestscripts.script import GuestScript
from nornir_torque_vm.inventory.build import build_inventory, node_inventory
from nornir_torque_vm.inventory.hostdata import node_of
from nornir_torque_vm.inventory.records import guests_inventory
from nornir_torque_vm.model import Distro, JobKeys, Node, NodeFacts, Owner, Plan, Shape
from nornir_torque_vm.report import Report
from nornir_torque_vm.runners.deadline import DeadlineRunner
from nornir_torque_vm.runstate.handover import HandOver
from nornir_torque_vm.tasks import (
    boot_guest,
    close_folders,
    destroy,
    forget_job,
    hand_over,
    list_guests,
    mark_job,
    mount_disk,
    mount_files,
    publish_roster,
    run_guest_script,
    survey,
)
from nornir_torque_vm.tasks.run_guest_script import ScriptRun

CONNECTIONS: Mapping[str, type[ConnectionPlugin]] = {
    "guest_ssh": GuestSshConnection,
    "libvirt": LibvirtConnection,
    "node_shell": NodeShellConnection,
}
WORKERS = 256
"""Hosts that are worked on at the same time; the limits per node are the connections' business."""


@dataclasses.dataclass(frozen=True, slots=True)
class Boot:
    """How the start of a job's guests went: verdicts and, where known, addresses by guest name."""

    report: Report
    addresses: Mapping[str, str]
    runs: tuple[tuple[str, ScriptRun], ...] = ()
    """What scripts said, as far as they ran: guest name and how it ended."""


class Engine:
    """Runs our tasks on nodes and guests.

    :param deadline: shared by all runs of this engine.
    :param processors: Nornir processors that watch every run.
    """

    def __init__(
        self,
        settings: Settings,
        deadline: Deadline,
        processors: Sequence[Processor] = (),
        workers: int = WORKERS,
    ) -> None:
        self.settings, self.deadline = settings, deadline
        self.warnings: list[str] = []
        """What components did not manage and no job fails for, in words."""
        self.processors = Processors(list(processors))
        self.runner = DeadlineRunner(num_workers=workers, deadline=deadline)
        for name, plugin in CONNECTIONS.items():
            ConnectionPluginRegister.register(name, plugin)
        # Nornir logs every failure with its traceback; without a handler Python would print that.
        logging.getLogger("nornir").addHandler(logging.NullHandler())

    def nornir(self, inventory: Inventory) -> Nornir:
        """Return a Nornir object over ``inventory`` with this engine's runner and processors."""
        config = Config(logging=LoggingConfig(enabled=False))
        return Nornir(inventory=inventory, runner=self.runner, config=config, processors=self.processors)

    def run(
        self, inventory: Inventory, task: Callable[..., Result], *, role: str = "", **parameters: Any
    ) -> AggregatedResult:
        """Run one task on the hosts of ``inventory``; those that failed in an earlier run take part.

        With the setting ``parallel`` off, the hosts of one node after those of another, all under the
        engine's deadline.

        :param role: ``node`` or ``guest``; empty for every host.
        """
        nornir = self.nornir(inventory)
        if role:
            nornir = nornir.filter(role=role)
        if self.settings.parallel:
            return nornir.run(task, **parameters)
        results = AggregatedResult(str(parameters.get("name", task.__name__)))
        for node in dict.fromkeys(node_of(host) for host in nornir.inventory.hosts.values()):
            here = nornir.filter(filter_func=lambda host, node=node: node_of(host) == node)
            results.update(here.run(task, **parameters))
        return results

    def survey(
        self,
        nodes: Sequence[Node],
        inventory: Inventory | None = None,
        shape: Shape | None = None,
        copy: str = "",
    ) -> tuple[dict[str, NodeFacts], Report]:
        """Find out what the nodes are and what they have free: facts by node name, and the verdicts.

        :param shape: ask also whether guests of this shape can be made there.
        :param copy: ask also for the nodes' own copies of an image, which have this name.
        """
        chosen = inventory or node_inventory(nodes, self.settings)
        results = self.run(chosen, survey, role="node", shape=shape, copy=copy)
        facts = {name: multi[0].result for name, multi in results.items() if not multi.failed}
        return facts, Report.from_results(results)

    def boot(
        self,
        plan: Plan,
        keys: JobKeys,
        *,
        base: Inventory | None = None,
        scripts: Sequence[GuestScript] = (),
        disk: int | None = None,
        **parameters: Any,
    ) -> Boot:
        """Bring every guest of the plan from nothing to healthy, to its user's files and to the others.

        :param base: an administrator's own inventory, whose connection options for nodes count.
        :param disk: descriptor of the plan's disk, which the first guest gets.
        :param scripts: run in every guest at last, one after the other; the first that fails is the last.
        :param parameters: for the task ``boot_guest``.
        """
        inventory = build_inventory(plan, self.settings, keys=keys, base=base)
        if disk is not None:
            inventory.hosts[plan.guests[0].name].data["disk"] = disk
        if (failed := self._components(plan, inventory, booted=False)).hosts:
            return Boot(failed, dict.fromkeys((guest.name for guest in plan.guests), ""))
        reports = [Report.from_results(self.run(inventory, boot_guest, role="guest", **parameters))]
        addresses = {guest.name: inventory.hosts[guest.name].hostname or "" for guest in plan.guests}
        if reports[0].ok and (failed := self._components(plan, inventory, booted=True)).hosts:
            return Boot(Report.combined((*reports, failed)), addresses)
        if parameters.get("probe"):  # such guests have no more than their domains
            return Boot(reports[0], addresses)
        listening = Listening(plan, addresses, self.settings, self.deadline)
        shell = plan.image.distro is not Distro.OSV  # which is told all that it can be by its seed
        if reports[0].ok and plan.user_dirs and shell:
            reports.append(Report.from_results(self.run(inventory, mount_files, role="guest")))
        if reports[-1].ok and plan.disk is not None:
            reports.append(Report.from_results(self.run(inventory, mount_disk, role="guest")))
        if reports[-1].ok and shell:
            introduced = self.run(inventory, publish_roster, role="guest", addresses=addresses)
            reports.append(Report.from_results(introduced))
        if (shared := listening.report()).hosts:  # first: it is why others of them are late
            reports = [shared, *reports]
        ok = all(report.ok for report in reports)
        ran = self.run_scripts(inventory, scripts) if ok else []
        runs = [run for _, found in ran for run in found]
        return Boot(Report.combined([*reports, *(report for report, _ in ran)]), addresses, tuple(runs))

    def close(self, plan: Plan) -> Report:
        """Have libvirt forget the folders of a plan's guests, which are the owner's from here on."""
        inventory = build_inventory(plan, self.settings)
        return Report.from_results(self.run(inventory, close_folders, role="guest"))

    def run_scripts(
        self, inventory: Inventory, scripts: Sequence[GuestScript], *, go_on: bool = False
    ) -> list[tuple[Report, list[tuple[str, ScriptRun]]]]:
        """Run scripts in all guests of an inventory, one script after the other.

        :param go_on: also after one that failed.
        :returns: for each script that was run, the verdicts and what it said in which guest.
        """
        ran = []
        for script in scripts:
            results = self.run(
                inventory,
                run_guest_script,
                role="guest",
                name=str(script.kind),
                script=script,
                limit=self.settings.guest_script_timeout,
            )
            report = Report.from_results(results)
            said = [(name, multi[0].result) for name, multi in results.items()]
            ran.append((report, [(name, run) for name, run in said if isinstance(run, ScriptRun)]))
            if not report.ok and not go_on:
                break
        return ran

    def _components(self, plan: Plan, inventory: Inventory, *, booted: bool) -> Report:
        """Start what components the job has, before its guests or when they are ready, and verify them then.

        :returns: the nodes where one failed.
        """
        if not plan.components:
            return Report()
        from nornir_torque_vm.components.base import When
        from nornir_torque_vm.components.running import start, verify

        when = When.AFTER_BOOT if booted else When.BEFORE_BOOT
        report = start(self, inventory, plan.components, when)
        if booted and not report.bad:
            report = verify(self, inventory, plan.components)
        return Report(report.bad)

    def guests(
        self, nodes: Sequence[Node], inventory: Inventory | None = None
    ) -> tuple[list[FoundGuest], Report]:
        """List the guests of ours that exist on the nodes, by node and rank."""
        results = self.run(inventory or node_inventory(nodes, self.settings), list_guests, role="node")
        records = [record for multi in results.values() if not multi.failed for record in multi[0].result]
        return records, Report.from_results(results)

    def on_guests(
        self,
        records: Sequence[FoundGuest],
        task: Callable[..., Result],
        keys: JobKeys | None = None,
        base: Inventory | None = None,
        **parameters: Any,
    ) -> AggregatedResult:
        """Run a task on guests that were found by :meth:`guests`; ``base`` as for :meth:`boot`."""
        inventory = guests_inventory(records, self.settings, keys=keys, base=base)
        return self.run(inventory, task, role="guest", **parameters)

    def destroy(
        self,
        nodes: Sequence[Node],
        job_id: str,
        inventory: Inventory | None = None,
        *,
        tags: Collection[str] | None = None,
        **parameters: Any,
    ) -> Report:
        """Remove every guest and every file of a job from the nodes, by asking libvirt what there is.

        Then the site's components are stopped there, whether the job had them or not: nothing has to say so.

        :param tags: of the attempts whose components are stopped; those of all attempts by default.
        :param parameters: for the task ``destroy``.
        """
        chosen = inventory or node_inventory(nodes, self.settings)
        report = Report.from_results(self.run(chosen, destroy, role="node", job_id=job_id, **parameters))
        if not self.settings.switched_on():
            return report
        from nornir_torque_vm.components.running import stop

        return stop(self, chosen, report, job_id, tags)

    def mark(self, nodes: Sequence[Node], job_id: str) -> Report:
        """Make sure of the job's marker on the nodes, except on the one we are on."""
        inventory = node_inventory(nodes, self.settings)
        return Report.from_results(self.run(inventory, mark_job, role="node", job_id=job_id))

    def hand_over(self, nodes: Sequence[Node], given: HandOver, owner: Owner) -> Report:
        """Leave the hand-over of a job on nodes, except on the one we are on, for its owner's tasks there."""
        inventory = node_inventory(nodes, self.settings)
        parameters = {"job_id": given.job_id, "text": given.to_json(), "owner": owner}
        return Report.from_results(self.run(inventory, hand_over, role="node", **parameters))

    def forget(self, nodes: Sequence[Node], job_id: str) -> Report:
        """Take the job's markers and hand-overs away from the nodes, except from the one we are on."""
        inventory = node_inventory(nodes, self.settings)
        return Report.from_results(self.run(inventory, forget_job, role="node", job_id=job_id))
