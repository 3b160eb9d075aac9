"""What the administrators' commands do alike: understand options, ask nodes and guests, tell the result."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterable, Sequence

import click
from nornir.core.inventory import Inventory
from nornir.core.task import Result

from nornir_torque_vm.cli.show import show_report
from nornir_torque_vm.cli.targets import Targets, choose
from nornir_torque_vm.config import settings as settings_module
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.engine import Engine
from nornir_torque_vm.exitcodes import CliExit, cli_exit
from nornir_torque_vm.found import FoundGuest
from nornir_torque_vm.identity import job_slug
from nornir_torque_vm.inventory.build import node_inventory
from nornir_torque_vm.model import JobKeys
from nornir_torque_vm.processors.progress import progress
from nornir_torque_vm.report import Report


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
        """Make sense of the common options.

        :raises InventoryError, SettingsError: they make none.
        """
        if job_id is not None:
            job_slug(job_id)
        settings = settings_module.load(settings_path)
        targets = choose(nodes, nodefile, inventory_path, filters)
        watchers = [] if quiet or as_json else [progress(sys.stderr)]
        for watcher in watchers:
            click.get_current_context().call_on_close(watcher.close)
        engine = Engine(settings, Deadline.after(timeout or settings.timeout), watchers)
        return cls(targets, settings, engine, job_id, as_json)

    def inventory(self) -> Inventory:
        """The nodes as a Nornir inventory; the administrator's own connection options count."""
        return node_inventory(self.targets.nodes, self.settings, base=self.targets.base)

    def existing(self) -> tuple[list[FoundGuest], Report]:
        """The guests that were asked for, and how asking the nodes went."""
        found, report = self.engine.guests(self.targets.nodes, self.inventory())
        return self.targets.keep(found, self.job_id), report

    def on_guests(
        self,
        found: Sequence[FoundGuest],
        task: Callable[..., Result],
        keys: JobKeys | None = None,
        **parameters: object,
    ) -> Report:
        """Run a task on guests that exist."""
        results = self.engine.on_guests(found, task, keys, self.targets.base, **parameters)
        return Report.from_results(results)

    def show(self, report: Report, titles: Sequence[str], rows: Iterable[Sequence[object]]) -> int:
        """Print a report and return the exit code it stands for."""
        show_report(report, json_wanted=self.as_json, titles=titles, rows=rows)
        return int(cli_exit(report))

    def nothing(self, what: str) -> int:
        """Say what there is none of and return the exit code for it."""
        print(f"torque-vm: {what}", file=sys.stderr)
        return CliExit.NOTHING
