"""Our hooks and the site's on a real TORQUE: who runs when, with what, and how long a sister is kept."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from driving import leftovers, wait_for
from torque_kit import configure_mom, mom_file, node_state, output, qsub, restore_mom, wait_for_state

from nornir_torque_vm.driver.deploy import HOOKS, deploy_hooks
from nornir_torque_vm.lab import Lab
from nornir_torque_vm.lab.files import SPOOL

pytestmark = pytest.mark.torque

SLOTS = ("prologue", "prologue.parallel", "epilogue", "epilogue.parallel")
USER_SLOTS = ("prologue.user", "prologue.user.parallel", "epilogue.user", "epilogue.user.parallel")
REQUEST = "other=vm1:vcpus=1:ram=192M"
OURS, SITES = "root/ours", "root/sites"
VM_SECONDS = 180.0

SITE = f"""#!{sys.executable} -I
import json, os, time
def files():
    for fd in range(3):
        try:
            yield os.readlink(f"/proc/self/fd/{{fd}}")
        except OSError:
            yield "closed"
with open("/proc/self/stat") as file:
    started = int(file.read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
seen = {{"slot": "SLOT", "files": list(files()), "cwd": os.getcwd(), "umask": os.umask(0), "gone": GONE}}
import sys
seen["argv"], seen["user"], seen["at"] = sys.argv, [os.getuid(), os.getgid(), os.getgroups()], time.time()
seen["kept"] = time.clock_gettime(time.CLOCK_BOOTTIME) - started
seen["leads"] = os.getsid(0) == os.getpid()
with open("/proc/self/environ", "rb") as file:
    seen["environment"] = sorted(file.read().decode().split(chr(0)))
with open("/{SITES}", "a") as file:
    print(json.dumps(seen), file=file)
"""
GONE = 'not any(name.startswith("tvm-") for name in os.listdir("/var/lib/torque-vm/volumes"))'
VARIES = (
    (r"\b\d+(?=\.head)", "N"),
    (r"energy_used=\d+|(cput|walltime|mem|vmem)=\w+(:\d+)*", "used"),
)
"""What differs between two jobs anyway."""
UNLIKE = ("at", "kept", "gone")
"""What of a record is for other tests."""


class Site:
    """A site of three nodes with hooks in all slots, which note what they are given."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.before = {node: (self.mom_priv(node) / "config").read_text() for node in lab.node_names}

    def mom_priv(self, node: str) -> Any:
        return self.lab.root(node) / SPOOL[1:] / "mom_priv"

    def hooks(self, suffix: str = "") -> None:
        """The site's own hooks."""
        for node in self.lab.node_names:
            (self.lab.root(node) / "var/lib/torque-vm/volumes").mkdir(parents=True, exist_ok=True)
            for slot in SLOTS:
                mom_file(self.lab, node, slot + suffix, SITE.replace("SLOT", slot).replace("GONE", GONE))

    def ours(self, *, plain: bool = False) -> None:
        """Our hooks, which note that they run."""
        for node in self.lab.node_names:
            line = f"$job_starter {deploy_hooks(self.lab.root(node))}"
            restore_mom(self.lab, node, self.before[node])
            configure_mom(self.lab, node, line)
            for slot in SLOTS:
                path = self.mom_priv(node) / f"{slot}.vm"
                first, rest = path.read_text().split("\n", 1)
                path.unlink()
                note = f"echo {slot} >>/{OURS}"
                mom_file(self.lab, node, slot if plain else path.name, f"{first}\n{note}\n{rest}")

    def run(self, *words: str, script: str = "hostname\n", seconds: float = VM_SECONDS) -> dict[str, str]:
        """Submit a job on all three nodes and wait for its end."""
        job = qsub(self.lab, ["-l", "nodes=3:ppn=1", *words], stdin=script)
        return wait_for_state(self.lab, job, seconds=seconds)

    def noted(self) -> list[dict[str, Any]]:
        """What the site's hooks noted since the last time, in the order of their beginning."""
        records = []
        for node in self.lab.node_names:
            path = self.lab.root(node) / SITES
            if path.exists():
                records += [{"node": node, **json.loads(line)} for line in path.read_text().splitlines()]
                path.unlink()
        return sorted(records, key=lambda record: record["at"])

    def ran(self) -> list[str]:
        """Slots of ours that ran since the last time, on any node."""
        found = []
        for node in self.lab.node_names:
            path = self.lab.root(node) / OURS
            if path.exists():
                found += path.read_text().splitlines()
                path.unlink()
        return sorted(found)

    def clear(self) -> None:
        """Take all hooks away."""
        for node in self.lab.node_names:
            restore_mom(self.lab, node, self.before[node])
            names = {*HOOKS, *SLOTS, *USER_SLOTS, "job_starter", *(f"{slot}.site" for slot in SLOTS)}
            for name in names:
                (self.mom_priv(node) / name).unlink(missing_ok=True)
        self.noted()
        self.ran()


@pytest.fixture
def site(torque_lab: Lab) -> Iterator[Site]:
    made = Site(torque_lab)
    try:
        yield made
    finally:
        made.clear()


def comparable(records: list[dict[str, Any]]) -> list[Any]:
    """Records without what differs between two jobs anyway; sisters have no order."""
    text = json.dumps([{k: v for k, v in record.items() if k not in UNLIKE} for record in records])
    for pattern, word in VARIES:
        text = re.sub(pattern, word, text)
    found: list[dict[str, Any]] = json.loads(text)
    for record in found:
        if record["slot"].startswith("epilogue"):
            record["argv"][5] = "session"
    return sorted(found, key=lambda record: (record["slot"], record["node"]))


def nets(lab: Lab) -> list[str]:
    """Safety nets, and processes that nobody waited for, on any node."""
    listed = (lab.run(node, ["ps", "-eo", "stat,args"]).stdout.splitlines() for node in lab.node_names)
    return [line for lines in listed for line in lines if line.startswith("Z") or "hooks.safetynet" in line]


def test_the_sites_hooks_of_a_vm_job_are_run_as_torque_runs_them(site: Site) -> None:
    """All slots on three nodes: same argv, environment, files, directory, umask, ids, session; in order."""
    site.hooks()
    words = ("-T", "vm", "-l", REQUEST, "-A", "account")
    site.run(*words)
    without = site.noted()
    site.ours()
    done = site.run(*words)
    assert re.fullmatch(r"j\d+-r0\n", output(site.lab, done))
    assert site.ran() == sorted(["prologue", "epilogue", *2 * ["prologue.parallel", "epilogue.parallel"]])
    with_ours = site.noted()
    assert comparable(with_ours) == comparable(without)
    order = [record["slot"] for record in with_ours]
    assert order == ["prologue.parallel"] * 2 + ["prologue"] + ["epilogue.parallel"] * 2 + ["epilogue"]
    assert [record["gone"] for record in with_ours] == [True] * 3 + [False] * 2 + [True]
    kept = {record["slot"]: record["kept"] for record in with_ours if "parallel" in record["slot"]}
    assert max(kept.values()) < 1.0, kept
    wait_for(lambda: leftovers(site.lab) == {} and not nets(site.lab), 30)
    assert [node_state(site.lab, node) for node in site.lab.node_names] == ["free"] * 3


def test_a_job_without_guests_meets_nothing_of_ours(site: Site) -> None:
    """With -T, that is without: the site's hooks are TORQUE's to run."""
    site.hooks()
    site.run()
    without = site.noted()
    site.ours()
    site.run()
    assert site.ran() == []
    assert comparable(site.noted()) == comparable(without)
    assert leftovers(site.lab) == {}


def test_without_types_ours_stand_before_the_sites(site: Site) -> None:
    """As plain hooks: the site's own, now behind ours, notice only their new name; no guest, no state."""
    site.hooks()
    site.run()
    without = comparable(site.noted())
    site.ours(plain=True)
    site.hooks(".site")
    for node in site.lab.node_names:
        for slot in SLOTS:
            assert "nornir" not in (site.mom_priv(node) / f"{slot}.site").read_text()
    site.run()
    found = site.noted()
    assert len(site.ran()) == 6
    assert max(record["kept"] for record in found) < 1.0
    for record in found:
        record["argv"][0] = record["argv"][0].removesuffix(".site")
    assert comparable(found) == without
    done = site.run("-l", REQUEST)
    assert re.fullmatch(r"j\d+-r0\n", output(site.lab, done))
    assert len(site.noted()) == 6
    wait_for(lambda: leftovers(site.lab) == {}, 30)


def test_the_sites_hooks_for_users_stay_torques(site: Site) -> None:
    """Ours before one of them calls the site's as that user; to the others TORQUE falls back by itself."""
    site.ours()
    for node in site.lab.node_names:
        for slot in USER_SLOTS:
            text = f"#!/bin/sh\necho {slot} $(id -un) >>/home/alice/user-hooks\n"
            mom_file(site.lab, node, slot, text, 0o755)
    log = site.lab.root("node1") / "home/alice/user-hooks"
    log.unlink(missing_ok=True)
    site.run("-T", "vm", "-l", REQUEST)
    found = log.read_text().splitlines()
    log.unlink()
    parallel = [f"{slot} alice" for slot in USER_SLOTS if "parallel" in slot]
    assert sorted(found) == sorted(["prologue.user alice", "epilogue.user alice", *parallel * 2])


@pytest.mark.parametrize("code", [1, 37])
def test_the_sites_prologue_fails_the_job_by_its_own_code(site: Site, code: int) -> None:
    """1 aborts; any other requeues, at once and for ever as without ours, until somebody deletes the job."""
    site.ours()
    for node in site.lab.node_names:
        mom_file(site.lab, node, "prologue", f"#!/bin/sh\nexit {code}\n")
    job = qsub(site.lab, ["-l", "nodes=3:ppn=1", "-T", "vm", "-l", REQUEST], stdin="true\n")
    if code == 1:
        assert wait_for_state(site.lab, job, seconds=VM_SECONDS)["exit_status"] == "-2"
    else:
        wait_for(lambda: int(wait_for_state(site.lab, job, "QREC").get("start_count", "0")) >= 2, 60)
        site.lab.run("head", ["qdel", job], check=False)
        wait_for_state(site.lab, job, seconds=VM_SECONDS)
    wait_for(lambda: leftovers(site.lab) == {}, 60)
