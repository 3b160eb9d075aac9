"""Whether this host is as its settings say: pool, default image, the MOM's limit, qsub, templates."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator

from nornir_torque_vm.addresses.script import program
from nornir_torque_vm.catalogue import read_catalogue
from nornir_torque_vm.config.check import Finding, Level
from nornir_torque_vm.config.settings import KILL_MARGIN, Settings
from nornir_torque_vm.errors import SettingsError, TorqueVMError
from nornir_torque_vm.trust import exposure
from nornir_torque_vm.wrapper.poolimages import look_at_image
from nornir_torque_vm.wrapper.runtime import is_front, is_server

PROLOGALARM = 300.0
"""Seconds; what a MOM takes whose configuration does not say (TORQUE 6.1.3, mom_main.c)."""
FILTER_MARK = b"nornir_torque_vm.wrapper.submit_filter"
"""Occurs in every copy of our submit filter."""
_LIMIT = 1 << 20
"""Bytes of a MOM's configuration that are looked at."""


def check_host(settings: Settings, hostname: str) -> Iterator[Finding]:
    """Look at everything the settings name on this host.

    :param hostname: this host's name, short or full.
    """
    checks: tuple[Callable[[Settings, str], Iterator[Finding]], ...] = (
        _disabled, _pool, _default_image, _mom, _qsub, _site_filter, _templates, _ip_script,
        _metadata_file,
    )  # fmt: skip
    for check in checks:
        yield from check(settings, hostname)


def _disabled(settings: Settings, hostname: str) -> Iterator[Finding]:
    if settings.disable_mikelangelo_hpc_stack:
        yield _note("disable_mikelangelo_hpc_stack", "VM jobs are switched off on all hosts with this file")
    if settings.disabled_hosts_list.matches(hostname):
        yield _note("disabled_hosts_list", f"VM jobs are switched off on this host, {hostname}")


def _pool(settings: Settings, _hostname: str) -> Iterator[Finding]:
    name, path = "image_pool", settings.image_pool
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - text in, number out
        reason = exposure(path)
    except OSError as error:
        yield _error(name, f"{path} cannot be read: {error.strerror}", "create it, or correct the setting")
        return
    if not stat.S_ISDIR(mode):
        yield _error(name, f"{path} is not a directory", "name the directory the images are in")
        return
    if reason:
        cure = "give it to root, take others' right to write"
        yield _warn(name, f"{reason}, who could exchange images", cure)
    if not mode & stat.S_IROTH or not mode & stat.S_IXOTH:
        yield _warn(name, f"users cannot look into {path}, and submit nothing", f"chmod o+rx {path}")
    try:
        number = len(read_catalogue(path))
    except TorqueVMError as error:
        yield Finding.of(error, name)
        return
    yield _ok(name, f"{path} is there; its catalogue has {number}" if number else f"{path} is there")


def _default_image(settings: Settings, _hostname: str) -> Iterator[Finding]:
    name = "img_default"
    if not settings.img_default:
        yield _note(name, "there is none, so a job that names no image is refused")
        return
    try:
        facts = look_at_image({}, settings)
    except TorqueVMError as error:
        yield Finding.of(error, name)
        return
    path = f"{settings.image_pool}/{facts.name}"
    if os.stat(path).st_mode & stat.S_IROTH:  # noqa: PTH116 - text in, number out
        yield _ok(name, f"{facts.name} can be booted; family {facts.distro} ({facts.distro_origin})")
    else:
        yield _warn(name, f"users cannot read {path}, and not submit with it", f"chmod o+r {path}")


def _mom(settings: Settings, _hostname: str) -> Iterator[Finding]:
    """The MOM's own limit, on a node."""
    name, path = "prologalarm", f"{settings.torque_home}/mom_priv/config"
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a limit to what is read
            text = file.read(_LIMIT).decode(errors="replace")
    except FileNotFoundError:
        yield _note(name, f"not compared: there is no {path} here")
        return
    except OSError as error:
        yield _note(name, f"not compared: {path} cannot be read: {error.strerror}")
        return
    alarm = mom_alarm(text)
    if alarm is None:
        yield _error(name, f"$prologalarm in {path} is no number of seconds", "correct it")
    elif alarm != settings.prologalarm:
        says = "says" if _ALARM.search(text) else "does not say, which means"
        yield _warn(
            name, f"it is {settings.prologalarm:g} here, and {path} {says} {alarm:g}",
            f"hooks are killed {KILL_MARGIN:g} s before the MOM's value: write the same into both",
        )  # fmt: skip
    else:
        yield _ok(name, f"{alarm:g} s, as in {path}; guests have {settings.prologue_seconds():g} s")


def _ip_script(settings: Settings, _hostname: str) -> Iterator[Finding]:
    """The site's program for addresses: nodes start it, submit hosts need not have it."""
    if not settings.static_ip_mapping or not settings.ip_script:
        return
    if not os.path.isdir(f"{settings.torque_home}/mom_priv"):  # noqa: PTH112 - text in
        yield _note("ip_script", "left to the nodes: there is no MOM here")
        return
    try:
        with program(settings.ip_script):
            yield _ok("ip_script", f"{settings.ip_script} is there, and only root may write it")
    except SettingsError as error:
        yield Finding.of(error, "ip_script")


def _metadata_file(settings: Settings, _hostname: str) -> Iterator[Finding]:
    """The site's own cloud-init settings: nodes read them, submit hosts need not have them."""
    name = "metadata_file"
    if not settings.metadata_file:
        return
    if not os.path.isdir(f"{settings.torque_home}/mom_priv"):  # noqa: PTH112 - text in
        yield _note(name, "left to the nodes: there is no MOM here")
        return
    from nornir_torque_vm.render.trial import try_seed

    try:
        try_seed(settings)
        yield _ok(name, f"{settings.metadata_file} can be told to guests, and only root may write it")
    except SettingsError as error:
        yield Finding.of(error, name)


_ALARM = re.compile(r"^[ \t]*\$prologalarm(?:[ \t]+(\S*))?(?=\s|$)", re.MULTILINE)


def mom_alarm(config: str) -> float | None:
    """Return the ``$prologalarm`` of a MOM's configuration in seconds; None if it is no number.

    The last line counts; without one it is :data:`PROLOGALARM`.
    """
    values = _ALARM.findall(config)
    if not values:
        return PROLOGALARM
    number = re.match(r"[0-9]{1,9}", values[-1])
    return float(number[0]) if number else None


def _qsub(settings: Settings, hostname: str) -> Iterator[Finding]:
    server = is_server(settings.server_hostname, hostname)
    name = "real_qsub_on_server" if server else "real_qsub_on_nodes"
    path: str = getattr(settings, name)
    problem = _not_executable(path)
    if is_front(path, ""):
        yield _error(name, f"{path} is our wrapper, which would call itself", "name the qsub of TORQUE")
    elif problem:
        cure = "name the qsub of TORQUE; without it no job is submitted from this host"
        node = os.path.isdir(f"{settings.torque_home}/mom_priv")  # noqa: PTH112 - text in
        yield (_warn if node else _error)(name, f"{path} {problem}", cure)
    else:
        yield _ok(name, f"{path} is the one of this host, {hostname}")


def _site_filter(settings: Settings, _hostname: str) -> Iterator[Finding]:
    name, path = "site_submit_filter", settings.site_submit_filter
    if not path:
        return
    problem = _not_executable(path)
    if is_front(path, "", FILTER_MARK):
        yield _error(name, f"{path} is our own filter, which would call itself", "name the site's, or none")
    elif problem:
        yield _error(name, f"{path} {problem}", "correct it, or leave it empty; until then qsub fails")
    else:
        yield _ok(name, f"{path} can be executed")


def _not_executable(path: str) -> str:
    """Why a program cannot be executed, empty if it can."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - text in, number out
    except OSError as error:
        return f"cannot be executed: {error.strerror}"
    if not stat.S_ISREG(mode):
        return "is not a file"
    return "" if mode & 0o111 and os.access(path, os.X_OK) else "has no right to be executed"


def _templates(settings: Settings, _hostname: str) -> Iterator[Finding]:
    """Every template, the built-in ones too: a setting may be what does not fit into them."""
    name = "template_dir"
    try:
        from nornir_torque_vm.render.trial import try_templates
    except ModuleNotFoundError as error:
        yield _note(name, f"templates are not tried: there is no {error.name} here", "only nodes need them")
        return
    try:
        for trial in try_templates(settings):
            if trial.unused:
                yield _warn(name, f"nothing uses {trial.path}", "give it the name of a built-in template")
            elif trial.problem:
                yield _error(name, f"{trial.path}: {trial.problem}")
            else:
                yield _ok(name, f"{trial.path} makes what libvirt accepts")
    except SettingsError as error:
        yield Finding.of(error, name)


def _ok(subject: str, text: str) -> Finding:
    return Finding(Level.OK, subject, text)


def _note(subject: str, text: str, cure: str = "") -> Finding:
    return Finding(Level.NOTE, subject, text, cure)


def _warn(subject: str, text: str, cure: str = "") -> Finding:
    return Finding(Level.WARN, subject, text, cure)


def _error(subject: str, text: str, cure: str = "") -> Finding:
    return Finding(Level.ERROR, subject, text, cure)
