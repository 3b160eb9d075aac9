"""``torque-vm reap``: remove from this node what jobs left here that are proven to be over.

Exit codes: 0 nothing was left undone that should have been done, 1 something could not be removed, or not as
ordered, 2 usage, 3 late, 4 the job that was named has nothing here, 5 this node's libvirt does not answer.
"""

from __future__ import annotations

import click

from nornir_torque_vm.cli import offers
from nornir_torque_vm.cli.show import as_json, table
from nornir_torque_vm.config import settings as settings_module
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.exitcodes import CliExit, cli_exit
from nornir_torque_vm.hooks.frame import cancel_on_signal, log
from nornir_torque_vm.hooks.stdio import say
from nornir_torque_vm.identity import job_slug
from nornir_torque_vm.reap.reaper import Case, Fate, Outcome, Reaper

TITLES = ("JOB", "FATE", "WHY")


@click.command()
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and change nothing.")
@click.option(
    "--job", "job_id", metavar="ID", shell_complete=offers.jobs,
    help="Remove what this job left here; you know that it is over.",
)  # fmt: skip
@click.option(
    "--grace", type=click.FloatRange(min=0), metavar="SECONDS",
    help="How long a job has to be over; default: the setting reap_grace.",
)  # fmt: skip
@click.option(
    "--json", "json_wanted", is_flag=True, help="Every thing that was found and its fate, for programs."
)
@click.option(
    "--settings", "settings_path", metavar="FILE", shell_complete=offers.files,
    help="Default: /etc/torque-vm/settings.toml.",
)  # fmt: skip
def reap(
    *, dry_run: bool, job_id: str | None, grace: float | None, json_wanted: bool, settings_path: str | None
) -> int:
    """Remove from this node what jobs left here that are proven to be over.

    Domains, volumes, seeds, consoles, keys, run state, and records of past jobs that are too old. A job is
    over when the server says so, this node's pbs_mom does not have it, and no process here is at work on
    it, for the grace time. While the server does not answer nothing is removed.
    """
    if job_id is not None:
        job_slug(job_id)
    settings = settings_module.load(settings_path)
    deadline = Deadline.after(settings.timeout)
    cancel_on_signal(deadline)
    reaper = Reaper(settings, deadline, grace=settings.reap_grace if grace is None else grace, dry=dry_run)
    outcome = reaper.run() if job_id is None else reaper.run_for(job_id)
    report(outcome)
    show(outcome, json_wanted=json_wanted, dry=dry_run)
    for error in outcome.troubles:
        say(str(error))
    if job_id is not None and not outcome.cases:
        say(f"job {job_id} has nothing on this node")
        return CliExit.NOTHING
    return exit_code(outcome, ordered=job_id is not None)


def report(outcome: Outcome) -> None:
    """One line in syslog when something was removed, or should have been."""
    removed = [case for case in outcome.cases if case.fate is Fate.REMOVED]
    failed = [case for case in outcome.cases if case.fate is Fate.FAILED]
    said = [f"job {case.name} is over and could not be removed: {case.reason}" for case in failed]
    if removed:
        guests = sum(len(case.leftovers.names("domain")) for case in removed)
        files = sum(len(case.leftovers.names("volume")) for case in removed)
        said.insert(0, f"over, {guests} guests and {files} files of guests removed")
    if said:
        log("reap", ",".join(case.name for case in removed) or "-", "; ".join(said))


def show(outcome: Outcome, *, json_wanted: bool, dry: bool) -> None:
    """What was found, and what became of it."""
    if json_wanted:
        print(as_json({
            "node": outcome.node,
            "dry_run": dry,
            "jobs": [facts_of(case) for case in outcome.cases],
            "records": outcome.records,
        }))  # fmt: skip
        return
    if outcome.cases:
        print(table(TITLES, [(case.name, case.fate, case.reason) for case in outcome.cases]))
    if outcome.records:
        verb = "would be" if dry else "were"
        print(f"{len(outcome.records)} records of past jobs {verb} removed")


def facts_of(case: Case) -> dict[str, object]:
    """A case for programs."""
    things = sorted(case.leftovers.things, key=lambda thing: (thing.kind, thing.name))
    return {
        "job": case.name,
        "fate": case.fate,
        "why": case.reason,
        "things": [{"kind": thing.kind, "name": thing.name} for thing in things],
    }


def exit_code(outcome: Outcome, *, ordered: bool) -> int:
    """Any error of its own makes it 1, as for the other commands; to be kept is one only against an order."""
    codes = {case.code for case in outcome.cases if case.fate is Fate.FAILED}
    codes.update(int(cli_exit(error)) for error in outcome.troubles)
    if ordered and any(case.fate is Fate.KEPT for case in outcome.cases):
        codes.add(int(CliExit.FAILED))
    return int(CliExit.FAILED) if CliExit.FAILED in codes else max(codes, default=int(CliExit.OK))
