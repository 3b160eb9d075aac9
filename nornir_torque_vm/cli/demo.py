"""``torque-vm demo``: the whole thing once, on this machine, in a minute, with nothing left behind."""

from __future__ import annotations

import time

import click

from nornir_torque_vm.cli.labjob import borrowed_lab, run_job
from nornir_torque_vm.cli.submit import Typed, read_script
from nornir_torque_vm.sitekit import kit_file

REQUEST = "vcpus=1,ram=192M,vms_per_node=2"
NODES = 2
LAB = "default"


@click.command()
def demo() -> int:
    """Build an image and a two-node lab, run a job in four guests, show its timeline, clean up (root)."""
    began = time.monotonic()
    script = kit_file("wrapper", "demo-job.sh")
    job = Typed(["-l", f"nodes={NODES}", "-vm", REQUEST], script, read_script(script))
    with borrowed_lab(LAB, NODES) as lab:
        print(f"$ qsub -l nodes={NODES} -vm {REQUEST} {script.name}", flush=True)
        submission = job.submission(lab)
        job_began = time.monotonic()
        ended = run_job(lab, submission)
        took = time.monotonic() - job_began
        print(
            f"\nthe job ended with {ended.exit_code} after {took:.1f} s; where each guest's seconds went:\n"
        )
        print(ended.timeline.to_text(), flush=True)
    print(f"\ndemo done after {time.monotonic() - began:.1f} s, exit code {ended.exit_code}")
    return ended.exit_code
