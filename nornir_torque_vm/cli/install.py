"""``torque-vm install``: put the site kit in place on a host, by role, and take it away again."""

from __future__ import annotations

import sys

import click

from nornir_torque_vm.cli import offers
from nornir_torque_vm.cli.install_node import credential, node
from nornir_torque_vm.cli.install_server import server
from nornir_torque_vm.cli.installing import absolute, show_plan
from nornir_torque_vm.config.compiled import compile_settings
from nornir_torque_vm.hooks.stdio import say
from nornir_torque_vm.install import host, kit
from nornir_torque_vm.install.execution import carry_out
from nornir_torque_vm.install.ground import closed_to_users
from nornir_torque_vm.install.submit_host import FILTER, ROLE, Places, submit_host

DEFAULTS = Places()


@click.group()
def install() -> None:
    """Put the site kit in place on this host, by role, and take it away again."""


install.add_command(node)
install.add_command(credential)
install.add_command(server)


def _paths(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(absolute(context, parameter, value) or "" for value in values)


@install.command(name=ROLE)
@click.option(
    "--prefix", default=DEFAULTS.prefix, callback=absolute, show_default=True, metavar="DIR",
    shell_complete=offers.directories,
    help="Where the wrapper, the submit filter, manual pages and completions go.",
)  # fmt: skip
@click.option(
    "--torque-home", default=DEFAULTS.torque_home, callback=absolute, show_default=True, metavar="DIR",
    shell_complete=offers.directories,
    help="Home of TORQUE; torque.cfg in it names the submit filter.",
)  # fmt: skip
@click.option(
    "--etc", default=DEFAULTS.etc, callback=absolute, show_default=True, metavar="DIR",
    shell_complete=offers.directories,
    help="Directory of settings.toml; a sample goes there if there is none.",
)  # fmt: skip
@click.option(
    "--modulefiles", multiple=True, callback=_paths, metavar="DIR",
    shell_complete=offers.directories,
    help="A directory of the module system's search path; may be repeated. Default: what this host has.",
)  # fmt: skip
@click.option("--chain", is_flag=True, help="Have the site's own submit filter run before ours.")
@click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
@click.option("--uninstall", is_flag=True, help="Take away what this command made, and nothing else.")
def submit_host_(
    prefix: str, torque_home: str, etc: str, modulefiles: tuple[str, ...], chain: bool, dry_run: bool,
    uninstall: bool,
) -> None:  # fmt: skip
    """Set up a host where jobs are submitted: qsub and vsub with -vm, and the submit filter.

    The same command again has nothing to do; after an upgrade, or with other options, it changes what
    has to be changed. A file that was edited since is kept and named.
    """
    modules = modulefiles or host.modulefiles_here() or (f"{prefix}/modulefiles",)
    places = Places(prefix, torque_home, etc, modules)
    if uninstall:
        plan = host.plan_removal_here(ROLE, places)
    else:
        wanted = submit_host(places, kit.read_kit(places), host.read_site(places), chain=chain)
        plan = host.plan_here(wanted, prefix)
    if not dry_run:
        carry_out(plan, prefix, compile_settings)
    show_plan(plan)
    if not uninstall:
        _advise(places)


def _advise(places: Places) -> None:
    """What the plan cannot do, on stderr."""
    own = f"{places.prefix}/modulefiles"
    if places.modulefiles == (own,):
        say(f"no module system was found here: users say 'module use {own}', or name --modulefiles")
    closed = closed_to_users((sys.executable, f"{places.prefix}/{FILTER}", places.settings))
    if closed:
        say(f"users cannot enter {closed}, so no job can be submitted: chmod o+x {closed}")
