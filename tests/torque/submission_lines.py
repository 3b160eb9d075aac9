"""Command lines as users type them behind ``qsub``, and what guests change of the job.

In the shell's words. ``VM`` stands for the request, ``JOB`` for the script's name, which is left away
where the script comes on standard input.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from nornir_torque_vm.request import parse_request

SHEBANG = "#!/bin/sh\n"
BODY = '\necho "$0 $# $*"\n#PBS -N not-read\n'


@dataclasses.dataclass(frozen=True)
class Line:
    """A command line.

    :param vm: the value of ``-vm``.
    :param nodes: what ``nodes=`` has to be in the end.
    :param changes: other resources that the guests' need changes.
    :param directives: what else the script asks for.
    :param interactive: whether ``-I`` goes with it.
    :param prefix: how directives begin.
    """

    text: str
    vm: str = "ram=192M"
    nodes: str = "1:vm"
    changes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    directives: tuple[str, ...] = ()
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    interactive: bool = True
    prefix: str = "#PBS"

    def typed(self, *, job: str, vm: bool) -> str:
        """The line with a script's name (empty: none), with or without the request."""
        words = {"VM": f"-vm {self.vm}" if vm else "", "JOB": job}
        return " ".join(words.get(word, word) for word in self.text.split(" "))

    def script(self, *, vm: bool) -> str:
        """The script, with the request in its second line; without, that line is a comment."""
        request = f"{'' if vm else '#'}{self.prefix} -vm {self.vm}\n"
        directives = "".join(f"{self.prefix} {words}\n" for words in self.directives)
        return f"{SHEBANG}{request}{directives}{BODY}"

    def expected(self, plain: Mapping[str, str]) -> dict[str, str]:
        """The attributes of the job with guests, from those of the plain one."""
        nodes = {"Resource_List.nodes": self.nodes, "Resource_List.neednodes": self.nodes}
        other = {"jobtype": "vm", "Resource_List.other": parse_request([self.vm]).encode()}
        return {**plain, **other, **nodes, **self.changes}


def named(line: Line) -> str:
    """A test's name: the line, and what distinguishes it from others of the same words."""
    return f"{line.text} {line.vm} {len(line.directives)}"


INSIDE = ("-N inside -l nodes=2:ppn=2", "-l walltime=0:10:00,mem=600mb -j oe", "-v A=1,B='x y' # a comment")

LINES = (
    Line("VM JOB"),
    Line("JOB VM"),
    Line("-l nodes=2 VM JOB", "vms_per_node=2,ram=192M", "2:ppn=2:vm"),
    Line("-l nodes=2:ppn=4,walltime=1:00:00 -N sim VM JOB", "vms_per_node=2,ram=192M", "2:ppn=4:vm"),
    Line("-lnodes=1:ppn=2 -Njoined VM JOB", "vcpus=4", "1:ppn=4:vm"),
    Line("VM -l nodes=node1+node2:ppn=2 JOB", nodes="node1:vm+node2:ppn=2:vm"),
    Line("-l nodes=1:ppn=3+2 VM JOB", "vcpus=2", "1:ppn=3:vm+2:ppn=2:vm"),
    Line("-l nodes=2:vm:ppn=1 VM JOB", "vcpus=2", "2:vm:ppn=2"),
    Line("-l nodes=1 -l nodes=3:ppn=2,walltime=60 VM JOB", nodes="3:ppn=2:vm"),
    Line("-l walltime=00:10:00 -l mem=100mb VM JOB", changes={"Resource_List.mem": "256mb"}),
    Line("-l nodes=1:ppn=2,pmem=64mb VM JOB", "vcpus=2,ram=192M", "1:ppn=2:vm",
         {"Resource_List.pmem": "128mb"}),
    Line("-l nodes=2,mem=10gb,vmem=12gb VM JOB", nodes="2:vm"),
    Line("-l cput=10:00,file=1gb,nice=5 -l software=matlab VM JOB"),
    Line("-l feature=fast -l gres=lic:2 VM JOB"),
    Line("-l prologue=/home/alice/before,epilogue=/home/alice/after VM JOB"),
    Line("-o out.txt -e err.txt -j oe VM JOB"),
    Line("-o /home/alice/logs/ -e head:/home/alice/err VM JOB -k oe"),
    Line("-joe -ko -rn -mn VM JOB"),
    Line("-m abe -M alice@head,root@head VM JOB"),
    Line("-q batch -A 'project seven' -p 100 -r n -c none VM JOB"),
    Line("-q batch@head -b 5 VM JOB"),
    Line("-q @head VM JOB"),
    Line("-a 203512312359.30 VM JOB"),
    Line("-h VM JOB"),
    Line("-S /bin/sh@head,/bin/bash VM JOB", interactive=False),
    Line("-u alice -W group_list=alice VM JOB"),
    Line("""-v A=1,B='two words',C="it's",'D="x"' VM JOB"""),
    Line("-v $'A=one\\ntwo',STAR=* -vB=2 VM JOB"),
    Line("-V VM JOB", env={"EXPORTED": "two words\nand lines", "LC_ALL": "C", "QUOTE": "it's \"x\""}),
    Line("-v HOME,SHELL,OWN -N env VM JOB", env={"OWN": "a=b,c"}),
    Line("-W umask=027 -W x=PARTITION:one VM JOB"),
    Line("-W 'x=a b;c' -W depend=afterany:PARENT VM JOB"),
    Line("-E VM JOB"),
    Line("-F 'one \"two words\" $HOME *' VM JOB", interactive=False),
    Line("-d /tmp VM JOB"),
    Line("-w /home VM JOB"),
    Line("-t 1-3 -N arr VM JOB", interactive=False),
    Line("-t 0,2-4%2 -l nodes=2 VM JOB", "vcpus=2", "2:ppn=2:vm", interactive=False),
    Line("-z VM JOB", interactive=False),
    Line("-zh -n VM JOB", interactive=False),
    Line("-f -K 5 VM JOB"),
    Line("-C '#TVM' VM JOB", directives=("-N mine", "-l nodes=2"), nodes="2:vm", prefix="#TVM",
         interactive=False),
    Line("VM JOB", directives=INSIDE, nodes="2:ppn=2:vm", interactive=False),
    Line("-N outside -l nodes=1,walltime=30 -v C=3 VM JOB", directives=INSIDE, interactive=False),
    Line("VM JOB", "vcpus=4,vms_per_node=1,ram=1G", "2:ppn=4:vm", {"Resource_List.mem": "2176mb"}, INSIDE,
         interactive=False),
)  # fmt: skip
