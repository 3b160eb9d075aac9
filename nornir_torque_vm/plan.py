"""From a request to a plan: which guests a job gets, where, of what shape, and whether there is room.

Pure: the same values give the same plan, so every hook and command that makes it sees the same names.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence

from nornir_torque_vm.addresses.model import StaticAddress
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import (
    InventoryError,
    RequestError,
    StateError,
)
from nornir_torque_vm.identity import domain_name, guest_name, guest_uuid, mac_address
from nornir_torque_vm.machine.offer import (
    TEST_DRIVER,
    check_arch,
    check_domain_type,
    check_machine,
    is_test_driver,
)
from nornir_torque_vm.machine.shape import shape_of
from nornir_torque_vm.model import (
    DataDisk,
    Distro,
    Guest,
    Image,
    Job,
    Memory,
    Node,
    NodeFacts,
    Owner,
    Placement,
    Plan,
    Shape,
    UserDir,
    UserFiles,
)
from nornir_torque_vm.pinning.pinfile import PinMap
from nornir_torque_vm.pinning.placement import placed, wish_of
from nornir_torque_vm.request import Request
from nornir_torque_vm.room import check_ramdisk, check_room, check_size
from nornir_torque_vm.userfiles import files_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    from nornir_torque_vm.components.base import Part
    from nornir_torque_vm.components.devices import Extras

    T = TypeVar("T")

VERSION = 1
"""Of the JSON form; grows when an older reader would misread it."""


def make_plan(
    request: Request,
    settings: Settings,
    job: Job,
    nodes: Sequence[Node],
    image: Image,
    facts: Mapping[str, NodeFacts] | None = None,
    pins: PinMap | None = None,
) -> Plan:
    """Resolve a request on the nodes of a job.

    Ranks run through the nodes in nodefile order, all guests of one node after each other.

    :param facts: what the survey found, by node name; a node without facts is not checked, and guests
        there have no placement.
    :param pins: what the file says that the request names for ``vcpu_pinning``.
    :raises RequestError: the guests are more or larger than the site or a node allows at all.
    :raises HypervisorError: a node cannot run the domain type or the machine it should.
    :raises BusyError: there would be room if there were no guests of other jobs.
    :raises InventoryError: no node, or one on which the site has switched VM jobs off.
    :raises SettingsError: the settings keep all of a node for its own system, or contradict it.
    :raises StorageError: a node has no place for disks in memory, or for what its guests share.
    :raises TorqueVMError: what :func:`~nornir_torque_vm.userfiles.files_for` raises.

    When several nodes object, what no other attempt can mend comes first: the user's mistakes on
    any node, then the site's, then lack of room.
    """
    if not nodes:
        raise InventoryError("the job has no node", hint="look at its nodefile", job=job.id)
    _check_enabled(nodes, settings)
    per_node = _per_node(request, settings)
    shape = shape_of(request, settings)
    user_files, user_dirs = files_for(settings, job.owner, image)
    known = [facts[node.name] for node in nodes if node.name in facts] if facts else []
    parts = _parts(request, settings, nodes, image)
    for fact in known:
        check_arch(fact, shape, per_node, settings)
    for fact in known:
        check_size(fact, shape, per_node, settings, _shared(fact.node, parts))
    for check in (check_domain_type, check_machine):
        for fact in known:
            check(fact, shape, per_node, settings)
    for fact in known:
        check_ramdisk(fact, shape, per_node, settings, _shared(fact.node, parts))
    _judge(parts, known, per_node, settings)
    for fact in known:
        check_room(fact, shape, per_node, settings, _shared(fact.node, parts))
    offers = {fact.node: fact for fact in known}
    guests: list[Guest] = []
    for node in nodes:
        offer = offers.get(node.name)
        fitted = _adapted(shape, offer)
        here = tuple(_guest(job, len(guests) + index, node, index, fitted) for index in range(per_node))
        if offer is not None:
            here = tuple(dataclasses.replace(guest, base=offer.copy) for guest in here)
            kept = _kept(node, parts)
            here = placed(job, node, here, offer, wish_of(request, settings, pins), settings, kept)
        guests += here
    plan = Plan(job, tuple(nodes), tuple(guests), image, user_files, user_dirs, parts)
    return _adjusted(plan, request, settings)


def plan_to_json(plan: Plan) -> str:
    """Return the plan as JSON text; :func:`plan_from_json` gives an equal plan back."""
    return json.dumps({"version": VERSION, **dataclasses.asdict(plan)}, indent=1) + "\n"


def plan_from_json(text: str) -> Plan:
    """Read what :func:`plan_to_json` wrote.

    :raises StateError: another version of the form, or no such text.
    """
    try:
        raw = json.loads(text)
        version = raw.pop("version")
        if version != VERSION:
            raise StateError(
                f"the plan has form {version!r}, this program reads {VERSION}",
                hint="the job was started by another version: destroy its guests and start it again",
            )
        return _plan(**raw)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StateError(
            f"the plan cannot be read ({type(error).__name__})", hint="destroy the job's guests by its id"
        ) from error


def _check_enabled(nodes: Sequence[Node], settings: Settings) -> None:
    for node in nodes:
        if settings.disabled_hosts_list.matches(node.name):
            raise InventoryError(
                "VM jobs are switched off here",
                hint="take the node property for VM jobs from the node, or the node from disabled_hosts_list",
                node=node.name,
            )


def _per_node(request: Request, settings: Settings) -> int:
    asked = _asked(request.vms_per_node, settings.vms_per_node_default)
    if asked > settings.max_vms_per_node:
        raise RequestError(
            f"vms_per_node={asked} is more than the {settings.max_vms_per_node} this site allows",
            hint="ask for fewer guests per node, on more nodes",
        )
    return asked


def _asked(value: T | None, default: T) -> T:
    return default if value is None else value


def _guest(job: Job, rank: int, node: Node, index: int, shape: Shape) -> Guest:
    return Guest(
        name=guest_name(job.id, rank),
        rank=rank,
        node=node.name,
        index=index,
        mac=mac_address(job.server, job.id, rank),
        uuid=guest_uuid(job.server, job.id, job.attempt, job.nonce, rank),
        domain=domain_name(job, rank),
        shape=shape,
    )


def _adapted(shape: Shape, fact: NodeFacts | None) -> Shape:
    """The shape as this node runs it: libvirt's test driver knows its own architecture and type only."""
    if fact is None or not is_test_driver(fact):
        return shape
    return dataclasses.replace(shape, arch=next(iter(fact.domain_types)), domain_type=TEST_DRIVER)


def _parts(request: Request, settings: Settings, nodes: Sequence[Node], image: Image) -> tuple[Part, ...]:
    """The components of the job; where the site has none, nothing is imported to find that out."""
    if not settings.switched_on():
        return ()
    from nornir_torque_vm.components.planning import parts_of

    return parts_of(request, settings, nodes, image)


def _shared(node: str, parts: Sequence[Part]) -> int:
    """Bytes of memory that the guests on a node share, beside their own."""
    return sum(part.shared for part in parts if node in part.nodes)


def _judge(parts: Sequence[Part], facts: Sequence[NodeFacts], guests: int, settings: Settings) -> None:
    """Have the job's components judge its nodes."""
    if parts:
        from nornir_torque_vm.components.planning import judged

        judged(parts, facts, guests, settings)


def _kept(node: Node, parts: Sequence[Part]) -> tuple[int, int]:
    """How many processors the guests leave to components on a node: at least and at most."""
    if not parts:
        return 0, 0
    from nornir_torque_vm.components.planning import kept_on

    return dataclasses.astuple(kept_on(node.name, parts))


def _adjusted(plan: Plan, request: Request, settings: Settings) -> Plan:
    if not plan.components:
        return plan
    from nornir_torque_vm.components.planning import adjusted

    return adjusted(plan, request, settings)


def _plan(
    job: dict[str, Any],
    nodes: list[dict[str, Any]],
    guests: list[dict[str, Any]],
    image: dict[str, Any],
    user_files: str,
    user_dirs: list[dict[str, Any]],
    components: list[dict[str, Any]],
    disk: dict[str, Any] | None = None,
    added: str = "",
) -> Plan:
    """Build the values from what JSON holds; an unknown or missing key is a ``TypeError``."""
    owner = job["owner"]
    groups = tuple((name, gid) for name, gid in owner["groups"])
    return Plan(
        job=Job(**{**job, "owner": Owner(**{**owner, "groups": groups})}),
        nodes=tuple(Node(**{**node, "indexes": tuple(node.get("indexes", ()))}) for node in nodes),
        guests=tuple(
            Guest(
                **{
                    **guest,
                    "shape": Shape(**guest["shape"]),
                    "placement": _placement(guest),
                    "static": _static(guest),
                    "extras": _extras(guest),
                }
            )
            for guest in guests
        ),
        image=Image(**{**image, "distro": Distro(image["distro"]), "backing": tuple(image["backing"])}),
        user_files=UserFiles(user_files),
        user_dirs=tuple(UserDir(**one) for one in user_dirs),
        components=tuple(_part(**one) for one in components),
        disk=None if disk is None else DataDisk(**disk),
        added=added,
    )


def _part(name: str, nodes: list[str], kept: dict[str, int], shared: int = 0) -> Part:
    from nornir_torque_vm.components.base import Kept, Part

    return Part(name, tuple(nodes), Kept(**kept), shared)


def _extras(guest: dict[str, Any]) -> Extras | None:
    raw = guest.get("extras")
    if raw is None:
        return None
    from nornir_torque_vm.components.devices import extras_from

    return extras_from(raw)


def _placement(guest: dict[str, Any]) -> Placement | None:
    raw = guest.get("placement")
    if raw is None:
        return None
    lists = {key: tuple(raw[key]) for key in ("cpus", "emulator", "cells", "kept")}
    memory = None if raw["memory"] is None else Memory(raw["memory"])
    return Placement(**{**raw, **lists, "vcpus": tuple(map(tuple, raw["vcpus"])), "memory": memory})


def _static(guest: dict[str, Any]) -> StaticAddress | None:
    raw = guest.get("static")
    return None if raw is None else StaticAddress(**raw)
