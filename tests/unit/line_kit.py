"""Command lines as people type them, and what has to come of each: the form of the table's rows.

A line is written with a script in a file. The other ways to submit it are made from that: without the
script's name, as standard input; with ``-I``, without a script unless the script itself asks for guests.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from typing import Any

from desk_kit import FILE, INTERACTIVE, PIPE, REDIRECT, WAYS

COPY = "COPY"
"""Stands for the name of a copy in memory in what qsub gets."""
SCRIPT_WAYS = (FILE, REDIRECT, PIPE)

_BODY = "cd $PBS_O_WORKDIR\nmpirun ./simulate -vm\n#PBS -vm ram=3G\n"

SCRIPTS = {
    "job.sh": f"#!/bin/bash\n#PBS -l walltime=02:00:00\n#PBS -j oe\n{_BODY}",
    "my job.sh": "echo hello\n",
    "first.sh": "touch /first\n",
    "remarks.sh": f"#!/bin/sh\n##PBS -vm ram=1G\n# PBS -vm ram=1G\n#pbs -vm ram=1G\n#PBS -v m\n{_BODY}",
    "value.sh": f"#PBS -N -vm -lnodes=1\n#PBS -vmx=1 -W x=-vm\n{_BODY}",
    "turbo.sh": f"#!/bin/csh\n#QSUB -vm ram=1G\n#QSUB -q long\n{_BODY}",
    "guests.sh": f"#!/bin/bash\n#PBS -l nodes=2\n\n#PBS -vm ram=192M,vcpus=2\n#PBS -j oe\n{_BODY}",
    "named.sh": f"#!/bin/bash\n#PBS -N named -vm vcpus=2 -q long\n{_BODY}",
    "split.sh": "#PBS -l nodes=1 \\\n  -vm ram=1G,\\\nvcpus=2 -q long\n:\n#PBS \\\n-vm distro=debian\n"
    + _BODY,
    "quoted.sh": f'#!/bin/sh\n  #PBS-vm "img=osv.qcow2,ram=1G"   # small ones -z\n{_BODY}',
    "many.sh": f"#PBS -vm ram=1G,vcpus=4\n#PBS -vm RAM=2G\n#PBS -vm arch=x86_64\n\n{_BODY}",
    "dos.sh": "#!/bin/sh\r\n#PBS -vm ram=1G\r\n#PBS -N dos\r\nhostname\r\n",
    "bad.sh": f"#!/bin/sh\n#PBS -N bad\n#PBS -vm rma=1G\n{_BODY}",
    "value-less.sh": f"#!/bin/sh\n#PBS -N x -vm\n{_BODY}",
    "typed.sh": f"#PBS -vm vcpus=2\n#PBS -T bigmem\n{_BODY}",
    "other.sh": f"#PBS -vm vcpus=2\n#PBS -l other=mine\n{_BODY}",
    "open.sh": f"#PBS -vm vcpus=2\n#PBS -N 'a b\n{_BODY}",
}
"""The user's scripts. The body of each has what asks for guests in a header only."""

COPIES = {
    "guests.sh": f"#!/bin/bash\n#PBS -l nodes=2\n\n##PBS -vm ram=192M,vcpus=2\n#PBS -j oe\n{_BODY}",
    "named.sh": f"#!/bin/bash\n#PBS -N named             -q long\n{_BODY}",
    "split.sh": "#PBS -l nodes=1 \\\n             \\\n        -q long\n:\n##PBS \\\n#-vm distro=debian\n"
    + _BODY,
    "quoted.sh": f"#!/bin/sh\n  #PBS{' ' * 29}# small ones -z\n{_BODY}",
    "many.sh": f"##PBS -vm ram=1G,vcpus=4\n##PBS -vm RAM=2G\n##PBS -vm arch=x86_64\n\n{_BODY}",
    "turbo.sh": f"#!/bin/csh\n##QSUB -vm ram=1G\n#QSUB -q long\n{_BODY}",
    "dos.sh": "#!/bin/sh\r\n##PBS -vm ram=1G\r\n#PBS -N dos\r\nhostname\r\n",
}
"""What qsub reads instead of those that ask for guests."""


@dataclasses.dataclass(frozen=True)
class Line:
    """A command line and what comes of it.

    ``qsub`` is what the real qsub gets, empty for the very same words; ``asked`` is the request that
    rides in the job, None for none. ``says`` is what stands on stderr, without ``torque-vm:``. A line
    with an exit ``code`` is refused.
    """

    typed: str
    qsub: str = ""
    asked: Mapping[str, Any] | None = None
    says: str = ""
    code: int = 0
    ways: tuple[str, ...] = WAYS

    @property
    def script(self) -> str:
        """The name of the script in the line, empty without one."""
        words = (word.removeprefix("./") for word in shlex.split(self.typed))
        return next((word for word in words if word in SCRIPTS), "")

    @property
    def has_copy(self) -> bool:
        """Whether qsub gets a copy of the script."""
        return COPY in self.qsub

    def words(self, way: str) -> list[str]:
        """The words behind the program's name."""
        words = shlex.split(self.typed)[1:]
        if way in {REDIRECT, PIPE} or (way == INTERACTIVE and not (self.has_copy or self.code)):
            words = [word for word in words if word not in SCRIPTS]
        return ["-I", *words] if way == INTERACTIVE else words

    def expected(self, way: str, copy: str) -> list[str]:
        """The words qsub gets, with ``copy`` for the name of the copy in memory."""
        if not self.qsub:
            return self.words(way)
        words = shlex.split(self.qsub)[1:]
        if way in {REDIRECT, PIPE} and self.has_copy:
            named = "-N" in words and words[words.index("-N") + 1] == self.script
            words = words[: words.index("-N")] + words[words.index("-N") + 2 :] if named else words
        if way in {REDIRECT, PIPE} or (way == INTERACTIVE and not self.has_copy):
            words = [word for word in words if word not in {COPY, self.script}]
        words = [copy if word == COPY else word for word in words]
        return ["-I", *words] if way == INTERACTIVE else words


def plain(typed: str, ways: tuple[str, ...] = WAYS) -> Line:
    """A line without guests: the same words for qsub."""
    return Line(typed, ways=ways)


def guests(
    typed: str, qsub: str, asked: Mapping[str, Any] | None, says: str = "", ways: tuple[str, ...] = WAYS
) -> Line:
    """A line with guests."""
    return Line(typed, qsub, asked, says, ways=ways)


def refused(typed: str, says: str, ways: tuple[str, ...] = WAYS) -> Line:
    """A line of which nothing comes but one sentence."""
    return Line(typed, says=says, code=2, ways=ways)
