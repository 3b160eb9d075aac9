"""Into the guests of a running job: as its owner and as root, on its nodes and from elsewhere."""

from __future__ import annotations

import json
import shlex
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from driving import SMALL, TORQUE_VM, Job, leftovers, shell, wait_for
from terminal import Terminal

from nornir_torque_vm.driver.session import Ended
from nornir_torque_vm.exitcodes import RunExit
from nornir_torque_vm.lab import Lab
from nornir_torque_vm.lab.spec import ENVIRONMENT

pytestmark = pytest.mark.lab

BOOT = 180.0
SCRIPT = "echo ready; until [ -e /tmp/over ]; do sleep 0.2; done"
ALICE = ["setpriv", "--reuid=2001", "--regid=2001", "--clear-groups", "env", "HOME=/home/alice"]
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


class Running:
    """A job with a guest on each of two nodes."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.job = lab, Job(lab, SCRIPT, SMALL, nodes=2)
        self.ended: list[Ended] = []
        self.thread = threading.Thread(target=lambda: self.ended.append(self.job.run()))
        self.thread.start()
        wait_for(lambda: "ready" in self.job.lines or self.ended, BOOT)
        batch = self.job.session.job
        assert batch is not None
        self.id = batch.job.job_id
        self.number = self.id.partition(".")[0]

    def ssh(
        self, *words: str, who: list[str] = ALICE, node: str = "node1", text: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run ``torque-vm ssh`` on a node."""
        argv = [*who, *TORQUE_VM, "ssh", *words]
        return self.lab.run(node, argv, check=False, input=text, seconds=90)

    def over(self) -> None:
        """Let the job end."""
        self.ssh(self.id, "touch /tmp/over")
        self.thread.join(BOOT)


@pytest.fixture(scope="module")
def running(lab: Lab) -> Iterator[Running]:
    """One job for all tests."""
    made = Running(lab)
    try:
        yield made
    finally:
        made.over()


def test_the_owner_is_himself_in_each_guest(running: Running) -> None:
    """On either node of the job: by rank, the first if none is named."""
    for words, node, rank in (
        (running.id, "node1", 0),
        (f"{running.id}:1", "node1", 1),
        (f"{running.id}:1", "node2", 1),
    ):
        done = running.ssh(words, "id -un; hostname", node=node)
        assert (done.stdout, done.stderr) == (f"alice\nj{running.number}-r{rank}\n", "")
        assert done.returncode == 0


def test_root_of_the_first_node_is_root_by_a_short_id(running: Running) -> None:
    """With the administrator's key, which no other node has."""
    done = running.ssh(f"{running.number}:1", "id -un; hostname", who=[])
    assert (done.stdout, done.returncode) == (f"root\nj{running.number}-r1\n", 0), done.stderr
    other = running.ssh(running.id, "true", who=[], node="node2")
    assert (other.returncode, other.stdout) == (RunExit.SITE, "")
    assert other.stderr == (
        f"torque-vm: job {running.id}: this is not the job's first node, and only that has the "
        "administrator's key; go to node1\n"
    )


def test_the_console_is_the_owners_and_roots_to_read(running: Running) -> None:
    """On the guest's node: the start of the kernel to the last line; nobody else's."""
    for who, node, words in (
        (ALICE, "node1", running.id),
        (ALICE, "node2", f"{running.id}:1"),
        ([], "node1", running.number),
    ):
        argv = [*who, *TORQUE_VM, "log", words, "-n", "500"]
        done = running.lab.run(node, argv, check=False, seconds=90)
        rank = 1 if ":" in words else 0
        assert (done.returncode, done.stderr) == (0, "")
        assert f"micro: j{running.number}-r{rank} is ready" in done.stdout
        assert all(line.isprintable() for line in done.stdout.splitlines())
    last = running.lab.run("node1", [*ALICE, *TORQUE_VM, "log", running.id, "-n", "1"]).stdout
    assert last == done.stdout.splitlines()[-1] + "\n"
    done = running.lab.run("node1", [*NOBODY, *TORQUE_VM, "log", running.id], check=False)
    assert done.returncode != 0
    assert "Permission denied" in done.stderr


def test_cloud_inits_output_is_read_in_the_guest(running: Running) -> None:
    """By root, or whom the image lets; legible."""
    log = "/var/log/cloud-init-output.log"
    made = f"printf 'one\\ntwo \\033[31mred\\nthree\\n' >>{log} && chmod 600 {log}"
    assert running.ssh(running.id, made, who=[]).returncode == 0
    argv = [*TORQUE_VM, "log", "--cloud-init", "-n", "2", running.number]
    assert running.lab.run("node1", argv, seconds=60).stdout == "two [31mred\nthree\n"
    argv[-1] = running.id
    owner = running.lab.run("node1", [*ALICE, *argv], check=False, seconds=60)
    assert owner.stdout == ""
    assert "Permission denied" in owner.stderr


def test_a_console_can_be_followed(running: Running) -> None:
    """What root in the guest writes there is seen at once."""
    words = [*running.lab.enter("node1"), *ALICE, *TORQUE_VM, "log", "-f", "-n", "0", running.id]
    with Terminal(words, ENVIRONMENT) as watched:
        wait_for(lambda: "cli log -f" in shell(running.lab, "node1", "ps -eo args"), 30)
        running.ssh(running.id, "sleep 2; echo a new line >/dev/ttyS0", who=[])
        watched.expect("a new line", 60)
        watched.send("\x03")
        assert watched.wait() != 0


def test_root_types_on_the_console_too(running: Running) -> None:
    """Both ways; on the first node for all guests of the job, until Ctrl-]."""
    words = [*running.lab.enter("node1"), *TORQUE_VM, "console", running.id]
    with Terminal(words, ENVIRONMENT) as watched:
        wait_for(lambda: "virsh -q" in shell(running.lab, "node1", "ps -eo args"), 30)
        asked = "stty -F /dev/ttyS0 -echo; read -r line </dev/ttyS0; echo got=$line=there >/dev/ttyS0"
        answer = threading.Thread(target=lambda: running.ssh(running.id, asked, who=[]))
        answer.start()
        time.sleep(5)  # until the guest reads: nobody tells when it does
        watched.send("typed\r")
        watched.expect("got=typed=there", 60)
        answer.join()
        watched.send("\x1d")
        assert watched.wait() == 0


def test_nobody_else_gets_in(running: Running) -> None:
    """The hand-over is for its owner's eyes."""
    done = running.ssh(running.id, "true", who=NOBODY)
    assert done.returncode == RunExit.SITE
    assert "Permission denied" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("code", [0, 7, 254, 255])
def test_the_exit_code_is_the_commands(running: Running, code: int) -> None:
    """Also one that ssh would use for itself; input, output and errors are the command's own."""
    done = running.ssh(running.id, f"cat; echo bad >&2; exit {code}", text="typed\n")
    assert (done.stdout, done.stderr, done.returncode) == ("typed\n", "bad\n", code)


def test_a_guest_that_is_gone_is_not_the_commands_failure(running: Running) -> None:
    """Nor is one there is not; each in a line."""
    done = running.ssh(f"{running.id}:7", "true")
    assert (done.returncode, done.stderr) == (
        RunExit.REFUSED, f"torque-vm: job {running.id}: there is no guest of rank 7; its ranks are 0 to 1\n",
    )  # fmt: skip
    given = running.lab.root("node2") / "run/torque-vm/handover" / running.id / "given"
    text = given.read_text()
    address = next(one["address"] for one in json.loads(text)["guests"] if one["rank"] == 1)
    given.write_text(text.replace(f'"{address}"', '"10.89.0.251"'))
    try:
        done = running.ssh(f"{running.id}:1", "exit 255", node="node2")
    finally:
        given.write_text(text)
    assert done.returncode == RunExit.SITE
    assert "the connection to guest" in done.stderr.splitlines()[-1]


def test_signals_reach_a_command_without_a_terminal(running: Running) -> None:
    """Each its own, and the command decides what they mean."""
    script = "trap 'echo got' USR1; trap 'echo ended; exit 5' TERM; echo up; while :; do sleep 0.1; done"
    words = [*running.lab.enter("node1"), *ALICE, *TORQUE_VM, "ssh", running.id, script]
    with Terminal(words, ENVIRONMENT) as watched:
        watched.expect("up", 60)
        inside = shell(running.lab, "node1", "pgrep -u alice -f 'cli ssh'").split()[0]
        shell(running.lab, "node1", f"kill -USR1 {inside}")
        watched.expect("got", 60)
        shell(running.lab, "node1", f"kill -TERM {inside}")
        watched.expect("ended", 60)
        assert watched.wait(60) == 5
    own = running.ssh(running.id, "ls /tmp | grep -c torque-vm-[0-9a-f]*[.]").stdout
    assert own == "1\n", "that of the command which looks"


def test_a_shell_has_the_terminal(running: Running) -> None:
    """Its size, and Ctrl-C is for what runs there."""
    words = [*running.lab.enter("node1"), *ALICE, *TORQUE_VM, "ssh", running.id]
    with Terminal(words, ENVIRONMENT) as terminal:
        terminal.resize(31, 97)
        terminal.send("stty size; echo =$((6*7))=\n")
        assert "31 97" in terminal.expect("=42=")
        terminal.send("sh -c 'echo go''ing; exec sleep 100'\n")
        terminal.expect("going")
        terminal.send("\x03")
        terminal.send("echo status $?\n")
        terminal.expect("status 130")
        terminal.send("exit 9\n")
        assert terminal.wait() == 9


QSTAT = """#!/bin/sh
[ "$3" = {number} ] || {{ echo "qstat: Unknown Job Id Error $3.head" >&2; exit 153; }}
echo '<Data><Job><Job_Id>{id}</Job_Id><job_state>R</job_state>'
echo '<exec_host>node1/0+node2/0</exec_host></Job></Data>'
"""


@pytest.fixture(scope="module")
def elsewhere(running: Running) -> Iterator[list[str]]:
    """As alice on another host: node2 without its hand-over, with a qstat and a key of her own."""
    root = running.lab.root("node2")
    given = root / "run/torque-vm/handover" / running.id / "given"
    given.unlink()
    keep = [running.lab.root(node) / "home/alice/.ssh" for node in ("node1", "node2")]
    for folder in keep:
        folder.mkdir(mode=0o700)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", keep[1] / "id_ed25519"], check=True)
    (keep[0] / "authorized_keys").write_bytes((keep[1] / "id_ed25519.pub").read_bytes())
    pinned = (root / "etc/torque-vm/ssh/known_hosts").read_text()
    (keep[1] / "known_hosts").write_text(pinned)
    for node in ("node1", "node2"):
        shell(running.lab, node, "chown -R alice:alice /home/alice/.ssh")
    bin_dir = root / "home/alice/bin"
    bin_dir.mkdir()
    (bin_dir / "qstat").write_text(QSTAT.format(number=running.number, id=running.id))
    (bin_dir / "qstat").chmod(0o755)
    settings = root / "etc/torque-vm/settings.toml"
    before = settings.read_text()
    settings.write_text(f'{before}real_qsub_on_nodes = "/home/alice/bin/qsub"\n')
    yield ALICE
    settings.write_text(before)
    shell(running.lab, "node2", "rm -r /home/alice/bin")
    for node in ("node1", "node2"):
        shell(running.lab, node, "rm -r /home/alice/.ssh")


@pytest.mark.parametrize("code", [0, 255])
def test_from_elsewhere_her_own_ssh_leads_her_there(
    running: Running, elsewhere: list[str], code: int
) -> None:
    """Through the first node, which the server names; words arrive as they were."""
    said = f"cat; echo 'a  b'; hostname; exit {code}"
    done = running.ssh(f"{running.number}:1", said, who=elsewhere, node="node2", text="typed\n")
    assert (done.stdout, done.stderr) == (f"typed\na  b\nj{running.number}-r1\n", "")
    assert done.returncode == code


def test_errors_come_back_from_there(running: Running, elsewhere: list[str]) -> None:
    """Once, with their exit code; a job nobody knows is not asked for there at all."""
    done = running.ssh(f"{running.number}:7", "true", who=elsewhere, node="node2")
    assert (done.returncode, done.stderr.count("\n")) == (RunExit.REFUSED, 1)
    assert "there is no guest of rank 7" in done.stderr
    done = running.ssh("999999", "true", who=elsewhere, node="node2")
    assert (done.returncode, done.stderr) == (
        RunExit.SITE, "torque-vm: job 999999: the server knows no such job; qstat lists those it knows\n",
    )  # fmt: skip


def test_afterwards_nothing_is_left(running: Running, lab: Lab) -> None:
    """And a job that is gone says so."""
    running.over()
    assert leftovers(lab) == {}
    done = running.ssh(running.id, "true")
    assert done.returncode == RunExit.SITE
    assert done.stderr.count("\n") == 1
    assert shlex.quote(running.id) in done.stderr
    assert not list(Path(lab.root("node1"), "tmp").glob("torque-vm-*"))
