"""``torque-vm guests|boot|address|health|destroy``: our Nornir tasks on nodes an administrator names.

Exit codes: 0 all ok, 1 some failed, 2 usage, 3 late, 4 nothing selected, 5 no hypervisor reachable.
"""

from __future__ import annotations

import dataclasses
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import click
from nornir.core.task import Result

from nornir_torque_vm import settings as settings_module
from nornir_torque_vm.accounts import caller
from nornir_torque_vm.cli.show import as_json as to_json
from nornir_torque_vm.cli.show import show_report
from nornir_torque_vm.cli.targets import Targets, choose, facts_of, target_options
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.engine import Engine
from nornir_torque_vm.errors import InventoryError, StateError
from nornir_torque_vm.exitcodes import CliExit, cli_exit
from nornir_torque_vm.found import FoundGuest
from nornir_torque_vm.images import image_for
from nornir_torque_vm.inventory.build import node_inventory
from nornir_torque_vm.inventory.torque import server_of
from nornir_torque_vm.model import Job
from nornir_torque_vm.plan import make_plan
from nornir_torque_vm.processors.progress import progress
from nornir_torque_vm.report import Report
from nornir_torque_vm.request import parse_request
from nornir_torque_vm.settings import Settings
from nornir_torque_vm.sizes import format_size
from nornir_torque_vm.sshkeys import make_job_keys
from nornir_torque_vm.state import JobState

COLUMNS = ("guest", "node", "job", "owner", "state", "vcpus", "memory", "mac")


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """One command's targets, settings and engine."""

    targets: Targets
    settings: Settings
    engine: Engine
    job_id: str | None
    as_json: bool

    @classmethod
    def prepare(
        cls, *, nodes: tuple[str, ...], nodefile: str | None, inventory_path: str | None,
        filters: tuple[str, ...], job_id: str | None, settings_path: str | None, timeout: float | None,
        as_json: bool, quiet: bool,
    ) -> Command:  # fmt: skip
        """Make sense of the common options."""
        settings = settings_module.load(settings_path)
        targets = choose(nodes, nodefile, inventory_path, filters)
        watchers = [] if quiet or as_json else [progress(sys.stderr)]
        engine = Engine(settings, Deadline.after(timeout or settings.timeout), watchers)
        return cls(targets, settings, engine, job_id, as_json)

    def inventory(self) -> Any:
        """The nodes as a Nornir inventory; the administrator's own connection options count."""
        return node_inventory(self.targets.nodes, self.settings, base=self.targets.base)

    def existing(self) -> tuple[list[FoundGuest], Report]:
        """The guests that were asked for, and how asking the nodes went."""
        found, report = self.engine.guests(self.targets.nodes, self.inventory())
        return self.targets.keep(found, self.job_id), report

    def show(self, report: Report, titles: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> int:
        """Print a report and return the exit code it stands for."""
        show_report(report, json_wanted=self.as_json, titles=titles, rows=rows)
        return int(cli_exit(report))


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
    return int(cli_exit(report)) or (CliExit.OK if found else CliExit.NOTHING)


@click.command()
@target_options
@click.option("-vm", "requests", multiple=True, metavar="KEY=VALUE[,…]", help="What the guests shall be.")
def boot(*, requests: tuple[str, ...], **options: Any) -> int:
    """Start guests on NODES, outside any batch job, and wait until they are healthy."""
    command = Command.prepare(**options)
    settings, nodes = command.settings, command.targets.nodes
    if not nodes:
        return CliExit.NOTHING
    request = parse_request(requests)
    image = image_for(request, settings)
    job_id = command.job_id or f"{int(time.time())}.adhoc"
    job = Job(job_id, server_of(job_id, settings), caller(), nonce=secrets.token_hex(4))
    facts, survey = command.engine.survey(nodes, command.inventory())
    if not survey.ok:
        return command.show(survey, ("NODE",), [])
    plan = make_plan(request, settings, job, nodes, image, facts)
    keys = make_job_keys([guest.name for guest in plan.guests])
    state = JobState(settings.run_dir, job)
    state.save(plan, keys)
    started = command.engine.boot(plan, keys, base=command.targets.base)
    rows = [
        (guest.name, guest.node, started.addresses[guest.name] or "-", entry.status)
        for guest in plan.guests
        for entry in started.report.hosts
        if entry.host == guest.name
    ]
    code = command.show(started.report, ("GUEST", "NODE", "ADDRESS", "STATUS"), rows)
    print(f"torque-vm: job {job_id}; remove it with: torque-vm destroy --job {job_id}", file=sys.stderr)
    return code


@click.command()
@target_options
def address(**options: Any) -> int:
    """Find out the addresses of running guests on NODES."""
    from nornir_torque_vm.tasks import discover_address

    return on_existing(discover_address, ("GUEST", "NODE", "ADDRESS"), "address", options)


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
    from nornir_torque_vm.tasks import check_health

    return on_existing(check_health, ("GUEST", "NODE", "HEALTH"), "", options, command=probe_command)


def on_existing(
    task: Callable[..., Result],
    titles: tuple[str, ...],
    column: str,
    options: dict[str, Any],
    **parameters: Any,
) -> int:
    """Run a task on the guests that exist and were asked for."""
    command = Command.prepare(**options)
    found, report = command.existing()
    if not found:
        return command.show(report, titles, []) or CliExit.NOTHING
    keys = None
    if command.job_id:
        state = JobState.find(command.settings.run_dir, command.job_id)
        keys = state.keys() if state is not None else None
    results = command.engine.on_guests(found, task, keys, **parameters)
    done = Report.combined([Report.from_results(results)])
    rows = [(entry.host, entry.node, entry.data.get(column, entry.status)) for entry in done.good]
    return command.show(done, titles, rows)


@click.command()
@target_options
@click.option("--all", "everything", is_flag=True, help="The guests of every job on these nodes.")
def destroy(*, everything: bool, **options: Any) -> int:
    """Remove the guests of a job from NODES, with their files; what is gone already is no error.

    Without NODES, those of the job's plan are meant, when this host is its mother superior.
    """
    job_id = options["job_id"]
    if bool(job_id) == everything:
        raise click.UsageError("say which: --job ID or --all")
    if not (options["nodes"] or options["nodefile"] or options["inventory_path"]) and job_id:
        options["nodes"] = planned_nodes(options["settings_path"], job_id)
    command = Command.prepare(**options)
    if not command.targets.nodes:
        return CliExit.NOTHING
    jobs = [job_id] if job_id else sorted({g.job_id for g in command.existing()[0]})
    reports = [command.engine.destroy(command.targets.nodes, job, command.inventory()) for job in jobs]
    report = Report.combined(reports)
    if report.ok and job_id:
        JobState.forget(command.settings.run_dir, job_id)
    rows = [
        (entry.host, ", ".join(entry.data.get("domains", ())) or "nothing was there") for entry in report.good
    ]
    return command.show(report, ("NODE", "REMOVED"), rows)


def planned_nodes(settings_path: str | None, job_id: str) -> tuple[str, ...]:
    """The nodes of a job that this host is the mother superior of.

    :raises InventoryError: this host knows no such job.
    """
    try:
        state = JobState.find(settings_module.load(settings_path).run_dir, job_id)
    except StateError as exc:
        raise InventoryError(
            f"the nodes of job {job_id} are not known here: {exc}", hint="name them"
        ) from exc
    plan = state.plan() if state is not None else None
    if plan is None:
        raise InventoryError(
            f"the nodes of job {job_id} are not known here", hint="name them, or use --nodefile"
        )
    return tuple(node.name for node in plan.nodes)
