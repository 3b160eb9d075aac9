"""``torque-vm install server``: what a pbs_server has to know, printed for qmgr or told to it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import click

from nornir_torque_vm.cli import offers
from nornir_torque_vm.errors import InventoryError
from nornir_torque_vm.install import server as servers
from nornir_torque_vm.install.node_site import ETC, read_settings
from nornir_torque_vm.nodefile import valid_host


@click.command()
@click.argument("nodes", nargs=-1, required=True, shell_complete=offers.nodes)
@click.option("--apply", "apply_them", is_flag=True, help="Have qmgr carry the lines out.")
def server(nodes: Sequence[str], apply_them: bool) -> None:
    """Tell the server of NODES, which run guests: their property, and what their root may do.

    Without --apply the lines for qmgr are printed, nothing is changed. What the server knows already is
    left out.
    """
    wrong = [name for name in nodes if not valid_host(name)]
    if wrong:
        raise InventoryError(f"{wrong[0]!r:.60} is not a host name")
    settings, _ = read_settings(ETC, None)
    missing = servers.lines(tuple(dict.fromkeys(nodes)), settings.node_property, servers.ask_server())
    for line in missing:
        if apply_them:
            servers.apply(line)
        click.echo(f"qmgr -c {shlex.quote(line)}")
    if not missing:
        click.echo("nothing to do")
