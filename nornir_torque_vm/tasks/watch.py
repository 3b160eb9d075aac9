"""Tells a waiting task at once that its guest will never become ready."""

from __future__ import annotations

import re
from typing import Any

from nornir.core.task import Task

from nornir_torque_vm.connections.libvirt import NO_DOMAIN, mapped
from nornir_torque_vm.errors import GuestDied, HypervisorError, HypervisorUnreachable, StorageError
from nornir_torque_vm.found import why_dead
from nornir_torque_vm.inventory.hostdata import guest_of, node_of
from nornir_torque_vm.storage import Storage
from nornir_torque_vm.tasks.common import connection, storage_of
from nornir_torque_vm.tasks.volumes import console_name

CONSOLE_LINES = 3
"""How many of the console's last lines an error repeats."""
LINE_LENGTH = 200
"""Characters of a line that are repeated; the guest decides what it prints."""
CONSOLE_TAIL = 16384
"""Bytes at the end of a console in which these are looked for."""

_FATAL = re.compile(
    r"Kernel panic|Unable to mount root|emergency mode|dracut: FATAL|grub rescue|[Nn]o bootable device"
    r"|not a bootable disk"
)
"""What explains a death better than what was printed after it: a panic is followed by registers."""
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Watch:
    """Looks at the state of one guest's domain."""

    def __init__(self, task: Task) -> None:
        self._task, self._guest = task, guest_of(task.host)
        self._node = node_of(task.host)
        self._domain: Any = None
        self.trouble = ""
        """Why libvirt could not be asked the last time; empty when it could."""

    @property
    def domain(self) -> Any:
        """The guest's ``virDomain``.

        :raises GuestDied: it does not exist.
        :raises HypervisorError: libvirt cannot say.
        """
        if self._domain is None:
            try:
                with mapped(self._node, self._guest.name):
                    self._domain = connection(self._task).lookupByName(self._guest.domain)
            except HypervisorError as exc:
                raise self._judge(exc) from exc
        return self._domain

    def check(self) -> None:
        """Return if the guest may still become ready, or if libvirt cannot be asked.

        An unreachable libvirtd says nothing about its guests: they outlive it.

        :raises GuestDied: it crashed, shut down, paused on an error or is gone.
        """
        try:
            with mapped(self._node, self._guest.name):
                state, reason = self.domain.state()
        except HypervisorUnreachable as exc:
            self._domain, self.trouble = None, exc.what
            return
        except HypervisorError as exc:
            raise self._judge(exc) from exc
        self.trouble = ""
        if why := why_dead(state, reason):
            raise self._died(why)

    def _judge(self, error: HypervisorError) -> HypervisorError | GuestDied:
        if error.code == NO_DOMAIN:
            return self._died("is gone: it shut down, crashed or was destroyed")
        return error

    def _died(self, why: str) -> GuestDied:
        lines = self._last_words()
        said = f"its console says: {' | '.join(lines)}" if lines else "its console is empty"
        return GuestDied(f"it {why}", hint=said, node=self._node, guest=self._guest.name)

    def _last_words(self) -> list[str]:
        try:
            return last_words(storage_of(self._task), console_name(self._guest.domain))
        except (HypervisorError, StorageError):
            return []


def last_words(storage: Storage, name: str, count: int = CONSOLE_LINES) -> list[str]:
    """The line near the end of a console log that says why a guest died, else its last lines.

    Blank lines and terminal escapes are left out.

    :raises StorageError: there is no such log, or it cannot be read.
    """
    tail = storage.read(name, -CONSOLE_TAIL, CONSOLE_TAIL)
    text = _ESCAPES.sub("", tail.decode(errors="replace").replace("\r", "\n"))
    lines = [line.strip()[:LINE_LENGTH] for line in text.split("\n") if line.strip()]
    return [line for line in lines if _FATAL.search(line)][:1] or lines[-count:]
