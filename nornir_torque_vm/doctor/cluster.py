"""Nodes that look at themselves: this one here, the others over the node shell, all at once."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from nornir.core.inventory import Inventory
from nornir.core.task import Result, Task

from nornir_torque_vm.connections.node_shell import NodeShellConnection
from nornir_torque_vm.deadline import Deadline, current
from nornir_torque_vm.doctor.here import Examination, examine, late
from nornir_torque_vm.doctor.model import Here, Line, fail, failed, ok, warn
from nornir_torque_vm.engine import Engine
from nornir_torque_vm.errors import NodeShellError
from nornir_torque_vm.report import HostReport, Report, Status

HEAD_START, HEAD_START_HERE = 3.0, 1.0
"""Seconds by which another node, and this one, end before the deadline of all: what was found counts."""
SKEW_WARN, SKEW_FAIL = 1.0, 60.0
"""Seconds that two clocks may differ before records mislead, and before certificates and logins fail."""


@dataclasses.dataclass(frozen=True, slots=True)
class Skew:
    """How far a node's clock is ahead of ours, in seconds, and how wrong that may be."""

    seconds: float
    uncertainty: float


def examine_nodes(
    here: Here, nodes: Sequence[str], engine: Engine, inventory: Inventory
) -> list[Examination]:
    """Have every node look at itself, under the engine's deadline.

    :param inventory: of the nodes.
    """
    results = engine.run(inventory, examine_node, role="node", here=here, nodes=tuple(nodes))
    return [
        Examination(
            entry.host, tuple(results[entry.host][0].result) if entry.status.good else (_missing(entry),)
        )
        for entry in Report.from_results(results).hosts
    ]


def _missing(entry: HostReport) -> Line:
    """What stands for a node that could not be looked at."""
    error = entry.error or "it could not be looked at"
    if entry.status in {Status.LATE, Status.NOT_STARTED}:
        return late("node", error)
    return fail("node", error, "")


def examine_node(task: Task, here: Here, nodes: tuple[str, ...]) -> Result:
    """Look at a node: here, or by a command there.

    Arguments:
        here: this host
        nodes: names of all nodes, which it has to reach

    Returns:
        Result object with the following attributes set:
          * result (``list`` of :class:`~nornir_torque_vm.doctor.model.Line`): what was found
    """
    name, deadline = task.host.name, current.get()
    others = tuple(node for node in nodes if node != name)
    if task.host["local"]:
        own = Deadline.after(max(0.5, deadline.remaining() - HEAD_START_HERE))
        lines = examine(dataclasses.replace(here, others=others), own)
    else:
        lines = ask(task, others, prefix=here.prefix, quick=here.quick, deadline=deadline)
    return Result(host=task.host, result=lines)


def ask(task: Task, others: Sequence[str], *, prefix: str, quick: bool, deadline: Deadline) -> list[Line]:
    """Have another node look at itself, and compare its clock with ours."""
    try:
        shell: NodeShellConnection = task.host.get_connection("node_shell", task.nornir.config)
        clock = judge_skew(measure(shell))
        seconds = max(1.0, deadline.remaining() - HEAD_START)
        words = [sys.executable, "-I", "-m", "nornir_torque_vm.cli", "doctor", "--here", "--json"]
        words += ["--timeout", f"{seconds:.1f}", "--prefix", prefix]
        words += ["--quick"] if quick else []
        done = shell.run([*words, *others], timeout=deadline.remaining())
    except NodeShellError as error:
        line = failed("node shell", error)
        cure = f"{error.hint + '; ' if error.hint else ''}until then run torque-vm doctor there"
        return [warn("node shell", f"this node was not looked at: {line.text}", cure)]
    return [clock, *read_answer(done.stdout, done.summary())]


def read_answer(text: str, summary: str) -> list[Line]:
    """Return the lines that another node printed as JSON.

    :param summary: how its command ended, for a node that has none.
    """
    try:
        (host,) = json.loads(text)["hosts"]
        return [Line.from_plain(line) for line in host["lines"]]
    except (ValueError, KeyError, TypeError):
        cure = "install this version of the package there, at the same path"
        return [fail("node shell", f"torque-vm doctor could not be run there: {summary}", cure)]


def measure(shell: NodeShellConnection) -> Skew:
    """Compare a node's clock with ours.

    :raises NodeShellError: it does not answer.
    """
    before = time.time()
    done = shell.run(["date", "+%s.%N"])
    after = time.time()
    try:
        return Skew(float(done.stdout) - (before + after) / 2, (after - before) / 2)
    except ValueError:
        raise NodeShellError(f"date said {done.summary()}") from None


def judge_skew(skew: Skew) -> Line:
    """Judge the difference of two clocks; what may be the way's fault does not count."""
    certain = max(0.0, abs(skew.seconds) - skew.uncertainty)
    way = "ahead of" if skew.seconds > 0 else "behind"
    cure = "have both follow a time server: chronyd, systemd-timesyncd"
    if certain > SKEW_WARN:
        mark = fail if certain > SKEW_FAIL else warn
        return mark("clock", f"it is {abs(skew.seconds):.1f} s {way} that of the node that asks", cure)
    return ok("clock", f"like that of the node that asks, within {certain + skew.uncertainty:.2f} s")


def to_plain(found: Sequence[Examination]) -> dict[str, Any]:
    """What ``--json`` prints."""
    return {
        "hosts": [
            {"host": one.host, "lines": [dataclasses.asdict(line) for line in one.lines]} for one in found
        ]
    }
