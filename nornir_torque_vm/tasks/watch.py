"""Tells a waiting task at once that its guest will never become ready."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from nornir.core.task import Task

from nornir_torque_vm.connections.libvirt import NO_DOMAIN, mapped
from nornir_torque_vm.consoletext import last_words, lines_of, panic
from nornir_torque_vm.errors import GuestDied, HypervisorError, HypervisorUnreachable, StorageError
from nornir_torque_vm.found import why_dead
from nornir_torque_vm.inventory.hostdata import guest_of, node_of
from nornir_torque_vm.storage import Storage
from nornir_torque_vm.tasks.common import connection, folder_of
from nornir_torque_vm.tasks.volumes import console_name

CONSOLE_TAIL = 16384
"""Bytes at the end of a console that are looked at."""
CONSOLE_EVERY = 2.0
"""Seconds between two looks at a guest's console. A kernel that panics before it has a driver for the panic
device tells nobody else: libvirt goes on calling the guest running."""


class Watch:
    """Looks at the state of one guest's domain."""

    def __init__(self, task: Task) -> None:
        self._task, self._guest = task, guest_of(task.host)
        self._node = node_of(task.host)
        self._domain: Any = None
        self._storage: Storage | None = None
        self._next_look = time.monotonic()
        self._lines: list[str] = []
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

        :raises GuestDied: it crashed, panicked, shut down, paused on an error or is gone.
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
        if time.monotonic() >= self._next_look:
            self._listen()
            self._next_look = time.monotonic() + CONSOLE_EVERY
            if panic(self._lines):
                raise self._died("panicked", heard=True)

    def said(self) -> str:
        """The end of its console in words, as far as it was heard by now; empty when it said nothing."""
        return f"its console says: {' | '.join(last_words(self._lines))}" if self._lines else ""

    def _judge(self, error: HypervisorError) -> HypervisorError | GuestDied:
        if error.code == NO_DOMAIN:
            return self._died("is gone: it shut down, crashed or was destroyed")
        return error

    def _died(self, why: str, *, heard: bool = False) -> GuestDied:
        if not heard:
            self._listen()
        said = self.said() or "its console is empty"
        return GuestDied(f"it {why}", hint=said, node=self._node, guest=self._guest.name)

    def _listen(self) -> None:
        """Read the end of its console; what was heard before stays when that cannot be done."""
        with contextlib.suppress(HypervisorError, StorageError):
            self._storage = self._storage or folder_of(self._task, self._guest.domain)
            tail = self._storage.read(console_name(self._guest.domain), -CONSOLE_TAIL, CONSOLE_TAIL)
            self._lines = lines_of(tail)
