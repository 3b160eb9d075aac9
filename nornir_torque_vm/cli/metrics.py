"""``torque-vm metrics``: the figures of this node's guests, in a file for Prometheus' node_exporter.

Exit codes: 0 it is as it should be, 1 the file cannot be written, 2 usage, 3 late, 5 this node's libvirt does
not answer.
"""

from __future__ import annotations

import contextlib
import os
import sys

import click

from nornir_torque_vm.cli import offers
from nornir_torque_vm.config import settings as settings_module
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.deadline import Deadline, current
from nornir_torque_vm.engine import Engine
from nornir_torque_vm.errors import InventoryError, StateError
from nornir_torque_vm.exitcodes import CliExit
from nornir_torque_vm.hooks.frame import cancel_on_signal
from nornir_torque_vm.hooks.stdio import say
from nornir_torque_vm.monitoring.collect import guests_here
from nornir_torque_vm.monitoring.metrics import metrics_text
from nornir_torque_vm.monitoring.overhead import starts_of
from nornir_torque_vm.monitoring.textfile import remove_metrics, write_metrics

TIMEOUT = 30.0
"""Seconds libvirt has for its answer; the timer calls as often."""


@click.command()
@click.option("--stdout", is_flag=True, help="Print the figures, and touch no file.")
@click.option(
    "--settings", "settings_path", metavar="FILE", shell_complete=offers.files,
    help="Default: /etc/torque-vm/settings.toml.",
)  # fmt: skip
def metrics(*, stdout: bool, settings_path: str | None) -> int:
    """Write what this node's guests use into a file for Prometheus' node_exporter; a timer calls this.

    Processors, memory, disks and network of each guest, by job, user, rank, guest and node; on a job's first
    node also how long each phase of its start took. Without guests, and when their libvirt does not answer,
    there is no file.
    """
    settings = settings_module.load(settings_path)
    deadline = Deadline.after(TIMEOUT)
    cancel_on_signal(deadline)
    current.set(deadline)
    if stdout:
        sys.stdout.write(figures(settings, deadline).decode())
        return CliExit.OK
    directory = settings.textfile_dir
    if not settings.exports_metrics:
        say("no figures for Prometheus: snap_monitoring_enabled is off, or monitoring_backend is another")
        with contextlib.suppress(StateError):
            remove_metrics(directory)
        return CliExit.OK
    try:
        text = figures(settings, deadline)
    except BaseException:
        remove_metrics(directory)  # figures that stand still would look like guests that do
        raise
    if text:
        write_metrics(directory, text)
    else:
        remove_metrics(directory)
    return CliExit.OK


def figures(settings: Settings, deadline: Deadline) -> bytes:
    """The file's content; empty when there is no guest.

    :raises HypervisorError: this node's libvirt does not tell.
    """
    node = os.uname().nodename
    guests = guests_here(Engine(settings, deadline), node)
    if not guests:
        return b""
    try:
        starts = list(starts_of([record for record, _ in guests], settings.history_dir, node))
    except (StateError, InventoryError) as error:  # the guests' own figures are no worse for it
        say(str(error))
        starts = []
    return metrics_text(guests, starts)
