"""Starts, verifies and stops components on the nodes of a job, within their share of the time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from nornir.core.inventory import Inventory
from nornir.core.task import Result

from nornir_torque_vm.components.base import Component, OnFailure, Part, When
from nornir_torque_vm.components.loading import load
from nornir_torque_vm.deadline import Deadline, current
from nornir_torque_vm.errors import SettingsError, StateError, TorqueVMError
from nornir_torque_vm.phases import step_name
from nornir_torque_vm.report import Failure, HostReport, Report, Status

if TYPE_CHECKING:
    from nornir_torque_vm.engine import Engine


def start(engine: Engine, inventory: Inventory, parts: Sequence[Part], when: When) -> Report:
    """Start those of a job's components that are started then; the first that fails is the last.

    :param inventory: made of the job's plan.
    :returns: what went wrong by node; without hosts when there was nothing to do.
    """
    loaded = [(part, load(part.name, engine.settings)) for part in parts]
    due = [(part, one) for part, one in loaded if one.when is when]
    return _each(engine, inventory, [(part, one, "start", one.start) for part, one in due])


def verify(engine: Engine, inventory: Inventory, parts: Sequence[Part]) -> Report:
    """Look whether everything the components were to do is done, now that the guests are there."""
    loaded = [(part, load(part.name, engine.settings)) for part in parts]
    return _each(engine, inventory, [(part, one, "verify", one.verify) for part, one in loaded])


def stop(
    engine: Engine,
    inventory: Inventory,
    destroyed: Report,
    job_id: str,
    tags: Collection[str] | None = None,
) -> Report:
    """Stop every component of the site on the nodes where a job's guests are gone, whether it had it or not.

    :param destroyed: what became of the guests, by node.
    :param tags: only what belongs to these attempts; to any by default.
    :returns: ``destroyed``, and what could not be stopped.
    """
    nodes = tuple(entry.host for entry in destroyed.good)
    reports = [destroyed]
    for name in engine.settings.switched_on():
        try:
            one = load(name, engine.settings)
        except SettingsError as error:
            reports.append(_all_failed(nodes, step_name(name, "stop"), error))
            continue
        if one.stop is not None and nodes:
            part = Part(name, nodes)
            reports.append(_run(engine, inventory, part, one, "stop", one.stop, job_id=job_id, tags=tags))
    return _beside(destroyed, Report.combined(reports))


def find(engine: Engine, inventory: Inventory) -> tuple[list[str], tuple[TorqueVMError, ...]]:
    """Ask every component of the site what there is on one node, of any job.

    :param inventory: of that node.
    :returns: the names, and what kept components from answering.
    """
    names: list[str] = []
    errors: list[TorqueVMError] = []
    for name in engine.settings.switched_on():
        try:
            one = load(name, engine.settings)
        except SettingsError as error:
            errors.append(error)
            continue
        for multi in engine.run(inventory, one.find).values() if one.find is not None else ():
            if multi.failed:
                why = Failure.of(multi[0].exception or RuntimeError("it did not say why")).message
                errors.append(StateError(f"the component {name} does not say what it has here: {why}"))
            else:
                names += multi[0].result
    return names, tuple(errors)


def _each(
    engine: Engine,
    inventory: Inventory,
    steps: Sequence[tuple[Part, Component, str, Callable[..., Result] | None]],
) -> Report:
    reports = []
    for part, one, step, task in steps:
        if task is None:
            continue
        reports.append(_run(engine, inventory, part, one, step, task))
        if not reports[-1].ok:
            break
    return Report.combined(reports)


def _run(
    engine: Engine,
    inventory: Inventory,
    part: Part,
    one: Component,
    step: str,
    task: Callable[..., Result],
    **parameters: Any,
) -> Report:
    """Take one step of one component on its nodes; a failure that only warns becomes a sentence."""
    names = frozenset(part.nodes)
    here = engine.nornir(inventory).filter(filter_func=lambda host: host.name in names)
    token = current.set(Deadline.after(engine.deadline.remaining() * one.share))
    try:
        results = engine.run(here.inventory, task, name=step_name(one.name, step), **parameters)
    finally:
        current.reset(token)
    report = Report.from_results(results)
    if report.ok or engine.settings.on_component_failure(one.name, one.failure) is not OnFailure.WARN:
        return report
    engine.warnings += report.sentences()
    return Report(tuple(_forgiven(entry) for entry in report.hosts))


def _forgiven(entry: HostReport) -> HostReport:
    return entry if entry.status.good else dataclasses.replace(entry, status=Status.OK, failure=None)


def _beside(destroyed: Report, all_of_it: Report) -> Report:
    """What destroying returned stays: those who asked for it read that."""
    data = {entry.host: entry for entry in destroyed.hosts}
    return Report(
        tuple(
            dataclasses.replace(entry, phase=data[entry.host].phase, data=data[entry.host].data)
            if entry.status.good
            else entry
            for entry in all_of_it.hosts
        )
    )


def _all_failed(nodes: Sequence[str], phase: str, error: SettingsError) -> Report:
    why = Failure.of(error)
    return Report(tuple(HostReport(node, node, phase, Status.FAILED, failure=why) for node in nodes))
