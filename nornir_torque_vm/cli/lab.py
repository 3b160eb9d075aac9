"""``torque-vm lab``: a cluster in a box, up and down, looked at and entered."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time

import click

from nornir_torque_vm.cli import offers
from nornir_torque_vm.lab import HEAD, Lab, NodeStatus
from nornir_torque_vm.lab.files import USER
from nornir_torque_vm.lab.layout import DEFAULT_NODES, MAX_NODES
from nornir_torque_vm.lab.spec import ENVIRONMENT

DEFAULT_NAME = "default"

name_option = click.option(
    "--name", default=DEFAULT_NAME, show_default=True, shell_complete=offers.labs, help="Which lab."
)


@click.group()
def lab() -> None:
    """Bring a cluster in a box up and down, look at it, enter it (root)."""


@lab.command()
@name_option
@click.option(
    "--nodes",
    type=click.IntRange(1, MAX_NODES),
    help=f"How many; default: as many as there are, {DEFAULT_NODES} for a new lab.",
)
@click.option(
    "--torque/--no-torque",
    default=None,
    help="Start the TORQUE whose programs are on the PATH; default: as it is, without for a new lab.",
)
def up(name: str, nodes: int | None, torque: bool | None) -> None:
    """Bring the lab up, or mend what is broken of it."""
    began = time.monotonic()
    cluster = Lab(name, nodes, torque=torque)
    kvm = cluster.up()
    words = ", ".join(f"{node.name} {node.address}" for node in cluster.nodes)
    click.echo(f"the lab {name} is up after {time.monotonic() - began:.1f} s: {words}")
    if cluster.torque:
        click.echo(f"{USER.name} submits jobs on {HEAD}: torque-vm lab shell {HEAD}, then su - {USER.name}")
    click.echo("guests run with KVM" if kvm.proven else f"guests run under emulation: {kvm.reason}")


@lab.command()
@name_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(name: str, as_json: bool) -> None:
    """Show the nodes and the guests on them; exit code 1 when a node does not answer or none is there.

    With a TORQUE, also each node's state there; one that is down counts as not answering.
    """
    nodes = Lab(name).status()
    if as_json:
        rows = [dataclasses.asdict(node) | {"ok": node.ok} for node in nodes]
        click.echo(json.dumps({"name": name, "up": bool(nodes), "nodes": rows}, indent=1))
    elif nodes:
        click.echo(table(nodes))
    else:
        click.echo(f"the lab {name} is not up", err=True)
    if not nodes or not all(node.ok for node in nodes):
        raise click.exceptions.Exit(1)


def table(nodes: list[NodeStatus]) -> str:
    """Return the nodes as lines of text, columns aligned, a headline first; TORQUE's only if there is one."""
    rows = [["node", "address", "libvirtd", "guests"]]
    rows += [[node.name, node.address, node.error or "ok", " ".join(node.guests) or "-"] for node in nodes]
    if any(node.torque for node in nodes):
        for row, cell in zip(rows, ["torque", *(node.torque for node in nodes)], strict=True):
            row.insert(-1, cell)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


@lab.command()
@name_option
@click.argument("node", shell_complete=offers.lab_nodes)
def shell(name: str, node: str) -> None:
    """Open a root shell in NODE, or in the head of a lab with a TORQUE."""
    argv = [*Lab(name).enter(node), "/bin/bash", "-l"]
    sys.stdout.flush()
    os.execve(argv[0], argv, ENVIRONMENT | {"TERM": os.environ.get("TERM", "dumb")})  # noqa: S606 -- no shell parses it


@lab.command()
@name_option
def down(name: str) -> None:
    """Remove every process, namespace, mount and file of the lab."""
    existed = Lab(name).down()
    click.echo(f"the lab {name} is down" if existed else f"the lab {name} was not up")
