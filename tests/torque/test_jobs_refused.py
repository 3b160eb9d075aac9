"""Jobs that cannot have guests, on a real TORQUE: their owner reads why, and nothing of them runs."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from guest_jobs import GUEST_SECONDS, NOTE, Bystander, bystander, hosts_noted, mom_priv, vm_lab
from remains import assert_nothing_left
from submission_kit import FRONT, SubmitHost, submit_host
from torque_kit import (
    job_attributes,
    node_state,
    output,
    qsub,
    restore_mom,
    run_job,
    set_submit_filter,
    settings,
    wait_for_state,
)
from torque_terminal import Terminal

from nornir_torque_vm.lab import HEAD, Lab

__all__ = ["bystander", "submit_host", "vm_lab"]
pytestmark = [pytest.mark.torque, pytest.mark.timeout(900)]

SCRIPT = f"#!/bin/sh\n{NOTE}uname -n\n"
FORGED = {
    "": "carries no VM request",
    "other=anything": "carries no VM request",
    "other=vm9:ram=192M": "'vm9'",
    "other=vm1:ram=lots": "key ram is 'lots'",
    "other=vm1:img=../../../etc/passwd": "key img is '../../../etc/passwd'",
    "other=vm1:img=nosuch.qcow2": "nosuch.qcow2",
    "other=vm1:vcpus=99:ram=192M": "ask for at most vcpus=",
    "other=vm1:nosuch=1": "unknown -vm key 'nosuch'",
}
"""What stands where a request should → what its owner reads."""


def forged(resources: str) -> list[str]:
    """Words for TORQUE's own qsub, which knows nothing of guests; a library submits like this too."""
    return ["-T", "vm", "-l", "nodes=node1", *(["-l", resources] if resources else [])]


@pytest.fixture
def unfiltered(vm_lab: Lab) -> Iterator[None]:
    """Nothing looks at a job when it is submitted."""
    path = vm_lab.root(HEAD) / "var/spool/torque/torque.cfg"
    before = path.read_text()
    set_submit_filter(vm_lab, None)
    yield
    path.write_text(before)


def assert_told(lab: Lab, job: str, code: str, words: str) -> None:
    """Make sure that a job ended with ``code`` and one line in its error file, and without a trace."""
    done = wait_for_state(lab, job, seconds=GUEST_SECONDS)
    (line,) = output(lab, done, "Error").splitlines()
    assert line.startswith("torque-vm: ")
    assert words in line
    assert (done["exit_status"], done["start_count"], output(lab, done)) == (code, "1", "")
    assert hosts_noted(lab, job) == []
    assert_nothing_left(lab, job)


@pytest.mark.usefixtures("unfiltered")
def test_a_request_that_nobody_checked_is_refused_by_the_node(
    submit_host: SubmitHost, vm_lab: Lab, bystander: Bystander
) -> None:
    """Also one that is missing: one sentence in the error file, the user's exit code, once."""
    jobs = {
        qsub(vm_lab, forged(resources), script=SCRIPT, program=submit_host.real): words
        for resources, words in FORGED.items()
    }
    for job, words in jobs.items():
        assert_told(vm_lab, job, "120", words)
    bystander.assert_untouched()


@pytest.mark.usefixtures("unfiltered")
def test_the_owner_of_an_interactive_job_reads_it_at_the_terminal(
    submit_host: SubmitHost, vm_lab: Lab, bystander: Bystander
) -> None:
    """No shell is started."""
    job, said = at_terminal(vm_lab, [submit_host.real, "-I", *forged("other=vm1:ram=lots")])
    assert len(re.findall(r"torque-vm: -vm key ram is 'lots' but must be", said)) == 1
    assert "$ " not in said
    assert_nothing_left(vm_lab, job)
    bystander.assert_untouched()


def at_terminal(lab: Lab, words: list[str]) -> tuple[str, str]:
    """Submit an interactive job that does not start; return its id and what its terminal shows."""
    with Terminal(lab, words) as terminal:
        ready = re.search(r"waiting for job (\S+) to start", terminal.expect(" to start"))
        assert ready
        terminal.wait(GUEST_SECONDS)
    assert wait_for_state(lab, ready[1])["job_state"] == "C"
    return ready[1], terminal.text


class TestWithoutAStarter:
    """The MOM of node3 has lost its job starter, for example with its configuration."""

    @pytest.fixture(autouse=True)
    def lost(self, vm_lab: Lab) -> Iterator[None]:
        config = mom_priv(vm_lab, "node3") / "config"
        before = config.read_text()
        lines = [line for line in before.splitlines() if not line.startswith("$job_starter")]
        restore_mom(vm_lab, "node3", "".join(f"{line}\n" for line in lines))
        with settings(vm_lab, {"max_requeues": 0}, "node3"):
            yield
        restore_mom(vm_lab, "node3", before)

    def test_a_batch_job_ends_with_the_reason_in_its_error_file(
        self, vm_lab: Lab, bystander: Bystander
    ) -> None:
        """As any job that cannot have its guests, though nobody on this node enters any."""
        words = ["-l", "nodes=node3:ppn=1+node2:ppn=1", "-vm", "vcpus=1,ram=192M"]
        job = qsub(vm_lab, words, script=SCRIPT, program=FRONT)
        assert_told(vm_lab, job, "122", "pbs_mom of this node has no job starter; install")
        assert job_attributes(vm_lab, job)["exec_host"].startswith("node3/")
        bystander.assert_untouched()

    def test_an_array_and_a_script_on_standard_input_end_so_too(self, vm_lab: Lab) -> None:
        """A member's script has another name than its job."""
        words = ["-l", "nodes=node3", "-vm", "vcpus=1,ram=192M", "-t", "1"]
        array = qsub(vm_lab, words, stdin=SCRIPT, program=FRONT)
        assert_told(vm_lab, array.replace("[]", "[1]"), "122", "has no job starter")

    def test_an_interactive_job_ends_with_the_reason_at_the_terminal(
        self, vm_lab: Lab, bystander: Bystander
    ) -> None:
        """It has no script; it is aborted."""
        words = [FRONT, "-I", "-l", "nodes=node3", "-vm", "vcpus=1,ram=192M"]
        job, said = at_terminal(vm_lab, words)
        assert "torque-vm: pbs_mom of this node has no job starter" in said
        assert job_attributes(vm_lab, job)["exit_status"] == "-2"
        assert_nothing_left(vm_lab, job)
        bystander.assert_untouched()

    def test_a_job_without_guests_runs_there(self, vm_lab: Lab) -> None:
        """And the node stays up."""
        done = run_job(vm_lab, ["-l", "nodes=node3"], "uname -n; exit 5\n")
        assert (output(vm_lab, done), done["exit_status"]) == ("node3\n", "5")
        assert node_state(vm_lab, "node3") == "free"
