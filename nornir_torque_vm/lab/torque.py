"""A TORQUE in the lab: its programs on this machine, and what its daemons are told. Pure but for the search.

TORQUE is no part of this project: the lab starts the one whose programs are on the PATH. Facts without a
source were measured with 6.1.3.
"""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from nornir_torque_vm.errors import LabError
from nornir_torque_vm.lab import spec
from nornir_torque_vm.lab.files import SPOOL, Directory, File
from nornir_torque_vm.lab.layout import HEAD, LabNode
from nornir_torque_vm.lab.spec import Daemon

PROGRAMS = (
    "pbs_server", "pbs_sched", "pbs_mom", "trqauthd",
    "qsub", "qstat", "qdel", "qmgr", "pbsnodes", "momctl", "pbsdsh",
)  # fmt: skip
PROPERTY = "vm"
"""What all nodes have: jobs with guests ask for it."""
QUEUE = "batch"
LAST_COMMAND = f"set server default_queue = {QUEUE}"
"""Tells a server that was given all commands from one that was not."""
SERVER_PORT, SCHEDULER_PORT = 15001, 15004
MOM_PORTS = (15002, 15003)
KEEP_COMPLETED = 300
"""Seconds for which the server can still tell of a job that is over."""
REPORT_SECONDS = 5
"""How often a MOM reports to the server and looks after its jobs; TORQUE's default is 45, long in a lab."""
ABOUT_SECONDS = 10.0

PRIVATE = ("jobs", "hostlist", "queues", "acl_svr", "acl_hosts", "acl_users", "acl_groups",
           "disallowed_types", "arrays", "credentials")  # fmt: skip
# As TORQUE's installation makes them: the daemons refuse to start when others may write there.
HEAD_DIRECTORIES = (
    Directory("/etc/profile.d"),
    Directory(f"{SPOOL}/checkpoint", 0o1777),
    Directory(f"{SPOOL}/job_logs"),
    Directory(f"{SPOOL}/server_logs"),
    Directory(f"{SPOOL}/server_priv", 0o750),
    Directory(f"{SPOOL}/server_priv/accounting"),
    *(Directory(f"{SPOOL}/server_priv/{name}", 0o750) for name in PRIVATE),
    Directory(f"{SPOOL}/sched_logs"),
    Directory(f"{SPOOL}/sched_priv", 0o750),
    Directory(f"{SPOOL}/sched_priv/accounting"),
)
NODE_DIRECTORIES = (Directory("/etc/profile.d"), Directory(f"{SPOOL}/checkpoint", 0o1777))

# The server reads its nodes from a file only when it starts with a database; nodes that are made later
# with qmgr stay unused for ten seconds. So it starts with an empty one instead of with `-t create`.
EMPTY_DATABASE = """\
<server_db>
<numjobs>0</numjobs>
<numque>0</numque>
<nextjobid>0</nextjobid>
<savetime>0</savetime>
<attributes>
</attributes>
</server_db>
"""
FIRST_COME = "round_robin: false all\nby_queue: true all\nstrict_fifo: false all\n"
SCHEDULER_FILES = ("holidays", "dedicated_time", "resource_group")
"""What pbs_sched complains about when it is missing; nothing needs to be in them."""


@dataclasses.dataclass(frozen=True, slots=True)
class Torque:
    """An installed TORQUE: the directories of its programs."""

    directories: tuple[str, ...]

    @property
    def path(self) -> str:
        """The PATH of a host in which its programs are found."""
        return ":".join((spec.PATH, *self.directories))

    def program(self, name: str) -> str:
        """Return the absolute path of one of its programs."""
        return shutil.which(name, path=":".join(self.directories)) or name

    def shown(self) -> dict[str, str]:
        """Return what a host has to show, read-only, for the programs to run: mount point → directory."""
        prefixes = spec.visible(str(Path(directory).parent) for directory in self.directories)
        return {prefix: prefix for prefix in prefixes}

    def head_daemons(self) -> tuple[Daemon, ...]:
        """What runs on the head, in the foreground; the scheduler knows that only as debugging."""
        return (
            self._authority(),
            Daemon("pbs_server", (self.program("pbs_server"), "-F"), tcp=(SERVER_PORT,)),
            Daemon("pbs_sched", (self.program("pbs_sched"),), {"PBSDEBUG": "1"}, tcp=(SCHEDULER_PORT,)),
        )

    def node_daemons(self) -> tuple[Daemon, ...]:
        """What runs on a node: the MOM, and what users' commands need to reach the server."""
        return self._authority(), Daemon("pbs_mom", (self.program("pbs_mom"), "-F"), tcp=MOM_PORTS)

    def _authority(self) -> Daemon:
        return Daemon("trqauthd", (self.program("trqauthd"), "-F"))

    def profile(self) -> File:
        """What puts its programs on the PATH of login shells, also those of jobs."""
        return File("/etc/profile.d/torque.sh", f"PATH=$PATH:{':'.join(self.directories)}\n")


def torque_missing(path: str | None = None) -> str | None:
    """Return why there is no TORQUE for a lab, in one sentence; None when there is one.

    :param path: where to look; None: the PATH of this process.
    """
    absent = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if absent:
        more = f" and {len(absent) - 2} more" if len(absent) > 2 else ""
        return f"no TORQUE on the PATH: {', '.join(absent[:2])}{more} not found"
    home = server_home(shutil.which("pbs_server", path=path) or "")
    if home != SPOOL:
        return f"the TORQUE on the PATH was built for {home or 'an unknown directory'}, not for {SPOOL}"
    return None


def find_torque(path: str | None = None) -> Torque:
    """Return the TORQUE on the PATH.

    :param path: where to look; None: the PATH of this process.
    :raises LabError: there is none; says what is missing.
    """
    reason = torque_missing(path)
    if reason:
        raise LabError(reason, hint="build one from its public source and put bin and sbin on the PATH")
    # the first qsub on the PATH may be this package's own; the real one lies beside the other commands
    found = (shutil.which(name, path=path) or name for name in PROGRAMS if name != "qsub")
    places = (Path(program).absolute().parent for program in found)
    return Torque(tuple(dict.fromkeys(str(place) for place in places)))


def server_home(program: str) -> str:
    """Return the directory that this ``pbs_server`` was built for; empty when it does not say."""
    try:
        done = subprocess.run(
            [program, "--about"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=ABOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    said = re.search(r"^Serverhome: *(\S+)", done.stdout, re.MULTILINE)
    return said[1].rstrip("/") if said else ""


def mom_config(prologalarm: float) -> str:
    """Return mom_priv/config.

    Output files are copied within the common /home; without ``$usecp`` the MOM would call scp.

    :param prologalarm: seconds, as in the settings.
    """
    return (
        f"$pbsserver {HEAD}\n"
        "$logevent 511\n"
        f"$prologalarm {int(prologalarm)}\n"
        f"$status_update_time {REPORT_SECONDS}\n"
        f"$check_poll_time {REPORT_SECONDS}\n"
        "$usecp *:/home /home\n"
    )


def node_list(nodes: Sequence[LabNode], slots: int) -> str:
    """Return server_priv/nodes."""
    return "".join(f"{node.name} np={slots} {PROPERTY}\n" for node in nodes)


def server_commands(nodes: Sequence[LabNode]) -> str:
    """Return what ``qmgr`` reads to make an empty server ready for jobs.

    As TORQUE's own set-up script does it; jobs may be submitted from the nodes too.
    """
    return (
        f"set server managers = root@{HEAD}\n"
        f"set server operators = root@{HEAD}\n"
        f"set server submit_hosts = {HEAD}\n"
        + "".join(f"set server submit_hosts += {node.name}\n" for node in nodes)
        + f"set server keep_completed = {KEEP_COMPLETED}\n"
        "set server mom_job_sync = True\n"
        f"create queue {QUEUE}\n"
        f"set queue {QUEUE} queue_type = Execution\n"
        f"set queue {QUEUE} resources_default.nodes = 1\n"
        f"set queue {QUEUE} resources_default.walltime = 01:00:00\n"
        f"set queue {QUEUE} enabled = True\n"
        f"set queue {QUEUE} started = True\n"
        "set server scheduling = True\n"
        f"{LAST_COMMAND}\n"
    )


def head_state(nodes: Sequence[LabNode], slots: int) -> tuple[File, ...]:
    """Return the files from which server and scheduler start, and which they change later."""
    return (
        File(f"{SPOOL}/server_priv/nodes", node_list(nodes, slots)),
        File(f"{SPOOL}/server_priv/serverdb", EMPTY_DATABASE, 0o600),
        File(f"{SPOOL}/sched_priv/sched_config", FIRST_COME),
        *(File(f"{SPOOL}/sched_priv/{name}", "") for name in SCHEDULER_FILES),
    )


def node_state(prologalarm: float) -> tuple[File, ...]:
    """Return the files from which a MOM starts; whoever installs hooks changes them."""
    return (File(f"{SPOOL}/mom_priv/config", mom_config(prologalarm)),)
