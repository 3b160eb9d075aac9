"""The role of a node: the hooks in the MOM's directory, the job starter, directories, and what reaps.

Pure but for nothing: :mod:`~.node_site` reads what the node has.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import InstallError
from nornir_torque_vm.hooks.momconfig import job_starter, node_check_script
from nornir_torque_vm.install.credential import Credential
from nornir_torque_vm.install.model import Directory, Edit, File, Wanted
from nornir_torque_vm.runstate.handover import HANDOVERS, MARKERS
from nornir_torque_vm.runstate.joblock import LOCKS
from nornir_torque_vm.runstate.jobstate import JOBS
from nornir_torque_vm.sitekit import HOOKS

ROLE = "node"
CHECK_MODE, STARTER_MODE = 0o500, 0o555
"""Root alone executes the node check, every user's job the starter."""
STARTER = "hooks/job_starter"
"""The job starter, below the prefix: a local path, because every job of the node waits for it."""
CHECK = "hooks/node_check"
"""The node check, below the prefix."""
TIMER = "torque-vm-reap.timer"
METRICS = "torque-vm-metrics"
"""Name of the units that write figures for Prometheus, where the site wants them."""
METRICS_TIMER = f"{METRICS}.timer"
_PLAIN = re.compile(r"(/[A-Za-z0-9_.,@%+:-]+)+")


@dataclasses.dataclass(frozen=True, slots=True)
class NodePlaces:
    """Where things go; absolute paths. ``units`` is empty where there is no systemd."""

    prefix: str = "/opt/torque-vm"
    torque_home: str = "/var/spool/torque"
    etc: str = "/etc/torque-vm"
    units: str = "/etc/systemd/system"

    @property
    def settings(self) -> str:
        """The settings file."""
        return f"{self.etc}/settings.toml"

    @property
    def mom(self) -> str:
        """The MOM's directory."""
        return f"{self.torque_home}/mom_priv"

    @property
    def config(self) -> str:
        """The MOM's configuration."""
        return f"{self.mom}/config"

    @property
    def starter(self) -> str:
        """The job starter."""
        return f"{self.prefix}/{STARTER}"

    @property
    def check(self) -> str:
        """The node check."""
        return f"{self.prefix}/{CHECK}"


@dataclasses.dataclass(frozen=True, slots=True)
class NodeKit:
    """What this package brings, with the site's values in it.

    :param hooks: by name; ``units``: systemd's, by name.
    :param settings: the sample of the settings file.
    """

    hooks: Mapping[str, bytes]
    starter: bytes
    check: bytes
    units: Mapping[str, bytes]
    settings: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class NodeSite:
    """What the node has already.

    :param config: content of the MOM's configuration; None when there is none.
    :param ours: whether the job starter that it names is one of ours, of whatever installation.
    :param credential: the one that is in place or shall be; None for none.
    :param checked: whether the MOM shall run our node check.
    """

    config: bytes | None
    settings: Settings
    ours: bool = False
    credential: Credential | None = None
    checked: bool = False


def node(places: NodePlaces, kit: NodeKit, site: NodeSite) -> Wanted:
    """Return what makes a node of this host.

    :raises InstallError: the MOM has a job starter already, or the settings name another TORQUE.
    """
    credential = site.credential or Credential()
    named = (name_starter(places, site), name_check(places, site), credential.edit)
    edits = tuple(edit for edit in named if edit is not None)
    files = (
        *(File(f"{places.mom}/{name}", text, HOOKS[name]) for name, text in kit.hooks.items()),
        File(places.starter, kit.starter, STARTER_MODE),
        File(places.check, kit.check, CHECK_MODE),
        *(File(f"{places.units}/{name}", text) for name, text in kit.units.items() if places.units),
        *credential.files,
        File(places.settings, kit.settings, sample=True),
    )
    edited = frozenset({places.config, *credential.edited})
    directories = (*directories_of(site.settings), *credential.directories)
    return Wanted(ROLE, files, edits, edited=edited, directories=directories)


def directories_of(settings: Settings) -> tuple[Directory, ...]:
    """The directories that jobs use, with the modes they get when a job has to make them.

    Users' job starters pass through those of the run directory that have 0711.
    """
    run = settings.run_dir
    return (
        Directory(settings.volume_dir, 0o711),
        Directory(settings.history_dir, 0o700),
        Directory(run, 0o711),
        Directory(f"{run}/{MARKERS}", 0o711),
        Directory(f"{run}/{HANDOVERS}", 0o711),
        Directory(f"{run}/{JOBS}", 0o700),
        Directory(f"{run}/{LOCKS}", 0o700),
    )


def name_starter(places: NodePlaces, site: NodeSite) -> Edit | None:
    """Return the edit of the MOM's configuration after which it names our job starter; None if it does.

    :raises InstallError: it names another one.
    """
    if not _PLAIN.fullmatch(places.starter):
        raise InstallError(
            f"a MOM cannot be told of {places.starter}: its configuration is words without quotes",
            hint="take a prefix of letters, digits and _.,@%+:-",
        )
    config = site.config or b""
    there = job_starter(config.decode(errors="replace"))
    if there == places.starter:
        return None
    if there:
        theirs = "another installation of ours" if site.ours else "a job starter of its own"
        cure = (
            "take that away first: torque-vm install node --uninstall with its --prefix, or the line"
            if site.ours
            else "only one can start jobs: take that line out, and do in a prologue what it does"
        )
        raise InstallError(f"{places.config} names {theirs}, {there}", hint=cure)
    line = b"$job_starter " + places.starter.encode() + b"\n"
    return Edit(places.config, 0, b"", line)


def name_check(places: NodePlaces, site: NodeSite) -> Edit | None:
    """Return the edit of the MOM's configuration after which it runs our node check; None for none.

    A line that is there stays: the site's own check can end with a call of ours.
    """
    config = (site.config or b"").decode(errors="replace")
    if not site.checked or node_check_script(config):
        return None
    return Edit(places.config, 0, b"", b"$node_check_script " + places.check.encode() + b"\n")
