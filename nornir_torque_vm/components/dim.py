"""The back end of IOcm that the earlier system had: the dynamic I/O manager (dim), with a kernel of its own.

It moves all guests of a node between its processors by itself, so it needs nodes that the job has alone.
Facts, from its source (github.com/mikelangelo-project/dynamic-io-manager, src):
``create_configuration_file.py CORES INTERFACE`` writes what runs now into a file, ``start_io_manager.py
--config FILE`` makes ``io_manager.py -s FILE`` a daemon, and ``stop_io_manager.py`` does nothing when root
calls it. So the node is asked whether it runs, by that file's name.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from nornir.core.task import Result, Task

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.connections.libvirt import mapped
from nornir_torque_vm.deadline import Deadline, current
from nornir_torque_vm.errors import HypervisorError, NodeShellError
from nornir_torque_vm.identity import job_tag
from nornir_torque_vm.inventory.hostdata import node_of, plan_of, settings_of
from nornir_torque_vm.tasks.common import connection, our_guests
from nornir_torque_vm.tasks.node_command import must_on_node, on_node
from nornir_torque_vm.tasks.selection import is_of_job

NAME = "iocm"
END = "-dim.json"
ACCOUNT = "0"
"""Whose processes can be a manager: others may have any words they like, and setuid programs have those of
whoever started them."""
TERM_SECONDS = 2.0
"""How long a manager gets to end by itself."""


def start_manager(task: Task) -> Result:
    """Nornir task: configure and start the manager for the guests of the job, which run.

    :raises HypervisorError: guests of other jobs are on the node.
    :raises NodeShellError: one of its programs fails.
    """
    plan, node, settings = plan_of(task.host), node_of(task.host), settings_of(task.host)
    conn = connection(task)
    others = sorted({guest.job_id for guest in our_guests(conn, node) if guest.job_id != plan.job.id})
    if others:
        raise HypervisorError(
            f"the dynamic I/O manager takes all guests of a node, and those of job {others[0]} are there",
            hint="give jobs whole nodes, or set iocm_backend = iothreads",
            node=node,
        )
    with mapped(node):
        cores = int(conn.getInfo()[2])
    wish = next(part.kept for part in plan.components if part.name == NAME)
    file = f"{_folder(settings)}/{job_tag(plan.job)}{END}"
    numbers = ["--min", str(wish.least), "--max", str(wish.most), str(cores), settings.iocm_dim_interface]
    must_on_node(task, ["mkdir", "-p", "-m", "0700", _folder(settings)])
    must_on_node(task, [f"{settings.iocm_dim_dir}/create_configuration_file.py", "--config", file, *numbers])
    must_on_node(task, [f"{settings.iocm_dim_dir}/start_io_manager.py", "--config", file])
    return Result(host=task.host, result=file, changed=True)


def verify_manager(task: Task) -> Result:
    """Nornir task: see that the manager runs with the job's configuration.

    :raises NodeShellError: it does not.
    """
    file = f"{_folder(settings_of(task.host))}/{job_tag(plan_of(task.host).job)}{END}"
    if not _running(task, file):
        raise NodeShellError("the dynamic I/O manager does not run", node=node_of(task.host))
    return Result(host=task.host)


def stop_manager(task: Task, job_id: str, tags: Collection[str] | None = None) -> Result:
    """Nornir task: end the managers of a job on a node, and remove their configurations.

    Arguments:
        job_id: whose: ``17.head``; ``17`` for that number of any server
        tags: only of the attempts with these tags; of any by default

    Raises:
        InventoryError: no job id
        NodeShellError: one cannot be ended, or the node cannot be reached
    """
    settings = settings_of(task.host)
    names = [name for name in _names(task) if is_of_job(name, job_id, tags)]
    for name in names:
        file = f"{_folder(settings)}/{name}"
        on_node(task, [f"{settings.iocm_dim_dir}/stop_io_manager.py"])
        if not _gone(task, file, "-TERM") and not _gone(task, file, "-KILL"):
            raise NodeShellError("the dynamic I/O manager cannot be ended", node=node_of(task.host))
        must_on_node(task, ["rm", "-f", file])
    return Result(host=task.host, changed=bool(names))


def find_managers(task: Task) -> Result:
    """Nornir task: the configurations of all jobs on the node, by their files' names."""
    return Result(host=task.host, result=_names(task))


def _gone(task: Task, file: str, sign: str) -> bool:
    """Tell the manager of a configuration to end; whether it did, in a while."""
    if pids := _running(task, file):
        on_node(task, ["kill", sign, *pids])
    looks = Deadline.after(current.get().clamp(TERM_SECONDS)).backoff()
    return any(not _running(task, file) for _ in looks)


def _running(task: Task, file: str) -> list[str]:
    """The numbers of root's processes that have a configuration among their words."""
    done = on_node(task, ["pgrep", "-u", ACCOUNT, "-U", ACCOUNT, "-f", _pattern(file)])
    if done.rc not in {0, 1}:
        raise NodeShellError(f"pgrep ended with {done.rc}", node=node_of(task.host))
    return [word for word in done.stdout.split() if word.isdigit()]


def _pattern(file: str) -> str:
    """An expression for the file that does not match itself: a shell may have it among its own words."""
    return f"[{file[0]}]{re.escape(file[1:])}"


def _names(task: Task) -> list[str]:
    done = on_node(task, ["ls", "-1", _folder(settings_of(task.host))])
    return [name for name in done.stdout.split("\n") if name.endswith(END)] if done.ok else []


def _folder(settings: Settings) -> str:
    return f"{settings.run_dir}/iocm"
