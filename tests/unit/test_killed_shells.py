"""A hook's shell part that is killed at any of its commands: no task of the job runs on the node itself."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from killed_shell import ALL, ONE, killing_shell
from mom_kit import JOB, MomPriv

from nornir_torque_vm.sitekit import starter_text

pytestmark = pytest.mark.timeout(300)


class Mom(MomPriv):
    """A mom_priv whose hooks are killed."""

    def hook(self, slot: str, at: int = 0, whom: str = ALL) -> int:
        """Run our hook of a slot, and kill it before a command; how many commands there were."""
        events = self.run_dir.parent / "events"
        events.unlink(missing_ok=True)
        self.shell = killing_shell(str(events), at, whom)
        code = self.run(self.ours(slot), slot)
        self.shell = ["sh"]
        killed = {0, 2, -signal.SIGKILL} if whom == ONE else {-signal.SIGKILL}
        assert code in (killed if at else {0})
        return len(events.read_bytes())

    def begin(self) -> None:
        """What an earlier attempt left, which had no epilogue."""
        self.hand_over()

    def goes_on(self) -> bool:
        """Whether the job starts after its root prologue, by what runs as the owner next."""
        hook = self.ours("prologue.user")
        hook.write_text(hook.read_text().replace("sleep 5", "sleep 0"))
        return self.run(hook, "prologue.user") == 0

    def on_bare_metal(self) -> bool:
        """Whether the job starter runs a task on the node itself; the owner sees no more than others do."""
        starter = self.write(
            "job_starter", starter_text(python="/bin/false", run_dir=str(self.run_dir)), 0o555
        )
        task = self.run_dir.parent / "task"
        task.unlink(missing_ok=True)
        env = {"PATH": "/usr/bin:/bin", "PBS_JOBID": JOB, "PERL_BADLANG": ""}
        words = ["/usr/bin/perl", "-Xt", "-C0", str(starter), "/usr/bin/touch", str(task)]
        subprocess.run(words, env=env, check=False, timeout=30, stdin=subprocess.DEVNULL)
        return task.exists() or not self.visible()

    def visible(self) -> bool:
        """Whether the directories of marker and hand-over can be searched by everybody."""
        folders = (self.run_dir, self.marker.parent, self.handover.parent)
        return all(folder.stat().st_mode & 0o001 for folder in folders if folder.exists())


def each(folder: Path, slot: str, whom: str, before: Callable[[Mom], object]) -> list[Mom]:
    """Kill a hook before each of its commands, each time in a mom_priv of its own.

    :param before: brings about what the hook finds.
    """
    whole = Mom(_made(folder / "whole"))
    before(whole)
    number = whole.hook(slot)
    assert number >= 12
    moms = []
    for at in range(1, number + 1):
        moms.append(Mom(_made(folder / str(at))))
        before(moms[-1])
        assert moms[-1].hook(slot, at, whom) >= at
    return moms


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.parametrize("whom", [ALL, ONE], ids=["all", "one"])
def test_no_job_goes_on_to_bare_metal_after_its_prologue(tmp_path: Path, whom: str) -> None:
    """What runs as its owner has it requeued, or its starter refuses it; the next prologue is unhindered."""
    went_on = set()
    for mom in each(tmp_path, "prologue", whom, Mom.begin):
        if mom.goes_on():
            assert not mom.on_bare_metal()
        went_on.add(mom.goes_on())
        mom.hook("prologue")
        assert mom.marker.exists()
        assert not mom.handover.exists()
        assert not mom.on_bare_metal()
    assert went_on == {True, False}


@pytest.mark.parametrize("whom", [ALL, ONE], ids=["all", "one"])
def test_a_sister_knows_the_job_as_soon_as_its_prologue_changed_anything_of_it(
    tmp_path: Path, whom: str
) -> None:
    """Before that the first node marks it; a hand-over of an earlier attempt does for a marker, too."""
    for mom in each(tmp_path, "prologue.parallel", whom, Mom.begin):
        assert mom.marker.exists() or mom.handover.exists()
        assert not mom.on_bare_metal()
        mom.hook("prologue.parallel")
        assert mom.marker.exists()
        assert not mom.handover.exists()


@pytest.mark.parametrize("whom", [ALL, ONE], ids=["all", "one"])
def test_a_sister_forgets_its_marker_last(tmp_path: Path, whom: str) -> None:
    """As long as there is a hand-over; another run removes what is left."""

    def begin(mom: Mom) -> None:
        mom.begin()
        mom.marker.parent.mkdir()
        mom.marker.touch()

    seen = set()
    for mom in each(tmp_path, "epilogue.parallel", whom, begin):
        assert mom.marker.exists() or not mom.handover.exists()
        seen.add((mom.marker.exists(), mom.handover.exists()))
        mom.hook("epilogue.parallel")
        assert not mom.marker.exists()
        assert not mom.handover.exists()
    assert seen == {(True, True), (True, False), (False, False)}
