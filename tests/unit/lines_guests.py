"""Lines that ask for guests, and what the real qsub gets instead."""

from __future__ import annotations

from desk_kit import FILE, INTERACTIVE, PIPE, REDIRECT
from line_kit import SCRIPT_WAYS, Line, guests

from nornir_torque_vm.model import Distro, FileRef

M, G = 1 << 20, 1 << 30
ONE = "-T vm -l other=vm1:ram=1G,nodes=1:vm"
TWO = "-T vm -l other=vm1:vcpus=2,nodes=1:ppn=2:vm"
TWO_SAYS = "asked for nodes=1:ppn=2:vm instead of one processor: 1 guest of 2 processors on each node"
NODES_SAYS = "asked for nodes={}: 1 guest of 2 processors on each node"
SCRIPT = "-T vm -l other=vm1:ram=192M:vcpus=2,nodes=2:ppn=2:vm"
SCRIPT_SAYS = NODES_SAYS.format("2:ppn=2:vm instead of nodes=2")
IN_SCRIPT = {"ram": 192 * M, "vcpus": 2}

LINES: tuple[Line, ...] = (
    # -vm among other options.
    guests("qsub -vm ram=1G job.sh", f"qsub {ONE} job.sh", {"ram": G}),
    guests("qsub job.sh -vm ram=1G", f"qsub {ONE} job.sh", {"ram": G}),
    guests("qsub -lnodes=1:vm -vm ram=1G", "qsub -lnodes=1:vm -T vm -l other=vm1:ram=1G", {"ram": G}),
    guests(
        "qsub -l nodes=2 -vm vms_per_node=2,ram=192M job.sh",
        "qsub -l nodes=2 -T vm -l other=vm1:ram=192M:vms_per_node=2,nodes=2:ppn=2:vm job.sh",
        {"vms_per_node": 2, "ram": 192 * M},
        "asked for nodes=2:ppn=2:vm instead of nodes=2: 2 guests of 1 processor on each node",
    ),
    guests(
        "qsub -l nodes=2:ppn=4:vm,walltime=1:00:00 -vm vcpus=2 -N a job.sh",
        "qsub -l nodes=2:ppn=4:vm,walltime=1:00:00 -N a -T vm -l other=vm1:vcpus=2 job.sh",
        {"vcpus": 2},
    ),
    guests(
        "qsub -lnodes=2:ppn=8 -Nrun -qlong -vm vcpus=4,vms_per_node=2 job.sh",
        "qsub -lnodes=2:ppn=8 -Nrun -qlong -T vm -l other=vm1:vcpus=4:vms_per_node=2,nodes=2:ppn=8:vm job.sh",
        {"vcpus": 4, "vms_per_node": 2},
    ),
    guests(
        "qsub -vm img=osv.qcow2 -vm ram=1G -vm vcpus=2 job.sh",
        "qsub -T vm -l other=vm1:img=osv.qcow2:ram=1G:vcpus=2,nodes=1:ppn=2:vm job.sh",
        {"img": "osv.qcow2", "ram": G, "vcpus": 2},
        TWO_SAYS,
    ),
    guests(
        "qsub -vm ram=1G -V -vm RAM=2G,ARCH=x86_64 job.sh",
        "qsub -V -T vm -l other=vm1:arch=x86_64:ram=2G,nodes=1:vm job.sh",
        {"ram": 2 * G, "arch": "x86_64"},
    ),
    guests(
        "qsub -vm vcpus=2 job.sh -l nodes=1:ppn=2 -N late",
        f"qsub job.sh -l nodes=1:ppn=2 -N late {TWO}",
        {"vcpus": 2},
    ),
    guests(
        "qsub -N -vm -vm vcpus=2 -v -vm job.sh", f"qsub -N -vm -v -vm {TWO} job.sh", {"vcpus": 2}, TWO_SAYS
    ),
    guests("qsub -vmyvar=3 -vm ram=1G -v m job.sh", f"qsub -vmyvar=3 -v m {ONE} job.sh", {"ram": G}),
    guests("qsub -vm vcpus=2 -- job.sh", f"qsub {TWO} -- job.sh", {"vcpus": 2}, TWO_SAYS, SCRIPT_WAYS),
    # Keys and their values.
    guests("qsub -vm '' job.sh", "qsub -T vm -l other=vm1,nodes=1:vm job.sh", {}),
    guests(
        "qsub -vm 'ram = 1G , vcpus = 2' job.sh",
        "qsub -T vm -l other=vm1:ram=1G:vcpus=2,nodes=1:ppn=2:vm job.sh",
        {"ram": G, "vcpus": 2},
        TWO_SAYS,
    ),
    guests(
        "qsub -vm hypervisor=qemu,distro=OSv,img=osv.qcow2 job.sh",
        "qsub -T vm -l other=vm1:img=osv.qcow2:distro=osv:hypervisor=qemu,nodes=1:vm job.sh",
        {"hypervisor": "qemu", "distro": Distro.OSV, "img": "osv.qcow2"},
    ),
    guests(
        "qsub -vm vcpu_pinning=off,fs_type=sharedfs job.sh",
        "qsub -T vm -l other=vm1:vcpu_pinning=false:fs_type=sharedfs,nodes=1:vm job.sh",
        {"vcpu_pinning": False, "fs_type": "sharedfs"},
    ),
    guests(
        "qsub -vm iocm=yes,vrdma=off job.sh",
        "qsub -T vm -l other=vm1,nodes=1:vm job.sh",
        {},
        "the site has switched iocm off: iocm=true is ignored",
    ),
    guests(
        "qsub -vm vm_prologue=first.sh job.sh",
        "qsub -T vm -l other=vm1:vm_prologue={digest}{work}/first.sh,nodes=1:vm job.sh",
        {"vm_prologue": FileRef("{work}/first.sh", "{digest}")},
    ),
    # Everything else a line can have.
    guests("qsub -t 1-10%2 -vm vcpus=2 job.sh", f"qsub -t 1-10%2 {TWO} job.sh", {"vcpus": 2}, TWO_SAYS),
    guests(
        "qsub -F 'a *.dat \"b c\"' -vm vcpus=2 -W depend=afterok:12.head job.sh",
        f"qsub -F 'a *.dat \"b c\"' -W depend=afterok:12.head {TWO} job.sh",
        {"vcpus": 2},
        TWO_SAYS,
    ),
    guests(
        "qsub -v 'A=b c,D=$(id);*,E=\n' -vm vcpus=2 -N 'a b' 'my job.sh'",
        f"qsub -v 'A=b c,D=$(id);*,E=\n' -N 'a b' {TWO} 'my job.sh'",
        {"vcpus": 2},
        TWO_SAYS,
    ),
    guests(
        "qsub -j oe -o '/tmp/a b' -e err -m abe -M user@example.org -vm vcpus=2 -z job.sh",
        f"qsub -j oe -o '/tmp/a b' -e err -m abe -M user@example.org -z {TWO} job.sh",
        {"vcpus": 2},
        TWO_SAYS,
    ),
    guests(
        "qsub -S /bin/bash -r n -k oe -d /scratch -A proj -W group_list=hpc -vm vcpus=2 -h job.sh",
        f"qsub -S /bin/bash -r n -k oe -d /scratch -A proj -W group_list=hpc -h {TWO} job.sh",
        {"vcpus": 2},
        TWO_SAYS,
    ),
    guests(
        "qsub -I -X -l nodes=1:ppn=2,walltime=0:30:00 -q debug@head -vm vcpus=2",
        f"qsub -I -X -l nodes=1:ppn=2,walltime=0:30:00 -q debug@head {TWO}",
        {"vcpus": 2},
        ways=(INTERACTIVE,),
    ),
    guests(
        "qsub -W interactive=true -vm vcpus=2 job.sh",
        f"qsub -W interactive=true {TWO} job.sh",
        {"vcpus": 2},
        TWO_SAYS,
    ),
    # Resources.
    guests(
        "qsub -l nodes=2:server+14 -vm vcpus=2 job.sh",
        "qsub -l nodes=2:server+14 -T vm -l other=vm1:vcpus=2,nodes=2:ppn=2:server:vm+14:ppn=2:vm job.sh",
        {"vcpus": 2},
        NODES_SAYS.format("2:ppn=2:server:vm+14:ppn=2:vm instead of nodes=2:server+14"),
    ),
    guests(
        "qsub -l nodes=b2005+b1803:ppn=4 -vm vcpus=2 job.sh",
        "qsub -l nodes=b2005+b1803:ppn=4"
        " -T vm -l other=vm1:vcpus=2,nodes=b2005:ppn=2:vm+b1803:ppn=4:vm job.sh",
        {"vcpus": 2},
        NODES_SAYS.format("b2005:ppn=2:vm+b1803:ppn=4:vm instead of nodes=b2005+b1803:ppn=4"),
    ),
    guests(
        "qsub -l nodes=2:blue:ppn=2+red:ppn=3+b1014 -vm vcpus=2 job.sh",
        "qsub -l nodes=2:blue:ppn=2+red:ppn=3+b1014"
        " -T vm -l other=vm1:vcpus=2,nodes=2:blue:ppn=2:vm+red:ppn=3:vm+b1014:ppn=2:vm job.sh",
        {"vcpus": 2},
        NODES_SAYS.format(
            "2:blue:ppn=2:vm+red:ppn=3:vm+b1014:ppn=2:vm instead of nodes=2:blue:ppn=2+red:ppn=3+b1014"
        ),
    ),
    guests(
        "qsub -l nodes=1:ppn=2:gpus=1:exclusive_process#shared -vm vcpus=2 job.sh",
        "qsub -l nodes=1:ppn=2:gpus=1:exclusive_process#shared"
        " -T vm -l other=vm1:vcpus=2,nodes=1:ppn=2:gpus=1:exclusive_process:vm#shared job.sh",
        {"vcpus": 2},
    ),
    guests(
        "qsub -l nodes=2 -l nodes=1:ppn=2 -vm vcpus=2 job.sh",
        f"qsub -l nodes=2 -l nodes=1:ppn=2 {TWO} job.sh",
        {"vcpus": 2},
    ),
    guests(
        "qsub -l nodes=2:ppn=2,mem=1gb -vm ram=1G,vcpus=2 job.sh",
        "qsub -l nodes=2:ppn=2,mem=1gb -T vm -l other=vm1:ram=1G:vcpus=2,nodes=2:ppn=2:vm,mem=3gb job.sh",
        {"ram": G, "vcpus": 2},
        "asked for mem=3gb instead of mem=1gb: 1 guest of 2 processors, 1G of memory on each node",
    ),
    guests(
        "qsub -l nodes=2:ppn=2 -l pmem=1gb,vmem=100GB -vm ram=1G,vcpus=2 job.sh",
        "qsub -l nodes=2:ppn=2 -l pmem=1gb,vmem=100GB"
        " -T vm -l other=vm1:ram=1G:vcpus=2,nodes=2:ppn=2:vm job.sh",
        {"ram": G, "vcpus": 2},
    ),
    guests(
        "qsub -l 'walltime=1:00:00, nodes=1:ppn=2, feature=\"fast|big\"' -vm vcpus=2 job.sh",
        f"qsub -l 'walltime=1:00:00, nodes=1:ppn=2, feature=\"fast|big\"' {TWO} job.sh",
        {"vcpus": 2},
    ),
    guests(
        "qsub -l software=matlab:2,naccesspolicy=singlejob,qos=high -vm vcpus=2 job.sh",
        f"qsub -l software=matlab:2,naccesspolicy=singlejob,qos=high {TWO} job.sh",
        {"vcpus": 2},
        TWO_SAYS,
    ),
    # The script asks.
    guests("qsub guests.sh", f"qsub {SCRIPT} -N guests.sh COPY", IN_SCRIPT, SCRIPT_SAYS),
    guests("qsub ./guests.sh", f"qsub {SCRIPT} -N guests.sh COPY", IN_SCRIPT, SCRIPT_SAYS, (FILE,)),
    guests(
        "qsub -F 'a b' guests.sh -o out.txt",
        f"qsub -F 'a b' COPY -o out.txt {SCRIPT} -N guests.sh",
        IN_SCRIPT,
        SCRIPT_SAYS,
    ),
    guests(
        "qsub -vm ram=1G,vms_per_node=3 guests.sh",
        "qsub -T vm -l other=vm1:ram=1G:vcpus=2:vms_per_node=3,nodes=2:ppn=6:vm -N guests.sh COPY",
        {"ram": G, "vcpus": 2, "vms_per_node": 3},
        "asked for nodes=2:ppn=6:vm instead of nodes=2: 3 guests of 2 processors on each node",
    ),
    guests(
        "qsub -N mine -l nodes=3:ppn=8 guests.sh",
        "qsub -N mine -l nodes=3:ppn=8 -T vm -l other=vm1:ram=192M:vcpus=2,nodes=3:ppn=8:vm COPY",
        IN_SCRIPT,
    ),
    guests("qsub -t 1-3 named.sh", f"qsub -t 1-3 {TWO} COPY", {"vcpus": 2}, TWO_SAYS),
    guests(
        "qsub split.sh",
        "qsub -T vm -l other=vm1:distro=debian:ram=1G:vcpus=2,nodes=1:ppn=2:vm -N split.sh COPY",
        {"distro": Distro.DEBIAN, "ram": G, "vcpus": 2},
        NODES_SAYS.format("1:ppn=2:vm instead of nodes=1"),
    ),
    guests(
        "qsub quoted.sh",
        "qsub -T vm -l other=vm1:img=osv.qcow2:ram=1G,nodes=1:vm -N quoted.sh COPY",
        {"img": "osv.qcow2", "ram": G},
    ),
    guests(
        "qsub many.sh -vm vcpus=3",
        "qsub -T vm -l other=vm1:arch=x86_64:ram=2G:vcpus=3,nodes=1:ppn=3:vm -N many.sh COPY",
        {"arch": "x86_64", "ram": 2 * G, "vcpus": 3},
        "asked for nodes=1:ppn=3:vm instead of one processor: 1 guest of 3 processors on each node",
    ),
    guests("qsub -C '#QSUB' turbo.sh", f"qsub -C '#QSUB' {ONE} -N turbo.sh COPY", {"ram": G}),
    guests("qsub dos.sh", f"qsub {ONE}", {"ram": G}, ways=(REDIRECT, PIPE)),
    guests(
        "qsub -I -x guests.sh",
        f"qsub -l nodes=2 -j oe -I -x {SCRIPT} -C #NO-DIRECTIVES guests.sh",
        IN_SCRIPT,
        SCRIPT_SAYS,
        (FILE,),
    ),
    # qsub will say what is wrong; the job is marked, should it not.
    guests("qsub -vm vcpus=2 missing.sh", "qsub -T vm missing.sh", None, ways=(FILE,)),
    guests("qsub -vm vcpus=2 dos.sh", "qsub -T vm dos.sh", None, ways=(FILE,)),
    guests("qsub -zl nodes=2 -vm vcpus=1", "qsub -zl nodes=2 -T vm", None, ways=(FILE,)),
    guests("qsub -pe mpi 4 -vm ram=1G job.sh", "qsub -pe -T vm mpi 4 job.sh", None, ways=(FILE,)),
    guests("qsub -l -vm job.sh -vm vcpus=1", "qsub -l -vm -T vm -l other=vm1:vcpus=1 job.sh", {"vcpus": 1}),
)
