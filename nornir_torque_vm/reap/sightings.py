"""Since when jobs have been seen to be over: the grace time counts from there, not from any file's date.

Kept on the clock that counts from the machine's start and that nobody sets, so a jump of the time of day
changes nothing. After a restart the count begins again.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping
from pathlib import Path

from nornir_torque_vm.errors import StateError
from nornir_torque_vm.runstate.rootdir import RootDir

FILE = "reaper.json"
"""In the run directory; absent when there is nothing to remember."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Sightings:
    """What earlier runs saw.

    :param boot: names this start of the machine; asked from the kernel when None.
    :param now: seconds since then; asked from the kernel when None.
    """

    def __init__(self, run_dir: str, boot: str | None = None, now: float | None = None) -> None:
        self._run_dir = run_dir
        self._boot = _BOOT.read_text(encoding="ascii").strip() if boot is None else boot
        self._now = time.clock_gettime(time.CLOCK_BOOTTIME) if now is None else now
        self._before = self._load()

    def over_for(self, slug: str, things: frozenset[str]) -> float:
        """Seconds for which a job has been seen to be over, with nothing new of it since."""
        since, known = self._before.get(slug, (self._now, things))
        return self._now - since if things <= known and since <= self._now else 0.0

    def keep(self, over: Mapping[str, frozenset[str]]) -> None:
        """Remember the jobs that are over now, and no others.

        :param over: number of the job → the names of its things.
        """
        seen = {
            slug: {"since": self._now - self.over_for(slug, things), "things": sorted(things)}
            for slug, things in sorted(over.items())
        }
        if seen:
            with RootDir.at(self._run_dir, create=0o711) as run:
                run.write(FILE, json.dumps({"boot": self._boot, "over": seen}).encode())
        elif Path(self._run_dir, FILE).exists():
            with RootDir.at(self._run_dir) as run:
                run.remove(FILE)

    def _load(self) -> dict[str, tuple[float, frozenset[str]]]:
        """What was kept since the machine's start; nothing when it cannot be read."""
        with contextlib.suppress(StateError, ValueError, KeyError, TypeError, AttributeError):
            with RootDir.at(self._run_dir) as run:
                kept = json.loads(run.read(FILE) or b"{}")
            if kept["boot"] == self._boot:
                return {
                    slug: (float(entry["since"]), frozenset(map(str, entry["things"])))
                    for slug, entry in kept["over"].items()
                }
        return {}
