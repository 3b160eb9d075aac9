"""What a shell script sets, as far as that can be told without running it."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping

from nornir_torque_vm.shell.commands import Command, read_commands
from nornir_torque_vm.shell.tokens import read_tokens
from nornir_torque_vm.shell.variables import NotReadableError, Value, Variables, bash_sets
from nornir_torque_vm.shell.words import Dynamic, Part, Variable, Word

_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(\[[^]]*\])?(\+?)=")
_NAMES = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SUBSCRIPT = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*(?=\[)")
_DECLARING = frozenset({"export", "declare", "typeset", "readonly", "local"})
_CHANGING = frozenset({"read", "unset", "let", "mapfile", "readarray", "getopts", "for", "select", "wait"})
"""Commands that change the variables they name; ``printf -v`` is another."""
_CODE = frozenset({"eval", "source", "."})
_LEAVING = frozenset({"exit", "return"})
_ATTRIBUTES = frozenset("iAlucn")
"""Options of ``declare`` that make a value something else than its text."""
_ARITHMETIC = ("((", "$((", "$[")
_SETTING = re.compile(r"(?<![=!<>])=(?!=)|<<=|>>=|\+\+|--")
"""An operator of an arithmetic expression that sets a variable."""
_SETTING_DEFAULT = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*):?=")
_BRACES = re.compile(r"\{.*(,|\.\.).*\}", re.DOTALL)


@dataclasses.dataclass(frozen=True, slots=True)
class Assignment:
    """One assignment: its line, its source text, and its value; ``None`` where ``why`` says why not.

    ``why`` goes on after the variable's name. ``text`` is empty where a variable is not assigned but
    changed by some other command.
    """

    line: int
    name: str
    text: str
    value: Value | None
    why: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Script:
    """What a script sets, in order, and the first words of commands that run code from elsewhere."""

    assignments: tuple[Assignment, ...]
    foreign: tuple[Word, ...]


def read_script(text: str, known: Mapping[str, str] | None = None) -> Script:
    """Return the assignments of a shell script, which is never executed.

    A value is given only where every run of the script by bash that gets to its end without an error, in
    an environment without variables of these names, sets it so; of an array whose first element is set,
    it is that element. What code from elsewhere (``source``, ``eval``) does to them is beyond that.

    :param known: variables that exist before the script begins.
    :raises SettingsError: a quote, a bracket or a here-document never ends; it says on which line.
    """
    reader = _Reader(known or {})
    for command in read_commands(read_tokens(text)):
        if not reader.run(command):
            break
    return Script(tuple(reader.honest()), tuple(reader.foreign))


@dataclasses.dataclass(frozen=True, slots=True)
class _Target:
    """A word that is an assignment: its left side, and the parts of its right side."""

    word: Word
    name: str
    part_of_array: bool
    append: bool
    parts: tuple[Part, ...]

    @classmethod
    def of(cls, word: Word, *, argument: bool = False) -> _Target | None:
        """Return the assignment a word is, if it is one; as an ``argument`` it may be quoted as a whole."""
        first = word.parts[0] if word.parts and argument else word.text
        match = _ASSIGNMENT.match(first) if isinstance(first, str) else None
        if match is None:
            return None
        parts = word.parts
        if parts and isinstance(parts[0], str):
            parts = (parts[0][match.end() :], *parts[1:])
        return cls(word, match[1], match[2] is not None, bool(match[3]), parts)

    @property
    def braces(self) -> str:
        """A reason not to read an argument: something like ``{a,b}`` or ``{1..3}`` in it."""
        text = "".join(part if isinstance(part, str) else "x" for part in self.parts)
        return "has braces, which bash expands here" if _BRACES.search(text) else ""


class _Reader:
    """The state while the commands of a script are gone through."""

    def __init__(self, known: Mapping[str, str]) -> None:
        self.foreign: list[Word] = []
        self._variables = Variables(known)
        self._found: list[Assignment] = []
        self._readonly: set[str] = set()

    def honest(self) -> Iterator[Assignment]:
        """What was found, with the doubts that arose later."""
        for assignment in self._found:
            why = self._variables.spoilt.get(assignment.name, "")
            yield dataclasses.replace(assignment, value=None, why=why) if why else assignment

    def run(self, command: Command) -> bool:
        """Take one command into account; return whether the script goes on after it."""
        targets = [*filter(None, itertools.takewhile(bool, map(_Target.of, command.words)))]
        if len(targets) == len(command.words):
            self._note_changes(command, "")
            for target in targets:
                self._set(target, command, *self._evaluate(target, command))
            return True
        head, *rest = command.words[len(targets) :]
        command = dataclasses.replace(command, doubt=command.doubt or _doubt(head.literal, rest))
        self._note_changes(command, head.literal)
        if head.literal in _DECLARING:
            self._declare(head.literal, rest, command)
        else:
            self._expand_all(command)
        if head.literal in _CODE:
            self.foreign.append(head)
        # Mostly for the command alone; not before a word that may vanish, nor before these.
        if head.literal in _DECLARING or not any(isinstance(part, str) for part in head.parts):
            for target in targets:
                self._forget(target.name, command, f"is set before {head.text}")
        return bool(command.doubt) or head.literal not in _LEAVING

    def _note_changes(self, command: Command, head: str) -> None:
        """Forget the variables that a command changes without assigning to them."""
        dynamic = [part.text for part in _all_parts(command.words) if isinstance(part, Dynamic)]
        texts = [text for text in dynamic if text.startswith(_ARITHMETIC) and _SETTING.search(text)]
        if head in _CHANGING or (head == "printf" and any(w.text.startswith("-v") for w in command.words)):
            texts += [word.text for word in command.words[1:]]
        texts += [name for text in dynamic for name in _SETTING_DEFAULT.findall(text)]
        texts += _SUBSCRIPT.findall(command.words[0].text)
        for name in itertools.chain.from_iterable(map(_NAMES.findall, texts)):
            self._forget(name, command, f"is changed by {head or 'an expression'}")
        if command.doubt:
            for part in _all_parts(command.words):
                if isinstance(part, Variable) and part.operator.endswith("="):
                    self._forget(part.name, command, f"is set {command.doubt}")

    def _forget(self, name: str, command: Command, why: str) -> None:
        self._variables[name] = None
        if command.in_function:
            self._variables.spoil(name, why)
        self._found.append(Assignment(command.words[0].line, name, "", None, why))

    def _expand_all(self, command: Command) -> None:
        """Go through a command's words for what their expansion sets."""
        if not command.doubt:
            for word in command.words:
                for part in itertools.chain(word.parts, *(element.parts for element in word.elements or ())):
                    with contextlib.suppress(NotReadableError):
                        self._variables.expand([part])
        self._note_defaults(command)

    def _note_defaults(self, command: Command) -> None:
        for name, value in self._variables.defaulted:
            why = "" if value is not None else "has a default that only a running shell can tell"
            self._found.append(Assignment(command.words[0].line, name, f"${{{name}:=…}}", value, why))
        self._variables.defaulted.clear()

    def _declare(self, head: str, words: Iterable[Word], command: Command) -> None:
        """``export`` and its sisters: all right sides are expanded before the first variable is set."""
        options = {"r"} if head == "readonly" else set()
        arguments: list[Word] = []
        for word in words:
            if word.text[:1] in {"-", "+"}:
                options |= set(word.text[1:])
            else:
                arguments.append(word)
        targets = [(word, _Target.of(word, argument=True)) for word in arguments]
        outcomes = [
            (target, *self._evaluate(target, command, target.braces)) for _, target in targets if target
        ]
        for target, value, why in outcomes:
            self._set(target, command, value, why)
        attribute = min(options & _ATTRIBUTES, default="")
        for name in [target.name if target else word.text for word, target in targets]:
            if attribute:
                self._variables.spoil(name, f"is declared with -{attribute}")
            if "r" in options:
                self._readonly.add(name)

    def _evaluate(self, target: _Target, command: Command, doubt: str = "") -> tuple[Value | None, str]:
        """The right side of an assignment, or None and why it is not sure; ``doubt`` is one more reason."""
        doubts = {
            f"is set {command.doubt}": command.doubt,
            "is one element of an array": target.part_of_array,
            "is bash's own variable": bash_sets(target.name),
            "was made read-only before": target.name in self._readonly,
            doubt: doubt,
        }
        doubt = next((why for why, true in doubts.items() if true), "")
        try:
            value = None if command.doubt else self._variables.value(target.parts, target.word.elements)
        except NotReadableError as error:
            return None, doubt or str(error)
        finally:
            self._note_defaults(command)
        return (None, doubt) if doubt else (value, "")

    def _set(self, target: _Target, command: Command, value: Value | None, why: str) -> None:
        if target.append and value is not None:
            try:
                value = self._variables.append(target.name, value)
            except NotReadableError as error:
                value, why = None, str(error)
        self._variables[target.name] = value
        if command.in_function:
            self._variables.spoil(target.name, why)
        self._found.append(Assignment(target.word.line, target.name, target.word.text, value, why))


def _doubt(head: str, arguments: list[Word]) -> str:
    """Why what a declaring command sets is not sure; bash has rules of its own for arrays in them."""
    if head == "local":
        return "with local, outside a function"
    values = [word for word in arguments if word.text[:1] not in {"-", "+"}]
    arrays = [word for word in values if word.elements is not None]
    odd = head in _DECLARING and arrays and not (len(values) == 1 and arrays[0].elements)
    return "as an empty array, or with an array beside it" if odd else ""


def _all_parts(words: Iterable[Word]) -> Iterator[Part]:
    """All parts of words, those of their elements and defaults included."""
    for word in words:
        yield from _flat(word.parts)
        yield from _all_parts(word.elements or ())


def _flat(parts: Iterable[Part]) -> Iterator[Part]:
    for part in parts:
        yield part
        if isinstance(part, Variable):
            yield from _flat(part.default)
