"""``torque-vm install node`` and ``torque-vm install credential``: what makes a node of this host."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from nornir_torque_vm.cli import offers
from nornir_torque_vm.cli.installing import absolute, show_plan
from nornir_torque_vm.config.compiled import compile_settings
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.doctor.model import text_of
from nornir_torque_vm.errors import InstallError, InventoryError
from nornir_torque_vm.hooks.momconfig import CHECK_MARK, node_check_script
from nornir_torque_vm.hooks.stdio import say
from nornir_torque_vm.install import credential as credentials
from nornir_torque_vm.install import mom, node_site
from nornir_torque_vm.install.execution import carry_out
from nornir_torque_vm.install.ground import closed_to_users
from nornir_torque_vm.install.model import Action, Verb
from nornir_torque_vm.install.node import METRICS_TIMER, ROLE, TIMER, NodePlaces
from nornir_torque_vm.install.planning import Plan
from nornir_torque_vm.nodefile import valid_host

DEFAULTS = NodePlaces()
UNIT_SECONDS = 60.0
TIMERS = {
    TIMER: "to have left-over guests removed",
    METRICS_TIMER: "to have the guests' figures for Prometheus",
}
"""Our timers, and what each is for."""


@click.command(name=ROLE)
@click.option(
    "--prefix", default=DEFAULTS.prefix, callback=absolute, show_default=True, metavar="DIR",
    shell_complete=offers.directories,
    help="Where the job starter goes, and the list of what was installed; on a disk of this node.",
)  # fmt: skip
@click.option(
    "--torque-home", callback=absolute, metavar="DIR", shell_complete=offers.directories,
    help="Home of TORQUE; mom_priv in it gets the hooks.  [default: the setting torque_home]",
)  # fmt: skip
@click.option(
    "--credential", callback=absolute, metavar="DIR", shell_complete=offers.directories,
    help="Put the credential of this directory in place, with which nodes reach each other's libvirt.",
)  # fmt: skip
@click.option(
    "--authorized-keys", callback=absolute, default=node_site.AUTHORIZED_KEYS, show_default=True,
    metavar="FILE", shell_complete=offers.files,
    help="The file that says which keys root takes; for a credential of ssh.",
)  # fmt: skip
@click.option(
    "--units", callback=absolute, metavar="DIR", shell_complete=offers.directories,
    help=f"Where systemd's units go.  [default: {node_site.UNITS}, where systemd runs]",
)  # fmt: skip
@click.option(
    "--node-check",
    "checked",
    is_flag=True,
    help="Have pbs_mom run our node check, by which a faulty node takes itself out.",
)
@click.option("--reload", is_flag=True, help="Have pbs_mom read its configuration again (SIGHUP).")
@click.option("--enable", is_flag=True, help="Have systemd start our timers, now and at each boot.")
@click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
@click.option("--uninstall", is_flag=True, help="Take away what this command made, and nothing else.")
def node(
    prefix: str, torque_home: str | None, credential: str | None, authorized_keys: str, units: str | None,
    checked: bool, reload: bool, enable: bool, dry_run: bool, uninstall: bool,
) -> None:  # fmt: skip
    """Set up a node: the hooks of pbs_mom, the job starter, directories, and the timer of the reaper.

    The same command again has nothing to do; after an upgrade it changes what has to be changed. A file
    that was edited since is kept and named.
    """
    etc = node_site.ETC
    settings, sample = node_site.read_settings(etc, None if uninstall else torque_home)
    places = node_site.places_here(prefix, torque_home or settings.torque_home, etc, units)
    if uninstall:
        remove(places, settings, reload=reload, dry_run=dry_run)
        return
    plan = node_site.plan_node(
        places, settings, sample, credential=credential or "", authorized=authorized_keys, checked=checked
    )
    if not dry_run:
        starters = (action.content for action in plan.actions if action.path == places.starter)
        for text in starters:
            node_site.try_starter(text or b"")
        carry_out(plan, prefix, compile_settings, lambda action: stop_timer(places, action))
    show_plan(plan)
    if reload and not dry_run:
        mom.reload(places.torque_home)
    if enable and not dry_run:
        for timer in timers_of(settings):
            switch_timer(places, "enable", timer)
    for sentence in advice(places, settings, plan, reload=reload, enable=enable, new=credential is not None):
        say(sentence)
    if checked and (own := own_check(places, plan)):
        say(f"pbs_mom runs the site's own node check: let {own} end with a call of {places.check}")


def remove(places: NodePlaces, settings: Settings, *, reload: bool, dry_run: bool) -> None:
    """Take the role away; the MOM forgets the job starter before that goes.

    :raises InstallError: it runs, and may not be told.
    """
    plan = node_site.plan_node_removal(places, settings)
    goes = any(action.verb is Verb.REMOVE and action.path == places.starter for action in plan.actions)
    if goes and not reload and not dry_run and mom.running(places.torque_home):
        raise InstallError(
            "pbs_mom runs, and every job would fail whose starter has gone",
            hint="say --reload, which tells it before, or stop it first",
        )

    def prepare(action: Action) -> None:
        if action.verb is Verb.REMOVE and action.path == places.starter:
            mom.reload(places.torque_home)
        stop_timer(places, action)

    if not dry_run:
        carry_out(plan, places.prefix, compile_settings, prepare)
    show_plan(plan)


def advice(
    places: NodePlaces, settings: Settings, plan: Plan, *, reload: bool, enable: bool, new: bool
) -> list[str]:
    """What is left to do, a sentence each."""
    said = []
    pid = mom.running(places.torque_home)
    if pid and not reload and any(action.path == places.config for action in plan.actions):
        said.append(f"pbs_mom calls the job starter once it has read its configuration: kill -HUP {pid}")
    written = {action.path for action in plan.actions if action.verb is not Verb.REMOVE}
    said += [
        f"{TIMERS[timer]}: systemctl daemon-reload && systemctl enable --now {timer}"
        for timer in timers_of(settings)
        if not enable and f"{places.units}/{timer}" in written
    ]
    wanted = credentials.advice(settings, places.etc) if new else ""
    if wanted:
        said.append(wanted)
    closed = closed_to_users((sys.executable, places.starter))
    if closed:
        said.append(f"users cannot enter {closed}, so no job can be started: chmod o+x {closed}")
    return said


def own_check(places: NodePlaces, plan: Plan) -> str:
    """Path of a node check of the site's that does not call ours; empty when there is none."""
    script = node_check_script(plan.contents.get(places.config, b"").decode(errors="replace"))
    text = text_of(Path(script)) if script not in {"", places.check} else CHECK_MARK.decode()
    return "" if CHECK_MARK.decode() in (text or "") else script


def timers_of(settings: Settings) -> tuple[str, ...]:
    """Our timers that a node of this site has."""
    return tuple(timer for timer in TIMERS if timer in node_site.units_for(settings))


def stop_timer(places: NodePlaces, action: Action) -> None:
    """Disable a timer of ours before its file goes.

    :raises InstallError: systemd refuses.
    """
    for timer in TIMERS:
        if action.verb is Verb.REMOVE and action.path == f"{places.units}/{timer}":
            switch_timer(places, "disable", timer)


def switch_timer(places: NodePlaces, verb: str, timer: str) -> None:
    """Enable or disable a timer; nothing where systemd does not run.

    :raises InstallError: systemd refuses.
    """
    systemctl = shutil.which("systemctl")
    if not (places.units and Path(node_site.SYSTEMD).is_dir() and systemctl):
        if verb == "enable":
            raise InstallError("systemd does not run here", hint="leave --enable out, and use cron")
        return
    for words in (["daemon-reload"], [verb, "--now", timer]):
        done = subprocess.run(
            [systemctl, *words], capture_output=True, text=True, timeout=UNIT_SECONDS, check=False
        )
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise InstallError(f"systemctl {' '.join(words)} failed: {reason}")


@click.command()
@click.argument("directory", callback=absolute, shell_complete=offers.directories)
@click.argument("nodes", nargs=-1, required=True, shell_complete=offers.nodes)
@click.option(
    "--known-hosts", default="/etc/ssh/ssh_known_hosts", callback=absolute, show_default=True,
    metavar="FILE", shell_complete=offers.files,
    help="The nodes' ssh host keys, as the site knows them.",
)  # fmt: skip
def credential(directory: str, nodes: Sequence[str], known_hosts: str) -> None:
    """Make in DIRECTORY what NODES reach each other's libvirt with: keys or certificates, as node_uri says.

    Each node gets its part by ``install node --credential DIRECTORY``. What is there already stays: run it
    again for a node that came later. Nothing secret is printed.
    """
    wrong = [name for name in nodes if not valid_host(name)]
    if wrong:
        raise InventoryError(f"{wrong[0]!r:.60} is not a host name")
    from nornir_torque_vm.install.keymaking import make_credential

    settings, _ = node_site.read_settings(node_site.ETC, None)
    kind = credentials.kind_of(settings)
    for path in make_credential(kind, directory, nodes, known_hosts):
        click.echo(path)
    say(
        "copy it to each node as a directory of root's alone (mode 0700), install it there, remove the copies"
    )
