"""What epilogue.parallel leaves behind on a node: removes the folders of a job's guests when these are gone.

A sister's epilogue runs before the mother superior's, which removes the guests of all nodes; so this one
waits, in a process of its own, which the MOM does not know. What nobody has removed when its time is up, it
removes: exactly what was there when the job ended. A job that comes back meanwhile has guests of other names
(they carry the attempt and its nonce), which are never touched.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from typing import NamedTuple

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.engine import Engine
from nornir_torque_vm.errors import TorqueVMError
from nornir_torque_vm.hooks.frame import log
from nornir_torque_vm.identity import job_slug, tag_of_domain
from nornir_torque_vm.inventory.build import node_inventory
from nornir_torque_vm.model import Node
from nornir_torque_vm.runstate import jobstate
from nornir_torque_vm.runstate.handover import MARKERS
from nornir_torque_vm.runstate.rootdir import RootDir
from nornir_torque_vm.tasks import destroy
from nornir_torque_vm.tasks.selection import of_job_id

HOOK = "epilogue.parallel"
QUESTION = 20.0
"""Seconds that libvirt has for an answer, and for removing a job's guests."""
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 60.0
"""Seconds between two looks; each pause is twice the one before."""


class Seen(NamedTuple):
    """Domain names of a job's guests on a node."""

    running: frozenset[str]
    """Of domains that are there."""
    guests: frozenset[str]
    """Of these, and of guests of which only files are."""


class SafetyNet:
    """Watches what a job left on a node.

    :param node: its name; this machine's when empty.
    """

    def __init__(self, job_id: str, settings: Settings, node: str = "") -> None:
        job_slug(job_id)
        self.job_id, self.settings = job_id, settings
        self.node = Node(node or os.uname().nodename)
        self.removed: tuple[str, ...] = ()
        """Names of the guests whose domain or files were still there when the time was up."""

    def run(self) -> None:
        """Wait until no guest of the job is left here; what is left in the end, remove.

        Nobody else can remove the files in guests' folders (see :mod:`~nornir_torque_vm.storage.folder`), so
        they go as soon as the guests have gone.
        """
        grace = Deadline.after(self.settings.sister_grace)
        seen = self.look()
        armed = None if seen is None else seen.guests
        pause = FIRST_PAUSE
        while (seen is None or seen.running) and grace.remaining() > 0.0:
            self.wait(grace.clamp(pause))
            pause = min(2 * pause, LONGEST_PAUSE)
            seen = self.look()
            if armed is None:
                armed = None if seen is None else seen.guests
            elif seen is not None:
                seen = Seen(seen.running & armed, seen.guests & armed)
        if armed is None:
            log(HOOK, self.job_id, "libvirt did not say whether guests are left here")
        elif seen is not None and not seen.guests:
            self.stop_components(armed)
        elif seen is not None and not seen.running:
            self.remove(seen.guests, "the files of ")
        else:
            self.remove(armed)
        self.withdraw()

    def wait(self, seconds: float) -> None:
        """Let time pass between two looks."""
        time.sleep(seconds)

    def look(self) -> Seen | None:
        """What is left of the job's guests on the node; None when libvirt does not say."""
        inventory = node_inventory([self.node], self.settings)
        engine = Engine(self.settings, Deadline.after(QUESTION))
        outcome = engine.run(inventory, destroy, job_id=self.job_id, dry_run=True)[self.node.name]
        if outcome.failed:
            return None
        found = outcome[0].result
        return Seen(frozenset(found.domains), frozenset(found.domains) | self.domains_of(found.volumes))

    def domains_of(self, volumes: Iterable[str]) -> set[str]:
        """Names of the domains that volumes belong to."""
        pattern = of_job_id(self.job_id).domain
        return {match[0] for match in map(pattern.match, volumes) if match is not None}

    def remove(self, guests: frozenset[str], what: str = "") -> None:
        """Remove guests by their names.

        :param what: removed of them, in the words of the log; "" for all.
        """
        engine = Engine(self.settings, Deadline.after(QUESTION))
        tags = sorted(map(tag_of_domain, guests))
        report = engine.destroy([self.node], self.job_id, tags=tags, domains=sorted(guests))
        self.removed = tuple(sorted(guests))
        said = report.sentences() or [f"removed {what}{' '.join(self.removed)}"]
        log(HOOK, self.job_id, "; ".join(said))

    def stop_components(self, gone: frozenset[str]) -> None:
        """Remove what components have here of guests whose own files others could remove.

        Memory that guests share, for example: only its node can, whatever guests there are.
        """
        said: list[str] = []
        if gone and self.settings.switched_on():
            tags = sorted(set(map(tag_of_domain, gone)))
            engine = Engine(self.settings, Deadline.after(QUESTION))
            report = engine.destroy([self.node], self.job_id, tags=tags, domains=sorted(gone))
            said += report.sentences()
            if report.ok and report.hosts[0].changed:
                said.append(f"removed what components had of {' '.join(tags)}")
        log(HOOK, self.job_id, "; ".join(said or ["nothing of its guests is left here"]))

    def withdraw(self) -> None:
        """Remove a hand-over that came after the job's end; a job that came back has its marker."""
        with contextlib.suppress(TorqueVMError):
            with RootDir.at(self.settings.run_dir) as run, run.sub(MARKERS) as markers:
                if markers.read(self.job_id) is not None:
                    return
            jobstate.withdraw(self.settings.run_dir, self.job_id)
