"""One run of the reaper over this node: look, judge, look again under the job's lock, remove.

Judging holds no lock: a server that hangs must not keep a hook of a live job waiting. Whoever holds the
lock then, or has changed anything meanwhile, is left alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from nornir.core.inventory import Inventory
from nornir.core.task import Result, Task

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.engine import Engine
from nornir_torque_vm.errors import DeadlineExceeded, StateError, TorqueVMError
from nornir_torque_vm.exitcodes import cli_exit
from nornir_torque_vm.identity import job_slug
from nornir_torque_vm.inventory.build import node_inventory
from nornir_torque_vm.model import Node
from nornir_torque_vm.reap.judge import Facts, Server, Verdict, ids_of, judge, judge_by_order, settle
from nornir_torque_vm.reap.leases import give_back
from nornir_torque_vm.reap.leftovers import (
    Found,
    Leftovers,
    by_job,
    find_in_run_dir,
    find_on_node,
    of_components,
    unfinished,
)
from nornir_torque_vm.reap.pools import close_pools
from nornir_torque_vm.reap.qstat import NoAnswer, Qstat
from nornir_torque_vm.reap.sightings import Sightings
from nornir_torque_vm.reap.witness import mom_jobs, worker
from nornir_torque_vm.runstate.history import History
from nornir_torque_vm.runstate.joblock import job_lock
from nornir_torque_vm.runstate.jobstate import JobState
from nornir_torque_vm.runstate.rootdir import RootDir

LOCK_SECONDS = 2.0
"""How long a lock is waited for: whoever has it longer is at work on the job."""

WRITING_SECONDS = 2.0
"""How long a small file is written at most: one that is longer there, unfinished, has lost its writer."""


class Fate(enum.StrEnum):
    """What became of the leftovers of a job."""

    KEPT = "kept"
    REMOVED = "removed"
    DUE = "due"
    """Would be removed, were it not a dry run."""
    FAILED = "failed"
    """Meant to be removed; not all of it could be."""


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """One job of which there was something."""

    leftovers: Leftovers
    fate: Fate
    reason: str
    code: int = 0
    """Exit code that a failure stands for."""

    @property
    def name(self) -> str:
        """The job's id, or its number when no id is known."""
        return ",".join(self.leftovers.job_ids) or self.leftovers.slug


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What a run did."""

    node: str
    cases: tuple[Case, ...]
    records: tuple[str, ...]
    """Names of the records of past jobs that were too old; in a dry run, that are."""
    troubles: tuple[TorqueVMError, ...] = ()
    """What failed and was about no job."""


class Reaper:
    """The reaper of the node it runs on.

    :param deadline: of the whole run.
    :param grace: seconds a job has to be over.
    :param dry: change nothing.
    :param node: the node's name; this machine's when empty.
    """

    def __init__(
        self, settings: Settings, deadline: Deadline, *, grace: float, dry: bool = False, node: str = ""
    ) -> None:
        self.settings, self.deadline, self.grace, self.dry = settings, deadline, grace, dry
        self.node = Node(node or os.uname().nodename)
        self.engine = Engine(settings, deadline)
        self.qstat = Qstat.find(settings.real_qsub_on_nodes, deadline)
        self.silent: tuple[TorqueVMError, ...] = ()
        """Components that did not say what they have here, when they were asked last."""

    def run(self) -> Outcome:
        """Go through all jobs of which there is something here, and through the history.

        :raises TorqueVMError: this node's libvirt or run directory cannot be looked at.
        """
        parts, began = unfinished(self.settings.run_dir), time.monotonic()
        found = self.look()
        sightings = Sightings(self.settings.run_dir)
        cases, over = [], {}
        for left, facts in zip(found, self.facts(found), strict=True):
            verdict = judge(facts)
            settled = settle(verdict, sightings.over_for(left.slug, left.keys), self.grace)
            case = self.close(left, settled, facts.job_ids, self.judge_again)
            cases.append(case)
            if verdict.over and case.fate is not Fate.REMOVED:
                over[left.slug] = left.keys
        records: tuple[str, ...] = ()
        troubles = []
        try:
            if not self.dry:
                sightings.keep(over)
                self.clear(parts, began)
                self.asked(close_pools)
            records = self.prune()
        except TorqueVMError as error:  # what was removed has to be told all the same
            troubles.append(error)
        return Outcome(self.node.name, tuple(cases), records, (*troubles, *self.silent))

    def run_for(self, job_id: str) -> Outcome:
        """Remove what one job left, on an administrator's word that it is over.

        :param job_id: ``17.head``, or ``17`` for that number of any server.
        :raises TorqueVMError: this node's libvirt or run directory cannot be looked at; no job id.
        """
        cases = []
        for left in self.look(job_slug(job_id)):
            others = [other for other in left.job_ids if "." in job_id and other != job_id]
            if others:
                cases.append(Case(left, Fate.KEPT, f"that number is {' and '.join(others)} here"))
                continue
            names = left.job_ids or (job_id,)

            def by_order(left: Leftovers, names: tuple[str, ...] = names) -> Verdict:
                return judge_by_order(self.own_facts(left, names))

            cases.append(self.close(left, by_order(left), names, by_order))
        return Outcome(self.node.name, tuple(cases), (), self.silent)

    def judge_again(self, left: Leftovers) -> Verdict:
        """Judge a job anew, the server's word included."""
        return judge(self.facts([left])[0])

    def look(self, slug: str = "") -> tuple[Leftovers, ...]:
        """Everything there is here, of all jobs or of one number."""
        there = self.asked(find_on_node)
        found = by_job([*there, *self.of_components(), *find_in_run_dir(self.settings.run_dir)])
        return tuple(left for left in found if slug in {"", left.slug})

    def asked(self, task: Callable[[Task], Result]) -> Any:
        """What a task on this node returns, or raises."""
        outcome = self.engine.run(self.inventory(), task)[self.node.name][0]
        if outcome.exception is not None:
            raise outcome.exception
        return outcome.result

    def of_components(self) -> tuple[Found, ...]:
        """What the site's components have here; one that does not say is a trouble, and no hindrance."""
        if not self.settings.switched_on():
            return ()
        from nornir_torque_vm.components.running import find

        names, self.silent = find(self.engine, self.inventory())
        return tuple(of_components(names))

    def inventory(self) -> Inventory:
        """This node alone, through its own libvirt."""
        return node_inventory([self.node], self.settings, here=self.node.name)

    def facts(self, found: Sequence[Leftovers]) -> list[Facts]:
        """What is known of each job; the server is asked only about those that it can decide."""
        server, server_error = self.server() if found else (None, "")
        complete = []
        for left in found:
            own = self.own_facts(left, ids_of(left.slug, left.job_ids, server))
            own = dataclasses.replace(own, server=server, server_error=server_error)
            if not own.worker and server is not None:
                own = dataclasses.replace(own, answers={name: self.qstat.job(name) for name in own.job_ids})
            complete.append(own)
        return complete

    def own_facts(self, left: Leftovers, job_ids: tuple[str, ...]) -> Facts:
        """What this node itself knows of a job."""
        jobs, error = None, ""
        try:
            jobs = mom_jobs(self.settings.torque_home)
        except StateError as exc:
            error = str(exc)
        at_work = worker(self.settings.run_dir, job_ids)
        return Facts(left.slug, job_ids, at_work, jobs, error, here=self.node.name, now=time.time())

    def server(self) -> tuple[Server | None, str]:
        """Who answers, or why nobody does."""
        try:
            return self.qstat.server(), ""
        except NoAnswer as error:
            return None, error.what

    def close(
        self,
        left: Leftovers,
        verdict: Verdict,
        job_ids: tuple[str, ...],
        again: Callable[[Leftovers], Verdict],
    ) -> Case:
        """Do what the verdict says.

        :param job_ids: the job is locked and forgotten under these.
        :param again: judges once more, under the lock.
        """
        if not verdict.over:
            return Case(left, Fate.KEPT, verdict.reason)
        if self.dry:
            return Case(left, Fate.DUE, verdict.reason)
        with contextlib.ExitStack() as locks:
            try:
                self.deadline.check()
                for job_id in job_ids:
                    limit = Deadline.after(self.deadline.clamp(LOCK_SECONDS))
                    locks.enter_context(job_lock(self.settings.run_dir, job_id, deadline=limit))
            except StateError as error:
                return Case(left, Fate.KEPT, error.what)
            except DeadlineExceeded as error:
                return failed(left, error)
            try:
                return self.remove(left, job_ids, again)
            except TorqueVMError as error:
                return failed(left, error)

    def remove(
        self, left: Leftovers, job_ids: tuple[str, ...], again: Callable[[Leftovers], Verdict]
    ) -> Case:
        """Remove it all, if it is still what was judged and the verdict still holds."""
        now = self.look(left.slug)
        if [other.lasting for other in now] != [left.lasting] and (now or left.lasting):
            return Case(left, Fate.KEPT, "something of it changed meanwhile")
        verdict = again(left)
        if not verdict.over:
            return Case(left, Fate.KEPT, verdict.reason)
        for job_id in job_ids:
            if left.guests or self.settings.switched_on():
                report = self.engine.destroy(
                    [self.node], job_id, self.inventory(), tags=left.tags or None, domains=left.guests
                )
                if not report.ok:
                    return Case(left, Fate.FAILED, "; ".join(report.sentences()), int(cli_exit(report)))
        give_back(left, job_ids, self.node.name, self.settings, self.deadline)
        for job_id in job_ids:
            JobState.forget(self.settings.run_dir, job_id)
        return Case(left, Fate.REMOVED, verdict.reason)

    def clear(self, parts: frozenset[tuple[str, str]], began: float) -> None:
        """Remove files that nobody writes any more.

        :param parts: those that were there at ``began``, on the monotonic clock.
        """
        if parts:
            self.deadline.sleep(began + WRITING_SECONDS - time.monotonic())
        with contextlib.ExitStack() as folders:
            for folder, name in sorted(parts & unfinished(self.settings.run_dir)):
                run = folders.enter_context(RootDir.at(self.settings.run_dir))
                (folders.enter_context(run.sub(folder)) if folder else run).remove(name)

    def prune(self) -> tuple[str, ...]:
        """Remove the records of past jobs that are too old."""
        directory, days = self.settings.history_dir, self.settings.history_days
        return History.expired(directory, days) if self.dry else History.prune(directory, days)


def failed(left: Leftovers, error: TorqueVMError) -> Case:
    """The case of leftovers that could not be removed."""
    return Case(left, Fate.FAILED, str(error), int(cli_exit(error)))
