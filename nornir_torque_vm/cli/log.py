"""``torque-vm log`` and ``torque-vm console``: what a guest prints, for the job's owner and root."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import NoReturn

import click

from nornir_torque_vm.cli import offers
from nornir_torque_vm.cli.enter import inside, located, settings_option, there
from nornir_torque_vm.config import settings as settings_module
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.consoletext import lines_of
from nornir_torque_vm.entrance.console import following, last_lines, open_console
from nornir_torque_vm.entrance.target import Target, guest_of, parse_target
from nornir_torque_vm.entrance.whereabouts import Elsewhere, asked_there, handed_over, here
from nornir_torque_vm.errors import HypervisorError
from nornir_torque_vm.exitcodes import CliExit
from nornir_torque_vm.identity import domain_of_tag, guest_name
from nornir_torque_vm.runstate.handover import HandOver, handover_path
from nornir_torque_vm.runstate.history import CLOUD_INIT, CONSOLE
from nornir_torque_vm.tasks.read_cloud_init import LOG

NONE = HandOver("", "", "", (), "", "")
LINES = 40
"""How many are shown when nobody says how many."""


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Go on until the guest is gone.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(0, 10_000),
    default=LINES,
    show_default=True,
    help="How many at most.",
)
@click.option(
    "--cloud-init", is_flag=True, help="What cloud-init printed, not the console; root may read it."
)
@settings_option
@click.argument("guest", metavar="JOB[:RANK]", shell_complete=offers.any_jobs)
def log(*, follow: bool, lines: int, cloud_init: bool, settings_path: str | None, guest: str) -> int:
    """Show what a guest of a job of yours printed last on its console; the first guest if no RANK is named.

    Without what a terminal would act on. Your own ssh takes you to the guest's node. For a job whose guests
    failed root gets what the history has; its owner finds that beside the job's output.
    """
    settings, target = settings_module.load(settings_path), parse_target(guest)
    words = [*(["-f"] if follow else []), *(["--cloud-init"] if cloud_init else []), "-n", str(lines)]
    if (
        os.geteuid() == 0
        and not here(settings, target)
        and (kept := past(settings, target, CLOUD_INIT if cloud_init else CONSOLE))
    ):
        return show(kept[-lines:] if lines else [])
    if cloud_init:
        place = located(settings, target)
    else:
        place, chosen = found(settings, target)
    target = target._replace(job=place.job_id)
    if place.node:
        return there(place, asked_there("log", words, target, []), terminal=False)
    if cloud_init:
        # Made legible there: what comes over ssh is not read here.
        text = f"tail -n {lines:d} {'-f ' if follow else ''}{LOG} | tr -cd '\\n -~'"
        return inside(settings, place.job_id, target.rank, text, terminal=False)
    fd = open_console(settings, chosen, target.rank)
    show(last_lines(fd, lines))
    given = handover_path(settings.run_dir, place.job_id)
    return show(following(fd, lambda: os.path.lexists(given))) if follow else CliExit.OK


@click.command()
@settings_option
@click.argument("guest", metavar="JOB[:RANK]", shell_complete=offers.jobs)
def console(*, settings_path: str | None, guest: str) -> int:
    """Watch a guest's console until the guest is gone; as root at a terminal, type there too.

    For a job's owner this is torque-vm log -f. Root gets the console itself, from virsh; Ctrl-] leaves it.
    """
    settings, target = settings_module.load(settings_path), parse_target(guest)
    place, chosen = found(settings, target)
    target = target._replace(job=place.job_id)
    typing = os.geteuid() == 0 and os.isatty(0)
    if place.node:
        return there(place, asked_there("console", [], target, []), terminal=typing)
    if typing:
        return virsh(settings.local_uri, domain_of_tag(chosen.tag, target.rank))
    fd = open_console(settings, chosen, target.rank)
    show(last_lines(fd, LINES))
    given = handover_path(settings.run_dir, place.job_id)
    return show(following(fd, lambda: os.path.lexists(given)))


def virsh(uri: str, domain: str) -> NoReturn:
    """Become virsh, which knows how to share a terminal with a console.

    :raises HypervisorError: it is not installed.
    """
    sys.stdout.flush()
    try:
        os.execvp("virsh", ["virsh", "-q", "-c", uri, "console", "--safe", domain])  # noqa: S606, S607
    except FileNotFoundError:
        raise HypervisorError("there is no virsh here", hint="install libvirt-clients") from None


def found(settings: Settings, target: Target) -> tuple[Elsewhere, HandOver]:
    """Where a guest runs (no node: here), and its job's hand-over as far as it is here.

    :raises TorqueVMError: nobody knows, or there is no such guest.
    """
    place = located(settings, target)
    if place.node:
        return place, NONE
    handover = handed_over(settings, place.job_id)
    node = guest_of(handover, target.rank).node
    if node.partition(".")[0] == os.uname().nodename.partition(".")[0]:
        return place, handover
    return Elsewhere(place.job_id, node), NONE


def show(lines: Iterable[str]) -> int:
    """Print lines, each at once."""
    for line in lines:
        print(line, flush=True)
    sys.stdout.flush()
    return CliExit.OK


def past(settings: Settings, target: Target, kind: str) -> list[str]:
    """What the history has of a guest's console, or of cloud-init in it; nothing if it has none."""
    from nornir_torque_vm.records import details, past_jobs
    from nornir_torque_vm.runstate.pastjobs import choose

    found = choose(target.job, past_jobs(settings))
    if found is None:
        return []
    name = f"{kind}{guest_name(found.job_id, target.rank)}.log"
    return lines_of(details(settings, found).last_words.get(name, b""))
