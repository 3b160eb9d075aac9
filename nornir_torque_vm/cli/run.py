"""``torque-vm run``: a job script in guests, by the embedded batch driver, on a lab."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from nornir_torque_vm.cli.labjob import borrowed_lab, run_job
from nornir_torque_vm.driver.session import submission_for
from nornir_torque_vm.lab.layout import MAX_NODES
from nornir_torque_vm.request import parse_request


@click.command(context_settings={"allow_interspersed_args": False})
@click.option(
    "--nodes", type=click.IntRange(1, MAX_NODES), default=1, show_default=True, help="Nodes of the job."
)
@click.option(
    "-vm",
    "requests",
    multiple=True,
    metavar="KEY=VALUE[,…]",
    help="What the guests shall be: img, vcpus, ram, vms_per_node, hypervisor, arch, distro.",
)
@click.option("--ppn", type=click.IntRange(1), help="Slots on each node. [default: all of a node's]")
@click.option(
    "--walltime", type=click.IntRange(1), default=3600, show_default=True, help="Seconds the job may run."
)
@click.option("--name", default="", help="Job name. [default: the script's]")
@click.option(
    "--max-starts",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="How often a job that TORQUE would requeue is started.",
)
@click.option(
    "--lab", "lab_name", default="default", show_default=True, help="Which lab; one is made if it is not up."
)
@click.option("--keep-lab", is_flag=True, help="Leave a lab that was made for this job up afterwards.")
@click.option("--timeline", is_flag=True, help="Show at the end where the time went (stderr).")
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
@click.argument("script", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("arguments", nargs=-1)
def run(
    *, nodes: int, requests: tuple[str, ...], ppn: int | None, walltime: int, name: str, max_starts: int,
    lab_name: str, keep_lab: bool, timeline: bool, quiet: bool, script: Path, arguments: tuple[str, ...],
) -> int:  # fmt: skip
    """Run SCRIPT inside fresh guests, without a TORQUE at hand (root).

    The hooks run exactly as a MOM of TORQUE 6.1.3 would run them. The job's output goes to stdout and
    stderr, its exit code is this command's. Own exit codes: 120 request refused, 121 nodes full,
    122 site failure, 123 guests late, 124 lab or driver, 125 internal.
    """
    request = parse_request(requests)
    with borrowed_lab(lab_name, nodes, keep=keep_lab, quiet=quiet) as lab:
        submission = submission_for(
            script, lab.node_names[:nodes], ppn=ppn or lab.slots, other=request.encode(),
            name=name, arguments=arguments, walltime=walltime,
        )  # fmt: skip
        ended = run_job(lab, submission, max_starts=max_starts, quiet=quiet)
    if timeline:
        print(ended.timeline.to_text(), file=sys.stderr)
    return ended.exit_code
