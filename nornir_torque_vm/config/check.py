"""All that is wrong with a settings file, not only the first mistake, each with its cure."""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Iterator
from typing import Any

from nornir_torque_vm.config.fields import show
from nornir_torque_vm.config.kinds import Hosts
from nornir_torque_vm.config.settings import SETTINGS, Settings, read_values, settings_of
from nornir_torque_vm.config.tomltext import Statement, statements, toml_value
from nornir_torque_vm.errors import SettingsError, TorqueVMError


class Level(enum.StrEnum):
    """How much a finding matters: an error keeps the site from working, a warning will hurt some day."""

    OK = "ok"
    NOTE = "note"
    WARN = "warn"
    ERROR = "error"


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at, what it is about, what was found, and the cure if it needs one."""

    level: Level
    subject: str
    text: str
    cure: str = ""

    def __str__(self) -> str:
        """One line: ``level  subject: text; cure``."""
        said = f"{self.subject}: {self.text}{f'; {self.cure}' if self.cure else ''}"
        return f"{self.level:<6} {' '.join(said.split())}"

    @classmethod
    def of(cls, error: TorqueVMError, subject: str) -> Finding:
        """Return an error as a finding."""
        return cls(Level.ERROR, subject, error.what, error.hint)


@dataclasses.dataclass(frozen=True, slots=True)
class Checked:
    """A settings file after all of it was looked at: the findings, and settings to go on with."""

    findings: tuple[Finding, ...]
    settings: Settings


def check_text(text: str, path: str) -> Checked:
    """Look at all of a settings file.

    :param path: what findings call it.
    """
    findings: list[Finding] = []
    values = _stated(text, path, findings)
    number = len(values)
    settings = _agreeing(values, path, findings)
    if not findings:
        try:
            settings_of(read_values(text))  # as it will be read; what is left is mistakes across statements
        except SettingsError as error:
            findings.append(Finding.of(error, path))
    if not findings:
        noun = "setting" if number == 1 else "settings"
        findings.append(Finding(Level.OK, path, f"{number} {noun}, defaults for the rest"))
    findings += _remarks(values)
    return Checked(tuple(findings), settings)


def _stated(text: str, path: str, findings: list[Finding]) -> dict[str, Any]:
    """The values that are right by themselves; add a finding for each of the others."""
    values: dict[str, Any] = {}
    first: dict[str, int] = {}
    for statement in statements(text):
        where = f"{path} line {statement.line}"
        if statement.problem:
            cure = _cure(statement)
            findings.append(Finding(Level.ERROR, where, f"not valid TOML: {statement.problem}", cure))
        elif statement.table:
            findings.append(Finding(Level.ERROR, where, "this begins a table", "write settings without one"))
        for written, raw in {} if statement.table else statement.stated.items():
            try:
                name, value = SETTINGS.read(written, raw)
            except SettingsError as error:
                findings.append(Finding.of(error, where))
                continue
            if name in first:
                twice = f"setting {name} is set a second time, after line {first[name]}"
                findings.append(Finding(Level.ERROR, where, twice, "keep one of them"))
            first.setdefault(name, statement.line)
            values[name] = value
    return values


def _cure(statement: Statement) -> str:
    """What to write instead, for the mistakes that people who know shell files make."""
    name, equals, raw = (part.strip() for part in statement.text.partition("="))
    raw = re.sub(r"\s*(;\s*|#.*)?$", "", raw)
    if not equals or not raw or not re.fullmatch(r"[A-Za-z0-9_-]+", name) or raw[0] in "[{\"'":
        return ""
    if raw.lower() in {"true", "false"}:
        return f"write {name} = {raw.lower()}"
    return f"put texts into quotes: {name} = {toml_value(raw)}"


def _agreeing(values: dict[str, Any], path: str, findings: list[Finding]) -> Settings:
    """The settings; add a finding for each contradiction and take what contradicts out of ``values``."""
    while True:
        try:
            return settings_of(values)
        except SettingsError as error:
            what = error.what.removeprefix("the settings: ")
            findings.append(Finding(Level.ERROR, path, what, error.hint))
            culprits = [name for name in values if re.search(rf"\b{name}\b", what)]
            for name in culprits or list(values):
                del values[name]


def _remarks(values: dict[str, Any]) -> Iterator[Finding]:
    """What is right and may not be what was meant."""
    for name, value in values.items():
        if isinstance(value, Hosts):
            yield from _pattern(name, value.pattern)


def _pattern(name: str, pattern: str) -> Iterator[Finding]:
    """Patterns in the manner of a shell, or lists: no host has such a name."""
    if re.search(r"[\s,]", pattern):
        cure = f"join them: {'|'.join(re.split(r'[ ,]+', pattern.strip()))}"
        yield Finding(Level.WARN, name, f"{show(pattern)} is one regular expression, not a list", cure)
    elif re.search(r"[A-Za-z0-9_-]\*", pattern):
        other = re.sub(r"([A-Za-z0-9_-])\*", r"\1.*", pattern)
        text = f"in {show(pattern)} the * repeats the character before it"
        yield Finding(Level.WARN, name, text, f"for any characters write {show(other)}")
