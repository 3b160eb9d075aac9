"""``torque-vm nodes``: what this node holds against others and itself, and which nodes were taken out for it.

Exit codes: 0 shown or done, 1 not all could be put back, or it cannot be read, 2 usage, 4 there is nothing.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from nornir_torque_vm.cli import offers
from nornir_torque_vm.cli.jobtext import legible, moment
from nornir_torque_vm.cli.show import as_json, table
from nornir_torque_vm.config import settings as settings_module
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import InventoryError
from nornir_torque_vm.exitcodes import CliExit
from nornir_torque_vm.faults import NOTE_START, Fault, weight
from nornir_torque_vm.hooks.offlining import same_host
from nornir_torque_vm.hooks.stdio import say
from nornir_torque_vm.nodefile import valid_host
from nornir_torque_vm.pbsnodes import NodeState, NodesUnknown, Pbsnodes
from nornir_torque_vm.runstate.faultrecord import FaultRecords, out_here, put_back_here

TITLES = ("NODE", "FAULTS", "OUT", "LAST", "JOB", "WHY")
SECONDS = 20.0


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """What there is to tell about one node."""

    node: str
    faults: Sequence[Fault] = ()
    out: str = ""
    """The note with which it was taken out; empty while it is in use, or when that cannot be told."""

    def row(self) -> tuple[str, ...]:
        """A line of the table."""
        last = self.faults[-1] if self.faults else None
        why = self.out or (last.what if last else "")
        return (
            self.node, str(weight(self.faults)), "yes" if self.out else "-",
            moment(last.at if last else 0.0), legible(last.job_id if last else ""), legible(why),
        )  # fmt: skip

    def facts(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "node": self.node, "weight": weight(self.faults), "out": self.out or None,
            "faults": [dataclasses.asdict(fault) for fault in self.faults],
        }  # fmt: skip


@click.command()
@click.option(
    "--clear", "cleared", multiple=True, metavar="NODE", shell_complete=offers.faulty_nodes,
    help="Hold nothing against NODE any more, and put it back if it was taken out for that.",
)  # fmt: skip
@click.option("--json", "json_wanted", is_flag=True, help="For programs.")
@click.option(
    "--settings", "settings_path", metavar="FILE", envvar="TORQUE_VM_SETTINGS",
    shell_complete=offers.files,
    help="The settings file. [default: /etc/torque-vm/settings.toml]",
)  # fmt: skip
def nodes(*, cleared: tuple[str, ...], json_wanted: bool, settings_path: str | None) -> int:
    """List the nodes on which jobs of this mother superior failed by the site's fault; as root.

    With offline_after such faults within offline_within a node is taken out: pbsnodes -o, with a note. A good
    start counts its nodes anew. Nodes that are out are listed wherever that was decided.
    """
    for name in cleared:
        if not valid_host(name):
            raise InventoryError(f"{name!r:.60} is not a host name")
    settings = settings_module.load(settings_path)
    server = Pbsnodes.find(settings.real_qsub_on_nodes, Deadline.after(SECONDS))
    states = asked(server)
    if cleared:
        return clear(cleared, settings, server, states)
    found = known(settings, states)
    if json_wanted:
        print(as_json({"nodes": [one.facts() for one in found]}))
    elif found:
        print(table(TITLES, [one.row() for one in found]))
    if not found:
        print("torque-vm: nothing is held against any node here", file=sys.stderr)
    return CliExit.OK if found else CliExit.NOTHING


def asked(server: Pbsnodes) -> Mapping[str, NodeState]:
    """The server's nodes; none, and a line that says why, when it does not answer."""
    try:
        return server.states()
    except NodesUnknown as error:
        say(f"which nodes are out cannot be told: {error}")
        return {}


def known(settings: Settings, states: Mapping[str, NodeState]) -> list[Known]:
    """All nodes with faults, or taken out by us, by name."""
    faults = FaultRecords(settings.history_dir).counting(settings.offline_within)
    out = {name: one.note for name, one in states.items() if taken_out(one)}
    own = out_here(settings.run_dir)
    if own:
        here = next((name for name in states if same_host(name, os.uname().nodename)), os.uname().nodename)
        out.setdefault(here, own)
    return [Known(name, faults.get(name, ()), out.get(name, "")) for name in sorted({*faults, *out})]


def taken_out(state: NodeState) -> bool:
    """Whether a node is offline by our doing."""
    return state.offline and state.note.startswith(NOTE_START)


def clear(names: Sequence[str], settings: Settings, server: Pbsnodes, states: Mapping[str, NodeState]) -> int:
    """Forget the faults of nodes, and put back those that were taken out for them."""
    code, records = CliExit.OK, FaultRecords(settings.history_dir)
    for name in names:
        done = ["its faults are forgotten"] if records.forget([name]) else []
        if same_host(name, os.uname().nodename) and put_back_here(settings.run_dir):
            done.append("its node check is content")
        if name in states and taken_out(states[name]):
            try:
                server.put_back(name)
                done.append("it is in use again")
            except NodesUnknown as error:
                say(f"{name} is still out: {error}")
                code = CliExit.FAILED
        print(f"{name}: {', '.join(done) or 'nothing was held against it here'}")
    return code
