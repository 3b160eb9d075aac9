"""Hooks that are really killed, on nodes with a libvirtd: what is left goes, and goes from every node.

The guests are paused, so that this is fast. ``tests/unit/test_killed_hooks.py`` tries every event on the test
driver; here are those around which libvirtd, files and other nodes change. Shell parts are killed in
``tests/unit/test_killed_shells.py``; here are those of sisters, which the first node stands in for.
"""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from driving import command, leftovers, shell, wait_for
from killed_shell import killing_shell
from remains import leases_of

from nornir_torque_vm.driver.deploy import deploy_hooks
from nornir_torque_vm.errors import StateError, TorqueVMError
from nornir_torque_vm.lab import Lab
from nornir_torque_vm.lab.layout import SWITCH
from nornir_torque_vm.request import parse_request
from nornir_torque_vm.runstate.handover import HandOver

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1800)]

JOB = "9071.head"
PROGRAM = Path(__file__).with_name("killed_hook.py")
EVENTS = "/root/events"
PLACE = "/etc/torque-vm/torque"
"""Where each node's qstat is, below its own /etc."""
QSTAT = """\
#!/bin/sh
if [ "$1" = -B ]; then
    printf 'Server: head\\n    server_state = Active\\n    next_job_number = 10000\\n'
elif [ -e {place}/over ]; then
    echo "qstat: Unknown Job Id Error $3" >&2
    exit 153
else
    echo "<Data><Job><Job_Id>$3</Job_Id><job_state>R</job_state></Job></Data>"
fi
"""
PROLOGUE = (
    "_acquire: fcntl.flock",
    "job_lock: os.truncate",
    "rename plan.json",
    "rename keys.json",
    r"virStoragePool.createXML tvm-9071-a\d+-r0-.*qcow2",
    r"virStoragePool.createXML tvm-9071-a\d+-r1-.*seed",
    r"virStorageVol.upload tvm-9071-a\d+-r0",
    "virStream.send",
    r"virConnect.createXML tvm-9071-a\d+-r0",
    r"virConnect.createXML tvm-9071-a\d+-r1",
    "hand_over.hand_over .*virStoragePool.createXML",
    "sealed.SealedFile.give .*virStorageVol.upload",
    "hand_over.hand_over .*virStoragePool.destroy",
    "hand_over.hand_over .*virStoragePool.undefine",
    "rename addresses.json",
    "rename handover.json",
    "RootDir.move: os.rename",
    "rename report.json",
    "job_lock > .*os.remove",
    "rename verdict.json",
)
"""Events of the prologue, as regular expressions: it is killed before the first that matches."""
TELLING = (
    "rename keys.json",
    r"virConnect.createXML tvm-9071-a\d+-r1",
    "hand_over.hand_over .*virStoragePool.destroy",
    "hand_over.hand_over .*virStoragePool.undefine",
    "rename report.json",
)
"""With files but no guests; with one guest; with all, half handed over; with a job that may start."""
EPILOGUE = (
    "_acquire: fcntl.flock",
    "job_lock: os.truncate",
    r"virDomain.destroy tvm-9071-a\d+-r0",
    r"virDomain.destroy tvm-9071-a\d+-r1",
    r"virStorageVol.delete tvm-9071-a\d+-r0.*seed",
    r"virStorageVol.delete tvm-9071-a\d+-r0.*qcow2",
    r"virStorageVol.delete tvm-9071-a\d+-r1.*seed",
    r"virStorageVol.delete tvm-9071-a\d+-r1.*qcow2",
    "rename teardown.json",
    "forget_job.*virStorageVol.delete",
    "forget > .*os.remove 9071.head",
    "os.remove plan.json",
    "os.remove keys.json",
    "os.rmdir",
    "job_lock > .*os.remove",
)


class Stage:
    """A lab, and one job in it whose hooks are run by hand."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def path(self, node: str, inside: str) -> Path:
        return self.lab.root(node) / inside.lstrip("/")

    def hook(self, module: str, *words: str, node: str = "node1", at: str = "", code: int = 0) -> list[str]:
        """Run a hook's module, and kill it at an event; the events that there were."""
        events = self.path(node, EVENTS)
        events.unlink(missing_ok=True)
        argv = [sys.executable, "-I", str(PROGRAM), EVENTS, at, f"nornir_torque_vm.{module}", *words]
        done = self.lab.run(node, argv, env={"PBS_NODEFILE": "/root/nodefile"}, seconds=300, check=False)
        expected = (-signal.SIGKILL, 128 + signal.SIGKILL) if at else (code,)
        assert done.returncode in expected, f"{done.returncode}: {done.stderr}"
        return events.read_text().splitlines()

    def mark(self, *nodes: str) -> None:
        """The shell parts of the prologues on these nodes, by default on all."""
        for node in nodes or self.lab.node_names:
            shell(self.lab, node, f"cd /run/torque-vm && touch markers/{JOB} && rm -rf handover/{JOB}*")

    def prologue(self, *marked: str, at: str = "", code: int = 0) -> list[str]:
        """A first attempt, so that events are named alike in every run."""
        self.mark(*marked)
        shell(self.lab, "node1", f"rm -rf /var/log/torque-vm/{JOB}.*")
        other = parse_request(["vcpus=1,ram=32M"]).encode()
        resources = f"nodes=2,other={other}"
        words = (JOB, "alice", "alice", "j", resources, "batch", "", "/no")
        return self.hook("hooks.prologue", *words, at=at, code=code)

    def epilogue(self, at: str = "", *, sisters: bool = True) -> list[str]:
        """That of the first node, after that of the second."""
        if sisters:
            self.sister("epilogue.parallel")
        words = (JOB, "alice", "alice", "j", "0", "", "", "batch", "", "0", "/no")
        return self.hook("hooks.epilogue", *words, at=at)

    def sister(self, slot: str, at: int = 0) -> int:
        """Run the second node's own hook of a slot, and kill it before a command; how many there were."""
        words = [JOB, "alice", "alice", "j", *([] if slot.startswith("prologue") else ["0"])]
        words += ["nodes=2", "batch", "", "/no"]
        events = self.path("node2", EVENTS)
        events.unlink(missing_ok=True)
        hook = f"/var/spool/torque/mom_priv/{slot}.vm"
        argv = ["setsid", "-w", *killing_shell(EVENTS, at), hook, *words]
        done = self.lab.run("node2", argv, check=False)
        assert done.returncode in ((-signal.SIGKILL, 128 + signal.SIGKILL) if at else (0,)), done.stderr
        return len(events.read_bytes())

    def spared(self) -> None:
        """Run each node's reaper while the server says that the job runs: nothing is touched."""
        before = self.everything()
        assert self.reap() <= {"kept"}
        assert self.everything() == before

    def reap(self) -> set[str]:
        """Run each node's reaper; the fates of jobs."""
        fates = set()
        for node in self.lab.node_names:
            done = command(self.lab, "reap", "--grace", "0", "--json", node=node, seconds=300)
            assert done.returncode == 0, done.stderr
            fates |= {case["fate"] for case in json.loads(done.stdout)["jobs"]}
        return fates

    def reap_when_over(self) -> set[str]:
        """Run each node's reaper while the server does not know the job any more; the fates of jobs."""
        flags = [self.path(node, f"{PLACE}/over") for node in self.lab.node_names]
        for flag in flags:
            flag.touch()
        try:
            return self.reap()
        finally:
            for flag in flags:
                flag.unlink()

    def everything(self) -> dict[str, list[str]]:
        """What there is of jobs on each node: guests, their emulators, volumes, every file of run state.

        And at the DHCP server the leases of the job's guests.
        """
        found = leftovers(self.lab)
        for node in self.lab.node_names:
            top = self.path(node, "/run/torque-vm")
            more = [
                str(path.relative_to(top)) for path in top.rglob("*") if len(path.relative_to(top).parts) > 1
            ]
            more += [path.name for path in top.iterdir() if path.name == "reaper.json" or path.name[0] == "."]
            more += [f"emulator {pid}" for pid in self.emulators(node)]
            pools = self.lab.run(
                node, ["virsh", "-c", "qemu:///system", "pool-list", "--all", "--name"]
            ).stdout.split()
            more += [f"pool {name}" for name in pools if name.startswith("torque-vm-handover-")]
            if more:
                found.setdefault(node, []).extend(sorted(more))
        if leases := leases_of(self.lab, JOB):
            found[SWITCH] = sorted(leases)
        return found

    def await_nothing(self) -> None:
        """Make sure that nothing is left, when libvirtd and the DHCP server have written it down.

        :raises TimeoutError: something is.
        """
        wait_for(lambda: self.everything() == {}, 20)

    def emulators(self, node: str) -> list[str]:
        """Process ids of the guests on a node."""
        return shell(self.lab, node, "pgrep -f '[q]emu-system.*guest=tvm-' || true").split()

    def enters(self) -> bool:
        """Whether the starter would enter guests, which are all there then; else it refuses."""
        for node in self.lab.node_names:
            assert self.path(node, f"/run/torque-vm/markers/{JOB}").exists(), f"bare metal on {node}"
        try:
            HandOver.from_json(self.path("node1", f"/run/torque-vm/handover/{JOB}/given").read_bytes())
        except (FileNotFoundError, StateError):
            return False
        assert self.path("node2", f"/run/torque-vm/handover/{JOB}/given").exists()
        assert all(self.emulators(node) for node in self.lab.node_names)
        return True


@pytest.fixture
def server(stage: Stage) -> Iterator[Stage]:
    """A server for the reapers of the nodes: each asks a qstat of its own. No pause before a requeue."""
    kept = {}
    for node in stage.lab.node_names:
        place = stage.path(node, PLACE)
        place.mkdir()
        (place / "qstat").write_text(QSTAT.format(place=PLACE))
        (place / "qstat").chmod(0o755)
        stage.path(node, "/var/spool/torque/mom_priv/jobs").mkdir(exist_ok=True)
        path = stage.path(node, "/etc/torque-vm/settings.toml")
        kept[path] = path.read_text()
        lines = [line for line in kept[path].splitlines() if not line.startswith("real_qsub_on_nodes")]
        ours = [f'real_qsub_on_nodes = "{PLACE}/qsub"', "requeue_pause = 0"]
        path.write_text("\n".join([*lines, *ours, ""]))
    yield stage
    for node in stage.lab.node_names:
        shell(stage.lab, node, f"rm -rf {PLACE} /run/torque-vm/reaper.json")
    for path, text in kept.items():
        path.write_text(text)


@pytest.fixture
def stage(lab: Lab) -> Iterator[Stage]:
    """Nodes with the directories that the shell parts of hooks make; cleared afterwards."""
    made = Stage(lab)
    for node in lab.node_names:
        shell(lab, node, "mkdir -p /run/torque-vm/markers /run/torque-vm/handover")
        deploy_hooks(lab.root(node))
    made.path("node1", "/root/nodefile").write_text("".join(f"{node}\n" for node in lab.node_names))
    yield made
    command(lab, "destroy", *lab.node_names, "--all")
    for node in lab.node_names:
        shell(lab, node, f"rm -rf {EVENTS} /root/nodefile /run/torque-vm/*/*")


def chosen(points: Sequence[str], events: Sequence[str]) -> list[str]:
    """The first event for each point.

    :raises AssertionError: there is none: the hook does something else than it did.
    """
    found = [next((event for event in events if re.search(point, event)), "") for point in points]
    assert all(found), [point for point, event in zip(points, found, strict=True) if not event] + list(events)
    assert len(set(found)) >= 12
    return found


def each(stage: Stage, events: Sequence[str], run: Callable[[str], object]) -> None:
    """Do something for each event, and start the next from nothing; afterwards tell all that went wrong."""
    wrong = []
    for event in events:
        try:
            run(event)
            stage.await_nothing()
        except (AssertionError, TorqueVMError, TimeoutError) as error:
            wrong.append(f"killed at {event}\n    {error or stage.everything()}")
            stage.epilogue()
    assert not wrong, "\n".join(wrong)


def points_of_prologue(stage: Stage) -> list[str]:
    """The events to kill the prologue at, from a run that nothing happens to."""
    events = stage.prologue()
    assert stage.enters()
    assert len(stage.everything()[SWITCH]) == 2
    stage.epilogue()
    stage.await_nothing()
    return chosen(PROLOGUE, events)


def test_the_epilogues_alone_remove_what_a_killed_prologue_left(stage: Stage) -> None:
    """Without a reaper. And until then the starter refuses the job, or enters guests that are there."""
    entered = set()

    def run(event: str) -> None:
        stage.prologue(at=event)
        entered.add(stage.enters())
        stage.epilogue()

    each(stage, points_of_prologue(stage), run)
    assert entered == {True, False}


def test_a_sister_whose_own_prologue_was_killed_is_marked_before_guests_start(stage: Stage) -> None:
    """That counts as a success; no task of the job may run on the sister itself, whatever follows."""
    marker = stage.path("node2", f"/run/torque-vm/markers/{JOB}")
    unmarked = stage.prologue("node1")
    assert stage.enters()
    assert len(stage.everything()[SWITCH]) == 2
    stage.epilogue()
    stage.await_nothing()
    made = next(number for number, event in enumerate(unmarked) if "mark_job" in event)
    assert not any("virConnect.createXML" in event for event in unmarked[:made])

    def run(event: str) -> None:
        stage.prologue("node1", at=event)
        assert marker.exists()
        assert not stage.enters()
        stage.epilogue()

    (start,) = (event for event in unmarked if re.search(r"virConnect.createXML tvm-9071-a\d+-r1", event))
    later = next(event for event in unmarked if "rename handover.json" in event)
    each(stage, [start, later], run)


def test_a_second_epilogue_removes_what_a_killed_one_left(stage: Stage) -> None:
    """As if there had been no first."""
    stage.prologue()
    events = chosen(EPILOGUE, stage.epilogue(sisters=False))

    def run(event: str) -> None:
        stage.prologue()
        stage.epilogue(at=event, sisters=False)
        stage.epilogue()

    each(stage, events, run)


def test_without_an_epilogue_each_nodes_reaper_removes_what_a_killed_prologue_left(server: Stage) -> None:
    """Its own node's, and nothing before the job is proven to be over."""
    stage = server
    events = stage.prologue()
    stage.epilogue()
    found = [next(event for event in events if re.search(point, event)) for point in TELLING]
    assert len(set(found)) == len(TELLING)

    def run(event: str) -> None:
        stage.prologue(at=event)
        assert stage.everything().keys() - {SWITCH} == set(stage.lab.node_names)
        stage.spared()
        assert stage.reap_when_over() == {"removed"}

    each(stage, found, run)


@pytest.mark.parametrize("slot", ["prologue.parallel", "epilogue.parallel"])
def test_a_sisters_own_hook_may_be_killed(server: Stage, slot: str) -> None:
    """The first node marks in its place before guests start, and forgets the job there in the end.

    It does not remove what the job's owner can write: an earlier attempt's hand-over keeps the job from
    its guests, and in the end the node's reaper removes what is there. Before the last twelve commands
    nothing has changed here.
    """
    stage, entered = server, set()
    old = stage.path("node2", f"/run/torque-vm/handover/{JOB}")
    number = stage.sister(slot)
    stage.epilogue()
    stage.await_nothing()
    assert number >= 12
    points = range(number - 11, number + 1)

    def run(at: str) -> None:
        if slot == "prologue.parallel":
            old.mkdir()  # an earlier attempt's
            (old / "given").touch()
            stage.sister(slot, at=int(at))
        was_there = old.exists()
        stage.prologue("node1", code=2 if was_there else 0)
        assert stage.enters() != was_there
        entered.add(not was_there)
        if slot == "epilogue.parallel":
            stage.sister(slot, at=int(at))
            assert stage.emulators("node2")
            stage.epilogue(sisters=False)
            assert stage.reap_when_over() <= {"removed"}
        else:
            stage.epilogue()

    each(stage, [str(at) for at in points], run)
    assert entered == ({True, False} if slot == "prologue.parallel" else {True})
