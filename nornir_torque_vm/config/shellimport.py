"""The earlier system's shell configuration as a settings file; the script is read, never executed."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable

from nornir_torque_vm.config.fields import Field, show
from nornir_torque_vm.config.kinds import Size
from nornir_torque_vm.config.obsolete import REASONS
from nornir_torque_vm.config.settings import SETTINGS, settings_of
from nornir_torque_vm.config.tomltext import toml_comment, toml_value
from nornir_torque_vm.errors import SettingsError
from nornir_torque_vm.shell.assignments import Assignment, read_script
from nornir_torque_vm.shell.variables import Value

SOURCE_LENGTH = 90
"""Characters of a line of the script that a comment repeats at most."""
_NO_TEXT = re.compile("[\ud800-\udfff]")
"""What bytes that are no UTF-8 text have become."""
KNOWN = {"FILESYSTEM_TYPE_SFS": "sharedfs", "FILESYSTEM_TYPE_RD": "ramdisk"}
"""Variables that another file of the earlier system sets before the configuration is read."""


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """What became of one thing in the script: its line there, its text, and a setting or a reason.

    :param setting: name of the setting it means; empty when there is none.
    :param value: the setting's value; only where ``why`` is empty.
    :param why: why it was not taken over, as the end of a sentence that begins with the name.
    """

    number: int
    text: str
    name: str
    setting: str = ""
    value: object = None
    why: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Imported:
    """A settings file and where its lines come from."""

    toml: str
    lines: tuple[Line, ...]

    @property
    def taken(self) -> tuple[Line, ...]:
        """What became a setting."""
        return tuple(line for line in self.lines if not line.why)

    @property
    def lost(self) -> tuple[Line, ...]:
        """Settings whose value could not be taken over."""
        return tuple(line for line in self.lines if line.why and line.setting)


def import_settings(text: str, origin: str) -> Imported:
    """Return a settings file that :func:`~nornir_torque_vm.config.settings.loads` accepts.

    What could not be taken over stands in it as a comment that says why.

    :param origin: what the file's head calls the script.
    :raises SettingsError: the script cannot be read to its end, with the line.
    """
    try:
        script = read_script(text, KNOWN)
    except SettingsError as error:
        raise SettingsError(f"{origin}: {error.what}") from None
    lines = _agreeing([_line_of(assignment) for assignment in _lasting(script.assignments)])
    lines += [_foreign(word.line, word.text) for word in script.foreign]
    lines.sort(key=lambda line: line.number)
    head = [
        toml_comment(f"Settings of nornir-torque-vm, made from {origin} by 'torque-vm config import'."),
        "# What could not be taken over stands here as a comment that says why.",
    ]
    return Imported("\n".join([*head, "", *map(_written, lines)]), tuple(lines))


def _lasting(assignments: Iterable[Assignment]) -> list[Assignment]:
    """What has the last word on each variable, or on each setting that several variables mean."""
    last: dict[str, Assignment] = {}
    for assignment in assignments:
        field = _field(assignment.name)
        if field is None and not assignment.text:
            continue  # some loop's variable
        key = field.name if field else f"no setting {assignment.name}"
        last.pop(key, None)
        last[key] = assignment
    return list(last.values())


def _field(name: str) -> Field | None:
    try:
        return SETTINGS.find(name)
    except SettingsError:
        return None


def _line_of(assignment: Assignment) -> Line:
    """What one assignment means to us."""
    field = _field(assignment.name)
    text = assignment.text or assignment.name
    line = Line(assignment.line, text, assignment.name, field.name if field else "", why=assignment.why)
    if field is None:
        return dataclasses.replace(line, why=REASONS.get(assignment.name, _unknown(assignment.name)))
    if assignment.value is None:
        return line
    if _NO_TEXT.search("".join(assignment.value)):
        return dataclasses.replace(line, why="is not UTF-8 text")
    try:
        return dataclasses.replace(line, value=field.kind.parse(_raw(field, assignment.value)))
    except ValueError as error:
        return dataclasses.replace(line, why=f"is {show(assignment.value)} but {error}")


def _raw(field: Field, value: Value) -> object:
    """The value as our kinds read it; a size without a unit was in MiB."""
    if isinstance(field.kind, Size) and isinstance(value, str) and re.fullmatch(r"[0-9]+", value):
        return f"{value}M"
    return value


def _unknown(name: str) -> str:
    similar = difflib.get_close_matches(name.lower(), [field.name for field in SETTINGS], n=1, cutoff=0.75)
    return f"is no setting; did you mean {similar[0]}?" if similar else "is no setting"


def _foreign(number: int, command: str) -> Line:
    return Line(number, f"{command} …", command, why="runs code from elsewhere, which was not looked at")


def _agreeing(lines: list[Line]) -> list[Line]:
    """Leave out values that contradict others, as few as trying them one after the other allows."""
    values: dict[str, object] = {line.setting: line.value for line in lines if not line.why}
    if not _contradiction(values):
        return lines
    values, waiting, reasons = {}, [line for line in lines if not line.why], dict[str, str]()
    while waiting:
        reasons = {}
        for line in waiting:
            reason = _contradiction({**values, line.setting: line.value})
            if reason:
                reasons[line.setting] = reason
            else:
                values[line.setting] = line.value
        if len(reasons) == len(waiting):
            break
        waiting = [line for line in waiting if line.setting in reasons]
    return [
        dataclasses.replace(line, value=None, why=f"does not fit: {reasons[line.setting]}")
        if line.setting in reasons and not line.why
        else line
        for line in lines
    ]


def _contradiction(values: dict[str, object]) -> str:
    try:
        settings_of(values, "")
    except SettingsError as error:
        return str(error).removeprefix(": ")
    return ""


def _written(line: Line) -> str:
    """The lines of the settings file for one thing of the script."""
    text = line.text if len(line.text) <= SOURCE_LENGTH else f"{line.text[:SOURCE_LENGTH]}…"
    origin = toml_comment(f"line {line.number}: {text}")
    if not line.why:
        return f"{origin}\n{_stated(line.setting, line.value)}\n"
    reason = toml_comment(f"{line.name} {line.why}")
    default = f"#{_stated(line.setting, SETTINGS[line.setting].default)}\n" if line.setting else ""
    return f"{origin}\n{reason}\n{default}"


def _stated(setting: str, value: object) -> str:
    return f"{setting} = {toml_value(SETTINGS[setting].kind.dump(value))}"
