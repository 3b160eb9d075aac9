"""``torque-vm doctor``, ``selftest`` and the nodes' own credential, on nodes that ``install node`` made."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from driving import TORQUE_VM, command, leftovers, shell, wait_for

from nornir_torque_vm.config.textfile import write_text
from nornir_torque_vm.exitcodes import CliExit
from nornir_torque_vm.lab import Lab
from nornir_torque_vm.lab.files import SPOOL, toml

pytestmark = pytest.mark.lab

PREFIX = "/srv/torque-vm/kit"
INSTALL = ("install", "node", "--prefix", PREFIX)
BUNDLE = "/root/credential"
SSH_URI = "qemu+ssh://root@{node}/system?command=/etc/torque-vm/credential/ssh"


@pytest.fixture(scope="module")
def site(micro: Path) -> Iterator[Lab]:
    """Two nodes of their own, with the kit and a qsub that can be executed; there is no server to ask."""
    settings = {
        "real_qsub_on_nodes": "/usr/bin/true", "offline_after": 0, "network_filter": "torque-vm-guest",
    }  # fmt: skip
    cluster = Lab(f"test-{os.getpid()}-doctor", nodes=2, settings=settings)
    try:
        cluster.up()
        for node in cluster.node_names:
            write_text(mom_config(cluster, node), "$pbsserver head\n$prologalarm 300\n", 0o644)
            done = command(cluster, *INSTALL, node=node)
            assert done.returncode == 0, done.stderr
        yield cluster
    finally:
        cluster.down()


def mom_config(lab: Lab, node: str) -> Path:
    return lab.root(node) / SPOOL[1:] / "mom_priv/config"


def change(lab: Lab, node: str, values: Mapping[str, object]) -> Callable[[], None]:
    """Change settings of a node; return what changes them back."""
    path = lab.root(node) / "etc/torque-vm/settings.toml"
    before = path.read_text()
    write_text(path, toml(tomllib.loads(before) | dict(values)), 0o644)
    return lambda: write_text(path, before, 0o644)


def doctor(lab: Lab, *words: str) -> tuple[int, list[dict[str, Any]]]:
    """Exit code, and the lines that are not ok, with their host."""
    done = command(lab, "doctor", "--json", "node1", "node2", *words)
    lines = [
        {"host": host["host"], **line} for host in json.loads(done.stdout)["hosts"] for line in host["lines"]
    ]
    assert len(lines) > 30, "both were looked at"
    return done.returncode, [line for line in lines if line["mark"] != "ok"]


def test_healthy_nodes_are_in_order(site: Lab) -> None:
    """But for the MOM, which this lab has none of."""
    code, lines = doctor(site)
    assert code == CliExit.OK
    assert {(line["host"], line["mark"], line["subject"], line["cure"]) for line in lines} == {
        (node, "warn", "job starter", "start pbs_mom") for node in site.node_names
    }


@dataclasses.dataclass(frozen=True)
class Fault:
    """What is done to node2, and how it is undone; what is said of it, and the cure."""

    done: str
    undone: str
    mark: str
    subject: str
    cure: str


VOLUMES = "/var/lib/torque-vm/volumes"
HOOK = f"{SPOOL}/mom_priv/prologue.vm"
CONFIG = f"{SPOOL}/mom_priv/config"
DELAY = "/sys/class/net/br0/bridge/forward_delay"
FAULTS = {
    "mode of a hook": Fault(
        f"chmod 0777 {HOOK}", f"chmod 0500 {HOOK}", "fail", "hook prologue.vm", f"chmod 0500 {HOOK}"
    ),
    "owner of a hook": Fault(
        f"chown alice {HOOK}", f"chown root {HOOK}", "fail", "hook prologue.vm", f"chown root {HOOK}"
    ),
    "no job starter": Fault(
        f"sed -i.kept /job_starter/d {CONFIG}", f"mv {CONFIG}.kept {CONFIG}", "fail", "job starter",
        "torque-vm install node --reload",
    ),
    "short limit": Fault(
        f"sed -i.kept 's/prologalarm 300/prologalarm 60/' {CONFIG}", f"mv {CONFIG}.kept {CONFIG}",
        "fail", "prologalarm", "write $prologalarm 300",
    ),
    "full disk": Fault(
        f"mount -t tmpfs -o size=16k tmpfs {VOLUMES}", f"umount {VOLUMES}", "fail", "volume_dir", "make room",
    ),
    "volumes of another": Fault(
        f"chown alice {VOLUMES}", f"chown root {VOLUMES}", "fail", "volume_dir", f"chown root {VOLUMES}"
    ),
    "forward delay": Fault(
        f"echo 1500 >{DELAY}", f"echo 0 >{DELAY}", "warn", "bridge br0", "forward_delay 0",
    ),
    "no name": Fault(
        "sed -i.kept s/node1/nodeX/ /etc/hosts", "mv /etc/hosts.kept /etc/hosts", "fail", "name node1",
        "put node1 into /etc/hosts or DNS",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_is_named_with_its_cure(site: Lab, fault: Fault) -> None:
    """On the node that has it."""
    shell(site, "node2", fault.done)
    try:
        code, lines = doctor(site)
    finally:
        shell(site, "node2", fault.undone)
    (line,) = [line for line in lines if line["subject"] == fault.subject and fault.cure in line["cure"]]
    assert (line["host"], line["mark"]) == ("node2", fault.mark)
    assert code == (CliExit.FAILED if fault.mark == "fail" else CliExit.OK)


def test_a_pool_of_another_user_is_named_with_its_cure(site: Lab) -> None:
    """Who owns it decides what root's jobs boot."""
    pool, image = "/srv/torque-vm/pool", "/srv/torque-vm/images/micro.qcow2"
    shell(site, "node2", f"mkdir {pool}; cp {image} {pool}; chown alice {pool}")
    restore = change(site, "node2", {"image_pool": pool})
    try:
        _, lines = doctor(site, "--quick")
    finally:
        restore()
        shell(site, "node2", f"rm -r {pool}")
    (line,) = [line for line in lines if line["subject"] == "image_pool"]
    assert line["host"] == "node2"
    assert "belongs to uid 2001" in line["text"]
    assert "give it to root" in line["cure"]


def test_a_frozen_libvirtd_is_late_and_hides_nothing(site: Lab) -> None:
    """Of another node, and on its own: within the time, with everything else."""
    pid = shell(site, "node2", "pidof libvirtd").strip()
    site.run("node2", ["kill", "-STOP", pid])
    began = time.monotonic()
    try:
        code, lines = doctor(site, "--timeout", "15")
    finally:
        site.run("node2", ["kill", "-CONT", pid])
    assert time.monotonic() - began < 15 + 5
    late = {(line["host"], line["subject"]) for line in lines if line["mark"] == "late"}
    assert late == {("node1", "node node2"), ("node2", "libvirt")}
    assert code == CliExit.LATE


def test_a_node_without_a_shell_is_a_warning(site: Lab) -> None:
    """It says where to look instead."""
    restore = change(site, "node1", {"node_shell_key": "/nonexistent/key"})
    try:
        done = command(site, "doctor", "--json", "--quick", "node1", "node2")
    finally:
        restore()
    found = {host["host"]: host["lines"] for host in json.loads(done.stdout)["hosts"]}
    (line,) = found["node2"]
    assert (line["mark"], line["subject"]) == ("warn", "node shell")
    assert line["cure"].endswith("until then run torque-vm doctor there")


@pytest.fixture
def by_ssh(site: Lab) -> Iterator[Lab]:
    """Nodes that reach each other by a key that ``install credential`` made."""
    restores = [change(site, node, {"node_uri": SSH_URI}) for node in site.node_names]
    keys = ("--authorized-keys", "/etc/torque-vm/ssh/authorized_keys")
    try:
        made = command(site, "install", "credential", BUNDLE, *site.node_names,
                       "--known-hosts", "/etc/torque-vm/ssh/known_hosts")  # fmt: skip
        assert made.returncode == 0, made.stderr
        shell(site, "node2", f"mkdir -m 700 {BUNDLE}")
        for path in (site.root("node1") / BUNDLE[1:]).iterdir():
            mode = path.stat().st_mode & 0o777
            write_text(site.root("node2") / BUNDLE[1:] / path.name, path.read_text(), mode)
        for node in site.node_names:
            done = command(site, *INSTALL, "--credential", BUNDLE, *keys, node=node)
            assert done.returncode == 0, done.stderr
        yield site
    finally:
        for node in site.node_names:
            command(site, *INSTALL, "--uninstall", node=node)
            shell(site, node, f"rm -rf {BUNDLE}")
        for restore in restores:
            restore()
        for node in site.node_names:
            command(site, *INSTALL, node=node)


@pytest.mark.proves("node_uri")
def test_a_guest_boots_on_each_node_by_a_key_that_can_do_nothing_else(by_ssh: Lab) -> None:
    """The self-test of both nodes from one; a shell is what the key does not get."""
    done = command(by_ssh, "selftest", "node1", "--node", "node2", "-vm", "ram=192M", seconds=200.0)
    assert done.returncode == CliExit.OK, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert rows[0][:2] == ["NODE", "SECONDS"]
    assert [(row[0], row[5]) for row in rows[1:]] == [("node1", "Linux"), ("node2", "Linux")]
    assert all(float(row[1]) > 0 for row in rows[1:])
    assert leftovers(by_ssh) == {}
    reached = ["/etc/torque-vm/credential/ssh", "root@node2", "touch", "/tmp/got-in"]
    by_ssh.run("node1", reached, check=False, input="")
    assert not (by_ssh.root("node2") / "tmp/got-in").exists()
    assert "torque-vm-node" in (by_ssh.root("node2") / "etc/torque-vm/ssh/authorized_keys").read_text()


def test_a_self_test_that_is_interrupted_leaves_nothing(site: Lab) -> None:
    """It ends in its own order, by the signal's word."""
    words = [*site.enter("node1"), *TORQUE_VM, "selftest", "node1", "-vm", "ram=192M"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        wait_for(lambda: site.status()[0].guests, 30)
        shell(site, "node1", "kill -TERM $(pgrep -f '[n]ornir_torque_vm.cli selftest')")
        _, err = running.communicate(timeout=60)
    assert running.returncode not in {0, -signal.SIGTERM}, err
    assert leftovers(site) == {}


def test_a_self_test_of_a_node_that_is_not_there_is_a_failure(site: Lab) -> None:
    """The other one's guest is asked all the same."""
    done = command(site, "selftest", "node1", "10.89.0.99", "-vm", "ram=192M", "--timeout", "60")
    assert done.returncode in {CliExit.FAILED, CliExit.LATE}
    assert leftovers(site) == {}


def test_a_dead_libvirtd_of_another_node_fails(site: Lab) -> None:
    """Both nodes say so; the other's is well. Last, because the node is built anew."""
    pid = shell(site, "node2", "pidof libvirtd").strip()
    site.run("node2", ["kill", "-KILL", pid])
    try:
        wait_for(lambda: not shell(site, "node2", "pidof libvirtd || true").strip(), 10)
        code, lines = doctor(site)
    finally:
        site.up()
    failed = {(line["host"], line["subject"]): line for line in lines if line["mark"] == "fail"}
    assert set(failed) == {("node1", "node node2"), ("node2", "libvirt")}
    assert "check that libvirtd runs there" in failed["node1", "node node2"]["cure"]
    assert code == CliExit.FAILED
