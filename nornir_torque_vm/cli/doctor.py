"""``torque-vm doctor``: whether hosts are fit for jobs in guests, each line with its cure.

Exit codes: 0 nothing failed (there may be warnings), 1 something did, 2 usage, 3 something was late.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from nornir_torque_vm.cli import offers
from nornir_torque_vm.cli.installing import absolute
from nornir_torque_vm.cli.show import as_json, table
from nornir_torque_vm.cli.targets import choose
from nornir_torque_vm.config import settings as settings_module
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.doctor.here import Examination, examine, order
from nornir_torque_vm.doctor.model import Here, Mark, failed
from nornir_torque_vm.errors import SettingsError
from nornir_torque_vm.exitcodes import CliExit

SECONDS = 60.0


@click.command()
@click.argument("nodes", nargs=-1, shell_complete=offers.nodes)
@click.option(
    "--nodefile", shell_complete=offers.files, help="File with one node a line, as TORQUE writes it."
)
@click.option("--quick", is_flag=True, help="Start no guest.")
@click.option("--json", "json_wanted", is_flag=True, help="Print JSON instead of a table.")
@click.option(
    "--settings", "settings_path", envvar="TORQUE_VM_SETTINGS", metavar="FILE",
    shell_complete=offers.files,
    help="Default: /etc/torque-vm/settings.toml.",
)  # fmt: skip
@click.option(
    "--timeout", type=click.FloatRange(min=1), default=SECONDS, show_default=True, help="Seconds for all."
)
@click.option(
    "--prefix", default="/opt/torque-vm", callback=absolute, show_default=True, metavar="DIR",
    shell_complete=offers.directories,
    help="That of the install commands.",
)  # fmt: skip
@click.option(
    "--here", "alone", is_flag=True, help="Look at this host only; NODES are those it has to reach."
)
def doctor(
    *, nodes: tuple[str, ...], nodefile: str | None, quick: bool, json_wanted: bool,
    settings_path: str | None, timeout: float, prefix: str, alone: bool,
) -> int:  # fmt: skip
    """Look whether NODES, or this host, are fit for jobs in guests.

    Every line says ok, warn, fail or late (no answer in time), and what to do. Other nodes look at
    themselves, by a command over the node shell, and are compared with each other.
    """
    deadline = Deadline.after(timeout)
    hostname = os.uname().nodename
    try:
        settings = settings_module.load(settings_path)
    except SettingsError as error:
        return show([Examination(hostname, (failed("settings", error),))], json_wanted=json_wanted)
    names = [node.name for node in choose(nodes, nodefile, None, ()).nodes] if nodes or nodefile else []
    etc = str(Path(settings_path or settings_module.DEFAULT_PATH).resolve().parent)
    here = Here(settings, hostname, tuple(names), etc, prefix, quick=quick)
    if alone or not names:
        found = [Examination(hostname, tuple(examine(here, deadline)))]
    else:
        found = on_nodes(here, names, deadline)
    return show(found, json_wanted=json_wanted)


def on_nodes(here: Here, names: Sequence[str], deadline: Deadline) -> list[Examination]:
    """Have the nodes look at themselves."""
    from nornir_torque_vm.doctor.cluster import examine_nodes
    from nornir_torque_vm.engine import Engine
    from nornir_torque_vm.inventory.build import node_inventory
    from nornir_torque_vm.model import Node

    inventory = node_inventory([Node(name) for name in names], here.settings)
    return examine_nodes(here, names, Engine(here.settings, deadline), inventory)


def show(found: Sequence[Examination], *, json_wanted: bool) -> int:
    """Print what was found, what needs a hand first; return the exit code."""
    if json_wanted:
        from nornir_torque_vm.doctor.cluster import to_plain

        print(as_json(to_plain(found)))
    else:
        rows: list[tuple[Any, ...]] = [
            (one.host, line.mark, f"{line.subject}: {line.text}{f'; {line.cure}' if line.cure else ''}")
            for one in found
            for line in order(one.lines)
        ]
        print(table(("HOST", "", "WHAT"), rows))
    if any(one.marked(Mark.FAIL) for one in found):
        return CliExit.FAILED
    return CliExit.LATE if any(one.marked(Mark.LATE) for one in found) else CliExit.OK
