"""What a node has already, read from its disk; what this package brings for it; its plans."""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from pathlib import Path

from nornir_torque_vm.config.settings import DEFAULT_PATH, Settings, load, loads
from nornir_torque_vm.errors import InstallError
from nornir_torque_vm.hooks.momconfig import STARTER_MARK, job_starter
from nornir_torque_vm.hooks.startercheck import why_not
from nornir_torque_vm.install.credential import COMMENT, Credential, directory_of, read_credential
from nornir_torque_vm.install.ground import look, read_file, settled
from nornir_torque_vm.install.host import manifest_of, paths_of, plan_here
from nornir_torque_vm.install.model import File, Verb
from nornir_torque_vm.install.node import CHECK, METRICS, ROLE, NodeKit, NodePlaces, NodeSite, node
from nornir_torque_vm.install.planning import Plan, plan_removal
from nornir_torque_vm.runstate.handover import MARKERS
from nornir_torque_vm.sitekit import HOOKS, hook_text, kit_file, starter_text, unit_names, unit_text

ETC = str(Path(DEFAULT_PATH).parent)
"""Where hooks look for their settings, whatever the site."""
UNITS = "/etc/systemd/system"
SYSTEMD = "/run/systemd/system"
"""There when systemd runs this host (sd_booted(3))."""
AUTHORIZED_KEYS = "/root/.ssh/authorized_keys"


def read_settings(etc: str, torque_home: str | None) -> tuple[Settings, bytes]:
    """Return the settings as they will be, and the sample that goes there if there are none.

    :param torque_home: the one that was asked for; None for the settings' own.
    :raises InstallError: the settings are there and name another.
    :raises SettingsError: they cannot be used.
    """
    path, sample = f"{etc}/settings.toml", kit_file("inventory", "settings.toml").read_bytes()
    if read_file(path) is not None:
        settings = load(path)
        if torque_home not in {None, settings.torque_home}:
            raise InstallError(
                f"{path} says that TORQUE's directory is {settings.torque_home}, which hooks believe",
                hint=f'write torque_home = "{torque_home}" there, or leave --torque-home out',
            )
        return settings, sample
    if torque_home not in {None, Settings().torque_home}:
        line = f"torque_home = {json.dumps(torque_home)}".encode()
        sample = re.sub(rb"^#torque_home = .*$", lambda _: line, sample, flags=re.MULTILINE)
    return loads(sample.decode()), sample


def places_here(prefix: str, torque_home: str, etc: str, units: str | None) -> NodePlaces:
    """Return where things go on this host.

    :param units: directory for systemd's units; None: its own where it runs, else none.
    :raises InstallError: no MOM lives here.
    """
    usual = UNITS if Path(SYSTEMD).is_dir() else ""
    places = NodePlaces(prefix, torque_home, etc, usual if units is None else units)
    if not Path(settled(places.mom)).is_dir():
        raise InstallError(
            f"there is no pbs_mom here: {places.mom} is missing", hint="name TORQUE's home with --torque-home"
        )
    return places


def kit_here(places: NodePlaces, settings: Settings, sample: bytes, python: str = sys.executable) -> NodeKit:
    """Return the files of a node as they are shipped, with this host's values in them.

    :raises SettingsError: this installation lacks one.
    """
    run_dir, config = settings.run_dir, read_file(places.config)
    mom_config = config.content.decode(errors="replace") if config else ""
    return NodeKit(
        {name: hook_text(name, python=python, run_dir=run_dir).encode() for name in HOOKS},
        starter_text(python=python, run_dir=run_dir, mom_config=mom_config).encode(),
        hook_text(CHECK.rpartition("/")[2], run_dir=run_dir).encode(),
        {name: unit_text(name, python=python).encode() for name in units_for(settings)},
        sample,
    )


def units_for(settings: Settings) -> tuple[str, ...]:
    """Names of systemd's units that a node of this site has."""
    names = unit_names()
    if settings.exports_metrics:
        return names
    return tuple(name for name in names if not name.startswith(f"{METRICS}."))


def site_here(
    places: NodePlaces, settings: Settings, source: str, authorized: str, *, checked: bool = False
) -> NodeSite:
    """Return what the node has.

    :param source: directory of a credential that is to be put in place; "" to leave what there is.
    :param checked: whether the MOM shall run our node check.
    :raises InstallError: others than root could exchange it, or the credential cannot be used.
    """
    config = read_file(places.config)
    content = config.content if config else None
    named = job_starter((content or b"").decode(errors="replace"))
    starter = Path(named) if named.startswith("/") else None
    ours = starter is not None and starter.is_file() and STARTER_MARK in starter.read_bytes()
    if source:
        name = os.uname().nodename.partition(".")[0]
        credential = read_credential(source, settings, places.etc, name, authorized)
    else:
        credential = installed_credential(places, settings)
    return NodeSite(content, settings, ours, credential, checked)


def installed_credential(places: NodePlaces, settings: Settings) -> Credential:
    """Return what an earlier run put in place, which stays."""
    manifest, target = manifest_of(places.prefix), directory_of(settings, places.etc)
    files = tuple(
        File(path, b"", sample=True)
        for path, entry in manifest.files.items()
        if ROLE in entry.roles and path.rpartition("/")[0] == target and Path(path).exists()
    )
    edited = (entry.edit for entry in manifest.edits if entry.role == ROLE)
    return Credential(files, edited=frozenset(e.path for e in edited if COMMENT.encode() in e.new))


def plan_node(
    places: NodePlaces,
    settings: Settings,
    sample: bytes,
    *,
    credential: str,
    authorized: str,
    checked: bool = False,
) -> Plan:
    """Return what makes a node of this host; parameters as for :func:`site_here`.

    :raises InstallError: something is in the way.
    """
    kit = kit_here(places, settings, sample)
    site = site_here(places, settings, credential, authorized, checked=checked)
    return plan_here(node(places, kit, site), places.prefix)


def plan_node_removal(places: NodePlaces, settings: Settings) -> Plan:
    """Return what takes the role away.

    :raises InstallError: jobs run in guests here, or the MOM would still call what goes.
    """
    markers = Path(settings.run_dir, MARKERS)
    jobs = sorted(path.name for path in markers.iterdir()) if markers.is_dir() else []
    if jobs:
        raise InstallError(
            f"{'job' if len(jobs) == 1 else 'jobs'} {', '.join(jobs)} run in guests here",
            hint="wait for their end: without the hooks nobody would remove the guests",
        )
    manifest = manifest_of(places.prefix)
    looked = look(paths_of((places.config,), manifest), (*manifest.directories, *manifest.kept))
    plan = plan_removal(ROLE, looked, manifest)
    goes = any(action.verb is Verb.REMOVE and action.path == places.starter for action in plan.actions)
    config = plan.contents.get(places.config, b"").decode(errors="replace")
    if goes and job_starter(config) == places.starter:
        raise InstallError(
            f"{places.config} names the job starter that is to go, in a line that is not the one we wrote",
            hint="take that line out first",
        )
    return plan


def try_starter(text: bytes) -> None:
    """Make sure that a plain job is started by the job starter as it would be without.

    :raises InstallError: it is not; every job of the node would fail.
    """
    with tempfile.TemporaryDirectory(prefix="torque-vm-", dir=_executable_place()) as folder:
        path = Path(folder, "job_starter")
        path.write_bytes(text)
        path.chmod(0o555)
        reason = why_not(path)
    if reason:
        raise InstallError(reason.replace(str(path), "that was to be installed"))


def _executable_place() -> str | None:
    """A directory from which programs can be run; None: the system's usual one for temporary files."""
    for place in (tempfile.gettempdir(), "/var/tmp", "/root"):  # noqa: S108 -- a directory is made in it
        if Path(place).is_dir() and not os.statvfs(place).f_flag & os.ST_NOEXEC:
            return place
    return None
