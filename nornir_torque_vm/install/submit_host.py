"""The role of a host where people submit jobs: the fronts, their modules and manuals, the submit filter."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping

from nornir_torque_vm.config.settings import loads
from nornir_torque_vm.errors import InstallError
from nornir_torque_vm.install import torquecfg
from nornir_torque_vm.install.model import Edit, File, Wanted
from nornir_torque_vm.install.planning import Plan

ROLE = "submit-host"
FILTER = "wrapper/submit-filter"
"""The submit filter, below the prefix."""
COMPILED = ("compiled/settings.json", "compiled/qsub.sh")
"""What the fronts read, below the settings' directory."""
EXECUTABLE = "wrapper/"
"""What is below this directory of the prefix is run."""
_SITE_FILTER = tuple(
    re.compile(start + rb"site_submit_filter[ \t]*=[^\n]*", re.MULTILINE | re.IGNORECASE)
    for start in (rb"^", rb"^#[ \t]*")
)
"""The line that states the setting; the comment that shows its default."""


@dataclasses.dataclass(frozen=True, slots=True)
class Places:
    """Where things go; absolute paths.

    :param modulefiles: directories of the module systems' search paths.
    """

    prefix: str = "/opt/torque-vm"
    torque_home: str = "/var/spool/torque"
    etc: str = "/etc/torque-vm"
    modulefiles: tuple[str, ...] = ()

    @property
    def settings(self) -> str:
        """The settings file."""
        return f"{self.etc}/settings.toml"

    @property
    def config(self) -> str:
        """The file that tells TORQUE's commands of a submit filter."""
        return f"{self.torque_home}/{torquecfg.NAME}"


@dataclasses.dataclass(frozen=True, slots=True)
class Kit:
    """What this package brings, with the site's values in it.

    :param files: by path below the prefix.
    :param modules: module files by name.
    :param settings: the sample of the settings file.
    """

    files: Mapping[str, bytes]
    modules: Mapping[str, bytes]
    settings: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Site:
    """What the host has already.

    :param config: content of ``torque.cfg``; None when there is none.
    :param settings: content of the settings file; None when there is none.
    :param chained: the setting ``site_submit_filter``.
    :param default_filter: the filter that TORQUE runs where ``torque.cfg`` names none; or "".
    :param other_prefix: prefix of another installation whose filter ``torque.cfg`` names; or "".
    :param fresh: whether what was compiled from the settings is up to date.
    """

    config: bytes | None = None
    settings: bytes | None = None
    chained: str = ""
    default_filter: str = ""
    other_prefix: str = ""
    fresh: bool = True


def submit_host(places: Places, kit: Kit, site: Site, *, chain: bool = False) -> Wanted:
    """Return what makes a submit host of this one.

    :param chain: have the site's own submit filter, if there is one, run before ours.
    :raises InstallError: there is one and it is not chained; its sentence says what to set.
    """
    edit = torquecfg.name_filter(places.config, site.config or b"", f"{places.prefix}/{FILTER}")
    theirs = _site_filter(places, site) if edit is not None else ""
    edits = [] if edit is None else [edit]
    sample = kit.settings
    if theirs and theirs != site.chained:
        chaining = _chaining(places, site, theirs, sample, chain=chain)
        if site.settings is None:
            sample = chaining.applied(sample)
        else:
            edits.insert(0, chaining)
    return Wanted(
        ROLE,
        (*_files(places, kit), File(places.settings, sample, sample=True)),
        tuple(edits),
        edited=frozenset({places.settings, places.config}),
        compiled=tuple(f"{places.etc}/{name}" for name in COMPILED),
        stale=not site.fresh or any(change.path == places.settings for change in edits),
    )


def _files(places: Places, kit: Kit) -> tuple[File, ...]:
    fronts = (
        File(f"{places.prefix}/{name}", content, 0o755 if name.startswith(EXECUTABLE) else 0o644)
        for name, content in sorted(kit.files.items())
    )
    modules = (
        File(f"{directory}/{name}", content)
        for directory in places.modulefiles
        for name, content in sorted(kit.modules.items())
    )
    return (*fronts, *modules)


def _site_filter(places: Places, site: Site) -> str:
    """The submit filter that the site had before, empty if none."""
    there = torquecfg.read_filter(site.config or b"")
    if there is None:
        return site.default_filter
    if site.other_prefix:
        raise InstallError(
            f"{places.config} names the submit filter of another installation, below {site.other_prefix}",
            hint=f"take that away first: torque-vm install {ROLE} --prefix {site.other_prefix} --uninstall",
        )
    return there.path.decode(errors="backslashreplace")


def _chaining(places: Places, site: Site, theirs: str, sample: bytes, *, chain: bool) -> Edit:
    """The edit of the settings that has the site's filter run before ours."""
    if site.chained:
        raise InstallError(
            f"this host's own submit filter is {theirs}, and site_submit_filter in {places.settings} names "
            f"{site.chained}",
            hint="correct that setting",
        )
    line = f"site_submit_filter = {json.dumps(theirs)}"
    if not chain:
        raise InstallError(
            f"this host has a submit filter of its own, {theirs}",
            hint=f"to have it run before ours say --chain, or write '{line}' into {places.settings}",
        )
    text = sample if site.settings is None else site.settings
    edit = chain_filter(places.settings, text, line)
    if loads(edit.applied(text).decode(), places.settings).site_submit_filter != theirs:
        raise InstallError(f"{places.settings} is too odd to edit", hint=f"write '{line}' into it")
    return edit


def chain_filter(path: str, settings: bytes, line: str) -> Edit:
    """Return the edit that puts a line into the settings, in place of the one with or about the default."""
    for pattern in _SITE_FILTER:
        if shown := pattern.search(settings):
            return Edit(path, shown.start(), shown[0].rstrip(b"\r"), line.encode())
    return Edit(path, 0, b"", line.encode() + b"\n")  # on top: below could be inside a table


def check_removal(plan: Plan, prefix: str) -> None:
    """Refuse to take the filter away while TORQUE would call it: every submission would fail.

    :raises InstallError: a torque.cfg names it, in a line that is not the one we wrote.
    """
    ours = f"{prefix}/{FILTER}".encode()
    for path, content in plan.contents.items():
        there = torquecfg.read_filter(content) if path.endswith(f"/{torquecfg.NAME}") else None
        if there is not None and there.path == ours:
            raise InstallError(
                f"{path} names the submit filter that is to go, in a line that is not the one we wrote",
                hint="take that line out first",
            )
