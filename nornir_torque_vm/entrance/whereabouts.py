"""Where a job's guests can be entered: here, or on the job's first node.

What opens them lies on the job's nodes: the hand-over, which its owner alone can read, and on the first node
the key of the administrator. Whoever is elsewhere goes to the first node by his own ssh, and asks there.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.entrance.target import Target, full_id
from nornir_torque_vm.errors import InventoryError, StateError
from nornir_torque_vm.identity import is_job_id, job_slug
from nornir_torque_vm.nodefile import parse_exec_host, valid_host
from nornir_torque_vm.reap.qstat import COMPLETED, Qstat
from nornir_torque_vm.runstate import jobstate
from nornir_torque_vm.runstate.handover import HANDOVERS, HandOver, handover_path, read_handover
from nornir_torque_vm.runstate.jobstate import JOBS, JobState

PATIENCE = 20.0
"""Seconds for the server's answer."""
INSTALLED = "/opt/torque-vm/bin"
"""Where the package is on nodes, if it is not where it is here."""


class Elsewhere(NamedTuple):
    """A job's whole id, and its first node."""

    job_id: str
    node: str


def here(settings: Settings, target: Target) -> str:
    """Return the whole id of a job that can be entered from this node; "" when it is not known here.

    :raises RequestError: the id could mean several jobs.
    """
    if os.geteuid() == 0:
        names = filter(is_job_id, _listed(Path(settings.run_dir, HANDOVERS)))
        return full_id(target.job, [*names, *_started(settings)])
    # Its owner may look for it, and cannot list whose others there are.
    return target.job if os.path.lexists(handover_path(settings.run_dir, target.job)) else ""


def _listed(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - names
    except FileNotFoundError:
        return []


def _started(settings: Settings) -> list[str]:
    """Ids of the jobs that have run state here."""
    states = [JobState.of_tag(settings.run_dir, tag) for tag in _listed(Path(settings.run_dir, JOBS))]
    return [state.job.id for state in states if state is not None]


def first_node(settings: Settings, target: Target, *, over: bool = False) -> Elsewhere:
    """Ask the server where a job is.

    :param over: whether a job that is over will do.
    :raises TorqueVMError: it does not say; the job has not started, or is over.
    """
    patience = Deadline.after(PATIENCE)
    asked = None
    for qsub in (settings.real_qsub_on_nodes, settings.real_qsub_on_server):
        asked = Qstat.find(qsub, patience)
        if asked.program:
            break
    assert asked is not None  # noqa: S101 - there are two
    found = asked.whereabouts(target.job)
    if found.state == COMPLETED and not over:
        raise StateError("it is over", hint="torque-vm log shows what is kept", job=found.job_id)
    if not found.exec_host:
        raise StateError(
            f"it has no nodes: its state is {found.state or 'not told'}",
            hint="wait until it runs",
            job=found.job_id,
        )
    node = parse_exec_host(found.exec_host)[0].name
    if node.partition(".")[0] == os.uname().nodename.partition(".")[0]:
        # Here, and nothing of it was found: read_handover says why.
        return Elsewhere(found.job_id, "")
    return Elsewhere(found.job_id, node)


def handed_over(settings: Settings, job_id: str) -> HandOver:
    """Return the hand-over of a job on this node, to its owner and to root.

    :raises TorqueVMError: there is none, or not for the caller.
    """
    return read_handover(settings.run_dir, job_id) if os.geteuid() != 0 else for_root(settings, job_id)


def for_root(settings: Settings, job_id: str) -> HandOver:
    """What root may rely on: on the job's first node its own files, elsewhere a hand-over that was looked at.

    For that is a file of the job's owner, who can write anything into it.

    :raises TorqueVMError: there is none, or it was changed; a refusal.
    """
    text = jobstate.given(settings.run_dir, job_id)
    if text is None:
        raise StateError("its guests are not ready yet", hint="torque-vm job tells how far it is", job=job_id)
    state = JobState.find(settings.run_dir, job_id)
    plan, keys = (None, None) if state is None else (state.plan(), state.keys())
    addresses = {} if state is None else state.addresses()
    if plan is not None and keys is not None and addresses:
        return HandOver.of(plan, keys, addresses)
    handover = HandOver.from_json(text)
    if not _is_sound(handover, job_id):
        raise StateError(
            "its hand-over is not what was left here",
            hint="its owner can write it: go to the job's first node",
            job=job_id,
        )
    return handover


def _is_sound(handover: HandOver, job_id: str) -> bool:
    """Whether what becomes part of paths, names and messages has the form it had."""
    tag = re.compile(rf"tvm-{re.escape(job_slug(job_id))}-a[0-9]+-[0-9a-f]{{8}}")
    names = [*(guest.node for guest in handover.guests), *(name for name, _ in handover.nodes)]
    return (
        handover.job_id == job_id
        and isinstance(handover.tag, str)
        and tag.fullmatch(handover.tag) is not None
        and all(isinstance(name, str) and valid_host(name) for name in names)
    )


def opened(settings: Settings, job_id: str) -> HandOver:
    """Return what opens the guests of a job on this node: to root all as root, to its owner as the owner.

    :raises TorqueVMError: there is nothing, or not for the caller.
    """
    handover = handed_over(settings, job_id)
    if os.geteuid() != 0:
        return handover
    state = JobState.find(settings.run_dir, job_id)
    keys = state.keys() if state is not None else None
    if keys is None:
        raise InventoryError(
            "this is not the job's first node, and only that has the administrator's key",
            hint=f"go to {handover.nodes[0][0]}" if handover.nodes else "",
            job=job_id,
        )
    return handover._replace(user="root", user_key=keys.admin.private)


def hop(node: str) -> Sequence[str]:
    """The caller's own ssh to a node; a command of the node's shell follows."""
    return ["ssh", "-o", "EscapeChar=none", "-o", "LogLevel=ERROR", node]


def asked_there(verb: str, options: Sequence[str], target: Target, words: Sequence[str]) -> str:
    """Shell text that asks the same on the job's first node."""
    places = ":".join(dict.fromkeys((os.path.dirname(sys.executable), INSTALLED)))  # noqa: PTH120
    command = shlex.join(["torque-vm", verb, *options, str(target), *words])
    return f"PATH=$PATH:{shlex.quote(places)}; exec {command}"
