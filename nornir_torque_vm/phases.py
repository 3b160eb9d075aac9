"""The phases of a job, and which task does which: one table for progress, events and timelines."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

PHASES: Mapping[str, str] = MappingProxyType(
    {
        "survey": "survey",
        "prepare_image": "image",
        "start_guest": "start",
        "discover_address": "address",
        "check_health": "health",
        "mount_files": "files",
        "mount_disk": "disk",
        "publish_roster": "roster",
        "guest_prologue": "guest-prologue",
        "vm_prologue": "vm-prologue",
        "close_folders": "close",
        "hand_over": "hand-over",
        "vm_epilogue": "vm-epilogue",
        "guest_epilogue": "guest-epilogue",
        "unmount_disk": "unmount",
        "destroy": "destroy",
    }
)
"""Name of a task → phase word, in the order a job goes through them. The task that runs scripts in guests is
called like the script."""
AFTER = frozenset({"vm-epilogue", "guest-epilogue", "unmount", "destroy"})
"""Phases after the job has run."""
_STEPS = ("start", "verify", "stop")
"""What is done with a component of a job; each component has phases of its own."""


def phase_of(task_name: str) -> str:
    """Return the phase word of a task; a task that is none of ours is its own phase."""
    return PHASES.get(task_name, task_name)


def step_name(component: str, step: str) -> str:
    """Return the name of a component's task, and of the phase it is: ``iocm-start``."""
    return f"{component}-{step}"


def is_step(name: str) -> bool:
    """Whether a task, or a phase, is a step of a component."""
    component, dash, step = name.rpartition("-")
    return bool(component and dash) and step in _STEPS


def is_after(phase: str) -> bool:
    """Whether a phase comes after the job has run."""
    return phase in AFTER or (is_step(phase) and phase.endswith("-stop"))
