"""``torque-vm run``: a job script in guests, by the embedded batch driver, on a lab."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TypedDict

import click

from nornir_torque_vm.cli import offers
from nornir_torque_vm.cli.asked import request_option
from nornir_torque_vm.cli.labjob import borrowed_lab, run_array, run_interactive, run_job
from nornir_torque_vm.cli.submit import Typed, read_script
from nornir_torque_vm.lab.layout import MAX_NODES


class Running(TypedDict):
    """What is the same for a job and for the members of an array."""

    max_starts: int
    quiet: bool


@click.command(context_settings={"allow_interspersed_args": False})
@click.option(
    "--nodes", type=click.IntRange(1, MAX_NODES), help="Nodes of the job. [default: the script's, or 1]"
)
@request_option
@click.option(
    "--ppn", type=click.IntRange(1), help="Slots on each node. [default: the script's, or what guests need]"
)
@click.option(
    "--walltime", type=click.IntRange(1), help="Seconds the job may run. [default: the script's, or 3600]"
)
@click.option("--name", default="", help="Job name. [default: the script's, or that of its file]")
@click.option("-I", "--interactive", is_flag=True, help="A shell at this terminal; SCRIPT may be left out.")
@click.option("-t", "--array", default="", help="Run members of an array, such as 0-3 or 1,4-9%2.")
@click.option(
    "--max-starts",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="How often a job that TORQUE would requeue is started.",
)
@click.option(
    "--lab", "lab_name", default="default", show_default=True, shell_complete=offers.labs,
    help="Which lab; one is made if it is not up.",
)  # fmt: skip
@click.option("--keep-lab", is_flag=True, help="Leave a lab that was made for this job up afterwards.")
@click.option("--timeline", is_flag=True, help="Show at the end where the time went (stderr).")
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
@click.argument("script", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=False)
@click.argument("arguments", nargs=-1, shell_complete=offers.files)
def run(
    *, nodes: int | None, requests: tuple[str, ...], ppn: int | None, walltime: int | None, name: str,
    interactive: bool, array: str, max_starts: int, lab_name: str, keep_lab: bool, timeline: bool,
    quiet: bool, script: Path | None, arguments: tuple[str, ...],
) -> int:  # fmt: skip
    """Run SCRIPT inside fresh guests, without a TORQUE at hand (root).

    What the script asks for by '#PBS' and -vm, -l, -N, -t, -I or -F counts, as with qsub; these options win.
    The hooks run exactly as a MOM of TORQUE 6.1.3 would run them. The job's output goes to stdout and
    stderr, its exit code is this command's. Members of an array run side by side on nodes of their own,
    their lines begin with their index, and the first exit code that is not 0 counts; that of an
    interactive job's shell does not. Own exit codes: 120 request refused, 121 nodes full, 122 site
    failure, 123 guests late, 124 lab or driver, 125 internal.
    """
    if script is None and not interactive:
        raise click.UsageError("a SCRIPT is missing")
    text = read_script(script) if script else b""
    words = [
        *(("-I",) if interactive else ()),
        *(("-N", name) if name else ()),
        *(("-t", array) if array else ()),
        *(("-l", f"walltime={walltime}") if walltime else ()),
    ]
    if nodes or ppn:
        own = Typed(words, script, text).nodes
        slots = ppn or max(own.ppns)
        words += ["-l", f"nodes={nodes or own.nodes}" + (f":ppn={slots}" if slots > 1 else "")]
    job = Typed([*words, *(word for value in requests for word in ("-vm", value))], script, text)
    with borrowed_lab(lab_name, job.nodes.nodes, keep=keep_lab, quiet=quiet) as lab:
        submission = job.submission(lab)
        if arguments:
            submission = dataclasses.replace(submission, arguments=arguments)
        how: Running = {"max_starts": max_starts, "quiet": quiet}
        if submission.array:
            members = list(run_array(lab, submission, **how).values())
        elif submission.interactive:
            members = [run_interactive(lab, submission, max_starts=max_starts)]
        else:
            members = [run_job(lab, submission, **how)]
    for ended in members if timeline else ():
        print(ended.timeline.to_text(), file=sys.stderr)
    if submission.interactive and members[0].outcome.fate == "start":
        return 0
    return next((ended.exit_code for ended in members if ended.exit_code), 0)
