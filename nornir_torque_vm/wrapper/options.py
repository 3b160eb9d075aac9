"""The words of the command line that help, man page and completion speak of.

Which letters qsub has is a fact of TORQUE 6.1.3 (its getopt table); the descriptions are ours and
short. How a command line is read is decided in ``getopt``, not here.
"""

from __future__ import annotations

import dataclasses

FILE, DIRECTORY = "file", "directory"
"""What completion offers as an option's value."""


@dataclasses.dataclass(frozen=True, slots=True)
class QsubOption:
    """One of qsub's options. ``value`` is what its value is called, empty if it takes none.

    Completion offers ``choices``, or what ``offers`` says: files, directories, or nothing.
    """

    letter: str
    value: str
    help: str
    offers: str = ""
    choices: tuple[str, ...] = ()


QSUB_OPTIONS = (
    QsubOption("a", "time", "start no earlier than [[CC]YY]MMDDhhmm[.SS]"),
    QsubOption("A", "account", "account the job is charged to"),
    QsubOption("b", "seconds", "how long to go on trying to reach the server"),
    QsubOption(
        "c", "checkpoint", "when checkpoints are made", "", ("none", "enabled", "shutdown", "periodic")
    ),
    QsubOption("C", "prefix", "how directives begin in the script instead of #PBS"),
    QsubOption("d", "path", "directory in which the job starts", DIRECTORY),
    QsubOption("D", "path", "root directory of the job", DIRECTORY),
    QsubOption("e", "path", "file for the job's errors", FILE),
    QsubOption("E", "", "nodes are for this job alone"),
    QsubOption("f", "", "the job survives the loss of a node that is not its first"),
    QsubOption("F", "arguments", "arguments for the job script, as one word"),
    QsubOption("h", "", "hold the job until it is released"),
    QsubOption("i", "number", "how many jobs of an array may be idle at a time"),
    QsubOption("I", "", "interactive: the job is a shell in this terminal"),
    QsubOption("j", "join", "output and errors in one file", "", ("oe", "eo", "n")),
    QsubOption("J", "jobid", "identifier of the job, for administrators"),
    QsubOption("k", "keep", "output that stays on the node", "", ("e", "o", "eo", "oe", "n")),
    QsubOption("K", "seconds", "time between asking the job to end and killing it"),
    QsubOption("l", "resources", "resources, such as nodes=2:ppn=4,walltime=1:00:00"),
    QsubOption("L", "resources", "resources in the form for NUMA systems; not together with -vm"),
    QsubOption("m", "events", "when mail is sent: any of a, b, e and f, or n, or p"),
    QsubOption("M", "users", "who gets the mail"),
    QsubOption("n", "", "nodes are for this job alone"),
    QsubOption("N", "name", "name of the job"),
    QsubOption("o", "path", "file for the job's output", FILE),
    QsubOption("p", "priority", "priority of the job, from -1024 to 1023"),
    QsubOption("P", "user", "account the job is submitted for, for administrators"),
    QsubOption("q", "destination", "queue, @server or queue@server"),
    QsubOption("r", "y or n", "whether the job may be run again", "", ("y", "n")),
    QsubOption("S", "path", "shell that starts the job script", FILE),
    QsubOption("t", "array", "members of a job array, such as 1-10%2"),
    QsubOption("T", "name", "which prologue and epilogue run; not together with -vm"),
    QsubOption("u", "users", "account under which the job runs"),
    QsubOption("v", "variables", "environment variables for the job"),
    QsubOption("V", "", "the whole environment goes to the job"),
    QsubOption("w", "path", "working directory of the job", DIRECTORY),
    QsubOption("W", "attributes", "more attributes, such as depend=afterok:17"),
    QsubOption("x", "", "with -I: run the script as a command"),
    QsubOption("X", "", "forward X11"),
    QsubOption("z", "", "do not print the job's identifier"),
)
"""qsub's options, as ``man qsub`` of TORQUE 6.1.3 and its source describe them."""

NAMES = "names"
"""What ``--list-images=names`` says: the names alone, one a line, for programs."""

OWN_OPTIONS = (
    ("--dry-run", "check everything, show what would be submitted and why, submit nothing"),
    ("--explain", "the same as --dry-run"),
    ("--list-images", "list the images that jobs can boot"),
    (f"--list-images={NAMES}", "only their names, one a line"),
)
"""Long options of the wrapper besides ``--help``, which is qsub's own when it is called ``qsub``."""
