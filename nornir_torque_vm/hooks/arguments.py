"""What TORQUE hands to a hook, as one value (TF 1.3, 1.4). Pure; everything in it is hostile text."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from nornir_torque_vm.errors import InventoryError

PROLOGUE_ARGUMENTS = 7
"""argv of a prologue up to TORQUE 5.0; 5.1 added the script's path, 6.1 the presetup's host list."""
EPILOGUE_ARGUMENTS = 10
"""argv of an epilogue up to TORQUE 5.0; 5.1 added the script's path."""


@dataclasses.dataclass(frozen=True, slots=True)
class HookCall:
    """One call of a hook. Text that TORQUE has not got is empty."""

    job_id: str
    user: str
    group: str
    job_name: str
    resources: str
    """The job's Resource_List; ``other=…`` in it carries the request."""
    queue: str
    account: str
    nodefile: str
    """Path of the nodefile; only the mother superior has one."""
    mother_superior: str
    exit_status: str = ""
    """Epilogues only."""
    script: str = ""
    """Prologues only: where the mother superior has the script of a batch job. TORQUE 5.1 and later."""


def parse_prologue(arguments: Sequence[str], environment: Mapping[str, str]) -> HookCall:
    """Read a prologue's arguments (argv without the program) and environment.

    :raises InventoryError: fewer arguments than any TORQUE gives.
    """
    given = _at_least(arguments, PROLOGUE_ARGUMENTS, "prologue")
    job_id, user, group, name, resources, queue, account = given[:PROLOGUE_ARGUMENTS]
    return HookCall(
        job_id, user, group, name, resources, queue, account,
        environment.get("PBS_NODEFILE", ""), environment.get("PBS_MSHOST", ""),
        script=given[PROLOGUE_ARGUMENTS] if len(given) > PROLOGUE_ARGUMENTS else "",
    )  # fmt: skip


def parse_epilogue(arguments: Sequence[str], environment: Mapping[str, str]) -> HookCall:
    """Read an epilogue's arguments (argv without the program) and environment.

    :raises InventoryError: fewer arguments than any TORQUE gives.
    """
    given = _at_least(arguments, EPILOGUE_ARGUMENTS, "epilogue")
    job_id, user, group, name, _session, resources, _used, queue, account, status = given[:EPILOGUE_ARGUMENTS]
    return HookCall(
        job_id, user, group, name, resources, queue, account,
        environment.get("PBS_NODEFILE", ""), environment.get("PBS_MSHOST", ""), status,
    )  # fmt: skip


def _at_least(arguments: Sequence[str], count: int, hook: str) -> Sequence[str]:
    if len(arguments) < count:
        raise InventoryError(
            f"the {hook} was given {len(arguments)} arguments, TORQUE gives at least {count}",
            hint="only a MOM (or torque-vm run) starts this program",
        )
    return arguments
