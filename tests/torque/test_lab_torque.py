"""The lab's TORQUE: its parts work together as on a cluster, and go with the lab."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from torque_kit import (
    configure_mom,
    delete,
    eventually,
    job_attributes,
    mom_file,
    mom_pid,
    node_state,
    output,
    qsub,
    restore_mom,
    run_job,
    set_submit_filter,
    settings,
    signal_mom,
    start_mom,
    user_file,
    user_run,
    wait_for_state,
)
from torque_terminal import Terminal

from nornir_torque_vm.lab import HEAD, Lab, health, processes, record
from nornir_torque_vm.lab.torque import PROPERTY

pytestmark = pytest.mark.torque


def namespaces(pid: int | str = "*") -> set[str]:
    """The namespaces that this process is in; without one, those of all processes."""
    found = set()
    for link in Path("/proc").glob(f"{pid}/ns/*"):
        if link.name in {"net", "mnt", "uts", "pid"}:
            with contextlib.suppress(OSError):
                found.add(str(link.readlink()))
    return found


def of_lab(cluster: Lab) -> dict[str, record.Running]:
    return dict(record.load(cluster.paths.record).hosts)


class TestUp:
    def test_all_nodes_are_free_and_have_the_property(self, torque_lab: Lab) -> None:
        """Slots as declared; jobs with guests ask for the property."""
        listed = torque_lab.run(HEAD, ["pbsnodes", "-a"]).stdout
        blocks = {block.split()[0]: block for block in listed.strip().split("\n\n")}
        assert set(blocks) == set(torque_lab.node_names)
        for block in blocks.values():
            assert re.search(r"^ +state = free$", block, re.MULTILINE)
            assert re.search(rf"^ +properties = {PROPERTY}$", block, re.MULTILINE)
            assert re.search(rf"^ +np = {torque_lab.slots}$", block, re.MULTILINE)
        assert [node.torque for node in torque_lab.status()] == ["free"] * 3

    def test_again_keeps_server_jobs_and_nodes(self, torque_lab: Lab) -> None:
        """A running job goes on, a finished one is still known."""
        over = qsub(torque_lab, stdin="true\n")
        wait_for_state(torque_lab, over)
        job = qsub(torque_lab, stdin="sleep 60\n")
        wait_for_state(torque_lab, job, "R")
        before = of_lab(torque_lab)
        torque_lab.up()
        Lab(torque_lab.name).up()
        assert of_lab(torque_lab) == before
        assert job_attributes(torque_lab, job)["job_state"] == "R"
        assert job_attributes(torque_lab, over)["job_state"] == "C"
        delete(torque_lab, job)
        wait_for_state(torque_lab, job)

    def test_the_head_has_what_a_submit_host_needs(self, torque_lab: Lab) -> None:
        """Settings, the image pool, a way to the nodes' libvirtd, and no libvirtd of its own."""
        torque_lab.run(HEAD, ["test", "-f", "/etc/torque-vm/settings.toml"])
        options = torque_lab.run(HEAD, ["findmnt", "-n", "-o", "OPTIONS", "-T", "/srv/torque-vm/images"])
        assert "ro" in options.stdout.strip().split(",")
        uri = "qemu+tls://node2/system?pkipath=/etc/torque-vm/pki"
        assert torque_lab.run(HEAD, ["virsh", "-c", uri, "hostname"]).stdout.strip() == "node2"
        assert "libvirtd" not in torque_lab.run(HEAD, ["ps", "-eo", "comm"]).stdout


class TestJobs:
    def test_a_plain_job_runs_and_its_output_comes_back(self, torque_lab: Lab) -> None:
        """Into the user's home, which all hosts have in common; both streams, and the exit status."""
        script = "#!/bin/bash\nhostname; id -un; sort -u $PBS_NODEFILE; echo oops >&2; exit 37\n"
        job = qsub(torque_lab, ["-l", "nodes=2:ppn=2:vm", "-N", "plain"], script=script)
        done = wait_for_state(torque_lab, job)
        hosts = sorted({slot.partition("/")[0] for slot in done["exec_host"].split("+")})
        first = done["exec_host"].partition("/")[0]
        assert output(torque_lab, done).split() == [first, "alice", *hosts]
        assert output(torque_lab, done, "Error") == "oops\n"
        assert done["exit_status"] == "37"
        assert len(hosts) == 2
        assert done["Output_Path"].startswith(f"{HEAD}:/home/alice/plain.o")

    def test_the_job_type_and_a_request_arrive_verbatim(self, torque_lab: Lab) -> None:
        """What carries a request for guests: ``-T`` and ``-l other=``."""
        request = "vm1:vcpus=2:img=a%20b.qcow2"
        job = qsub(torque_lab, ["-h", "-T", "vm", "-l", f"other={request}"], stdin="true\n")
        held = job_attributes(torque_lab, job)
        delete(torque_lab, job)
        assert (held["jobtype"], held["Resource_List.other"]) == ("vm", request)

    def test_every_member_of_an_array_is_a_job(self, torque_lab: Lab) -> None:
        """Ids with brackets, an output file each."""
        array = qsub(torque_lab, ["-t", "1-3", "-N", "arr"], stdin='echo "member $PBS_ARRAYID"\n')
        number = array.partition("[")[0]
        members = [f"{number}[{n}].{HEAD}" for n in (1, 2, 3)]
        done = [wait_for_state(torque_lab, member) for member in members]
        assert [output(torque_lab, job) for job in done] == [f"member {n}\n" for n in (1, 2, 3)]
        assert done[2]["Output_Path"].endswith(f"arr.o{number}-3")

    def test_an_interactive_job_is_a_shell_on_a_node(self, torque_lab: Lab) -> None:
        """At a terminal, through the network between the hosts."""
        with Terminal(torque_lab, ["qsub", "-I", "-l", "nodes=1:ppn=1:vm"]) as terminal:
            job = re.search(r"job (\S+) ready", terminal.expect(" ready"))
            terminal.send("echo on:$(hostname):$PBS_ENVIRONMENT; test -t 0 && echo at:$(tty)\n")
            terminal.expect("at:/dev/pts/")
            terminal.send("exit\n")
            assert terminal.wait() == 0
            assert re.search(r"on:node[123]:PBS_INTERACTIVE", terminal.text)
        assert job
        wait_for_state(torque_lab, job[1])

    def test_tasks_are_started_on_every_slot(self, torque_lab: Lab) -> None:
        """The commands of TORQUE are on the job's PATH, and the MOMs talk to each other."""
        done = run_job(torque_lab, ["-l", "nodes=3:ppn=2"], "pbsdsh -c 6 /bin/hostname\n")
        assert sorted(output(torque_lab, done).split()) == sorted(torque_lab.node_names * 2)

    def test_a_job_can_be_submitted_from_a_node(self, torque_lab: Lab) -> None:
        """Where sites allow it."""
        job = qsub(torque_lab, stdin="true\n", host="node2")
        assert wait_for_state(torque_lab, job)["submit_host"] == "node2"

    def test_a_deleted_job_ends_by_the_signal(self, torque_lab: Lab) -> None:
        """TORQUE's exit status is 256 and the signal's number."""
        job = qsub(torque_lab, stdin="exec sleep 600\n")
        wait_for_state(torque_lab, job, "R")
        assert delete(torque_lab, job).returncode == 0
        assert wait_for_state(torque_lab, job)["exit_status"] == "271"

    def test_a_job_over_its_walltime_is_ended_within_seconds(self, torque_lab: Lab) -> None:
        """The lab's MOMs look after their jobs more often than TORQUE's default."""
        done = run_job(torque_lab, ["-l", "walltime=2"], "sleep 600\n")
        assert done["exit_status"] == "-11"

    def test_user_and_root_both_see_why_qsub_refuses(self, torque_lab: Lab) -> None:
        """TORQUE runs no jobs of root's, and knows its resources."""
        refused = user_run(torque_lab, ["qsub", "-l", "vm=1"], stdin="true\n", check=False)
        assert refused.returncode != 0
        assert "Unknown resource type" in refused.stderr
        assert torque_lab.run(HEAD, ["qsub"], input="true\n", check=False).returncode != 0


class TestSite:
    @pytest.fixture
    def filtered(self, torque_lab: Lab) -> Iterator[Lab]:
        """A submit filter that gives every job a type."""
        path = user_file(torque_lab, "filter", "#!/bin/sh\necho '#PBS -T filtered'\ncat\n", 0o755)
        set_submit_filter(torque_lab, path)
        yield torque_lab
        set_submit_filter(torque_lab, None)

    def test_the_head_can_have_a_submit_filter(self, filtered: Lab) -> None:
        """Only there: torque.cfg is the submit host's."""
        job = qsub(filtered, ["-h"], stdin="true\n")
        assert job_attributes(filtered, job)["jobtype"] == "filtered"
        other = qsub(filtered, ["-h"], stdin="true\n", host="node1")
        assert "jobtype" not in job_attributes(filtered, other)
        delete(filtered, job)
        delete(filtered, other)

    def test_settings_change_for_a_while(self, torque_lab: Lab) -> None:
        """On the head and the nodes, for whoever reads them there, also the user."""
        code = "from nornir_torque_vm.config.settings import load; print(load().timeout)"
        argv = [sys.executable, "-I", "-c", code]
        with settings(torque_lab, {"timeout": 77}):
            assert user_run(torque_lab, argv).stdout == "77.0\n"
            assert torque_lab.run("node3", argv).stdout == "77.0\n"
        assert user_run(torque_lab, argv).stdout != "77.0\n"

    def test_a_mom_takes_a_new_config_without_a_restart(self, torque_lab: Lab) -> None:
        """As an installed job starter needs it; a program in every job's place shows."""
        starter = user_file(torque_lab, "starter", "#!/bin/sh\necho starter of $1\n", 0o755)
        before = configure_mom(torque_lab, "node1", f"$job_starter {starter}")
        try:
            done = run_job(torque_lab, ["-l", "nodes=node1"], "echo never\n")
            assert output(torque_lab, done) == "starter of /bin/bash\n"
        finally:
            restore_mom(torque_lab, "node1", before)
        assert output(torque_lab, run_job(torque_lab, ["-l", "nodes=node1"], "echo again\n")) == "again\n"

    def test_hooks_of_a_node_run_for_jobs_of_their_type(self, torque_lab: Lab) -> None:
        """``prologue.vm`` for ``-T vm`` only."""
        hook = mom_file(torque_lab, "node1", "prologue.vm", "#!/bin/sh\necho hook of $1\n")
        try:
            typed = run_job(torque_lab, ["-T", "vm", "-l", "nodes=node1"], "true\n")
            plain = run_job(torque_lab, ["-l", "nodes=node1"], "true\n")
        finally:
            hook.unlink()
        assert output(torque_lab, typed).startswith("hook of ")
        assert output(torque_lab, plain) == ""

    def test_a_killed_mom_can_be_started_again_and_its_job_goes_on(self, torque_lab: Lab) -> None:
        """And the lab takes the node for healthy again."""
        job = qsub(torque_lab, ["-l", "nodes=node1"], stdin="sleep 3; echo done\n")
        wait_for_state(torque_lab, job, "R")
        before = of_lab(torque_lab)
        old = mom_pid(torque_lab, "node1")
        signal_mom(torque_lab, "node1", "KILL")
        start_mom(torque_lab, "node1")
        assert output(torque_lab, wait_for_state(torque_lab, job)) == "done\n"
        assert mom_pid(torque_lab, "node1") != old
        torque_lab.up()
        assert of_lab(torque_lab) == before
        assert node_state(torque_lab, "node1") == "free"


class TestMending:
    @pytest.fixture
    def own(self, torque_lab: Lab) -> Iterator[Lab]:
        """A lab of the test's own, up."""
        cluster = Lab(f"test-{os.getpid()}-torque-own", nodes=1, torque=True)
        try:
            cluster.up()
            yield cluster
        finally:
            cluster.down()

    def test_nothing_is_left_after_down(self, own: Lab) -> None:
        """With a job running: no process, no namespace of it, no file, no mount."""
        job = qsub(own, stdin="sleep 4711\n")
        wait_for_state(own, job, "R")
        inside = set().union(*(namespaces(host.init) for host in of_lab(own).values()))
        assert own.down()
        assert processes.below(own.paths.state) == []
        assert not own.paths.state.exists()
        assert str(own.paths.state) not in Path("/proc/self/mountinfo").read_text()
        assert len(inside) == 4 * 3, "head, switch and a node"
        assert inside & namespaces() == set()

    def test_a_dead_head_is_built_anew_and_the_user_keeps_the_home(self, own: Lab) -> None:
        """The server begins with an empty queue; the node's MOM finds it again."""
        kept = user_file(own, "kept", "kept\n")
        before = of_lab(own)
        os.kill(before[HEAD].init, signal.SIGKILL)
        eventually(lambda: not before[HEAD].alive)
        assert [node.torque for node in own.status()] == ["unknown"]
        own.up()
        assert of_lab(own)["node1"] == before["node1"]
        assert output(own, run_job(own, [], f"cat {kept}\n")) == "kept\n"

    def test_a_dead_mom_costs_only_its_node(self, own: Lab) -> None:
        """The server, its queue and the other hosts stay."""
        before = of_lab(own)
        over = qsub(own, stdin="true\n")
        wait_for_state(own, over)
        signal_mom(own, "node1", "KILL")
        eventually(lambda: health.exited(before["node1"]))
        own.up()
        after = of_lab(own)
        assert [name for name in after if after[name] != before[name]] == ["node1"]
        assert job_attributes(own, over)["job_state"] == "C"
        assert output(own, run_job(own, [], "echo again\n")) == "again\n"

    def test_it_can_be_taken_away_and_come_back(self, own: Lab) -> None:
        """Without it the head is gone and the nodes have homes of their own."""
        Lab(own.name, torque=False).up()
        assert not Lab(own.name).torque
        assert HEAD not in of_lab(own)
        assert not own.paths.shared.exists()
        assert [node.torque for node in Lab(own.name).status()] == [""]
        Lab(own.name, torque=True).up()
        assert Lab(own.name).torque
        assert output(own, run_job(own, [], "echo back\n")) == "back\n"


DIE_IN_UP = """
import os, signal
from nornir_torque_vm.lab import Lab, builder, pbs_server
inner = {place}
def die(*args, **kw):
    {before}
    os.kill(os.getpid(), signal.SIGKILL)
{place} = die
Lab({lab!r}, nodes=1, torque=True).up()
"""


class TestKilledUp:
    @pytest.fixture(
        params=[
            ("pbs_server.configure", "pass"),
            ("pbs_server.configure", "inner(*args[:3], 'create queue batch', *args[4:])"),
            ("pbs_server.configure", "inner(*args, **kw)"),
            ("pbs_server.await_nodes", "pass"),
        ],
        ids=["new server", "half a queue", "server without nodes", "all started"],
    )
    def broken(self, torque_lab: Lab, request: pytest.FixtureRequest) -> Iterator[Lab]:
        """A lab whose ``up`` was killed in the middle."""
        cluster = Lab(f"test-{os.getpid()}-torque-own", nodes=1, torque=True)
        place, before = request.param
        code = DIE_IN_UP.format(place=place, before=before, lab=cluster.name)
        argv = [sys.executable, "-c", code]
        died = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        try:
            assert died.returncode == -signal.SIGKILL, died.stderr
            yield cluster
        finally:
            cluster.down()

    def test_one_up_completes_it(self, broken: Lab) -> None:
        """A server that was not told everything is no server to keep."""
        broken.up()
        assert output(broken, run_job(broken, [], "echo complete\n")) == "complete\n"

    def test_one_down_removes_everything(self, broken: Lab) -> None:
        """Whatever runs is found by its command line."""
        assert broken.down()
        assert processes.below(broken.paths.state) == []
        assert not broken.paths.state.exists()
