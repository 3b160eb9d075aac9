"""What a hook sees, as recorded on TORQUE 6.1.3, filled in for one job.

Pure: the record (``slots.json``) and a job's facts in, argv and environment out.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import stat
from importlib import resources
from typing import Any, Literal

Fate = Literal["start", "abort", "requeue", "ignored"]

ALARM = "alarm"
"""The outcome of a hook that was killed because its time was up."""
REFUSED = "refused"
"""The outcome of a hook that is not run because of its owner or mode."""
FOR_ROOT_ONLY = "MOAB_"
"""Start of the names that only hooks of root's get of the user."""


@dataclasses.dataclass(frozen=True, slots=True)
class JobFacts:
    """Everything about one job attempt that reaches a hook or the job itself."""

    job_id: str
    server: str
    user: str
    group: str
    user_home: str
    shell: str
    job_name: str
    hosts: tuple[str, ...]
    ppn: int
    resources: str
    """argv's Resource_List, ``-l other=…`` included."""
    script: str
    """Path of the spooled script on the mother superior."""
    home_dir: str
    workdir: str
    submit_host: str
    queue: str = "batch"
    account: str = ""
    arguments: str = ""
    """``qsub -F``: shell words after the script's path."""
    walltime: int = 3600
    cookie: str = ""
    session: int = 0
    exit_status: int = 0
    variables: tuple[tuple[str, str], ...] = ()
    """``qsub -v``: some names reach even root's hooks."""
    job_type: str = "vm"
    """``qsub -T``: hooks of that type go before plain ones; empty where the job, or TORQUE, has none."""
    array_index: int | None = None
    """Of a member of an array."""
    interactive: bool = False
    """``qsub -I``: the job's files, and those of its prologues, are a terminal."""
    term: str = "dumb"
    """``$TERM`` of an interactive job's user."""
    used: str = "cput=00:00:00,vmem=0kb,walltime=00:00:00,mem=0kb,energy_used=0"

    @property
    def mother_superior(self) -> str:
        """The first node of the job."""
        return self.hosts[0]

    @property
    def file_name(self) -> str:
        """How the MOM's files about the job are called: ``17-3.head`` for the member ``17[3].head``."""
        return self.job_id.replace("[", "-").replace("]", "")

    @property
    def exec_host(self) -> str:
        """``node1/0-1+node2/0-1``, as ``qstat -f`` prints it."""
        slots = "0" if self.ppn == 1 else f"0-{self.ppn - 1}"
        return "+".join(f"{host}/{slots}" for host in self.hosts)

    @property
    def nodefile(self) -> str:
        """Text of the nodefile: one line per slot, grouped by host."""
        return "".join(f"{host}\n" * self.ppn for host in self.hosts)

    def words(self, nodenum: int) -> dict[str, str]:
        """The values for the record's ``{names}`` on the node with that number."""
        given = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        derived = {
            "mother_superior": self.mother_superior,
            "nodes_resource": f"{len(self.hosts)}:ppn={self.ppn}",
            "num_nodes": len(self.hosts),
            "np": len(self.hosts) * self.ppn,
            "nodenum": nodenum,
        }
        return {name: str(value) for name, value in {**given, **derived}.items()}


@functools.cache
def record() -> dict[str, Any]:
    """The record of what TORQUE does, read once."""
    text = resources.files(__package__).joinpath("slots.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def arguments(slot: str, job: JobFacts, nodenum: int = 0) -> list[str]:
    """The arguments (argv without the program) that ``slot`` gets."""
    words = job.words(nodenum)
    return [text.format_map(words) for text in record()["slots"][slot]["argv"]]


def environment(slot: str, job: JobFacts, nodenum: int = 0) -> dict[str, str]:
    """The complete environment that ``slot`` gets: nothing of the caller's is inherited."""
    words, facts = job.words(nodenum), record()
    if slot == "job":
        template = dict(facts["job_environment"])
    else:
        template = dict(facts["hook_environment"])
        if facts["slots"][slot]["where"] == "mother superior":
            template |= facts["hook_environment_mother_superior"]
    filled = {name: text.format_map(words) for name, text in template.items()}
    if slot == "job":
        filled |= dict(job.variables)
        if job.interactive:
            filled |= {
                name: text.format_map(words) for name, text in facts["interactive_environment"].items()
            }
        if job.array_index is not None:
            filled["PBS_ARRAYID"] = str(job.array_index)
    else:
        root = facts["slots"][slot]["user"] == "root"
        forgeable = facts["hook_environment_from_user"]
        filled |= {
            name: value
            for name, value in job.variables
            if name in forgeable and (root or not name.startswith(FOR_ROOT_ONLY))
        }
    return filled


def task_environment(job: JobFacts, number: int) -> dict[str, str]:
    """The environment of a task that is started beside the job's first shell (TF 3).

    :param number: which slot of the job it is for, counted over all nodes.
    """
    own = {
        "PBS_NODENUM": str(number // job.ppn),
        "PBS_TASKNUM": str(number + 2),
        "PBS_VNODENUM": str(number),
    }
    left_out = record()["not_for_tasks"]
    return {name: value for name, value in (environment("job", job) | own).items() if name not in left_out}


def files(slot: str, job: JobFacts) -> dict[str, str]:
    """What ``stdin``, ``stdout`` and ``stderr`` of ``slot`` are, in the record's words."""
    facts = record()
    given = facts["interactive_files"].get(slot) if job.interactive else None
    return {name: (given or facts["slots"][slot])[name] for name in ("stdin", "stdout", "stderr")}


def may_run(slot: str, status: os.stat_result) -> bool:
    """Whether a MOM runs a hook with this owner and mode (TF 1.2); links have been followed.

    The owner has to be who runs this: root in a lab, whoever runs the tests in tests.
    """
    mode = status.st_mode
    needed = 0o505 if ".user" in slot else 0o500
    fit = stat.S_ISREG(mode) and mode & needed == needed and not mode & (stat.S_IWGRP | stat.S_IWOTH)
    return fit and status.st_uid == os.geteuid()


def fate(slot: str, outcome: int | str) -> Fate:
    """What TORQUE does after ``slot`` ended that way.

    :param outcome: exit code; negative for a signal, as :mod:`subprocess` has it; :data:`ALARM` or
        :data:`REFUSED`.
    """
    table = record()["exit_codes"].get(slot, record()["exit_codes"]["epilogue"])
    key = "signal" if isinstance(outcome, int) and outcome < 0 else str(outcome)
    found: Fate = table.get(key, table["other"])
    return found
