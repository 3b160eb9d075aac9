"""The task that snap gets for a job: the site's manifest with the job's tag. Pure, but for reading it.

Format: snap's ``docs/TASKS.md``, version 1, and its processor plugin ``tag``. What a publisher needs to log
in belongs into the daemon's own configuration, where only root reads it: a manifest of ours has none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import SettingsError
from nornir_torque_vm.model import Job
from nornir_torque_vm.sitekit import kit_file
from nornir_torque_vm.trust import exposure

KEY = "jobID"
"""Name of the tag, as the earlier system had it."""
_SECRETS = frozenset({"password", "token"})
_LIMIT = 1 << 20


def manifest_for(job: Job, settings: Settings) -> bytes:
    """Return the manifest of a job's task.

    :raises SettingsError: the site's is none, has what is secret, or could have been written by others.
    """
    path = Path(settings.snap_task) if settings.snap_task else kit_file("monitoring", "snap-task.json")
    try:
        reason = exposure(settings.snap_task) if settings.snap_task else ""
        with path.open("rb") as file:
            manifest = json.loads(file.read(_LIMIT))
    except OSError as error:
        raise SettingsError(f"snap_task {path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"snap_task {path} is not JSON") from error
    if reason:
        raise SettingsError(
            f"snap_task: {reason}, who could have root's daemon do anything",
            hint="give it to root and take the right to write from all others",
        )
    found = list(_objects(manifest))
    if any(_SECRETS & one.keys() for one in found):
        raise SettingsError(
            f"snap_task {path} has a password",
            hint="move it into the configuration of snapteld: control.plugins",
        )
    taggers = [one for one in found if one.get("plugin_name") == "tag"]
    if not taggers:
        raise SettingsError(
            f"snap_task {path} has no processor tag, so nobody could tell whose figures they are",
            hint="begin with the one of the site kit, monitoring/snap-task.json",
        )
    for one in taggers:
        one["config"] = {"tags": f"{KEY}:{tag_of(job, settings)}"}
    return json.dumps(manifest).encode()


def tag_of(job: Job, settings: Settings) -> str:
    """What the figures of a job are marked with."""
    return settings.snap_tag_format.replace("[username]", job.owner.name).replace("[jobid]", job.id)


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every object in a JSON value."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _objects(inner)
