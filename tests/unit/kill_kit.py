"""Hooks that are killed at an event, on libvirt's test driver, and what is left of them then."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from hook_kit import JOB, Site, ready
from killing import Killer, announce

from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import TorqueVMError
from nornir_torque_vm.hooks.arguments import HookCall
from nornir_torque_vm.hooks.prologue import Prologue
from nornir_torque_vm.reap.reaper import Reaper
from nornir_torque_vm.runstate.handover import HANDOVERS, MARKERS
from nornir_torque_vm.tasks.check_health import Probe

LASTING = frozenset({MARKERS, HANDOVERS, "jobs", "locks"})
"""Directories that the first job makes and that stay."""
SERVER = "Server: head\\n    server_state = Active\\n    next_job_number = 100\\n"


class Dead(BaseException):
    """The thread belongs to a process that has been killed."""


class Victim:
    """A process that is killed, played by threads of this one, where the test driver's nodes are.

    From the event on nothing that any of its threads does takes effect: its own clean-up cannot help.
    Only its descriptors are closed, which is what the kernel does for the killed.

    :param at: event to be killed at, see :class:`killing.Killer`; empty for none.
    """

    def __init__(self, at: str = "") -> None:
        self.killer = Killer(at, self.kill)
        self.killed = False
        self._deadlines: list[Deadline] = []

    def kill(self) -> None:
        """End it; whoever waits for something learns it at once."""
        self.killed = True
        for deadline in self._deadlines:
            deadline.cancel()
        raise Dead

    def run(self, body: Callable[[], object]) -> list[str]:
        """Run ``body`` as the process would; the events that there were."""
        before, files = set(threading.enumerate()), set(_files())
        with self._watched():
            thread = threading.Thread(target=self._live, args=(body,), daemon=True)
            thread.start()
            thread.join(60)
            assert not thread.is_alive(), "it did not end"
            for left in set(threading.enumerate()) - before:
                with contextlib.suppress(RuntimeError):  # it has not even begun
                    left.join(0.5)  # what libvirt was asked it does, whoever asked
                left.dead = True  # type: ignore[attr-defined]
        for fd in set(_files()) - files:
            os.close(fd)
        return self.killer.events

    def _live(self, body: Callable[[], object]) -> None:
        with contextlib.suppress(Dead, TorqueVMError):
            body()

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        real = Deadline.__init__

        def init(deadline: Deadline, at: float) -> None:
            real(deadline, at)
            self._deadlines.append(deadline)
            if self.killed:
                deadline.cancel()

        _listen()
        _victims.append(self)
        try:
            with mock.patch.object(Deadline, "__init__", init):
                yield
        finally:
            _victims.remove(self)


_victims: list[Victim] = []
"""The one that lives at present."""
_listening: list[bool] = []


def _files() -> Iterator[int]:
    """Descriptors of files; of those alone: the rest belongs to libvirt and to the tests."""
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # that of the listing itself
            if stat.S_IFMT(path.stat().st_mode) in {stat.S_IFREG, stat.S_IFDIR}:
                yield int(path.name)


def _listen() -> None:
    """Hear of events; an audit hook stays until the end of the process, so there is one."""
    if not _listening:
        _listening.append(True)
        announce(_told)


def _told(event: str) -> None:
    if getattr(threading.current_thread(), "dead", False):
        raise Dead
    for victim in _victims:
        if victim.killed:
            raise Dead
        victim.killer(event)


class Stage(Site):
    """A site whose nodes each have a run directory, and a server that can be asked about the job."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        folder.mkdir(parents=True)
        super().__init__(folder, real_qsub_on_nodes=str(folder / "bin/qsub"), **settings)
        (folder / "torque/mom_priv/jobs").mkdir()
        (folder / "bin").mkdir(exist_ok=True)
        Path(self.settings.volume_dir).mkdir(mode=0o711)  # else the nodes' threads would race for it

    @property
    def marker(self) -> Path:
        return Path(self.settings.run_dir, MARKERS, JOB)

    @property
    def handover(self) -> Path:
        return Path(self.settings.run_dir, HANDOVERS, JOB)

    def mark(self) -> None:
        """What the shell part of the prologue does first."""
        for path in (self.marker, self.handover):
            path.parent.mkdir(parents=True, exist_ok=True)
        self.marker.touch()
        shutil.rmtree(self.handover, ignore_errors=True)

    def begin(self, call: HookCall | None = None, probe: Probe = ready) -> Prologue:
        """A prologue with all that its ``main`` gives it."""
        return Prologue(
            call or self.call(), self.settings, Deadline.after(20), probe=probe, marker=self.marker
        )

    def elsewhere(self) -> Stage:
        """The same nodes, as the second one sees them: with a run directory and a history of its own."""
        other = Stage.__new__(Stage)
        other.__dict__.update(self.__dict__)
        other.settings = dataclasses.replace(
            self.settings, run_dir=f"{self.settings.run_dir}-2", history_dir=f"{self.settings.history_dir}-2"
        )
        other.nodefile = self.folder / "nodefile-2"
        other.nodefile.write_text("".join(f"{node}\n" for node in reversed(self.nodes)))
        return other

    def reap(self, *, over: bool, grace: float = 0.0) -> dict[str, dict[str, str]]:
        """Run the reaper on each node; what became of the jobs there.

        :param over: whether the server says that the job is over, or that it runs.
        """
        state = "C" if over else "R"
        xml = f"<Data><Job><Job_Id>{JOB}</Job_Id><job_state>{state}</job_state></Job></Data>"
        program = self.folder / "bin/qstat"
        program.write_text(f'#!/bin/sh\n[ "$1" = -B ] && printf "{SERVER}" || echo "{xml}"\n')
        program.chmod(0o755)
        fates = {}
        for node, site in zip(self.nodes, (self, self.elsewhere()), strict=True):
            settings = dataclasses.replace(
                site.settings, local_uri=self.settings.node_uri.replace("{node}", node)
            )
            outcome = Reaper(settings, Deadline.after(20), grace=grace, node=node).run()
            fates[node] = {case.name: f"{case.fate}: {case.reason}" for case in outcome.cases}
        return fates

    def everything(self) -> list[str]:
        """All there is of jobs: domains, files of guests, run state; unfinished and hidden files too."""
        found = [f"{node}: {domain}" for node in self.nodes for domain in self.guests(node)]
        for top in (self.settings.volume_dir, *map(str, self.folder.glob("run*"))):
            found += [
                str(path.relative_to(self.folder))
                for path in Path(top).rglob("*")
                if not (path.is_dir() and path.name in {*LASTING, *self.nodes})
            ]
        return sorted(found)

    def guests(self, node: str) -> list[str]:
        """Names of the domains on a node."""
        return sorted(domain.name() for domain in self.connect(node).listAllDomains())
