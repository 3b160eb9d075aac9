#!/bin/sh
#PBS -N demo
# An ordinary job script. It runs in the first guest and asks every guest of its nodefile to answer.
echo "this is $(hostname), job $PBS_JOBID of $(id -un), $(nproc) processor(s), Linux $(uname -r)"
for guest in $(sort -u "$PBS_NODEFILE"); do
	ssh "$guest" 'echo "$(hostname) answers from inside: up $(cut -d. -f1 /proc/uptime) s"'
done
