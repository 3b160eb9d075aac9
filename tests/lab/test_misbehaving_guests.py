"""Guests that do as they like: what their job sees of it, and that nothing is left of them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest
from driving import SMALL, Job, command, history, leftovers, settings, shell

from nornir_torque_vm.lab import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

FOLDER = "/srv/misbehaving"
WHEN_TOLD = "(until [ -e /tmp/now ]; do sleep 0.2; done; {0}) >/dev/null 2>&1 &"
"""Root's doing in a guest, at the moment its user chooses."""
BACK = 10 * 365 * 86400
"""Seconds by which a clock is wrong."""


@contextlib.contextmanager
def roots_doing(lab: Lab, text: str) -> Iterator[None]:
    """Have root run something in every guest before the job."""
    shell(lab, "node1", f"mkdir -p {FOLDER}; cat >{FOLDER}/script <<'END'\n#!/bin/sh\n{text}\nEND")
    try:
        with settings(lab, {"guest_prologue": f"{FOLDER}/script"}, *lab.node_names):
            yield
    finally:
        shell(lab, "node1", f"rm -rf {FOLDER}")


def test_a_job_whose_guest_is_reset_ends_as_one_whose_guest_is_lost(lab: Lab) -> None:
    """The guest comes back, its job does not: nobody runs it a second time."""
    job = Job(lab, "echo ready; touch /tmp/now; sleep 300; echo never")
    with roots_doing(lab, WHEN_TOLD.format("reboot -f")):
        ended = job.run()
    number = ended.outcome.job_id.partition(".")[0]
    assert (ended.exit_code, ended.outcome.fate, job.lines) == (122, "start", ["ready"])
    assert f"guest j{number}-r0: it was started anew while the job ran in it" in job.errors
    assert leftovers(lab) == {}


def test_a_job_whose_first_guest_shuts_down_ends_with_it(lab: Lab) -> None:
    """At once."""
    job = Job(lab, "echo ready; touch /tmp/now; sleep 300; echo never")
    with roots_doing(lab, WHEN_TOLD.format("poweroff")):
        ended = job.run()
    number = ended.outcome.job_id.partition(".")[0]
    assert (ended.exit_code, ended.outcome.fate, job.lines) == (122, "start", ["ready"])
    assert f"guest j{number}-r0: the connection to the guest broke" in job.errors
    assert leftovers(lab) == {}


def test_a_job_goes_on_when_another_guest_of_it_shuts_down(lab: Lab) -> None:
    """It is its own to notice; what the guest used is not known, and all is removed."""
    script = (
        "other=$(uniq $PBS_NODEFILE | tail -n 1); ssh $other touch /tmp/now\n"
        "until ! ping -c 1 -W 1 $other >/dev/null; do sleep 0.3; done; echo alone; exit 6"
    )
    job = Job(lab, script, f"{SMALL},vms_per_node=2")
    with roots_doing(lab, f"[ $VM_RANK = 0 ] || {WHEN_TOLD.format('poweroff -f')}"):
        ended = job.run()
    number = ended.outcome.job_id.partition(".")[0]
    assert (ended.exit_code, job.lines) == (6, ["alone"])
    page = command(lab, "job", ended.outcome.job_id).stdout
    assert f"no figures of j{number}-r1: ended before the job did" in page
    assert history(lab, ended, "teardown")["ok"]
    assert leftovers(lab) == {}


def test_a_guest_with_a_wrong_clock_runs_its_job(lab: Lab) -> None:
    """Keys have no dates. What it writes has the guest's."""
    template = (
        '{% extends "builtin/domain.xml.j2" %}\n'
        f'{{% block clock %}}<clock offset="variable" basis="utc" adjustment="-{BACK}"/>{{% endblock %}}'
    )
    shell(lab, "node1", f"mkdir -p {FOLDER}; cat >{FOLDER}/domain.xml.j2 <<'END'\n{template}\nEND")
    job = Job(lab, "touch file; date -u -r file +%Y; date -u +%s")
    try:
        with settings(lab, {"template_dir": FOLDER}, *lab.node_names):
            ended = job.run()
    finally:
        shell(lab, "node1", f"rm -rf {FOLDER}")
    assert (ended.exit_code, job.errors) == (0, "")
    year, seconds = job.lines
    assert abs(time.time() - BACK - int(seconds)) < 600
    assert year == str(time.gmtime(int(seconds)).tm_year)
    assert 0.0 < ended.timeline.rows()[0].total < 300.0, "nobody asked the guest for the time"
    assert leftovers(lab) == {}
