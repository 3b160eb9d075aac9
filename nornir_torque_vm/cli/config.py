"""``torque-vm config``: what the settings are and where from, what is wrong with them, old ones made new."""

from __future__ import annotations

import dataclasses
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from nornir_torque_vm.cli import offers
from nornir_torque_vm.cli.show import as_json as json_text
from nornir_torque_vm.cli.show import table
from nornir_torque_vm.config.check import Finding, Level, check_text
from nornir_torque_vm.config.compiled import SOURCE, compile_settings
from nornir_torque_vm.config.settings import DEFAULT_PATH, SETTINGS, Settings, read_values, settings_of
from nornir_torque_vm.config.shellimport import import_settings
from nornir_torque_vm.config.textfile import write_text
from nornir_torque_vm.config.tomltext import key_lines, toml_value
from nornir_torque_vm.errors import SettingsError, StateError
from nornir_torque_vm.exitcodes import CliExit
from nornir_torque_vm.hooks.stdio import say
from nornir_torque_vm.hostcheck import check_host
from nornir_torque_vm.trust import exposure

BUILT_IN = "built-in default"
"""Origin of a setting that no file states."""


@click.group()
def config() -> None:
    """Show and check the settings, or make them from the earlier system's."""


@config.command()
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=offers.settings)
@click.option(
    "--settings", "path", envvar="TORQUE_VM_SETTINGS", shell_complete=offers.files,
    help=f"The settings file. [default: {DEFAULT_PATH}]",
)  # fmt: skip
@click.option("--origin", is_flag=True, help="Say where each value comes from.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(names: tuple[str, ...], path: str | None, origin: bool, as_json: bool) -> None:
    """Show every setting with its value, or those that are named; older names are understood."""
    text, name = read(path)
    values = read_values(text, name)
    settings = settings_of(values, name)
    fields = [SETTINGS.find(wanted) for wanted in names] or list(SETTINGS)
    origins = dict(origins_of(text, name))
    rows = [
        (field.name, field.kind.dump(getattr(settings, field.name)), origins.get(field.name, BUILT_IN))
        for field in fields
    ]
    if as_json:
        click.echo(json_text({name: {"value": value, "origin": where} for name, value, where in rows}))
    elif origin:
        cells = [(name, toml_value(value), where) for name, value, where in rows]
        click.echo(table(("setting", "value", "origin"), cells))
    else:
        click.echo("\n".join(f"{name} = {toml_value(value)}" for name, value, _ in rows))


def read(path: str | None) -> tuple[str, str]:
    """Return the text of a settings file and its path; no text where the default one is missing.

    :raises SettingsError: a named file that is missing, and any that cannot be read.
    """
    name = path or DEFAULT_PATH
    try:
        return Path(name).read_text(encoding="utf-8"), name
    except FileNotFoundError:
        if path is None:
            return "", name
        raise SettingsError(f"there is no settings file {name}") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingsError(f"the settings file {name} cannot be read: {reason}") from None


def origins_of(text: str, path: str) -> Iterator[tuple[str, str]]:
    """Yield the name of each setting that a file states, and where it does."""
    for written, line in key_lines(text).items():
        field = SETTINGS.find(written)
        alias = "" if written == field.name else f" as {written}"
        yield field.name, f"{path} line {line}{alias}"


@config.command()
@click.argument(
    "path", metavar="[FILE]", required=False, envvar="TORQUE_VM_SETTINGS", shell_complete=offers.files
)
@click.option("--no-compile", is_flag=True, help="Leave what the wrapper reads as it is.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(path: str | None, no_compile: bool, as_json: bool) -> int:
    """Check the settings and this host, each problem with its cure; then compile what the wrapper reads.

    All problems are shown, not only the first. Templates are filled in with a sample. Exit code 0: no
    errors, though perhaps warnings; 1: errors.
    """
    if path is not None and not Path(path).exists():
        raise click.UsageError(f"there is no settings file {path}")
    text, name = read(path)
    findings = list(examine(text, name, missing=path is None and not Path(name).exists()))
    if not no_compile and not any(found.level is Level.ERROR for found in findings):
        findings.append(compiled(name))
    if as_json:
        click.echo(json_text([dataclasses.asdict(found) for found in findings]))
    else:
        click.echo("\n".join(map(str, findings)))
    bad = any(found.level is Level.ERROR for found in findings)
    return CliExit.FAILED if bad else CliExit.OK


def examine(text: str, path: str, *, missing: bool) -> Iterator[Finding]:
    """Yield what there is to say about a settings file, and about this host with those settings."""
    if missing:
        yield Finding(Level.NOTE, path, "there is no such file, the defaults hold")
        settings = Settings()
    else:
        reason = exposure(path)
        if reason:
            cure = "give it to root, take others' right to write"
            yield Finding(Level.ERROR, path, f"{reason}, who could change what root does", cure)
        checked = check_text(text, path)
        settings = checked.settings
        yield from checked.findings
    yield from check_host(settings, socket.gethostname())


def compiled(path: str) -> Finding:
    """Compile what the wrapper reads; return how that went."""
    directory, name = os.path.split(path)
    if name != SOURCE or not Path(path).exists():
        return Finding(Level.NOTE, "compiled", f"nothing: the wrapper reads a {SOURCE} only")
    try:
        compile_settings(directory or ".")
    except StateError as error:
        return Finding(Level.WARN, "compiled", f"nothing: {error.what}", "run this command as root")
    except SettingsError as error:
        return Finding.of(error, "compiled")
    return Finding(Level.OK, "compiled", f"{directory or '.'}/compiled is what the wrapper reads")


@config.command(name="import")
@click.argument("script", metavar="CONFIG.SH", shell_complete=offers.files)
@click.option(
    "-o", "--output", metavar="FILE", shell_complete=offers.files,
    help="Write the settings here, not to standard output.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Overwrite FILE.")
def import_(script: str, output: str | None, force: bool) -> int:
    """Make settings from the shell configuration of the earlier system, which is read but never executed.

    What cannot be taken over stands in the result as a comment that says why. Exit code 1: the value of
    a setting is among that.
    """
    try:
        text = Path(script).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise click.UsageError(f"{script} cannot be read: {error.strerror}") from None
    imported = import_settings(text, script)
    if output is None:
        sys.stdout.write(imported.toml)
    else:
        write(Path(output), imported.toml, force)
    for line in imported.lost:
        say(f"{script} line {line.number}: {line.name} {line.why}")
    others = len(imported.lines) - len(imported.taken) - len(imported.lost)
    counts = f"{len(imported.taken)} taken over, {len(imported.lost)} not, {others} without a counterpart"
    say(f"{script}: {counts}")
    return CliExit.FAILED if imported.lost else CliExit.OK


def write(path: Path, text: str, force: bool) -> None:
    """Write a new settings file.

    :raises SettingsError: there is one already, or it cannot be written.
    """
    if path.exists() and not force:
        raise click.UsageError(f"{path} exists; --force overwrites it")
    try:
        write_text(path, text, 0o644)
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}") from None
