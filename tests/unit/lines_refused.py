"""Lines of which nothing is submitted: one sentence that says what to do, and an exit code."""

from __future__ import annotations

from desk_kit import FILE
from line_kit import SCRIPT_WAYS, Line, refused

INVERTED = (
    "must be true or false; 0 and 1 are refused because their meaning was inverted in the earlier system "
    "(0 was on, 1 was off)"
)
SIZE = "must be a whole number followed by K, M, G or T, such as 512M or 2G"
FORM = "write -vm key=value,key=value without blanks"
POOL_ONLY = "is a path, and the site allows images of its pool only; qsub --list-images shows their names"
MANY_NODES = "+".join(f"node{number:04}" for number in range(200))

LINES: tuple[Line, ...] = (
    # The request itself.
    refused("qsub job.sh -vm", f"-vm has no value; {FORM}"),
    refused("qsub -vm job.sh", f"-vm has 'job.sh', which is not key=value; {FORM}", (FILE,)),
    refused("qsub -vm ram job.sh", f"-vm has 'ram', which is not key=value; {FORM}"),
    refused("qsub -vm ram=1G, vcpus=2 job.sh", f"-vm has '', which is not key=value; {FORM}"),
    refused("qsub -vm rma=1G job.sh", "unknown -vm key 'rma'; did you mean ram?"),
    refused(
        "qsub -vm ram=2048 job.sh",
        "-vm key ram is '2048' but must have a unit, K, M, G or T: 512M or 2G, for example",
    ),
    refused("qsub -vm ram=1GB job.sh", f"-vm key ram is '1GB' but {SIZE}"),
    refused("qsub -vm 'ram=1G;vcpus=2' job.sh", f"-vm key ram is '1G;vcpus=2' but {SIZE}"),
    refused("qsub -vm vcpus=0 job.sh", "-vm key vcpus is '0' but must be a whole number from 1 to 1024"),
    refused("qsub -vm vcpus=two job.sh", "-vm key vcpus is 'two' but must be a whole number from 1 to 1024"),
    refused("qsub -vm iocm=1 job.sh", f"-vm key iocm is '1' but {INVERTED}"),
    refused("qsub -vm vrdma=0 job.sh", f"-vm key vrdma is '0' but {INVERTED}"),
    refused("qsub -vm unclot=maybe job.sh", "-vm key unclot is 'maybe' but must be true or false"),
    refused(
        "qsub -vm distro=windows job.sh",
        "-vm key distro is 'windows' but must be debian, ubuntu, redhat, centos or osv",
    ),
    refused(
        "qsub -vm fs_type=ramdisk job.sh",
        "fs_type=ramdisk is not offered: the site has no disks in memory; ask for fs_type=sharedfs",
    ),
    refused("qsub -vm fs_type=nfs job.sh", "-vm key fs_type is 'nfs' but must be sharedfs or ramdisk"),
    refused("qsub -vm hypervisor=xen job.sh", "-vm key hypervisor is 'xen' but must be kvm, skvm or qemu"),
    # What it names.
    refused(
        "qsub -vm img=missing.qcow2 job.sh",
        "image 'missing.qcow2' does not exist in the image pool {pool}; did you mean debian.qcow2?",
    ),
    refused("qsub -vm img=../../own.qcow2 job.sh", f"img={{above}}/own.qcow2 {POOL_ONLY}"),
    refused("qsub -vm img=/srv/own.qcow2 job.sh", f"img=/srv/own.qcow2 {POOL_ONLY}"),
    refused(
        "qsub -vm img=osv.qcow2,distro=debian job.sh",
        "distro=debian contradicts the image, which is osv by its file name; "
        "leave distro away, or write distro=osv",
    ),
    refused(
        "qsub -vm vm_prologue=missing.sh job.sh",
        "vm_prologue names 'missing.sh', which cannot be opened: No such file or directory",
    ),
    refused(
        "qsub -vm disk=missing.img job.sh",
        "disk names 'missing.img', which cannot be opened: No such file or directory",
    ),
    refused("qsub -vm metadata=. job.sh", "metadata names '.', which is not a regular file"),
    refused(
        "qsub -vm vms_per_node=9 job.sh",
        "vms_per_node is 9, and the site allows 8 guests on a node; "
        "ask for more nodes with fewer guests each",
    ),
    # What does not go together with it.
    refused(
        "qsub -T bigmem -vm vcpus=2 job.sh",
        "-T bigmem cannot be combined with -vm, whose jobs are of type vm; leave -T away",
    ),
    refused(
        "qsub -vm vcpus=2 job.sh -Tvm",
        "-T vm cannot be combined with -vm, whose jobs are of type vm; leave -T away",
    ),
    refused(
        "qsub -l other=mine -vm vcpus=2 job.sh",
        "-l other= cannot be combined with -vm, whose request rides in it; leave other= away",
    ),
    refused(
        "qsub -L tasks=2:lprocs=4 -vm vcpus=2 job.sh",
        "-L 'tasks=2:lprocs=4' cannot be raised to what guests need; "
        "write -l nodes=N:ppn=M instead, N nodes with M processors each",
    ),
    refused(
        "qsub -l procs=16 -vm vcpus=2 job.sh",
        "-l procs=16 does not say what each node gives its guests; write -l nodes=8:ppn=2 instead",
    ),
    refused(
        "qsub -lncpus=4 -vm vcpus=2 job.sh",
        "-l ncpus=4 does not say what each node gives its guests; write -l nodes=1:ppn=4 instead",
    ),
    refused(
        "qsub -l select=2:ncpus=4 -vm vcpus=2 job.sh",
        "-l select=2:ncpus=4 does not say what each node gives its guests; write -l nodes=N:ppn=M instead",
    ),
    refused("qsub -l nodes=0 -vm vcpus=2 job.sh", "nodes='0' asks for 0 nodes; ask for 1 at least"),
    refused(
        "qsub -l nodes=1:ppn=2:ppn=4 -vm vcpus=2 job.sh",
        "nodes='1:ppn=2:ppn=4' states ppn= more than once for the same nodes; state it once in each part",
    ),
    refused(
        f"qsub -l nodes={MANY_NODES} -vm vcpus=2 job.sh",
        "the job's resources take 7388 bytes and TORQUE hands at most 2048 to a node; "
        "shorten nodes=, which takes 7220 of them",
    ),
    refused(
        "qsub -ho - -vm vcpus=2 job.sh",
        "qsub reads this command line in two ways, so guests cannot be added to it; "
        "write each option as a word of its own, before the script",
    ),
    # Our own options.
    refused("qsub --dry-run -vm rma=1G job.sh", "unknown -vm key 'rma'; did you mean ram?"),
    refused("qsub --list-images job.sh", "--list-images stands alone; write qsub --list-images", (FILE,)),
    # In the script, with the line.
    refused("qsub bad.sh", "script line 3: unknown -vm key 'rma'; did you mean ram?", SCRIPT_WAYS),
    refused("qsub -I -x bad.sh", "script line 3: unknown -vm key 'rma'; did you mean ram?", (FILE,)),
    refused("qsub value-less.sh", f"script line 2: -vm has no value; {FORM}", SCRIPT_WAYS),
    refused(
        "qsub typed.sh",
        "script line 2: -T bigmem cannot be combined with -vm, whose jobs are of type vm; leave -T away",
        SCRIPT_WAYS,
    ),
    refused(
        "qsub other.sh",
        "script line 2: -l other= cannot be combined with -vm, whose request rides in it; leave other= away",
        SCRIPT_WAYS,
    ),
    refused("qsub open.sh", "script line 2: unmatched ' in the directive", SCRIPT_WAYS),
    refused("qsub -vm vcpus=2 open.sh", "script line 2: unmatched ' in the directive", SCRIPT_WAYS),
)
