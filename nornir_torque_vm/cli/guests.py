"""``torque-vm guests|boot|address|health|destroy``: our Nornir tasks on nodes an administrator names.

Exit codes: 0 all ok, 1 some failed, 2 usage, 3 late, 4 nothing selected, 5 no hypervisor reachable.
"""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from nornir_torque_vm import tasks
from nornir_torque_vm.accounts import caller
from nornir_torque_vm.addresses.giving import addressed
from nornir_torque_vm.addresses.release import given_back
from nornir_torque_vm.addresses.static import NO_JOB
from nornir_torque_vm.cli.asked import read_request, request_option, settled
from nornir_torque_vm.cli.command import Command
from nornir_torque_vm.cli.show import as_json as to_json
from nornir_torque_vm.cli.show import show_report
from nornir_torque_vm.cli.targets import facts_of, target_options
from nornir_torque_vm.config import settings as settings_module
from nornir_torque_vm.engine import Boot
from nornir_torque_vm.errors import InventoryError, StateError
from nornir_torque_vm.exitcodes import cli_exit
from nornir_torque_vm.found import FoundGuest
from nornir_torque_vm.hooks.stdio import say
from nornir_torque_vm.images import image_for
from nornir_torque_vm.inventory.torque import server_of
from nornir_torque_vm.machine.shape import shape_of
from nornir_torque_vm.model import Job, JobKeys, Plan
from nornir_torque_vm.plan import make_plan
from nornir_torque_vm.report import HostReport, Report
from nornir_torque_vm.runstate.joblock import job_lock
from nornir_torque_vm.runstate.jobstate import JobState
from nornir_torque_vm.sizes import format_size
from nornir_torque_vm.sshkeys import make_job_keys
from nornir_torque_vm.tasks.destroy import Destroyed
from nornir_torque_vm.wrapper.resolve import COMMAND_LINE

COLUMNS = ("guest", "node", "job", "owner", "state", "vcpus", "memory", "mac")
OF_JOBS = ("vm_prologue", "vm_epilogue", "disk")
"""Keys that concern a job around its guests."""
NO_NODE, NO_GUEST = "no node is selected", "there is no such guest"


@click.command()
@target_options
def guests(**options: Any) -> int:
    """List the guests of ours that exist on NODES (host names, --nodefile, --inventory or $PBS_NODEFILE)."""
    command = Command.prepare(**options)
    found, report = command.existing()
    if command.as_json:
        print(to_json({"guests": [facts_of(guest) for guest in found], "nodes": report.to_dict()["hosts"]}))
    else:
        facts = [facts_of(guest) | {"memory": format_size(guest.memory)} for guest in found]
        show_report(report, json_wanted=False, titles=[name.upper() for name in COLUMNS],
                    rows=[[fact[name] for name in COLUMNS] for fact in facts])  # fmt: skip
    if found or not report.ok:
        return int(cli_exit(report)) if report.hosts else command.nothing(NO_NODE)
    return command.nothing(NO_GUEST)


@click.command()
@target_options
@request_option
def boot(*, requests: tuple[str, ...], **options: Any) -> int:
    """Start guests on NODES, outside any batch job, and wait until they are healthy."""
    command = Command.prepare(**options)
    settings, nodes = command.settings, command.targets.nodes
    if not nodes:
        return command.nothing(NO_NODE)
    asked = read_request((COMMAND_LINE, text) for text in requests)
    request = settled(asked, settings).request
    if unused := [key for key in OF_JOBS if getattr(request, key) is not None]:
        say(f"only jobs have {', '.join(unused)}: guests started here have not")
    image = image_for(request, settings)
    job_id = command.job_id or f"{int(time.time())}.adhoc"
    job = Job(job_id, server_of(job_id, settings), caller(), nonce=secrets.token_hex(4))
    state = JobState(settings.run_dir, job)
    with state.lock(command.engine.deadline):
        if JobState.find(settings.run_dir, job_id) is not None:
            # The same MAC addresses twice on one network would disturb both.
            raise InventoryError(f"job {job_id} has guests", hint=f"torque-vm destroy --job {job_id}")
        facts, survey = command.engine.survey(nodes, command.inventory(), shape_of(request, settings))
        if not survey.ok:
            return command.show(survey, ("NODE",), [])
        plan = make_plan(request, settings, job, nodes, image, facts)
        plan = addressed(plan, settings, facts, command.engine.deadline, NO_JOB)
        keys = make_job_keys([guest.name for guest in plan.guests])
        state.save(plan, keys)
        print(f"torque-vm: job {job_id}; remove it with: torque-vm destroy --job {job_id}", file=sys.stderr)
        started = command.engine.boot(plan, keys, base=command.targets.base)
    return command.show(started.report, ("GUEST", "NODE", "ADDRESS", "STATUS"), boot_rows(plan, started))


def boot_rows(plan: Plan, started: Boot) -> list[tuple[str, ...]]:
    """Guest, node, address and status, by rank."""
    status = {entry.host: str(entry.status) for entry in started.report.hosts}
    return [
        (guest.name, guest.node, started.addresses[guest.name] or "-", status.get(guest.name, "-"))
        for guest in plan.guests
    ]


@click.command()
@target_options
def address(**options: Any) -> int:
    """Find out the addresses of running guests on NODES."""
    command = Command.prepare(**options)
    return on_existing(
        command,
        lambda found: [command.on_guests(found, tasks.discover_address)],
        "ADDRESS",
        lambda entry: entry.data["address"],
    )


@click.command()
@target_options
@click.option(
    "--command",
    "probe_command",
    default="true",
    show_default=True,
    help="Run in each guest; must exit with 0.",
)
def health(*, probe_command: str, **options: Any) -> int:
    """Check that running guests on NODES answer over ssh and have finished cloud-init.

    Needs the keys of the job, which the mother superior has while the job runs.
    """
    command = Command.prepare(**options)

    def check(found: Sequence[FoundGuest]) -> Iterable[Report]:
        """Job by job, as each has keys of its own."""
        keys = {job_id: keys_of(command, job_id) for job_id in dict.fromkeys(g.job_id for g in found)}
        for job_id, own in keys.items():
            mine = [guest for guest in found if guest.job_id == job_id]
            yield command.on_guests(mine, tasks.check_health, own, command=probe_command)

    return on_existing(command, check, "HEALTH", lambda entry: entry.status)


def keys_of(command: Command, job_id: str) -> JobKeys:
    """The keys of a job that this host is the mother superior of.

    :raises InventoryError: this host has none.
    """
    state = JobState.find(command.settings.run_dir, job_id)
    keys = state.keys() if state is not None else None
    if keys is None:
        raise InventoryError(
            f"the keys of job {job_id} are not known here", hint="its mother superior has them while it runs"
        )
    return keys


def on_existing(
    command: Command,
    run: Callable[[Sequence[FoundGuest]], Iterable[Report]],
    title: str,
    cell: Callable[[HostReport], object],
) -> int:
    """Run something on the guests that exist and were asked for; nodes that do not answer count as well."""
    found, listing = command.existing()
    titles = ("GUEST", "NODE", title)
    if not found:
        command.show(Report(listing.bad), titles, [])
        return int(cli_exit(listing)) or command.nothing(NO_GUEST)
    done = [entry for report in run(found) for entry in report.hosts]
    rows = [(entry.host, entry.node, cell(entry)) for entry in done if entry.status.good]
    return command.show(Report((*listing.bad, *done)), titles, rows)


@click.command()
@target_options
@click.option("--all", "everything", is_flag=True, help="The guests of every job on these nodes.")
def destroy(*, everything: bool, **options: Any) -> int:
    """Remove the guests of a job from NODES, with their files; what is gone already is no error.

    Without NODES, those of the job's plan are meant, when this host is its mother superior. With a
    --filter for guests only those go, and the job keeps its place. What a job's owner may have written
    into, consoles for example, only its node itself removes: when the job ends, or by torque-vm reap.
    """
    job_id = options["job_id"]
    if bool(job_id) == everything:
        raise click.UsageError("say which: --job ID or --all")
    if not (options["nodes"] or options["nodefile"] or options["inventory_path"]) and job_id:
        options["nodes"] = planned_nodes(options["settings_path"], job_id)
    command = Command.prepare(**options)
    if not command.targets.nodes:
        return command.nothing(NO_NODE)
    if command.targets.guest_filters:
        return on_existing(
            command, lambda found: [command.on_guests(found, tasks.destroy)], "REMOVED", removed
        )
    report = destroy_job(command, job_id) if job_id else destroy_all(command)
    return command.show(report, ("NODE", "REMOVED"), [(entry.host, removed(entry)) for entry in report.good])


def removed(entry: HostReport) -> str:
    """What a host's destruction removed, in words."""
    gone = ", ".join(entry.data.get("domains", ())) or "nothing was there"
    left = ", ".join(entry.data.get("left", ()))
    return f"{gone}; files of {left} are left to torque-vm reap on {entry.node}" if left else gone


def destroy_all(command: Command) -> Report:
    """Remove the guests of all jobs; each node's entry has all that was removed there."""
    found, listing = command.existing()
    reports = [destroy_job(command, job_id) for job_id in sorted({guest.job_id for guest in found})]
    gone: dict[str, Destroyed] = {}
    for entry in (entry for report in reports for entry in report.good):
        before = gone.get(entry.host, Destroyed())
        gone[entry.host] = Destroyed(
            *((*getattr(before, field), *entry.data[field]) for field in ("domains", "volumes", "left"))
        )
    whole = Report.combined([listing, *reports])
    return Report(
        tuple(
            dataclasses.replace(entry, data=dataclasses.asdict(gone.get(entry.host, Destroyed())))
            for entry in whole.hosts
        )
    )


def destroy_job(command: Command, job_id: str) -> Report:
    """Remove a job's guests; forget the job once all its nodes are clean.

    :raises StateError: somebody is still at work on the job, or its state cannot be read.
    """
    run_dir, nodes = command.settings.run_dir, command.targets.nodes
    lock = job_lock(run_dir, job_id, deadline=command.engine.deadline)
    with lock if Path(run_dir).is_dir() else contextlib.nullcontext():
        report = command.engine.destroy(nodes, job_id, command.inventory())
        if report.ok:
            state = JobState.find(run_dir, job_id)
            plan = state.plan() if state is not None else None
            if any(entry.changed for entry in report.hosts):
                given_back(state, command.settings, command.engine.deadline)
            if plan is None or {node.name for node in plan.nodes} <= {node.name for node in nodes}:
                JobState.forget(run_dir, job_id)
    return report


def planned_nodes(settings_path: str | None, job_id: str) -> tuple[str, ...]:
    """The nodes of a job that this host is the mother superior of.

    :raises InventoryError: this host knows no such job.
    """
    try:
        state = JobState.find(settings_module.load(settings_path).run_dir, job_id)
        plan = state.plan() if state is not None else None
    except StateError as exc:
        raise InventoryError(
            f"the nodes of job {job_id} are not known here: {exc}", hint="name them"
        ) from exc
    if plan is None:
        raise InventoryError(
            f"the nodes of job {job_id} are not known here", hint="name them, or use --nodefile"
        )
    return tuple(node.name for node in plan.nodes)
