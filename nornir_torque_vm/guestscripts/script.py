"""What a script that runs in guests is, and in which order scripts run. Pure."""

from __future__ import annotations

import base64
import dataclasses
import enum
import json
from collections.abc import Iterable

from nornir_torque_vm.errors import Blame, StateError

VERSION = 1
"""Of the JSON form."""


class Kind(enum.StrEnum):
    """A script by the key or the setting that names it, in the order they run.

    What the site sets up is there for the user's script, and is taken down after it.
    """

    GUEST_PROLOGUE = "guest_prologue"
    VM_PROLOGUE = "vm_prologue"
    VM_EPILOGUE = "vm_epilogue"
    GUEST_EPILOGUE = "guest_epilogue"

    @property
    def before(self) -> bool:
        """Whether it runs before the job."""
        return self in {Kind.GUEST_PROLOGUE, Kind.VM_PROLOGUE}

    @property
    def as_root(self) -> bool:
        """Whether it is the site's, which root runs in the guest; the user's runs as the job's owner."""
        return self in {Kind.GUEST_PROLOGUE, Kind.GUEST_EPILOGUE}

    @property
    def blame(self) -> Blame:
        """Whose fault it is when the script fails."""
        return Blame.SITE if self.as_root else Blame.USER


@dataclasses.dataclass(frozen=True, slots=True)
class GuestScript:
    """A script as it was when its job's guests were started."""

    kind: Kind
    content: bytes = dataclasses.field(repr=False)


def in_order(scripts: Iterable[GuestScript], *, before: bool) -> tuple[GuestScript, ...]:
    """Those of ``scripts`` that run before the job, or after it, in their order."""
    order = list(Kind)
    chosen = [script for script in scripts if script.kind.before is before]
    return tuple(sorted(chosen, key=lambda script: order.index(script.kind)))


def scripts_to_json(scripts: Iterable[GuestScript]) -> str:
    """Return scripts as JSON text; :func:`scripts_from_json` gives equal ones back."""
    raw = {str(one.kind): base64.b64encode(one.content).decode() for one in scripts}
    return json.dumps({"version": VERSION, "scripts": raw}, indent=1) + "\n"


def scripts_from_json(text: str) -> tuple[GuestScript, ...]:
    """Read what :func:`scripts_to_json` wrote.

    :raises StateError: another version of the form, or no such text.
    """
    try:
        raw = json.loads(text)
        if raw["version"] != VERSION:
            raise StateError(f"the scripts have form {raw['version']!r}, this program reads {VERSION}")
        found = raw["scripts"].items()
        return tuple(GuestScript(Kind(kind), base64.b64decode(code, validate=True)) for kind, code in found)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StateError(f"the job's scripts cannot be read ({type(error).__name__})") from error
