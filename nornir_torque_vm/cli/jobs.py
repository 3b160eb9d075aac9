"""``torque-vm jobs`` and ``torque-vm job``: what became of the jobs of which this node was mother superior.

Exit codes: 0 shown, 1 it cannot be read, 2 usage, 4 there is none.
"""

from __future__ import annotations

import dataclasses
import sys

import click

from nornir_torque_vm.cli import offers
from nornir_torque_vm.cli.jobtext import chosen, everything, facts, legible, listing, page
from nornir_torque_vm.cli.show import as_json
from nornir_torque_vm.config import settings as settings_module
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.exitcodes import CliExit
from nornir_torque_vm.gueststats import Figures
from nornir_torque_vm.model import Plan
from nornir_torque_vm.records import details, past_jobs
from nornir_torque_vm.runstate.pastjobs import State, choose

NEWEST = 20
"""Attempts that ``torque-vm jobs`` shows when nobody says how many."""

json_option = click.option("--json", "json_wanted", is_flag=True, help="For programs.")
settings_option = click.option(
    "--settings",
    "settings_path",
    metavar="FILE",
    envvar="TORQUE_VM_SETTINGS",
    shell_complete=offers.files,
    help="The settings file. [default: /etc/torque-vm/settings.toml]",
)


@click.command()
@json_option
@click.option("--all", "everyone", is_flag=True, help=f"Not only the newest {NEWEST}.")
@click.option(
    "--failed", is_flag=True, help="Only attempts whose guests never were ready, or could not be removed."
)
@click.option("--user", metavar="NAME", help="Only this owner's.")
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help=f"How many at most; {NEWEST} by default."
)
@settings_option
def jobs(
    *, json_wanted: bool, everyone: bool, failed: bool, user: str | None, limit: int | None,
    settings_path: str | None,
) -> int:  # fmt: skip
    """List what became of the jobs of which this node was mother superior, newest first; as root.

    One line for each attempt to start one: starting, running, ready (and its end unknown), over; refused,
    busy, late, cancelled, site (something here is broken) or unfinished (its prologue was killed).
    """
    if everyone and limit is not None:
        raise click.UsageError("--all and --limit contradict each other")
    most = None if everyone else limit or NEWEST
    found = chosen(past_jobs(settings_module.load(settings_path)), user=user, failed=failed, limit=most)
    if json_wanted:
        print(as_json({"jobs": [facts(one) for one in found]}))
    elif found:
        print(listing(found))
    return CliExit.OK if found else nothing("no such job is on record here")


@click.command()
@click.argument("job_id", metavar="ID[.ATTEMPT]", shell_complete=offers.past_jobs)
@json_option
@settings_option
def job(*, job_id: str, json_wanted: bool, settings_path: str | None) -> int:
    """Show all that is kept of one job, of its last attempt unless another is named; as root.

    ID is 17.head, or 17 for that number of any server: the request, the plan, the verdict and why, where the
    time went, what each guest used, and how the teardown went.
    """
    settings = settings_module.load(settings_path)
    known = past_jobs(settings)
    found = choose(job_id, known)
    if found is None:
        return nothing(f"job {legible(job_id)} is not on record here; its mother superior has it")
    files, folder = details(settings, found), f"{settings.history_dir}/{found.record}"
    if found.state is State.RUNNING and files.plan is not None:
        files = dataclasses.replace(files, figures=so_far(settings, files.plan))
    attempts = [one for one in known if one.job_id == found.job_id]
    shown = everything(found, files, folder, attempts)
    print(as_json(shown) if json_wanted else page(found, files, folder, attempts))
    return CliExit.OK


def so_far(settings: Settings, plan: Plan) -> Figures:
    """What a running job's guests have used until now; a node that does not answer is missing."""
    from nornir_torque_vm.hooks.figures import ask

    return ask(settings, Deadline.after(settings.timeout), plan.nodes, plan.job.id)[0]


def nothing(what: str) -> int:
    """Say what there is none of; return the exit code for it."""
    print(f"torque-vm: {what}", file=sys.stderr)
    return CliExit.NOTHING
