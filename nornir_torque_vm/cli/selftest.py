"""``torque-vm selftest``: a real job on each node where there is a TORQUE, else one guest started without it.

Exit codes: 0 all ok, 1 some failed, 2 usage, 3 late, 4 no node, 5 no hypervisor reachable.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Sequence

import click
from nornir.core.processor import Processor

from nornir_torque_vm.accounts import caller, owner_named
from nornir_torque_vm.addresses.bridge import bridge_here
from nornir_torque_vm.addresses.giving import addressed
from nornir_torque_vm.addresses.release import release_leases, wanted
from nornir_torque_vm.addresses.static import NO_JOB
from nornir_torque_vm.cli import offers
from nornir_torque_vm.cli.show import as_json, show_report, table
from nornir_torque_vm.cli.targets import choose
from nornir_torque_vm.config import settings as settings_module
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.engine import Engine
from nornir_torque_vm.errors import TorqueVMError
from nornir_torque_vm.exitcodes import cli_exit
from nornir_torque_vm.hooks.frame import cancel_on_signal
from nornir_torque_vm.hooks.stdio import say
from nornir_torque_vm.images import image_for
from nornir_torque_vm.inventory.build import build_inventory
from nornir_torque_vm.machine.shape import shape_of
from nornir_torque_vm.model import Guest, Job, Node, Owner, Plan
from nornir_torque_vm.plan import make_plan
from nornir_torque_vm.processors.progress import progress
from nornir_torque_vm.processors.timeline import TimelineProcessor
from nornir_torque_vm.reap.judge import SELFTEST
from nornir_torque_vm.report import HostReport, Report
from nornir_torque_vm.request import parse_request
from nornir_torque_vm.runstate.jobstate import JobState
from nornir_torque_vm.selftest.commands import AsUser
from nornir_torque_vm.selftest.server import AtHand, NotAtHand, at_hand
from nornir_torque_vm.sshkeys import make_job_keys
from nornir_torque_vm.tasks import check_health
from nornir_torque_vm.threads import await_stragglers

COMMAND = "true && uname -srm"
PARTS = ("start", "address", "health")
"""Phases that are shown."""
JOB_TITLES = ("NODE", "RESULT", "SECONDS", "JOB", "SAYS")
TITLES = ("NODE", "SECONDS", *map(str.upper, PARTS), "SAYS")


@click.command()
@click.argument("nodes", nargs=-1, shell_complete=offers.nodes)
@click.option(
    "--node", "more", multiple=True, metavar="NODE", shell_complete=offers.nodes,
    help="Another one; may be repeated.",
)  # fmt: skip
@click.option(
    "--nodefile", shell_complete=offers.files, help="File with one node a line, as TORQUE writes it."
)
@click.option(
    "-vm", "requests", multiple=True, metavar="KEY=VALUE[,…]", shell_complete=offers.request,
    help="What the guests shall be.",
)  # fmt: skip
@click.option(
    "--settings", "settings_path", envvar="TORQUE_VM_SETTINGS", metavar="FILE",
    shell_complete=offers.files,
    help="Default: /etc/torque-vm/settings.toml.",
)  # fmt: skip
@click.option(
    "--timeout", type=click.FloatRange(min=1), help="Seconds until all are healthy. [default: the settings']"
)
@click.option(
    "--user", metavar="NAME",
    help="Submit a real job of this account's to each node. [default: the caller, unless that is root]",
)  # fmt: skip
@click.option("--json", "json_wanted", is_flag=True, help="Print JSON instead of a table.")
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
def selftest(
    *, nodes: tuple[str, ...], more: tuple[str, ...], nodefile: str | None, requests: tuple[str, ...],
    settings_path: str | None, timeout: float | None, user: str | None, json_wanted: bool, quiet: bool,
) -> int:  # fmt: skip
    """Run a real job with a guest on each of NODES, or boot a guest on each and run a command in it.

    With --user, or called by somebody else than root, where a TORQUE server answers and our qsub is
    installed: submits a small job to each of NODES (all of the server's, if none is named), waits for them,
    and says for each node whether it ran in a guest, ended well, brought its output back and left nothing.
    What does not end in time is deleted.

    Otherwise: boots a guest of the default image on each of NODES (or here), runs a command in it, removes
    it. The last line says which of the two was done.
    """
    settings = settings_module.load(settings_path)
    owner = submitter(user)
    named = choose((*nodes, *more), nodefile, None, ()).nodes if nodes or more or nodefile else ()
    try:
        if owner is None:
            raise NotAtHand("root submits no job", hint="name a user with --user")
        site = at_hand(settings, Deadline.after(timeout or settings.timeout))
    except TorqueVMError as error:
        code = by_guests(settings, named, requests, timeout, json_wanted=json_wanted, quiet=quiet)
        say(f"guests were started without jobs: {error}")
        return code
    return by_jobs(settings, owner, site, named, requests, timeout, json_wanted=json_wanted, quiet=quiet)


def submitter(user: str | None) -> Owner | None:
    """Whose jobs are submitted; None when nobody's.

    :raises InventoryError: there is no such account.
    """
    if user is None:
        return caller() if os.geteuid() != 0 else None
    owner = owner_named(user)
    if owner.uid == 0:
        raise click.UsageError("TORQUE takes no jobs of root's: name a user who has a home directory here")
    return owner


def by_jobs(
    settings: Settings, owner: Owner, site: AtHand, named: Sequence[Node], requests: Sequence[str],
    timeout: float | None, *, json_wanted: bool, quiet: bool,
) -> int:  # fmt: skip
    """Test nodes by a job on each; return the exit code."""
    from nornir_torque_vm.selftest.jobs import QUEUE_SECONDS, JobTest

    parse_request(requests)  # what makes no sense is said before any job is submitted
    deadline = Deadline.after(timeout or settings.timeout + QUEUE_SECONDS)
    cancel_on_signal(deadline)
    tell = say if not quiet and not json_wanted else lambda _: None
    names = [node.name for node in named] or list(site.nodes)
    report = JobTest(settings, site, AsUser(owner), deadline, tell).run(names, requests)
    if json_wanted:
        print(as_json(report.to_dict(data=True) | {"tried": "jobs", "user": owner.name}))
    else:
        print(table(JOB_TITLES, map(job_row, report.hosts)))
        say(f"jobs of {owner.name} were submitted by {site.front}")
    return int(cli_exit(report))


def job_row(entry: HostReport) -> tuple[str, ...]:
    """One node's line: what its job said of itself, or what is wrong and what to do."""
    said = str(entry.data["says"]) if entry.status.good else entry.what
    verdict = "ok" if entry.status.good else "fail"
    return entry.host, verdict, f"{entry.seconds:.0f}", str(entry.data["job"]) or "-", said


def by_guests(
    settings: Settings, named: Sequence[Node], requests: Sequence[str], timeout: float | None, *,
    json_wanted: bool, quiet: bool,
) -> int:  # fmt: skip
    """Test nodes by a guest on each, without TORQUE; return the exit code."""
    chosen = named or (Node(os.uname().nodename),)
    deadline = Deadline.after(timeout or settings.timeout)
    cancel_on_signal(deadline)
    shown = [] if quiet or json_wanted else [progress(sys.stderr)]
    for watcher in shown:
        click.get_current_context().call_on_close(watcher.close)
    trial = Trial(settings, tuple(chosen), deadline, shown)
    report = trial.run(("vms_per_node=1", *requests))
    if json_wanted:
        timeline = trial.times.timeline().to_dict()
        print(as_json(report.to_dict(data=True) | {"tried": "guests", "timeline": timeline}))
    else:
        show_report(report, json_wanted=False, titles=TITLES, rows=trial.rows())
    return int(cli_exit(report))


class Trial:
    """One self-test of some nodes.

    :param watchers: processors that see every run.
    """

    def __init__(
        self, settings: Settings, nodes: Sequence[Node], deadline: Deadline, watchers: Sequence[Processor]
    ) -> None:
        self.settings, self.nodes = settings, nodes
        self.times = TimelineProcessor()
        self.engine = Engine(settings, deadline, [self.times, *watchers])
        server = f"{SELFTEST}-{os.uname().nodename.partition('.')[0]}"
        self.job = Job(f"{int(time.time())}.{server}", server, caller(), nonce=secrets.token_hex(4))
        self.healthy: list[tuple[Guest, str]] = []
        """Guests that were asked, and what they said."""
        self.plan: Plan | None = None

    def run(self, requests: Sequence[str]) -> Report:
        """Start, ask and remove a guest on each node that can be surveyed.

        :raises RequestError, ImageError: there is no such guest.
        """
        request = parse_request(requests)
        image = image_for(request, self.settings)
        with JobState(self.settings.run_dir, self.job).lock(self.engine.deadline):
            facts, survey = self.engine.survey(self.nodes, shape=shape_of(request, self.settings))
            able = [node for node in self.nodes if node.name in facts]
            if not able:
                return survey
            plan = make_plan(request, self.settings, self.job, able, image, facts)
            plan = addressed(plan, self.settings, facts, self.engine.deadline, NO_JOB)
            self.plan = plan
            try:
                return Report.combined([survey, self.try_guests(plan), self.remove()])
            except BaseException:
                self.remove()
                raise

    def try_guests(self, plan: Plan) -> Report:
        """Bring the guests up and ask each what it is."""
        keys = make_job_keys([guest.name for guest in plan.guests])
        started = self.engine.boot(plan, keys)
        inventory = build_inventory(plan, self.settings, keys=keys, addresses=started.addresses)
        good = {entry.host for entry in started.report.good}
        for name in [guest.name for guest in plan.guests if guest.name not in good]:
            del inventory.hosts[name]
        asked = self.engine.run(inventory, check_health, role="guest", command=COMMAND)
        for guest in plan.guests:
            if guest.name in asked and not asked[guest.name].failed:
                self.healthy.append((guest, asked[guest.name][0].result.output.strip()))
        return Report.combined([started.report, Report.from_results(asked)])

    def remove(self) -> Report:
        """Remove every guest and file of this test, in a time of its own."""
        deadline = Deadline.after(self.settings.teardown_margin)
        await_stragglers(Deadline.after(min(5.0, self.settings.teardown_margin / 2)))
        report = Engine(self.settings, deadline).destroy(self.nodes, self.job.id)
        if self.plan is not None and wanted(self.settings):
            leases = {guest.mac: "" for guest in self.plan.guests if guest.static is None}
            bridge = bridge_here(self.plan, self.settings, deadline)
            release_leases(leases, bridge, self.settings, deadline)
        return report

    def rows(self) -> list[tuple[str, ...]]:
        """Node, seconds altogether and by phase, and what its guest says, of those that were asked."""
        phases = {row.guest: row for row in self.times.timeline().rows()}
        return [
            (
                guest.node,
                f"{phases[guest.name].total:.2f}",
                *(f"{phases[guest.name].phases.get(phase, 0.0):.2f}" for phase in PARTS),
                said,
            )
            for guest, said in self.healthy
        ]
