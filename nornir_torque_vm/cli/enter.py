"""``torque-vm ssh``: into a guest, from wherever the job's owner is."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from nornir_torque_vm.cli import offers
from nornir_torque_vm.config import settings as settings_module
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.entrance import remote
from nornir_torque_vm.entrance.target import Target, guest_of, parse_target
from nornir_torque_vm.entrance.whereabouts import Elsewhere, asked_there, first_node, here, hop, opened
from nornir_torque_vm.hooks.wayin import WayIn

KEPT = ("HOME", "LANG", "PATH", "TERM")
"""What ssh to a guest gets of our environment."""

settings_option = click.option(
    "--settings",
    "settings_path",
    metavar="FILE",
    envvar="TORQUE_VM_SETTINGS",
    shell_complete=offers.files,
    help="The settings file. [default: /etc/torque-vm/settings.toml]",
)


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("-t", "terminal", is_flag=True, help="Give the command a terminal; a login shell has one.")
@settings_option
@click.argument("guest", metavar="JOB[:RANK]", shell_complete=offers.jobs)
@click.argument("command", metavar="[COMMAND...]", nargs=-1, type=click.UNPROCESSED)
def ssh(*, terminal: bool, settings_path: str | None, guest: str, command: tuple[str, ...]) -> int:
    """Enter a guest of a job of yours, the first if no RANK is named, or run COMMAND in it.

    JOB is 17.head, or 17. From a host that is no node of the job your own ssh takes you to its first node.
    Root of the first node enters any job's guests, as root. The exit code is the command's; own errors are
    120 to 125.
    """
    settings, target = settings_module.load(settings_path), parse_target(guest)
    place = located(settings, target)
    target = target._replace(job=place.job_id)
    terminal = terminal or (not command and os.isatty(0))
    sys.stdout.flush()
    if place.node:
        return there(
            place, asked_there("ssh", ["-t"] if terminal else [], target, command), terminal=terminal
        )
    return inside(settings, place.job_id, target.rank, " ".join(command) or remote.LOGIN, terminal=terminal)


def inside(settings: Settings, job_id: str, rank: int, text: str, *, terminal: bool) -> int:
    """Run a command of the guest's shell in a guest of a job that this node can open.

    :raises TorqueVMError: it cannot, or the connection broke.
    """
    handover = opened(settings, job_id)
    chosen = guest_of(handover, rank)
    ssh_to = WayIn(handover, chosen)

    def way(text: str, options: Sequence[str]) -> Sequence[str]:
        return ssh_to.argv(text, *options, "-o", "LogLevel=ERROR")

    env = {name: os.environ[name] for name in KEPT if name in os.environ}
    return remote.run(way, text, terminal=terminal, where=f"guest {chosen.name}", env=env)


def located(settings: Settings, target: Target, *, over: bool = False) -> Elsewhere:
    """Where the job's guests can be entered; no node: here.

    :raises TorqueVMError: nobody knows.
    """
    job_id = here(settings, target)
    return Elsewhere(job_id, "") if job_id else first_node(settings, target, over=over)


def there(place: Elsewhere, text: str, *, terminal: bool) -> int:
    """Run a command on the job's first node, by the caller's own ssh."""

    def way(text: str, options: Sequence[str]) -> Sequence[str]:
        *words, node = hop(place.node)
        return [*words, *options, node, text]

    return remote.run(way, text, terminal=terminal, where=place.node, env=dict(os.environ))
