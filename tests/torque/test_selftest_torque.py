"""``torque-vm selftest --user`` on a real TORQUE: a job in a guest on each node; one of them broken."""

from __future__ import annotations

import re

import pytest
from failing import libvirtd, reap
from guest_jobs import GUEST_SECONDS, vm_lab
from remains import assert_nothing_left
from submission_kit import FRONT, TORQUE_VM, submit_host
from torque_kit import job_attributes, settings, user_run

from nornir_torque_vm.exitcodes import CliExit
from nornir_torque_vm.lab import HEAD, Lab
from nornir_torque_vm.lab.files import USER

__all__ = ["submit_host", "vm_lab"]
pytestmark = [pytest.mark.torque, pytest.mark.timeout(900)]

WORDS = [TORQUE_VM, "selftest", "-vm", "ram=192M", "--quiet", "--timeout", str(GUEST_SECONDS)]
LINE = re.compile(r"(node\d)  +(ok|fail)  +\d+  +(\d+\.head)  +(.+)")


def told(out: str) -> dict[str, tuple[str, str, str]]:
    """Verdict, job and what is said, by node."""
    title, *lines = out.splitlines()
    assert title.split() == ["NODE", "RESULT", "SECONDS", "JOB", "SAYS"]
    found = [LINE.fullmatch(line) for line in lines]
    return {match[1]: (match[2], match[3], match[4]) for match in found if match}


def home(lab: Lab) -> set[str]:
    """What is in the user's home."""
    return set(user_run(lab, ["ls", "-A"]).stdout.split())


def test_every_node_runs_a_job_of_the_users_in_a_guest(vm_lab: Lab) -> None:
    """Root names the user; no node is named, so all are tested. Nothing is left on them or in the home."""
    before = home(vm_lab)
    done = vm_lab.run(HEAD, [*WORDS, "--user", USER.name], check=False, seconds=2 * GUEST_SECONDS)
    assert done.returncode == CliExit.OK, done.stdout + done.stderr
    assert done.stderr == f"torque-vm: jobs of {USER.name} were submitted by {FRONT}\n"
    found = told(done.stdout)
    assert tuple(found) == vm_lab.node_names
    for node, (verdict, job, says) in found.items():
        assert verdict == "ok"
        assert re.fullmatch(rf"j{job.partition('.')[0]}-r0, .*micro guest.*", says)
        assert "not looked at" not in says
        known = job_attributes(vm_lab, job)
        assert known["exec_host"].startswith(f"{node}/")
        assert (known["Job_Owner"], known["exit_status"]) == (f"{USER.name}@{HEAD}", "0")
        assert_nothing_left(vm_lab, job)
    assert home(vm_lab) == before


def test_a_node_whose_libvirtd_is_stopped_is_one_failed_line(vm_lab: Lab) -> None:
    """With the reason that the owner of a job is told; the user calls it, the others' guests run."""
    before, broken = home(vm_lab), "node2"
    with settings(vm_lab, {"max_requeues": 1, "requeue_pause": 1, "offline_after": 0}, broken):
        with libvirtd(vm_lab, broken) as daemon:
            daemon.kill()
            done = user_run(vm_lab, WORDS, check=False, seconds=2 * GUEST_SECONDS)
        found = told(done.stdout)
        verdict, job, says = found.pop(broken)
        reap(vm_lab, job)
    assert done.returncode == CliExit.FAILED, done.stdout + done.stderr
    assert verdict == "fail"
    assert says.startswith(f"{broken}, survey: cannot open qemu:///system: ")
    assert says.endswith(f"given up after 2 attempts; torque-vm job {job} on {broken} tells why")
    assert {verdict for verdict, _, _ in found.values()} == {"ok"}
    assert len(found) == 2
    for _, other, _ in found.values():
        assert_nothing_left(vm_lab, other)
    assert_nothing_left(vm_lab, job)
    assert home(vm_lab) == before
