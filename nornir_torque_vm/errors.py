"""Every error this package raises on purpose, each one line: what, where, why, what to do.

::

    TorqueVMError                 blame: SITE unless said otherwise
    ├─ SettingsError              the settings file is wrong
    ├─ InstallError               this host cannot be set up, or not without harm
    ├─ InventoryError             the nodefile, host list or inventory is wrong
    ├─ RequestError               USER: the -vm request is wrong or forbidden
    ├─ ImageError                 the image cannot be used (USER when it is the user's choice)
    ├─ BusyError                  NOBODY: the node is full now and will not stay so
    ├─ StateError                 run state missing, damaged or owned by somebody else
    ├─ HypervisorError            libvirt said no
    │  └─ HypervisorUnreachable   libvirt did not answer at all
    ├─ NodeShellError             a command could not be run on a node
    ├─ StorageError               a volume could not be written, read or removed
    ├─ GuestError                 a guest did not become usable
    │  ├─ GuestDied               it crashed, panicked, paused on an error or shut down
    │  ├─ NoAddress               no source knew its address
    │  ├─ AddressTaken            its address is another machine's too
    │  ├─ NotHealthy              it has an address and does not answer as it should
    │  └─ ScriptFailed            a script that runs in it failed (blame: whose script it is)
    ├─ DeadlineExceeded           the time was up (also a TimeoutError)
    │  └─ Cancelled               somebody stopped the run before the time was up
    ├─ LabError                   the cluster in a box could not be built
    └─ ImageBuildError            a guest image could not be built
"""

from __future__ import annotations

import enum


class Blame(enum.Enum):
    """Whose fault a failure is; decides the hook's exit code (see ``exitcodes``)."""

    USER = "user"
    NOBODY = "nobody"
    SITE = "site"


def one_line(text: str) -> str:
    """``text`` on one line, with nothing that terminals or streams trip over: guests' words stand in errors.

    What is not printable is written out, by its number as Python does.
    """
    line = " ".join(text.split())
    return line if line.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


class TorqueVMError(Exception):
    """Base of all errors meant for people.

    :param what: one sentence without a final full stop: what happened and why.
    :param hint: what the reader can do about it, one clause; empty when there is nothing to say.
    :param job, node, guest: where it happened, as far as known.
    :param blame: overrides the class's own blame.
    """

    blame: Blame = Blame.SITE

    def __init__(
        self,
        what: str,
        *,
        hint: str = "",
        job: str = "",
        node: str = "",
        guest: str = "",
        blame: Blame | None = None,
    ) -> None:
        super().__init__(what)
        self.what, self.hint = what, hint
        self.job, self.node, self.guest = job, node, guest
        if blame is not None:
            self.blame = blame

    def __str__(self) -> str:
        """One line: ``where: what; hint``."""
        places = (("job", self.job), ("node", self.node), ("guest", self.guest))
        where = ", ".join(f"{kind} {name}" for kind, name in places if name)
        line = f"{where}: {self.what}" if where else self.what
        if self.hint:
            line = f"{line}; {self.hint}"
        return one_line(line)


class SettingsError(TorqueVMError, ValueError):
    """The settings file cannot be used."""


class InstallError(TorqueVMError):
    """The site kit cannot be put in place, or not without harm to what is there."""


class InventoryError(TorqueVMError, ValueError):
    """The nodefile, host list or inventory cannot be used."""


class RequestError(TorqueVMError, ValueError):
    """The user's ``-vm`` request is wrong, forbidden or impossible."""

    blame = Blame.USER


class ImageError(TorqueVMError, ValueError):
    """A guest image is missing, damaged or refused."""

    blame = Blame.USER


class BusyError(TorqueVMError):
    """The node has no room now; a later attempt may find some."""

    blame = Blame.NOBODY


class StateError(TorqueVMError):
    """Run state is missing, damaged or not owned by root."""


class HypervisorError(TorqueVMError):
    """libvirt refused or failed; ``code`` is its ``VIR_ERR_*`` number, 0 when unknown."""

    def __init__(self, what: str, *, code: int = 0, hint: str = "", job: str = "",
                 node: str = "", guest: str = "") -> None:  # fmt: skip
        super().__init__(what, hint=hint, job=job, node=node, guest=guest)
        self.code = code


class HypervisorUnreachable(HypervisorError):
    """No connection to the node's libvirt could be made or kept."""


class NodeShellError(TorqueVMError):
    """A command could not be run on a node, or failed there."""


class StorageError(TorqueVMError):
    """A volume could not be created, written, read or removed."""


class GuestError(TorqueVMError):
    """A guest did not become usable."""


class GuestDied(GuestError):
    """The guest crashed, panicked, paused on an error or shut itself down."""


class NoAddress(GuestError):
    """No address source has an answer for the guest."""


class AddressTaken(GuestError):
    """The guest's address belongs to another machine as well."""


class NotHealthy(GuestError):
    """The guest has an address and does not answer as it should."""


class ScriptFailed(GuestError):
    """A script of the site or of the user failed in the guest; the caller says whose fault that is."""


class DeadlineExceeded(TorqueVMError, TimeoutError):
    """The deadline passed before there was a verdict.

    ``started`` is False for a host that was still waiting for a free worker.
    """

    def __init__(self, what: str, *, started: bool = True, node: str = "", guest: str = "") -> None:
        super().__init__(what, node=node, guest=guest)
        self.started = started


class Cancelled(DeadlineExceeded):
    """The run was stopped from outside: a signal, a newer attempt."""


class LabError(TorqueVMError):
    """The lab could not be built, entered or removed."""


class ImageBuildError(TorqueVMError):
    """A guest image could not be built."""
