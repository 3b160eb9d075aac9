"""What a job asks of TORQUE with ``-l``, raised to what its guests need. Pure.

A job in guests asks with ``nodes=`` and nothing else that spreads processors over nodes: only there
every node is stated with its processors, and pbs_mom writes a nodefile only for a job with ``nodes=``
(TORQUE 6.1.3, src/resmom/start_exec.c: neednodes sets MOM_HAS_NODEFILE).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from nornir_torque_vm.config.fields import show
from nornir_torque_vm.errors import RequestError
from nornir_torque_vm.wrapper.nodespec import NodeSpec, read_nodes
from nornir_torque_vm.wrapper.qsubsize import read_size, write_size
from nornir_torque_vm.wrapper.resourcelist import check_fits, read_resources, resource_list_size

__all__ = [
    "Need", "Raised", "check_fits", "raise_resources", "read_resources", "refuse_task_requests",
    "resource_list_size",
]  # fmt: skip

MEBIBYTE = 1 << 20
_OTHER_WAYS = ("procs", "ncpus", "size", "select", "geometry", "trl")
"""Resources that ask for processors otherwise; those named mpp… do too."""


@dataclasses.dataclass(frozen=True, slots=True)
class Need:
    """What one node of the job has to give: processors, and memory in bytes.

    Both are of the node's guests together with what is kept for the node's own system. ``why`` says
    it in words for the user: ``2 guests of 2 processors on each node``.
    """

    cores: int
    memory: int
    why: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Raised:
    """What has to be asked for besides what was given.

    ``additions`` holds resource → value, only those that differ from the given ones; as the last
    ``-l`` of the command line they win. ``sentence`` tells the user which of his numbers were raised
    and why; empty when none was: the node property and what the settings ask for say nothing.
    ``nodes`` is the number of nodes, 0 when TORQUE is going to refuse ``nodes=``.
    """

    additions: dict[str, str]
    sentence: str
    nodes: int


def raise_resources(
    given: Mapping[str, str], need: Need, *, node_property: str, request_mem: bool, exclusive: bool
) -> Raised:
    """Return what a job with the resources ``given`` has to ask for, too, to give its guests ``need``.

    Every part of ``nodes=`` gets ``ppn=`` and the property ``node_property`` (empty: none) where they
    are missing. ``mem`` and ``vmem`` count for the whole job, ``pmem`` and ``pvmem`` for one of a node's
    ``ppn`` processors; each is raised if it was given. With ``request_mem`` a job that has none of
    ``mem``, ``pmem`` and ``pvmem`` gets ``mem`` (a qsub built with cgroups refuses ``pvmem`` below
    ``mem``). With ``exclusive`` only jobs of the same user share the nodes. What TORQUE is going to
    refuse stays as it is, so that qsub says why.

    :raises RequestError: the resources contradict each other, or ask for processors otherwise.
    """
    _refuse_other_ways(given, need)
    before = read_nodes(given.get("nodes", "1"))
    if before is None:
        return Raised({}, "", 0)
    after = before.raised(need.cores, node_property)
    additions = _memory(given, need, after, request_mem=request_mem)
    if str(after) != given.get("nodes"):
        additions = {"nodes": str(after), **additions}
    if exclusive and not given.get("naccesspolicy"):
        additions["naccesspolicy"] = "uniqueuser"
    return Raised(additions, _sentence(given, additions, before, after, need), after.nodes)


def refuse_task_requests(values: Iterable[str]) -> None:
    """Refuse ``qsub -L``, whose values are given: TORQUE takes it only without ``-l nodes=``.

    :raises RequestError: there is one.
    """
    for value in values:
        raise RequestError(
            f"-L {show(value)} cannot be raised to what guests need",
            hint="write -l nodes=N:ppn=M instead, N nodes with M processors each",
        )


def _refuse_other_ways(given: Mapping[str, str], need: Need) -> None:
    """Refuse resources that ask for processors in another way than ``nodes=``."""
    name = next((name for name in given if name in _OTHER_WAYS or name.startswith("mpp")), "")
    if not name:
        return
    value = given[name]
    hint = "leave it out and state ppn= in nodes="
    if not given.get("nodes"):
        hint = f"write -l {_instead(name, value, need.cores)} instead"
    raise RequestError(f"-l {name}={_shown(value)} does not say what each node gives its guests", hint=hint)


def _instead(name: str, value: str, cores: int) -> str:
    """Return the ``nodes=`` that asks for as many processors, where that is clear."""
    if value.isascii() and value.isdigit() and len(value) < 10:
        if name == "ncpus":
            return f"nodes=1:ppn={max(int(value), cores)}"
        if name in {"procs", "size", "mppwidth"}:
            return f"nodes={max(1, -(-int(value) // cores))}:ppn={cores}"
    return "nodes=N:ppn=M"


def _shown(value: str) -> str:
    """Return a value for a message: as it is, unless it is long or holds what does not print."""
    return value if value.isprintable() and len(value) <= 20 else show(value)


def _memory(given: Mapping[str, str], need: Need, spec: NodeSpec, *, request_mem: bool) -> dict[str, str]:
    """Return the memory resources that are too small or missing, at what they have to be."""
    per_process = -(-need.memory // (min(spec.ppns) * MEBIBYTE)) * MEBIBYTE
    per_job = spec.nodes * need.memory
    least = {"mem": per_job, "vmem": per_job, "pmem": per_process, "pvmem": per_process}
    asked = dict(given)
    if request_mem and not any(asked.get(name) for name in ("mem", "pmem", "pvmem")):
        asked["mem"] = "0"
    sizes = {name: read_size(asked[name]) for name in least if name in asked}
    return {
        name: write_size(least[name])
        for name, size in sizes.items()
        if size is not None and size < least[name]
    }


def _sentence(
    given: Mapping[str, str], additions: Mapping[str, str], before: NodeSpec, after: NodeSpec, need: Need
) -> str:
    """Say which numbers were raised, from what to what, and why; nothing if none was."""
    changes, reasons = [], []
    raised = [at for at, ppn in enumerate(before.ppns) if ppn < after.ppns[at]]
    if raised:
        changes.append(_nodes_change(given, before, after, raised))
        reasons.append(f"{need.cores} processors")
    memory = [name for name in ("mem", "vmem", "pmem", "pvmem") if name in additions and given.get(name)]
    if memory:
        changes += [(f"{name}={additions[name]}", f"{name}={_shown(given[name])}") for name in memory]
        reasons.append(f"{write_size(need.memory)} of memory")
    if not changes:
        return ""
    asked, instead = (", ".join(texts) for texts in zip(*changes, strict=True))
    why = need.why or f"each node needs {' and '.join(reasons)} for its guests and itself"
    return f"asked for {asked} instead of {instead}: {why}"


def _nodes_change(
    given: Mapping[str, str], before: NodeSpec, after: NodeSpec, raised: list[int]
) -> tuple[str, str]:
    """Return ``nodes=`` after and before, or their first raised parts where that would be long."""
    if "nodes" not in given:
        return f"nodes={after}", "one processor"
    if len(str(after)) <= 60:
        return f"nodes={after}", f"nodes={before}"
    others = f" and {len(raised) - 1} more" if len(raised) > 1 else ""
    old, new = (NodeSpec((spec.parts[raised[0]],), spec.common) for spec in (before, after))
    return f"nodes=…{new}…{others}", f"nodes=…{old}…{others}"
