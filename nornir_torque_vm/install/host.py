"""What this host has already, read from its disk; the plans of a role here."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from nornir_torque_vm.config import compiled
from nornir_torque_vm.config.settings import Settings, load
from nornir_torque_vm.errors import InstallError
from nornir_torque_vm.install import torquecfg
from nornir_torque_vm.install.ground import look, read_file, settled
from nornir_torque_vm.install.manifest import NAME as MANIFEST
from nornir_torque_vm.install.manifest import Manifest, read_manifest
from nornir_torque_vm.install.model import Wanted
from nornir_torque_vm.install.planning import Plan, plan_install, plan_removal
from nornir_torque_vm.install.submit_host import FILTER, ROLE, Places, Site, check_removal

LEGACY_FILTER = "/usr/local/sbin/torque_submitfilter"
"""The filter that every TORQUE runs where nothing else is said (TORQUE 6.1.3, qsub_functions.c)."""
SITE_MODULES = ("/etc/environment-modules/modules", "/etc/lmod/modules", "/etc/modulefiles")
"""Where the module systems look for a site's own modules: Debian's two, and Red Hat's."""
SHARED_MODULES = (
    "/usr/share/modules/modulefiles",
    "/usr/share/lmod/lmod/modulefiles",
    "/usr/share/modulefiles",
)
"""Where they look for everything else."""


def modulefiles_here() -> tuple[str, ...]:
    """Return the directories for module files on this host: the site's own ones, else the first shared."""
    own = tuple(path for path in SITE_MODULES if Path(path).is_dir())
    return own or tuple(path for path in SHARED_MODULES if Path(path).is_dir())[:1]


def read_site(places: Places) -> Site:
    """Return what a submit host has already.

    :raises InstallError: no TORQUE, or files of it that others than root could exchange.
    :raises SettingsError: the settings cannot be used.
    """
    if not Path(settled(places.torque_home)).is_dir():
        raise InstallError(
            f"there is no TORQUE here: {places.torque_home} is missing",
            hint="name its home with --torque-home",
        )
    config, text = read_file(places.config), read_file(places.settings)
    settings = load(places.settings) if text else Settings()
    there = torquecfg.read_filter(config.content) if config else None
    return Site(
        config.content if config else None,
        text.content if text else None,
        settings.site_submit_filter,
        _default_filter(settings.real_qsub_on_server, settings.real_qsub_on_nodes),
        _other_prefix(there, places.prefix),
        fresh=compiled.read_compiled(places.etc) is not None,
    )


def _default_filter(*qsubs: str) -> str:
    """The filter that TORQUE runs without a line in its torque.cfg: one beside it, else the old place."""
    beside = (str(Path(qsub).parent.parent / "libexec/qsub_filter") for qsub in qsubs)
    return next((path for path in (*beside, LEGACY_FILTER) if Path(path).is_file()), "")


def _other_prefix(there: torquecfg.Filter | None, prefix: str) -> str:
    path = there.path.decode(errors="replace") if there else ""
    other = path.removesuffix(f"/{FILTER}")
    return other if other not in {path, prefix} and Path(other, MANIFEST).is_file() else ""


def plan_here(wanted: Wanted, prefix: str) -> Plan:
    """Return what puts a role in place on this host.

    :raises InstallError: something is in the way.
    """
    manifest = manifest_of(prefix)
    paths = (*(file.path for file in wanted.files), *(edit.path for edit in wanted.edits), *wanted.compiled)
    directories = (*manifest.directories, *(directory.path for directory in wanted.directories))
    return plan_install(wanted, look(paths_of(paths, manifest), directories), manifest)


def plan_removal_here(role: str, places: Places) -> Plan:
    """Return what takes a role away from this host.

    :raises InstallError: the list of what was installed is damaged, others than root could exchange it,
        or TORQUE would still call what goes.
    """
    manifest = manifest_of(places.prefix)
    plan = plan_removal(role, look(paths_of((places.config,), manifest), manifest.directories), manifest)
    if role == ROLE:
        check_removal(plan, places.prefix)
    return plan


def manifest_of(prefix: str) -> Manifest:
    """Return the list of what earlier runs put below the prefix, and of what they edited.

    :raises InstallError: it is damaged.
    """
    path = f"{prefix}/{MANIFEST}"
    found = read_file(path)
    return read_manifest(found.content if found else None, path)


def paths_of(paths: Iterable[str], manifest: Manifest) -> list[str]:
    """Return the files to look at: these, and all that is listed."""
    edited = (entry.edit.path for entry in manifest.edits)
    return list(dict.fromkeys((*paths, *manifest.files, *edited)))
