"""What components make of a job's plan: which it has, where, and what they change. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from nornir_torque_vm.components.base import Component, Kept, Part
from nornir_torque_vm.components.loading import load, load_all
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import BusyError
from nornir_torque_vm.model import Image, Node, NodeFacts, Plan
from nornir_torque_vm.request import Request


def parts_of(request: Request, settings: Settings, nodes: Sequence[Node], image: Image) -> tuple[Part, ...]:
    """Which components a job has on which of its nodes.

    :raises SettingsError: a component that is switched on cannot be loaded.
    """
    found = ((one, _where(one, request, settings, nodes)) for one in load_all(settings))
    return tuple(
        Part(one.name, names, one.kept(request, settings), one.shared(request, settings, image))
        for one, names in found
        if names
    )


def looked(conn: Any, settings: Settings) -> dict[str, object]:
    """What each component that looks finds on a node.

    :raises HypervisorUnreachable: the node's libvirt does not answer.
    """
    return {one.name: one.look(conn, settings) for one in load_all(settings) if one.look is not None}


def judged(parts: Sequence[Part], facts: Iterable[NodeFacts], guests: int, settings: Settings) -> None:
    """Have each component of a job judge its nodes by what it found there.

    :param guests: of the job on each node.
    :raises TorqueVMError: a node cannot have the job; what no later attempt mends comes before lack of room.
    """
    busy: BusyError | None = None
    for fact in facts:
        for one in (load(part.name, settings) for part in parts if fact.node in part.nodes):
            if one.judge is None or one.name not in fact.offers:
                continue
            try:
                one.judge(fact.offers[one.name], fact.node, guests, settings)
            except BusyError as error:
                busy = busy or error
    if busy is not None:
        raise busy


def kept_on(node: str, parts: Sequence[Part]) -> Kept:
    """How many processors of the job's share its components want on a node, all together."""
    wishes = [part.kept for part in parts if node in part.nodes]
    return Kept(sum(wish.least for wish in wishes), sum(wish.most for wish in wishes))


def adjusted(plan: Plan, request: Request, settings: Settings) -> Plan:
    """The plan as its components change it, one after the other.

    :raises RequestError: a component refuses what the user asked of it.
    """
    for part in plan.components:
        plan = load(part.name, settings).adjust(plan, request, settings)
    return plan


def _where(one: Component, request: Request, settings: Settings, nodes: Sequence[Node]) -> tuple[str, ...]:
    return tuple(node.name for node in nodes if one.wanted(request, settings, node))
