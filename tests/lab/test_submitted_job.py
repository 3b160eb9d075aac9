"""A job submitted with ``-vm`` and one that asks for the same inside its script are one and the same job.

Both go through the wrapper, with a recorder in the place of TORQUE's qsub; what came there is run in
guests by the embedded driver.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from driving import Job, history, leftovers

from nornir_torque_vm.driver.batch import Submission
from nornir_torque_vm.driver.submitted import submission_of
from nornir_torque_vm.lab import Lab
from nornir_torque_vm.sitekit import front_text

pytestmark = pytest.mark.lab

RECORDER = """#!/bin/sh
printf '%s\\0' "$@" >{record}.words
for script; do :; done
exec cat "$script" >{record}.script
"""
SCRIPT = """#!/bin/sh
{directives}
echo "$0 $# $1 $PBS_JOBNAME"; hostname
sort -u "$PBS_NODEFILE"; echo "$PBS_NP $PBS_NUM_NODES $PBS_NUM_PPN"
for guest in $(sort -u "$PBS_NODEFILE"); do ssh "$guest" 'hostname; nproc; grep MemTotal /proc/meminfo'; done
echo to stderr >&2
exit 37
"""


class SubmitHost:
    """The front of qsub, by the settings of the lab's nodes; the user works in ``folder``."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab, self.folder = lab, folder
        settings = (lab.root("node1") / "etc/torque-vm/settings.toml").read_text()
        own = f'image_pool = "{lab.pool}"\nreal_qsub_on_nodes = "{folder}/real-qsub"\n'
        (folder / "settings.toml").write_text(settings + own)
        self._program("real-qsub", RECORDER.format(record=folder / "came"))
        self.front = self._program("qsub", front_text("qsub", python=sys.executable, etc=str(folder)))

    def submit(self, *words: str, directives: str = "") -> Submission:
        """Submit ``job.sh`` with these directives; return what the embedded driver makes of it."""
        (self.folder / "job.sh").write_text(SCRIPT.format(directives=directives))
        argv = [self.front, *words, "job.sh"]
        subprocess.run(argv, cwd=self.folder, check=True, timeout=30, stdin=subprocess.DEVNULL)
        came = os.fsdecode((self.folder / "came.words").read_bytes()).split("\0")[:-1]
        return submission_of(came, (self.folder / "came.script").read_bytes(), self.lab.node_names)

    def _program(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o755)
        return str(path)


@dataclasses.dataclass(frozen=True)
class Ran:
    """What is to be the same: all but the job's number, and what is random."""

    lines: list[str]
    errors: str
    exit_code: int
    guests: list[dict[str, Any]]
    image: dict[str, Any]


def ran(lab: Lab, submission: Submission) -> Ran:
    """Run a job in guests; return what it was like."""
    job = Job(lab, "")
    job.submission = submission
    ended = job.run()
    assert leftovers(lab) == {}
    number = ended.outcome.job_id.partition(".")[0]

    def without(text: str) -> str:
        return text.replace(f"j{number}-", "jN-").replace(f"/{number}.head.", "/N.head.")

    plan = history(lab, ended, "plan")
    kept = ("name", "node", "rank", "shape")
    guests = [{key: value for key, value in guest.items() if key in kept} for guest in plan["guests"]]
    for guest in guests:
        guest["name"] = without(guest["name"])
    lines = [without(line) for line in job.lines]
    return Ran(lines, without(job.errors), ended.exit_code, guests, plan["image"])


def test_a_request_on_the_command_line_and_one_in_the_script_give_the_same_job(
    lab: Lab, tmp_path: Path
) -> None:
    """Name, arguments, output, exit code, and guests: how many, where, of which shape and name."""
    host = SubmitHost(lab, tmp_path)
    typed = host.submit("-l", "nodes=2", "-vm", "vms_per_node=2,ram=192M", "-F", "'two words'")
    inline = host.submit(directives="#PBS -l nodes=2 -F \"'two words'\"\n#PBS -vm vms_per_node=2,ram=192M")
    assert dataclasses.replace(inline, script=b"") == dataclasses.replace(typed, script=b"")
    first, second = ran(lab, typed), ran(lab, inline)
    assert second == first
    guests = [f"jN-r{rank}" for rank in range(4)]
    assert first.lines[0].endswith("/N.head.SC 1 two words job.sh")
    assert first.lines[1:7] == [guests[0], *guests, "4 4 1"]
    assert [line for line in first.lines[7:] if line.startswith("jN")] == guests
    assert (first.exit_code, first.errors.splitlines()[-1]) == (37, "to stderr")
    assert [guest["node"] for guest in first.guests] == ["node1", "node1", "node2", "node2"]
    shape = {"vcpus": 1, "ram": 192 << 20}
    assert all(guest["shape"].items() >= shape.items() for guest in first.guests)
    assert first.image["name"] == "micro.qcow2"
