"""Jobs with guests on a real TORQUE: the job starter runs them there as the MOM would have run them here."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator

import pytest
from guest_jobs import hooked
from torque_kit import (
    delete,
    eventually,
    output,
    qsub,
    user_file,
    user_run,
    wait_for_state,
)
from torque_terminal import Terminal

from nornir_torque_vm.lab import HEAD, Lab
from nornir_torque_vm.lab.files import SPOOL
from nornir_torque_vm.request import parse_request

pytestmark = pytest.mark.torque

BOOT = 120.0
"""Seconds for a job whose guests are emulated, from its submission to its end."""


@pytest.fixture(scope="module")
def site(torque_lab: Lab) -> Iterator[Lab]:
    """The lab with our hooks and job starter."""
    with hooked(torque_lab):
        yield torque_lab


def words(nodes: str, guests: int = 1) -> list[str]:
    request = parse_request([f"vcpus=1,ram=192M,vms_per_node={guests}"])
    return ["-T", "vm", "-l", f"nodes={nodes}", "-l", f"other={request.encode()}"]


def submit(lab: Lab, script: str, *more: str, nodes: str = "node1", guests: int = 1) -> str:
    return qsub(lab, [*words(nodes, guests), *more], script=f"#!/bin/sh\n{script}\n")


def spool(lab: Lab, job: str, node: str = "node1") -> str:
    """What a running job has printed."""
    path = lab.root(node) / SPOOL[1:] / "spool" / f"{job}.OU"
    return path.read_text() if path.exists() else ""


def await_output(lab: Lab, job: str, text: str) -> str:
    eventually(lambda: text in spool(lab, job), BOOT)
    return spool(lab, job)


def number(job: str) -> str:
    return job.partition(".")[0]


class TestBatch:
    def test_a_script_finds_in_the_guest_what_it_would_find_on_the_node(self, site: Lab) -> None:
        """Arguments, directory, umask, environment, nodefile, both streams apart, exit status."""
        script = (
            'echo "$(hostname) $# $2 $PWD $(umask) $PBS_NP $ODD $(id -un) $(cat | wc -c)"\n'
            'cat "$PBS_NODEFILE"; env | grep -c SSH_; echo oops >&2\n'
            "head -c 10000000 /dev/zero | tr '\\0' x; echo; exit 37"
        )
        more = ("-F", "one 'two words'", "-v", "ODD=a;b", "-d", "/tmp")
        paths = ("-o", "/home/alice/", "-e", "/home/alice/")
        job = submit(site, script, *more, *paths, nodes="node1:ppn=2", guests=2)
        done = wait_for_state(site, job, seconds=BOOT)
        guests = [f"j{number(job)}-r{rank}" for rank in (0, 1)]
        lines = output(site, done).splitlines()
        assert lines[0] == f"{guests[0]} 2 two words /tmp 0077 2 a;b alice 0"
        assert lines[1:4] == [*guests, "0"]
        assert len(lines[4]) == 10_000_000
        assert output(site, done, "Error") == "oops\n"
        assert done["exit_status"] == "37"

    def test_255_is_the_jobs_own_status(self, site: Lab) -> None:
        """And not a broken connection; here with the script on qsub's standard input."""
        job = qsub(site, words("node1"), stdin="echo out; exit 255\n")
        done = wait_for_state(site, job, seconds=BOOT)
        assert (done["exit_status"], output(site, done), output(site, done, "Error")) == ("255", "out\n", "")

    def test_every_member_of_an_array_has_guests_of_its_own(self, site: Lab) -> None:
        """Its files on the node have other names than its id."""
        array = submit(site, 'echo "$(hostname) $PBS_ARRAYID $(wc -l <$PBS_NODEFILE)"', "-t", "1-2")
        members = [f"{number(array).rstrip('[]')}[{index}].{HEAD}" for index in (1, 2)]
        done = [wait_for_state(site, member, seconds=BOOT) for member in members]
        prefix = number(array).rstrip("[]")
        assert [output(site, job) for job in done] == [f"j{prefix}-{n}-r0 {n} 1\n" for n in (1, 2)]

    def test_a_deleted_job_is_told_in_its_guest_and_ends_by_the_signal(self, site: Lab) -> None:
        """Its trap runs, and its words arrive; the way into an emulated guest may take more than 2 s."""
        job = submit(site, "trap 'echo trapped; exit 9' TERM; echo ready; while :; do sleep 0.2; done")
        await_output(site, job, "ready")
        assert delete(site, job, "-W", "30").returncode == 0
        done = wait_for_state(site, job, seconds=BOOT)
        assert done["exit_status"] == "271"
        assert output(site, done).split() == ["ready", "trapped"]

    def test_a_signal_of_qsigs_ends_the_job_as_without_guests(self, site: Lab) -> None:
        """Every process of the job gets it; the login shell dies of it, and TORQUE sees that."""

        def job(*request: str) -> tuple[str, str]:
            script = "#!/bin/sh\ntrap 'echo caught; exit' USR1; echo ready; while :; do sleep 0.1; done\n"
            name = qsub(site, [*request, "-l", "nodes=node1"], script=script)
            await_output(site, name, "ready")
            user_run(site, ["qsig", "-s", "SIGUSR1", name])
            done = wait_for_state(site, name, seconds=BOOT)
            return done["exit_status"], output(site, done).split()[0]

        assert job(*words("node1")[:2], *words("node1")[4:]) == job()

    def test_a_marked_job_without_a_hand_over_is_refused(self, site: Lab) -> None:
        """Its prologue was killed, which TORQUE takes for success; never bare metal."""
        plain = qsub(site, ["-h", "-l", "nodes=node1"], stdin="echo bare metal\n")
        marker = site.root("node1") / "run/torque-vm/markers" / plain
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
        try:
            user_run(site, ["qrls", plain])
            done = wait_for_state(site, plain)
        finally:
            marker.unlink(missing_ok=True)
        assert done["exit_status"] == "122"
        assert output(site, done) == ""
        (line,) = output(site, done, "Error").splitlines()
        assert line.startswith(f"torque-vm: job {plain}: its guests were not started, or are gone")


class TestInteractive:
    @contextlib.contextmanager
    def terminal(self, site: Lab, *more: str, display: str = "") -> Iterator[tuple[Terminal, str]]:
        variables = [f"DISPLAY={display}"] if display else []
        with Terminal(site, ["env", *variables, "qsub", "-I", *words("node1"), *more]) as terminal:
            found = re.search(r"job (\S+) ready", terminal.expect(" ready", BOOT))
            assert found
            yield terminal, found[1]
        wait_for_state(site, found[1], seconds=BOOT)

    def test_the_shell_is_at_a_terminal_in_the_guest(self, site: Lab) -> None:
        """With its size, also when that changes; Ctrl-C and Ctrl-Z are for what runs there."""
        with self.terminal(site) as (terminal, job):
            terminal.expect("$ ", BOOT)
            terminal.send(
                "echo on:$(hostname):$TERM:$PBS_ENVIRONMENT; test -t 0 && test -t 1 && echo tty:ok\n"
            )
            terminal.expect(f"on:j{number(job)}-r0:xterm:PBS_INTERACTIVE")
            terminal.expect("tty:ok")
            terminals = "for t in /dev/pts/[0-9]*; do stty -F $t rows 33 cols 77; done"
            site.run("node1", ["sh", "-c", terminals])
            time.sleep(0.5)
            terminal.send("echo size:$(stty size)\n")
            terminal.expect("size:33 77")
            terminal.send("sleep 1000\n")
            time.sleep(0.5)
            terminal.send("\x03")
            terminal.send("echo after:$?\n")
            terminal.expect("after:130")
            terminal.send("sleep 1000\n")
            time.sleep(0.5)
            terminal.send("\x1a")
            terminal.send("kill -KILL %1; echo stopped:$?\n")
            terminal.expect("stopped:0")
            terminal.send("exit\n")
            assert terminal.wait(BOOT) == 0
            assert "logout" in terminal.text or "exit" in terminal.text

    def test_a_command_is_run_in_the_guest(self, site: Lab) -> None:
        """``qsub -I -x``; TORQUE wants a script that exists where it is submitted, so there is one there."""
        script = user_file(site, "hostname", "#!/bin/sh\necho on the head\n")
        site.run(HEAD, ["mount", "--bind", script, "/bin/hostname"])
        try:
            with self.terminal(site, "-x", "/bin/hostname") as (terminal, job):
                assert terminal.wait(BOOT) == 0
                assert f"j{number(job)}-r0" in terminal.text
        finally:
            site.run(HEAD, ["umount", "/bin/hostname"])

    def test_a_signal_that_its_shell_ignores_does_not_end_it(self, site: Lab) -> None:
        """As on a node: ssh, which would end by it, does not get it."""
        with self.terminal(site) as (terminal, job):
            terminal.expect("$ ", BOOT)
            user_run(site, ["qsig", "-s", "SIGTERM", job])
            time.sleep(2)
            terminal.send("echo goes:on$(hostname)\n")
            terminal.expect(f"goes:onj{number(job)}-r0", BOOT)

    def test_a_display_that_the_guest_cannot_use_is_told_in_one_line(self, site: Lab) -> None:
        """``qsub -X``; the micro guest has no xauth. The node's display is not its own."""
        user_run(site, ["xauth", "-q", "add", "unix:20.0", "MIT-MAGIC-COOKIE-1", "0" * 32])
        site.run("node1", ["sysctl", "-q", "net.ipv6.conf.lo.disable_ipv6=0"])
        site.run("node1", ["ip", "address", "replace", "::1/128", "dev", "lo"])  # else a MOM gives no display
        with self.terminal(site, "-X", display="localhost:20.0") as (terminal, _):
            said = terminal.expect("$ ", BOOT).splitlines()
            assert (
                said.count("torque-vm: no X11 here: the guest's sshd does not allow it, or finds no xauth")
                == 1
            )
            terminal.send("echo display:${DISPLAY:-none}:$?\n")
            terminal.expect("display:none:0", BOOT)
        site.run("node1", ["sysctl", "-q", "net.ipv6.conf.lo.disable_ipv6=1"])

    def test_a_deleted_one_ends(self, site: Lab) -> None:
        """Whatever is typed at that moment; and no directory of ssh's socket is left on the node."""
        with self.terminal(site) as (terminal, job):
            terminal.expect("$ ", BOOT)
            delete(site, job)
            terminal.wait(BOOT)
        left = site.run("node1", ["sh", "-c", "ls -d /tmp/torque-vm-* 2>/dev/null || true"]).stdout
        assert left == ""


class TestTasks:
    def test_tasks_of_all_nodes_run_in_their_nodes_guests(self, site: Lab) -> None:
        """On the mother superior and on a sister, by slot; output, error output and status come back."""
        script = "env | grep ^PBS_; echo ready; while [ ! -e go ]; do sleep 0.2; done"
        job = submit(site, script, nodes="node1:ppn=2+node2:ppn=4", guests=2)
        text = await_output(site, job, "ready")
        env = dict(line.split("=", 1) for line in text.splitlines() if line.startswith("PBS_"))
        task = "echo task:$PBS_VNODENUM:$(hostname):$PWD; echo err >&2; exit 3"
        argv = ["pbsdsh", "-v", "/bin/sh", "-c", task]
        said = user_run(site, argv, host="node1", env=env, seconds=BOOT).stderr
        assert said.count("exit status 3") == 6
        eventually(lambda: spool(site, job).count("task:") == 6)
        delete(site, job)
        done = wait_for_state(site, job, seconds=BOOT)
        ranks = [0, 1, 2, 2, 3, 3]
        expected = [f"task:{slot}:j{number(job)}-r{rank}:/home/alice" for slot, rank in enumerate(ranks)]
        assert sorted(line for line in output(site, done).splitlines() if "task:" in line) == expected
        assert output(site, done, "Error").split().count("err") == 6
