"""Asks what a job's guests have used, right before a hook ends them, and keeps the answer."""

from __future__ import annotations

from collections.abc import Sequence

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.engine import Engine
from nornir_torque_vm.errors import StateError
from nornir_torque_vm.gueststats import Figures
from nornir_torque_vm.hooks.frame import log_unforeseen
from nornir_torque_vm.inventory.build import node_inventory
from nornir_torque_vm.model import Node
from nornir_torque_vm.report import Report
from nornir_torque_vm.runstate.history import History
from nornir_torque_vm.runstate.rootdir import RootDir
from nornir_torque_vm.tasks.guest_stats import guest_stats

HOOK = "figures"
PATIENCE = 3.0
"""Seconds the nodes get to answer, all together; they need some milliseconds when they are well."""
SHARE = 0.1
"""Part of the time that is left which they get at most: the teardown needs the rest."""


def keep_figures(
    settings: Settings, deadline: Deadline, nodes: Sequence[Node], history: History
) -> list[str]:
    """Keep in the history what the job's guests on the nodes have used; return it in words for syslog.

    Never an error: the guests have to go, with figures or without. What is missing is among the words.

    :param deadline: the hook's.
    """
    try:
        figures, report = ask(settings, deadline, nodes, history.job_id)
        if figures.guests or figures.missing:
            history.write("stats", figures.after(earlier(history)))
        used = [figures.sentence()] if figures.guests else []
        return [*used, *(f"no figures of its guests: {sentence}" for sentence in report.sentences())]
    except Exception as error:  # noqa: BLE001 - nothing here may keep guests alive
        log_unforeseen(HOOK, history.job_id, error)
        return [f"no figures of its guests: {error}"]


def ask(settings: Settings, deadline: Deadline, nodes: Sequence[Node], job_id: str) -> tuple[Figures, Report]:
    """Ask all nodes at the same time; a node without an answer has the reason in the figures."""
    patience = Deadline.after(min(PATIENCE, deadline.remaining() * SHARE))
    # No processors: a phase of its own would say nothing about the guests in the job's timeline.
    results = Engine(settings, patience).run(
        node_inventory(nodes, settings), guest_stats, role="node", job_id=job_id
    )
    report = Report.from_results(results)
    found = [one for entry in report.good for one in results[entry.host][0].result]
    return Figures(tuple(found), {entry.host: entry.what for entry in report.bad}), report


def earlier(history: History) -> Figures:
    """The figures of an epilogue before this one, of the same attempt; none when they cannot be read."""
    with RootDir.at(history.directory) as root:
        if history.path.name not in root.names():
            return Figures()
        with root.sub(history.path.name) as record:
            text = record.read("stats.json")
    try:
        return Figures() if text is None else Figures.from_json(text)
    except StateError:
        return Figures()
