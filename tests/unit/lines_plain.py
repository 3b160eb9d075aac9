"""Lines without guests: the habits of users, of the vendor's manuals, and of users of other systems."""

from __future__ import annotations

from desk_kit import FILE
from line_kit import SCRIPT_WAYS, Line, plain

LINES: tuple[Line, ...] = (
    # What a first lesson shows.
    plain("qsub job.sh"),
    plain("qsub ./job.sh", (FILE,)),
    plain("qsub -l nodes=1:ppn=4,walltime=01:00:00 job.sh"),
    plain("qsub -lnodes=2:ppn=8 -lwalltime=12:00:00 -Nrun1 -qlong job.sh"),
    plain("qsub -l nodes=4 -l walltime=24:00:00 -l mem=8gb -l pmem=2000mb job.sh"),
    plain("qsub -N 'my job' -j oe -o logs/out.txt -e logs/err.txt 'my job.sh'"),
    plain("qsub -q batch -A proj42 -M user@example.org,boss@example.org -m abe job.sh"),
    plain("qsub -V -v PATH,LD_LIBRARY_PATH,OMP_NUM_THREADS=8 job.sh"),
    plain("qsub -v 'A=b c,B=\"x\",C=*.dat $HOME `id` $(id)' job.sh"),
    plain("qsub -v 'LINES=one\ntwo' job.sh"),
    plain("qsub job.sh -l nodes=2 -N late"),
    plain("qsub -- job.sh", SCRIPT_WAYS),
    plain("qsub -z -h -r n -k oe -p -100 -a 1530 job.sh"),
    plain("qsub -S /bin/bash -d /scratch -w /home/alice -D / -b 30 -K 60 job.sh"),
    plain("qsub -c enabled,periodic,shutdown,interval=120 -u alice@head,bob -P carol:hpc job.sh"),
    plain("qsub -nfE -J 17.head -i 4 job.sh"),
    # Arrays, arguments, dependencies.
    plain("qsub -t 0-99%5 job.sh"),
    plain("qsub -t 1,3,10-20 -N sweep job.sh"),
    plain("qsub -F 'input.dat --steps 100 \"two words\"' job.sh"),
    plain("qsub -W depend=afterok:1234.head:1235.head job.sh"),
    plain("qsub -W depend=beforeany:12.head,group_list=hpc,umask=027 job.sh"),
    plain("qsub -Wstagein=data@head:/home/alice/data -W x=nmatchpolicy:exactnode job.sh"),
    plain("qsub -W x='GRES:matlab+2;ADVRES:res.1' job.sh"),
    # Every form of nodes= in the vendor's manual.
    plain("qsub -l nodes=12 job.sh"),
    plain("qsub -l nodes=2:server+14 job.sh"),
    plain("qsub -l nodes=server:hippi+10:noserver+3:bigmem:hippi job.sh"),
    plain("qsub -l nodes=b2005+b1803+b1813 job.sh"),
    plain("qsub -l nodes=2:blue:ppn=2+red:ppn=3+b1014 job.sh"),
    plain("qsub -l nodes=1:ppn=2:gpus=1:exclusive_process -l cpuclock=1800mhz job.sh"),
    plain("qsub -l 'nodes=1:ppn=1, feature=\"fast|big\"' job.sh"),
    plain("qsub -l procs=16,software=matlab:2,file=10gb,naccesspolicy=singlejob job.sh"),
    plain("qsub -L tasks=2:lprocs=4:memory=1gb -L tasks=1 job.sh"),
    plain("qsub -l prologue=/home/alice/start.sh,epilogue=/home/alice/end.sh -T bigmem job.sh"),
    plain("qsub -l other=vm1:vcpus=2 -T vm job.sh"),
    plain("qsub -q @head2 job.sh"),
    plain("qsub -X -q debug@head -l nodes=1:ppn=1,walltime=0:30:00 job.sh"),
    # Words that look like a request.
    plain("qsub -vmyvar=3 job.sh"),
    plain("qsub -v m job.sh"),
    plain("qsub -vm=3 job.sh"),
    plain("qsub -zvm job.sh"),
    plain("qsub -N -vm job.sh"),
    plain("qsub -v -vm -F '-vm ram=1G' job.sh"),
    plain("qsub -W 'x=VM;img=a.qcow2' job.sh"),
    plain("qsub -z -- -vm ram=1G"),
    # The script has no request in its header.
    plain("qsub remarks.sh"),
    plain("qsub -l nodes=1 value.sh"),
    plain("qsub -C '#NONE' guests.sh"),
    plain("qsub -C '' guests.sh"),
    plain("qsub turbo.sh"),
    # What qsub says something about itself.
    plain("qsub missing.sh", (FILE,)),
    plain("qsub .", (FILE,)),
    plain("qsub job.sh input.dat"),
    plain("qsub -l"),
    plain("qsub --help"),
    plain("qsub --version -vm ram=1G"),
    plain("qsub -l nodes=1 --about"),
    plain("qsub -pe mpi 16 -cwd job.sh"),
    plain("qsub -l select=2:ncpus=4:mpiprocs=4 -l place=scatter job.sh"),
    plain("qsub -x job.sh"),
)
