"""A hook that is killed at any of its events: the job never runs on bare metal, and nothing stays for ever.

Every event of every hook is tried, see :mod:`killing`. The test driver's nodes live in this process, so the
killed one is played by threads; the lab's tests kill processes.
"""

from __future__ import annotations

import dataclasses
import functools
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hook_kit import JOB
from kill_kit import Stage, Victim

from nornir_torque_vm.errors import GuestError, TorqueVMError
from nornir_torque_vm.reap import reaper as reaper_module
from nornir_torque_vm.runstate.handover import read_handover
from nornir_torque_vm.safetynet import SafetyNet
from nornir_torque_vm.sitekit import hook_text

pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
    pytest.mark.timeout(600),
]


def breaks(_host: Any) -> bool:
    """A guest that will never get ready."""
    raise GuestError("the guest says no")


STARTS: dict[str, Callable[[Stage], object]] = {
    "guests": lambda stage: stage.begin().run(),
    "guests that share memory": lambda stage: stage.begin(stage.call("ram=64M:unclot=true")).run(),
    "no guests": lambda stage: stage.begin(probe=breaks).run(),
    "a refusal": lambda stage: stage.begin(stage.call("vcpus=17")).run(),
}
"""Prologues by what they come to."""


@pytest.fixture
def stages(tmp_path: Path) -> Iterator[Callable[[], Stage]]:
    """Makes sites, each in a directory of its own."""
    made: list[Stage] = []

    def make() -> Stage:
        folder = tmp_path / str(len(made)) / "site"  # events have the name of the last
        memory = folder / "run-memory"  # where Stage looks
        made.append(Stage(folder, unclot_enabled=True, unclot_distros=["debian"], ramdisk_dir=str(memory)))
        for node in made[-1].nodes:
            (memory / node).mkdir(parents=True)  # else the nodes' threads would race for it
        return made[-1]

    yield make
    for stage in made:
        stage.close()


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """No lines in the system's log; small files are written at once; other tests may run the same job."""
    monkeypatch.setattr("syslog.syslog", lambda *_: None)
    monkeypatch.setattr("nornir_torque_vm.reap.witness._own_processes", lambda: iter(()))
    monkeypatch.setattr(reaper_module, "WRITING_SECONDS", 0.05)


def killed_everywhere(
    stages: Callable[[], Stage],
    before: Callable[[Stage], object],
    hook: Callable[[Stage], object],
    after: Callable[[Stage, str], object],
) -> int:
    """Kill a hook at each of its events, and see what ``after`` makes of that; how many there were.

    :param before: brings about what the hook finds.
    :raises AssertionError: for every event where ``after`` failed.
    """
    stage = stages()
    before(stage)
    events = Victim().run(lambda: hook(stage))
    wrong = []
    for event in events:
        stage = stages()
        before(stage)
        victim = Victim(event)
        victim.run(functools.partial(hook, stage))
        assert victim.killed, event
        try:
            after(stage, event)
        except (AssertionError, TorqueVMError) as error:
            wrong.append(f"killed at {event}\n    {error}".partition("\nassert")[0])
    assert not wrong, "\n".join([f"{len(wrong)} of {len(events)} events", *wrong])
    return len(events)


def refused(stage: Stage) -> bool:
    """Whether the job starter, as the owner, refuses the job; if not, it must have guests to enter."""
    assert stage.marker.exists(), "it would run on the node itself"
    for folder in (stage.marker.parent.parent, stage.marker.parent, stage.handover.parent):
        assert folder.stat().st_mode & 0o001, "the owner cannot look"
    try:
        given = read_handover(stage.settings.run_dir, JOB)
    except TorqueVMError:
        return True
    assert len(given.guests) == len(stage.guests("node1") + stage.guests("node2")) == 2
    return False


@pytest.mark.parametrize("start", STARTS)
class TestPrologue:
    """The prologue is killed; TORQUE takes that for a success."""

    def test_the_job_never_runs_on_bare_metal(self, stages: Callable[[], Stage], start: str) -> None:
        """Its starter enters guests that are all there, or refuses."""
        seen = set()
        number = killed_everywhere(
            stages, Stage.mark, STARTS[start], lambda stage, _: seen.add(refused(stage))
        )
        assert number >= 12
        assert seen == ({True, False} if start.startswith("guests") else {True})

    def test_the_epilogue_removes_all(self, stages: Callable[[], Stage], start: str) -> None:
        """Alone, and whatever was there."""

        def after(stage: Stage, _: str) -> None:
            assert stage.epilogue().ok
            assert stage.everything() == []

        killed_everywhere(stages, Stage.mark, STARTS[start], after)

    def test_the_reaper_removes_all_but_not_before_the_job_is_over(
        self, stages: Callable[[], Stage], start: str
    ) -> None:
        """On each node what is there; no epilogue ever runs."""

        def after(stage: Stage, _: str) -> None:
            before = stage.everything()
            stage.reap(over=False)
            assert stage.everything() == before
            reaped(stage)

        killed_everywhere(stages, Stage.mark, STARTS[start], after)

    def test_the_next_attempt_has_one_set_of_guests(self, stages: Callable[[], Stage], start: str) -> None:
        """The job is requeued, and starts on the same nodes."""

        def after(stage: Stage, _: str) -> None:
            starts_anew(stage)
            assert stage.everything() == []

        killed_everywhere(stages, Stage.mark, STARTS[start], after)


def reaped(stage: Stage) -> None:
    """The job is over: its nodes' reapers remove what is left of it."""
    fates = stage.reap(over=True)
    assert stage.everything() == [], fates


def starts_anew(stage: Stage) -> None:
    """Start the job, see that it has its guests, and end it."""
    stage.mark()
    assert stage.begin().run().ok
    assert [len(stage.guests(node)) for node in stage.nodes] == [1, 1]
    assert not refused(stage)
    assert stage.epilogue().ok


def test_the_next_attempt_has_one_set_of_guests_on_another_mother_superior_too(
    stages: Callable[[], Stage],
) -> None:
    """Which knows of no attempt before its own; what the killed one left to itself is its reaper's."""

    def after(stage: Stage, _: str) -> None:
        starts_anew(stage.elsewhere())
        reaped(stage)

    killed_everywhere(stages, Stage.mark, STARTS["guests"], after)


def started(stage: Stage) -> None:
    """A job in its guests, which share memory."""
    stage.mark()
    assert stage.begin(stage.call("ram=64M:unclot=true")).run().ok
    assert len([name for name in stage.everything() if name.endswith("/memory")]) == 2


def shell_part(stage: Stage) -> None:
    """Run the shell part of the installed prologue; the rest of it is no program here."""
    hook = stage.folder / "prologue.vm"
    hook.write_text(hook_text("prologue.vm", python="/bin/true", run_dir=stage.settings.run_dir))
    subprocess.run(["sh", hook, JOB, "alice", "alice", "j", "", "batch", "", "/nowhere"], check=True)


class TestEpilogue:
    """The epilogue is killed; a MOM that is started anew may run it again, or not."""

    def test_a_second_one_removes_the_rest(self, stages: Callable[[], Stage]) -> None:
        """As if there had been no first."""

        def after(stage: Stage, _: str) -> None:
            assert stage.epilogue().ok
            assert stage.everything() == []

        assert killed_everywhere(stages, started, Stage.epilogue, after) >= 12

    def test_the_reaper_removes_the_rest(self, stages: Callable[[], Stage]) -> None:
        """When the server says that the job is over."""

        def after(stage: Stage, _: str) -> None:
            before = stage.everything()
            stage.reap(over=False)
            assert stage.everything() == before
            reaped(stage)

        killed_everywhere(stages, started, Stage.epilogue, after)

    def test_a_task_that_still_comes_is_refused(self, stages: Callable[[], Stage]) -> None:
        """The marker goes last: without it the task would run on the node itself."""

        def after(stage: Stage, _: str) -> None:
            assert stage.marker.exists() or not [name for name in stage.everything() if "locks" not in name]

        killed_everywhere(stages, started, Stage.epilogue, after)

    def test_the_next_job_of_a_node_is_refused_all_the_same(self, stages: Callable[[], Stage]) -> None:
        """Where this one was the first to run, as after a restart of the node: it makes the directories."""

        def bare(stage: Stage) -> None:
            started(stage)
            shutil.rmtree(stage.settings.run_dir)

        def after(stage: Stage, _: str) -> None:
            shell_part(stage)
            assert refused(stage)

        killed_everywhere(stages, bare, Stage.epilogue, after)


class TestReaper:
    """The reaper is killed; the timer starts it again."""

    def test_the_next_one_removes_the_rest(self, stages: Callable[[], Stage]) -> None:
        """Of whatever the killed one had begun."""

        def after(stage: Stage, _: str) -> None:
            reaped(stage)

        assert killed_everywhere(stages, started, lambda stage: stage.reap(over=True), after) >= 12

    def test_one_that_only_took_note_leaves_nothing_either(self, stages: Callable[[], Stage]) -> None:
        """Its memory of jobs that are over, but not for long enough."""

        def after(stage: Stage, _: str) -> None:
            reaped(stage)

        killed_everywhere(stages, started, lambda stage: stage.reap(over=True, grace=600.0), after)

    def test_an_epilogue_removes_the_rest(self, stages: Callable[[], Stage]) -> None:
        """That of a job which the server had forgotten while its MOM was down."""

        def after(stage: Stage, _: str) -> None:
            assert stage.epilogue().ok
            reaped(stage)

        killed_everywhere(stages, started, lambda stage: stage.reap(over=True), after)


def withdrawn(stage: Stage) -> None:
    """A job in its guests, whose end the second node's own epilogue has seen; a hand-over came after that."""
    started(stage)
    elsewhere = stage.elsewhere()
    elsewhere.mark()
    elsewhere.marker.unlink()
    elsewhere.handover.mkdir()
    (elsewhere.handover / "given").touch()


class TestSafetyNet:
    """What a sister's epilogue left behind is killed when it acts, since the first node's never came."""

    @staticmethod
    def net(stage: Stage) -> None:
        """Its time is up at once."""
        settings = dataclasses.replace(stage.elsewhere().settings, sister_grace=0.0)
        SafetyNet(JOB, settings, "node2").run()

    def test_the_nodes_reapers_remove_the_rest(self, stages: Callable[[], Stage]) -> None:
        """It acted on its own node alone. Its few events: a domain, that one's files, the late hand-over."""

        def after(stage: Stage, _: str) -> None:
            assert len(stage.guests("node1")) == 1
            reaped(stage)

        assert killed_everywhere(stages, withdrawn, self.net, after) >= 4

    def test_an_epilogue_that_still_comes_removes_all_guests(self, stages: Callable[[], Stage]) -> None:
        """Nothing that the net has done already is in its way."""

        def after(stage: Stage, _: str) -> None:
            assert stage.epilogue().ok
            assert stage.domains() + stage.volumes() == []

        killed_everywhere(stages, withdrawn, self.net, after)
