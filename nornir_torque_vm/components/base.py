"""What a component is: the interface that ours have, and those of other packages.

A component is a value. What it decides is pure; what it does are plain Nornir tasks for nodes, so an
administrator can run them alone. A package offers one by an entry point of the group :data:`GROUP` that
leads to a function: settings → :class:`Component`.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from nornir.core.task import Result

    from nornir_torque_vm.config.settings import Settings
    from nornir_torque_vm.model import Image, Node, Plan
    from nornir_torque_vm.request import Request

GROUP = "nornir_torque_vm.components"
"""The entry points' group; the name of an entry point is the component's."""


class When(enum.StrEnum):
    """When a component is started; all are verified when the guests are ready, stopped when they are gone."""

    BEFORE_BOOT = "before boot"
    """What guests find when they start."""
    AFTER_BOOT = "after boot"
    """What needs guests that run."""


class OnFailure(enum.StrEnum):
    """What becomes of a job when a component fails; the setting ``component_failure`` goes before."""

    ABORT = "abort"
    """The start of the job fails; what cannot be stopped counts as not cleaned up."""
    WARN = "warn"
    """The job runs without; one line says so."""


@dataclasses.dataclass(frozen=True, slots=True)
class Kept:
    """Processors of a job's share of each node that its guests shall leave to a component."""

    least: int = 0
    """With fewer the job is refused."""
    most: int = 0
    """No more, even if the share has more than the guests need."""


def _unchanged(plan: Plan, request: Request, settings: Settings) -> Plan:  # noqa: ARG001 - as all of them
    return plan


def _nothing(request: Request, settings: Settings) -> Kept:  # noqa: ARG001 - as all of them
    return Kept()


def _no_memory(request: Request, settings: Settings, image: Image) -> int:  # noqa: ARG001 - as all of them
    return 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One component, for the settings it was made for. What it lacks is None.

    Tasks run on the hosts of nodes, all nodes at once, and return when it is done; what they raise are
    :class:`~nornir_torque_vm.errors.TorqueVMError`. Anything may be done twice, and ``stop`` may come
    without, during or after a start, also on a node on which there never was one.
    """

    name: str
    wanted: Callable[[Request, Settings, Node], bool]
    """Whether a job has it on one of its nodes. Pure."""
    kept: Callable[[Request, Settings], Kept] = _nothing
    """Processors that the guests of a job that has it leave to it. Pure."""
    shared: Callable[[Request, Settings, Image], int] = _no_memory
    """Bytes of each node's memory that the guests of a job that has it share, beside their own: in a file on
    the node's file system in memory, ``ramdisk_dir``. Pure."""
    adjust: Callable[[Plan, Request, Settings], Plan] = _unchanged
    """Changes the plan of a job that has it, such as its guests' ``extras``. Pure."""
    look: Callable[[Any, Settings], object] | None = None
    """``look(connection, settings)``: what a node has for it, asked of its ``virConnect`` at the survey."""
    judge: Callable[[Any, str, int, Settings], None] | None = None
    """``judge(found, node, guests, settings)``: refuses a node of a job that has it, by what ``look``
    returned there. Pure."""
    start: Callable[..., Result] | None = None
    """``start(task)``: ``plan_of(task.host)`` is the plan."""
    verify: Callable[..., Result] | None = None
    """``verify(task)``: fails when what was started is not there."""
    stop: Callable[..., Result] | None = None
    """``stop(task, job_id, tags)``: removes all of a job, by asking the node what there is; there is no plan.
    ``tags``: only of attempts with these tags (``identity.job_tag``), a collection of texts; None: of any."""
    find: Callable[..., Result] | None = None
    """``find(task)``: names of what there is on the node, of any job, each of which begins with a tag. For
    ``torque-vm reap``; a component of which nothing outlives the guests needs none."""
    when: When = When.BEFORE_BOOT
    failure: OnFailure = OnFailure.ABORT
    share: float = 0.25
    """Part of the time that is left which each of its steps may take, more than 0, at most 1."""


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """A component of a job, as its plan has it."""

    name: str
    nodes: tuple[str, ...]
    """Where the job has it."""
    kept: Kept = Kept()
    """What it wants of the job's share on each of them."""
    shared: int = 0
    """Bytes of memory that the job's guests share on each of them."""
