"""The reaper on a node of libvirt's test driver, with a qstat that answers as a server would."""

from __future__ import annotations

import configparser
import dataclasses
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from task_kit import JOB, World, make_plan

from nornir_torque_vm.cli.app import outcome as command
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import HypervisorUnreachable
from nornir_torque_vm.identity import domain_name
from nornir_torque_vm.model import Job
from nornir_torque_vm.reap import leases as leases_module
from nornir_torque_vm.reap import reaper as reaper_module
from nornir_torque_vm.reap.reaper import Case, Fate, Reaper
from nornir_torque_vm.reap.sightings import FILE, Sightings
from nornir_torque_vm.reap.witness import mom_jobs, worker
from nornir_torque_vm.render.metadata import job_element
from nornir_torque_vm.runstate.handover import GIVEN, HANDOVERS, MARKERS, UPLOADED
from nornir_torque_vm.runstate.joblock import LOCKS, job_lock
from nornir_torque_vm.runstate.jobstate import JOBS, JobState
from nornir_torque_vm.sitekit import kit_file
from nornir_torque_vm.tasks import boot_guest

SERVER = "Server: head\n    server_state = Active\n    next_job_number = 100\n"
OTHER = dataclasses.replace(JOB, id="18.head", nonce="feedbeef")


class Node:
    """A node on which jobs can leave things, with a MOM's directory and a qstat.

    The qstat answers from files: ``answers/ID`` is its exit code, stdout and stderr in JSON; without one the
    job is unknown.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.world = World(folder, make_plan(1, 2))
        (folder / "torque/mom_priv/jobs").mkdir(parents=True)
        self.settings: Settings = dataclasses.replace(
            self.world.settings,
            local_uri=f"test://{folder}/node1.xml",
            history_dir=str(folder / "log"),
            torque_home=str(folder / "torque"),
            real_qsub_on_nodes=str(folder / "bin/qsub"),
        )
        self.run_dir = folder / "run"
        self.syslog: list[str] = []
        self.qstat(f'printf "%s" "{SERVER}"', 'echo "qstat: Unknown Job Id Error $3" >&2; exit 153')

    def qstat(self, server: str, job: str) -> None:
        """Write the qstat, as the shell commands that answer about the server and about a job."""
        program = self.folder / "bin/qstat"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\n[ "$1" != -B ] || {{ {server}; exit; }}\n{job}\n')
        program.chmod(0o755)

    def answer_state(self, job_id: str, state: str) -> None:
        """Let the server have one job in a state; all others are unknown."""
        xml = f"<Data><Job><Job_Id>{job_id}</Job_Id><job_state>{state}</job_state></Job></Data>"
        self.qstat(
            f'printf "%s" "{SERVER}"',
            f"[ \"$3\" != '{job_id}' ] || {{ echo '{xml}'; exit; }}\n"
            'echo "qstat: Unknown Job Id Error $3" >&2; exit 153',
        )

    def leave(self, job: Job = JOB, *, domains: bool = True) -> None:
        """Leave everything that a killed prologue can leave: guests, files, keys, marker, hand-over."""
        plan = make_plan(1, 2, job)
        world = World(self.folder, plan, bridge=self.settings.bridge)
        world.settings = self.settings
        assert not world.run(boot_guest, "guest", probe=lambda _: True).failed
        state = JobState(self.run_dir, job)
        state.save(plan, world.keys)
        (self.run_dir / MARKERS).mkdir(exist_ok=True)
        (self.run_dir / MARKERS / job.id).write_text("")
        (self.run_dir / HANDOVERS / job.id).mkdir(parents=True)
        (self.run_dir / HANDOVERS / job.id / GIVEN).write_text("")
        if not domains:
            self.restart()

    def restart(self) -> None:
        """What a restart of the machine leaves: the files of guests."""
        for domain in self.world.connect().listAllDomains():
            if domain.name().startswith("tvm-"):
                domain.destroy()
        for folder in (MARKERS, HANDOVERS, JOBS, LOCKS):
            subprocess.run(["rm", "-rf", str(self.run_dir / folder)], check=True)

    def reaper(self, grace: float = 0.0, *, dry: bool = False) -> Reaper:
        return Reaper(self.settings, Deadline.after(20), grace=grace, dry=dry, node="node1")

    def reap(self, grace: float = 0.0, *, dry: bool = False) -> dict[str, Case]:
        """One run; cases by job."""
        return {case.name: case for case in self.reaper(grace, dry=dry).run().cases}

    def left(self) -> list[str]:
        """All there is of jobs."""
        state = (
            path for kind in (MARKERS, HANDOVERS, JOBS, LOCKS) for path in (self.run_dir / kind).glob("*")
        )
        domains = [name for name in self.world.domains() if name.startswith("tvm-")]
        return sorted([*domains, *self.world.volumes(), *(f"{p.parent.name}/{p.name}" for p in state)])


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    conn = made.world.connect()  # the test driver forgets with its last connection
    yield made
    conn.isAlive()


class TestOver:
    """Jobs that are proven to be over."""

    def test_everything_of_the_job_goes(self, node: Node) -> None:
        """Domains, volumes, seeds, consoles, keys, marker, hand-over, the lock's file."""
        node.leave()
        assert len(node.left()) > 6
        case = node.reap()["17.head"]
        assert (case.fate, case.reason) == (Fate.REMOVED, "the server knows no such job")
        assert node.left() == []

    def test_leases_go_with_the_guests_on_the_bridge_that_these_were_on(
        self, node: Node, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It need not be the one that the settings name, as for guests of users' own images."""
        given: dict[str, list[str]] = {}
        monkeypatch.setattr(
            leases_module,
            "release_leases",
            lambda macs, bridge, *_: given.setdefault(bridge, []).extend(macs),
        )
        usual = node.settings
        node.settings = dataclasses.replace(usual, bridge="br-user")
        node.leave()
        node.settings = usual
        node.leave(OTHER)
        domains = node.world.connect().listAllDomains()
        macs = {one.name()[:7]: set[str]() for one in domains}
        for one in domains:
            macs[one.name()[:7]] |= set(re.findall("mac address=.(.{17}).", one.XMLDesc(0)))
        assert all(case.fate is Fate.REMOVED for case in node.reap().values())
        assert {bridge: set(found) for bridge, found in given.items()} == {
            "br-user": macs["tvm-17-"], usual.bridge: macs["tvm-18-"],
        }  # fmt: skip
        assert [len(found) for found in given.values()] == [2, 2]

    def test_a_self_test_that_was_killed_is_over(self, node: Node) -> None:
        """No server can say so; this host has no process of it."""
        job = dataclasses.replace(JOB, id="1795000000.selftest-node1", server="selftest-node1")
        node.leave(job)
        node.qstat("echo nobody >&2; exit 1", "exit 1")
        assert node.reap()[job.id].fate is Fate.REMOVED
        assert node.left() == []

    def test_a_completed_job_is_over(self, node: Node) -> None:
        """While the server still tells of it."""
        node.leave()
        node.answer_state("17.head", "C")
        assert node.reap()["17.head"].fate is Fate.REMOVED
        assert node.left() == []

    def test_files_alone_are_found_after_a_restart(self, node: Node) -> None:
        """Domains are transient and the run directory is in memory; disks stay."""
        node.leave(domains=False)
        assert node.left()
        assert all(name.startswith("tvm-17-a1-") for name in node.left())
        assert node.reap()["17"].fate is Fate.REMOVED
        assert node.left() == []

    def test_a_lock_file_of_a_dead_process_goes(self, node: Node) -> None:
        """A hook that was killed before it did anything else."""
        (node.run_dir / LOCKS).mkdir(parents=True)
        (node.run_dir / LOCKS / "17.head").write_text('{"pid": 1, "start_time": 1, "attempt": 1}')
        assert node.reap()["17.head"].fate is Fate.REMOVED
        assert node.left() == []

    def test_a_copy_for_a_hand_over_that_was_never_made_goes(self, node: Node) -> None:
        """Of a prologue elsewhere that was killed: a file of root's beside the directories."""
        (node.run_dir / HANDOVERS).mkdir(parents=True)
        (node.run_dir / HANDOVERS / f"17.head{UPLOADED}").touch()
        assert node.reap()["17.head"].fate is Fate.REMOVED
        assert node.left() == []

    def test_a_plan_that_was_never_written_goes(self, node: Node) -> None:
        """The directory's name is all there is."""
        (node.run_dir / JOBS / "tvm-17-a1-0badcafe").mkdir(parents=True)
        assert node.reap()["17"].fate is Fate.REMOVED
        assert node.left() == []

    def test_a_file_whose_writer_was_killed_goes(self, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
        """One that is longer unfinished than any small file; whichever job's it was, or the reaper's own."""
        monkeypatch.setattr(reaper_module, "WRITING_SECONDS", 0.2)
        for folder in (HANDOVERS, JOBS):
            (node.run_dir / folder).mkdir(parents=True)
        parts = [node.run_dir / folder / ".new-0badcafe" for folder in (HANDOVERS, JOBS, ".")]
        for part in parts:
            part.touch()
        node.reap(dry=True)
        assert all(part.exists() for part in parts)
        node.reap()
        assert not any(part.exists() for part in parts)

    def test_a_file_that_is_being_written_stays(self, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
        """It was not there when the run began."""
        monkeypatch.setattr(reaper_module, "WRITING_SECONDS", 0.2)
        (node.run_dir / HANDOVERS).mkdir(parents=True)
        (node.run_dir / HANDOVERS / ".new-00000000").touch()
        part = node.run_dir / HANDOVERS / ".new-0badcafe"
        real = Sightings.keep

        def keep(self: Sightings, over: Any) -> None:
            part.touch()
            real(self, over)

        monkeypatch.setattr(Sightings, "keep", keep)
        node.reap()
        assert [path.name for path in part.parent.iterdir()] == [part.name]

    def test_a_second_run_finds_nothing(self, node: Node) -> None:
        """And leaves nothing of its own."""
        node.leave()
        node.reap()
        assert node.reap() == {}
        assert not (node.run_dir / FILE).exists()

    def test_other_jobs_keep_everything(self, node: Node) -> None:
        """One that runs, on the same node."""
        node.leave(OTHER)
        kept = node.left()
        node.leave()
        node.answer_state("18.head", "R")
        cases = node.reap()
        assert (cases["17.head"].fate, cases["18.head"].fate) == (Fate.REMOVED, Fate.KEPT)
        assert node.left() == kept

    def test_a_dry_run_changes_nothing(self, node: Node) -> None:
        """Not even what it remembers."""
        node.leave()
        before = node.left()
        assert node.reap(dry=True)["17.head"].fate is Fate.DUE
        assert node.reap(600, dry=True)["17.head"].fate is Fate.KEPT
        assert node.left() == before
        assert not (node.run_dir / FILE).exists()

    def test_old_records_go_and_young_ones_stay(self, node: Node) -> None:
        """As the setting history_days says."""
        for name, days in (("1.head.1", 31), ("2.head.1", 29), ("notes", 90)):
            (node.folder / "log" / name).mkdir(parents=True)
            then = time.time() - days * 86_400
            os.utime(node.folder / "log" / name, (then, then))
        (node.folder / "log").chmod(0o700)
        assert node.reaper(dry=True).run().records == ("1.head.1",)
        assert node.reaper().run().records == ("1.head.1",)
        assert sorted(path.name for path in (node.folder / "log").iterdir()) == ["2.head.1", "notes"]


UNKNOWN = 'echo "qstat: Unknown Job Id Error $3" >&2; exit 153'


class TestKept:
    """Nothing is touched as long as anything is not known."""

    @pytest.mark.parametrize(
        ("server", "job", "why"),
        [
            ("echo 'cannot connect to server head (errno=111)' >&2; exit 111", UNKNOWN, "errno=111"),
            ("echo nonsense", UNKNOWN, "cannot be understood"),
            (f'printf "%s" "{SERVER.replace("Active", "Hot-start")}"', UNKNOWN, "in state Hot-start"),
            (f'printf "%s" "{SERVER.replace("head", "head2")}"', UNKNOWN, "not a job of the server head2"),
            (f'printf "%s" "{SERVER.replace("100", "17")}"', UNKNOWN, "given out no such number"),
            (f'printf "%s" "{SERVER}"', "echo 'qstat: End of File' >&2; exit 1", "End of File"),
            (f'printf "%s" "{SERVER}"', "exit 153", "qstat ended with 153"),
            (
                f'printf "%s" "{SERVER}"',
                "echo 'qstat: Unauthorized Request  17.head' >&2; exit 159",
                "knows it",
            ),
        ],
    )
    def test_when_the_server_does_not_say_that_the_job_is_over(
        self, node: Node, server: str, job: str, why: str
    ) -> None:
        """Down, talking nonsense, recovering, another one, set up anew, failing."""
        node.leave()
        before = node.left()
        node.qstat(server, job)
        case = node.reap()["17.head"]
        assert case.fate is Fate.KEPT
        assert why in case.reason
        assert node.left() == before

    @pytest.mark.parametrize("state", list("QRHETWS"))
    def test_when_the_server_has_it_in_any_state_but_completed(self, node: Node, state: str) -> None:
        """Also when the id was given out anew: to a job whose prologue has just begun, say."""
        node.leave()
        before = node.left()
        node.answer_state("17.head", state)
        assert node.reap()["17.head"].reason == f"the server has it in state {state}"
        assert node.left() == before

    def test_when_there_is_no_qstat(self, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
        """A node without TORQUE's commands."""
        node.leave()
        before = node.left()
        (node.folder / "bin/qstat").unlink()
        monkeypatch.setenv("PATH", "/nowhere")
        monkeypatch.setattr("nornir_torque_vm.reap.qstat._PLACES", "/nowhere")
        assert node.reap()["17.head"].reason == "there is no qstat on this node"
        assert node.left() == before

    def test_when_the_server_hangs_it_costs_one_answers_time(
        self, node: Node, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And no lock is held meanwhile."""
        monkeypatch.setattr("nornir_torque_vm.reap.qstat.PATIENCE", 0.5)
        node.leave()
        node.leave(OTHER)
        before = node.left()
        node.qstat("exec sleep 60", "exec sleep 60")
        began = time.monotonic()
        cases = node.reap()
        assert time.monotonic() - began < 5
        assert {case.fate for case in cases.values()} == {Fate.KEPT}
        assert node.left() == before

    @pytest.mark.parametrize("file", ["17.head.JB", "17.a-very-long-name.JB"])
    def test_when_the_mom_of_this_node_has_it(self, node: Node, file: str) -> None:
        """A server that was set up anew knows nothing of it."""
        node.leave()
        before = node.left()
        (node.folder / "torque/mom_priv/jobs" / file).touch()
        assert node.reap()["17.head"].reason == "this node's pbs_mom has it"
        assert node.left() == before

    def test_when_the_moms_directory_is_not_where_it_should_be(self, node: Node) -> None:
        """A wrong torque_home must not look like a MOM without jobs."""
        node.leave()
        before = node.left()
        node.settings = dataclasses.replace(node.settings, torque_home="/nowhere")
        assert "set torque_home" in node.reap()["17.head"].reason
        assert node.left() == before

    def test_when_a_process_holds_its_lock(self, node: Node) -> None:
        """A prologue in the middle: the server forgot the job at once, by ``qdel -p``."""
        node.leave()
        code = (
            "import time; from nornir_torque_vm.runstate.joblock import job_lock\n"
            f"with job_lock({str(node.run_dir)!r}, '17.head', attempt=1):\n"
            "    print('held', flush=True)\n"
            "    time.sleep(60)"
        )
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        try:
            assert child.stdout
            child.stdout.readline()
            before = node.left()
            assert node.reap()["17.head"].reason == f"process {child.pid} is at work on it"
            assert node.left() == before
        finally:
            child.kill()
            child.communicate()
        assert node.reap()["17.head"].fate is Fate.REMOVED
        assert node.left() == []

    def test_when_a_hook_has_not_got_to_its_lock_yet(self, node: Node) -> None:
        """The site's own prologue may take a minute before ours."""
        node.leave()
        before = node.left()
        hook = node.folder / "torque/mom_priv/prologue.vm"
        hook.write_text("#!/bin/sh\nread wait\n")
        hook.chmod(0o500)
        with subprocess.Popen([str(hook), "17.head", "alice"], stdin=subprocess.PIPE) as child:
            wait_for(lambda: f"{hook}".encode() in Path(f"/proc/{child.pid}/cmdline").read_bytes())
            assert node.reap()["17.head"].reason == f"process {child.pid} is a hook of it"
            assert node.left() == before
            child.communicate(b"\n")

    def test_what_carries_our_names_and_not_our_marks(self, node: Node) -> None:
        """A domain without our metadata, a file that is not named after a guest."""
        name = domain_name(JOB, 0)
        node.world.connect().createXML(
            f"<domain type='test'><name>{name}</name><memory>8192</memory><os><type>hvm</type></os></domain>"
        )
        folder = Path(node.settings.volume_dir, "node1")
        folder.mkdir(parents=True)
        for file in ("tvm-notes", "tvm-17-a1-backup", f"{name}.qcow2", "important"):
            (folder / file).touch()
        before = node.left()
        node.reap()
        assert node.left() == before

    def test_a_domain_whose_name_and_marks_contradict_each_other(self, node: Node) -> None:
        """Neither job's: whose it is cannot be told."""
        name, guest = domain_name(JOB, 0), make_plan(1, 1, OTHER).guests[0]
        node.world.connect().createXML(
            f"<domain type='test'><name>{name}</name><metadata>{job_element(OTHER, guest)}</metadata>"
            "<memory>8192</memory><os><type>hvm</type></os></domain>"
        )
        assert node.reap() == {}
        assert node.left() == [name]

    def test_things_outside_the_run_directory_behind_a_link(self, node: Node) -> None:
        """Links are never followed."""
        (node.folder / "precious").mkdir()
        (node.folder / "precious/17.head").touch()
        node.run_dir.mkdir(exist_ok=True)
        (node.run_dir / MARKERS).symlink_to(node.folder / "precious")
        with pytest.raises(Exception, match=r"cannot open .*markers"):
            node.reap()
        assert (node.folder / "precious/17.head").exists()


def wait_for(true: Callable[[], bool]) -> None:
    for _ in Deadline.after(10).backoff():
        if true():
            return
    raise TimeoutError


class TestMeanwhile:
    """What happens between judging and removing."""

    @staticmethod
    def interfere(node: Node, monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
        """Do something at the moment when the reaper has got the lock."""
        real = reaper_module.Reaper.remove

        def remove(self: Reaper, *args: Any) -> Case:
            act()
            return real(self, *args)

        monkeypatch.setattr(reaper_module.Reaper, "remove", remove)

    def test_a_marker_that_is_made_anew_stops_it(self, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
        """The id was given out again, and the job has begun."""
        node.leave()
        marker = node.run_dir / MARKERS / "17.head"
        before = node.left()

        def renew() -> None:
            marker.unlink()
            marker.touch()

        self.interfere(node, monkeypatch, renew)
        assert node.reap()["17.head"].reason == "something of it changed meanwhile"
        assert [name for name in node.left() if not name.startswith(LOCKS)] == before

    def test_a_server_that_changes_its_mind_stops_it(
        self, node: Node, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is asked again under the lock."""
        node.leave()
        before = node.left()
        self.interfere(node, monkeypatch, lambda: node.answer_state("17.head", "Q"))
        assert node.reap()["17.head"].reason == "the server has it in state Q"
        assert node.left() == before

    def test_somebody_who_takes_the_lock_first_stops_it(
        self, node: Node, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An epilogue, or another reaper; a thread of ours stands for it, so only the lock tells."""
        monkeypatch.setattr(reaper_module, "LOCK_SECONDS", 0.2)
        node.leave()
        before = node.left()
        with job_lock(node.run_dir, "17.head"):
            case = node.reap()["17.head"]
        assert case.fate is Fate.KEPT
        assert "still at work" in case.reason
        assert node.left() == before

    def test_two_reapers_at_a_time_remove_it_once(self, node: Node) -> None:
        """Each job is removed by one of them, and nothing fails."""
        node.leave()
        node.leave(OTHER)
        fates: list[Fate] = []

        def run() -> None:
            fates.extend(case.fate for case in node.reap().values())

        threads = [threading.Thread(target=run) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert node.left() == []
        assert fates.count(Fate.REMOVED) >= 2
        assert set(fates) <= {Fate.REMOVED, Fate.KEPT}

    def test_what_cannot_be_removed_is_tried_again(self, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
        """The keys stay until the guests are gone."""
        node.leave()
        folder = Path(node.settings.volume_dir, "node1")
        folder.chmod(0o777)
        with pytest.raises(Exception, match="others may write"):
            node.reap()
        folder.chmod(0o711)
        monkeypatch.setattr(
            "nornir_torque_vm.storage.local.LocalStorage.remove",
            lambda *_: (_ for _ in ()).throw(OSError("no")),
        )
        case = node.reap()["17.head"]
        assert (case.fate, case.code) == (Fate.FAILED, 1)
        assert (node.run_dir / MARKERS / "17.head").exists()
        monkeypatch.undo()
        assert node.reap()["17.head"].fate is Fate.REMOVED
        assert node.left() == []


class TestGrace:
    """A job goes when it was seen to be over for the grace time."""

    def test_the_first_sight_starts_the_time(self, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
        """Measured on the machine's own clock: the time of day may jump."""
        now = [1000.0]
        monkeypatch.setattr(
            reaper_module, "Sightings", lambda run_dir: Sightings(run_dir, boot="b", now=now[0])
        )
        node.leave()
        assert node.reap(600)["17.head"].reason.endswith("seen for 0 of 600 s")
        now[0] += 599
        assert node.reap(600)["17.head"].reason.endswith("seen for 599 of 600 s")
        now[0] += 1
        assert node.reap(600)["17.head"].fate is Fate.REMOVED
        assert not (node.run_dir / FILE).exists()

    def test_a_job_that_was_alive_in_between_starts_anew(
        self, node: Node, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A server that was wrong for a moment."""
        now = [1000.0]
        monkeypatch.setattr(
            reaper_module, "Sightings", lambda run_dir: Sightings(run_dir, boot="b", now=now[0])
        )
        node.leave()
        node.reap(600)
        node.answer_state("17.head", "R")
        now[0] += 300
        node.reap(600)
        node.answer_state("17.head", "C")
        now[0] += 300
        assert node.reap(600)["17.head"].reason.endswith("seen for 0 of 600 s")

    def test_sightings_count_from_the_first_of_the_same_things(self, tmp_path: Path) -> None:
        """Fewer things are the same job's; another one is a later start of it."""
        run = str(tmp_path / "run")
        Sightings(run, "b", 100.0).keep({"17": frozenset("ab")})
        later = Sightings(run, "b", 150.0)
        assert later.over_for("17", frozenset("ab")) == 50.0
        assert later.over_for("17", frozenset("a")) == 50.0
        assert later.over_for("17", frozenset("abc")) == 0.0
        assert later.over_for("18", frozenset("ab")) == 0.0

    @pytest.mark.parametrize(("boot", "now"), [("other", 150.0), ("b", 50.0)])
    def test_a_restart_or_a_clock_that_runs_backwards_starts_anew(
        self, tmp_path: Path, boot: str, now: float
    ) -> None:
        """What cannot be is not believed."""
        run = str(tmp_path / "run")
        Sightings(run, "b", 100.0).keep({"17": frozenset("a")})
        assert Sightings(run, boot, now).over_for("17", frozenset("a")) == 0.0

    @pytest.mark.parametrize(
        "text", ["", "x", "[]", "{}", '{"boot": "b", "over": {"17": {}}}', '{"boot": "b"}']
    )
    def test_a_damaged_memory_starts_anew(self, tmp_path: Path, text: str) -> None:
        """Later is safe, sooner is not."""
        (tmp_path / FILE).write_text(text)
        assert Sightings(str(tmp_path), "b", 150.0).over_for("17", frozenset("a")) == 0.0


class TestWitness:
    """What a node knows of its own live jobs."""

    def test_a_moms_files_tell_its_jobs(self, tmp_path: Path) -> None:
        """Members of arrays have a dash; other files are of jobs that are being made or cleared away."""
        (tmp_path / "mom_priv/jobs").mkdir(parents=True)
        for name in ("1.head.JB", "3-2.head.JB", "4.JB", "5.head.SC", "6.head.TK", "x.JB", "17a.head.JB"):
            (tmp_path / "mom_priv/jobs" / name).touch()
        assert mom_jobs(str(tmp_path)) == {"1", "3-2", "4"}

    def test_only_processes_of_our_own_account_count(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Any user could call a process like a hook, and keep a job's leftovers for ever."""
        argv = ["/bin/sh", "-c", "echo; read wait; :", "mom_priv/epilogue.vm", "17.head"]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()  # it has its words only a moment after it was started
            assert worker(str(tmp_path), ["17.head"]) == f"process {child.pid} is a hook of it"
            monkeypatch.setattr(os, "geteuid", lambda: 4711)
            assert worker(str(tmp_path), ["17.head"]) == ""
            child.communicate(b"\n")

    @pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
    def test_a_setuid_program_that_a_user_started_does_not_count(self, tmp_path: Path) -> None:
        """It is root's, and its words are the user's."""
        with subprocess.Popen(
            ["mom_priv/epilogue.vm", "-", "17.head"], executable="/bin/cat", stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, preexec_fn=lambda: os.setresuid(65534, 0, 0),  # noqa: PLW1509 - no thread of ours
        ) as child:  # fmt: skip
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write(b"\n")
            child.stdin.flush()
            child.stdout.readline()
            assert Path(f"/proc/{child.pid}").stat().st_uid == 0
            assert worker(str(tmp_path), ["17.head"]) == ""
            child.communicate(b"")

    def test_an_epilogues_watchman_does_not_count(self, tmp_path: Path) -> None:
        """The safety net waits for the same end that we know of already."""
        argv = ["/bin/sh", "-c", "echo; read wait; :", "nornir_torque_vm.safetynet", "17.head"]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            assert worker(str(tmp_path), ["17.head"]) == ""
            child.communicate(b"\n")


class TestCommand:
    """``torque-vm reap``."""

    @pytest.fixture
    def run(
        self, node: Node, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> Callable[..., tuple[int, str, str]]:
        """Runs the command on the node; what it writes to syslog is in ``node.syslog``."""
        real = Reaper.__init__

        def init(self: Reaper, *args: Any, **parameters: Any) -> None:
            real(self, *args, **parameters, node="node1")

        monkeypatch.setattr(Reaper, "__init__", init)
        monkeypatch.setattr("nornir_torque_vm.cli.reap.settings_module.load", lambda _path: node.settings)
        monkeypatch.setattr("nornir_torque_vm.cli.reap.cancel_on_signal", lambda _: None)
        monkeypatch.setattr(
            "nornir_torque_vm.cli.reap.log",
            lambda *words: node.syslog.append(" ".join(words)),
        )

        def run(*words: str) -> tuple[int, str, str]:
            capsys.readouterr()
            code = command(["reap", *words])
            said = capsys.readouterr()
            return code, said.out, said.err

        return run

    def test_it_says_what_it_did_and_once_in_syslog(
        self, node: Node, run: Callable[..., tuple[int, str, str]]
    ) -> None:
        """A line for each job, with the proof."""
        node.leave()
        node.leave(OTHER)
        code, out, _ = run("--grace", "0")
        assert code == 0
        assert out.splitlines()[1].split(maxsplit=2) == ["17.head", "removed", "the server knows no such job"]
        assert run() == (0, "", "")
        (line,) = node.syslog
        assert line.startswith("reap 17.head,18.head over, 4 guests and ")

    @pytest.mark.proves("reap_grace")
    def test_the_grace_time_is_the_settings(
        self, node: Node, run: Callable[..., tuple[int, str, str]]
    ) -> None:
        """Unless it is said."""
        node.leave()
        node.settings = dataclasses.replace(node.settings, reap_grace=4711.0)
        code, out, _ = run()
        assert code == 0
        assert "seen for 0 of 4711 s" in out

    def test_programs_get_every_thing(self, node: Node, run: Callable[..., tuple[int, str, str]]) -> None:
        """By kind and name."""
        node.leave()
        code, out, _ = run("--json", "--dry-run", "--grace", "0")
        said = json.loads(out)
        assert (code, said["node"], said["dry_run"], said["records"]) == (0, "node1", True, [])
        assert (said["jobs"][0]["job"], said["jobs"][0]["fate"]) == ("17.head", "due")
        assert {"kind": "domain", "name": domain_name(JOB, 1)} in said["jobs"][0]["things"]
        assert {thing["kind"] for thing in said["jobs"][0]["things"]} == {
            "domain", "volume", JOBS, MARKERS, HANDOVERS,
        }  # fmt: skip

    def test_a_history_that_cannot_be_trusted_hides_nothing(
        self, node: Node, run: Callable[..., tuple[int, str, str]]
    ) -> None:
        """The jobs' leftovers go, and are told of; then the trouble."""
        node.leave()
        (node.folder / "log").mkdir()
        (node.folder / "log").chmod(0o777)
        code, out, err = run("--grace", "0")
        assert code == 1
        assert "removed" in out
        assert "can be written by others" in err
        assert len(node.syslog) == 1
        assert node.left() == []

    def test_an_administrators_word_is_enough(
        self, node: Node, run: Callable[..., tuple[int, str, str]]
    ) -> None:
        """Without any server; that job alone."""
        node.leave(OTHER)
        kept = node.left()
        node.leave()
        node.qstat("exit 1", "exit 1")
        assert run("--job", "17.head")[0] == 0
        assert node.left() == kept
        assert run("--job", "18")[0] == 0
        assert node.left() == []

    def test_a_job_without_things_is_said_so(
        self, node: Node, run: Callable[..., tuple[int, str, str]]
    ) -> None:
        """Exit code 4, as when nothing is selected."""
        assert run("--job", "17.head") == (4, "", "torque-vm: job 17.head has nothing on this node\n")
        assert run("--job", "17]")[0] == 2

    @pytest.mark.parametrize("file", ["17.head.JB"])
    def test_an_order_against_a_live_job_is_refused(
        self, node: Node, run: Callable[..., tuple[int, str, str]], file: str
    ) -> None:
        """Exit code 1: it was not done."""
        node.leave()
        before = node.left()
        (node.folder / "torque/mom_priv/jobs" / file).touch()
        code, out, _ = run("--job", "17.head")
        assert code == 1
        assert "pbs_mom has it" in out
        assert node.left() == before

    def test_an_order_for_another_servers_job_touches_nothing(
        self, node: Node, run: Callable[..., tuple[int, str, str]]
    ) -> None:
        """The number alone is not the id."""
        node.leave()
        before = node.left()
        code, out, _ = run("--job", "17.other")
        assert code == 1
        assert "that number is 17.head here" in out
        assert node.left() == before

    def test_a_libvirt_that_does_not_answer_is_code_5(
        self, node: Node, run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As for the other commands."""

        def unreachable(*_: object) -> None:
            raise HypervisorUnreachable("no answer")

        monkeypatch.setattr(Reaper, "look", unreachable)
        assert run()[0] == 5


class TestUnits:
    """What systemd is told."""

    @staticmethod
    def unit(kind: str) -> configparser.RawConfigParser:
        parsed = configparser.RawConfigParser(strict=True)
        parsed.read(kit_file("hooks", f"torque-vm-reap.{kind}"))
        return parsed

    def test_the_service_is_one_run_of_the_command(self) -> None:
        """By the interpreter that the installation names, without any of the caller's Python settings."""
        service = self.unit("service")["Service"]
        words = service["ExecStart"].split()
        assert words == ["/opt/torque-vm/bin/python", "-I", "-m", "nornir_torque_vm.cli", "reap"]
        assert service["Type"] == "oneshot"

    def test_the_timer_starts_it_again_and_again(self) -> None:
        """Also after a restart of the machine, and never while one is running."""
        timer = self.unit("timer")["Timer"]
        assert (timer["OnBootSec"], timer["OnUnitInactiveSec"]) == ("2min", "5min")
        assert self.unit("timer")["Install"]["WantedBy"] == "timers.target"
