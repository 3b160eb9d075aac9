"""The simple commands of a shell script, and for each whether it surely runs in the script's own shell."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from nornir_torque_vm.shell.words import Operator, Word

_REDIRECTIONS = frozenset({"<", ">", "<<", "<<-", "<<<", "<>", "<&", ">>", ">&", ">|", "&>", "&>>"})
_GO_ON = frozenset({"then", "do", "else", "elif", "!", "time"})
_OPENING = {
    "if": "only under a condition", "while": "inside a loop", "until": "inside a loop",
    "for": "inside a loop", "select": "inside a loop", "case": "only under a condition", "{": "",
}  # fmt: skip
"""Word that begins a compound command → why what is in it may not have happened ("" for a plain group)."""
_CLOSING = frozenset({"fi", "done", "esac", "}"})
_OWN_SHELL = "in a shell of its own, where it has no effect"
_MAYBE = {
    "&&": "only under a condition", "||": "only under a condition", "|": _OWN_SHELL, "|&": _OWN_SHELL,
}  # fmt: skip
"""Operator before a command → why the command may not have happened here."""
_PIPES = frozenset({"|", "|&"})


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """One simple command. ``doubt`` says why it may have no effect; empty when it surely runs."""

    words: tuple[Word, ...]
    doubt: str = ""
    in_function: bool = False


def read_commands(tokens: Iterable[Word | Operator]) -> list[Command]:
    """Return the simple commands in order; the heads of loops are among them (``for NAME in …``)."""
    grammar = _Grammar()
    for token in tokens:
        grammar.feed(token)
    grammar.feed(Operator(0, "\n"))
    return grammar.commands


@dataclasses.dataclass(slots=True)
class _Group:
    """A compound command we are in: the doubt it brings, and the indexes at which it and its list began."""

    doubt: str
    first: int
    list: int
    kind: str = ""
    """``head``, ``pattern`` or ``body`` of a case; ``function`` or ``name()``; else empty."""


class _Grammar:
    """The state of reading commands token by token."""

    def __init__(self) -> None:
        self.commands: list[Command] = []
        self._words: list[Word] = []
        self._groups: list[_Group] = []
        self._before = ""
        self._list = 0
        self._closed: int | None = None
        self._function = self._target = self._redirected = self._test = False

    def feed(self, token: Word | Operator) -> None:
        """Take the next token."""
        if self._test:
            self._test = not (isinstance(token, Word) and token.text == "]]")
        elif self._groups and self._groups[-1].kind in {"head", "pattern"}:
            self._case(self._groups[-1], token)
        elif isinstance(token, Operator):
            self._operator(token.text)
        elif self._target:
            self._target = False
        elif self._words or self._redirected or not self._reserved(token):
            self._words.append(token)

    def _case(self, group: _Group, token: Word | Operator) -> None:
        """Between ``case`` and ``in``, or in a pattern of it."""
        if group.kind == "head":
            group.kind = "pattern" if token.text == "in" else "head"
        elif isinstance(token, Word) and token.text == "esac":
            self._close()
        elif isinstance(token, Operator) and token.text == ")":
            group.kind = "body"

    def _reserved(self, word: Word) -> bool:
        """Whether the first word of a command is one of the grammar's own; act on it."""
        if word.text in _GO_ON:
            return True
        if word.text in _OPENING:
            self._open(_OPENING[word.text], "head" if word.text == "case" else "")
            return word.text not in {"for", "select"}  # whose names matter
        if word.text in _CLOSING:
            self._close()
            return True
        if word.text == "function":
            self._function = self._target = True  # its name is skipped like the target of a redirection
            return True
        self._test = word.text == "[["
        return self._test

    def _operator(self, text: str) -> None:
        if text in _REDIRECTIONS:
            self._redirected = True
            self._target = text not in {"<<", "<<-"}  # whose word is read with the document
        elif text == "(":
            if self._words or (self._function and not self._target):
                self._words.clear()  # the name of a function
                self._function = True
                self._groups.append(_Group("", len(self.commands), self._list, "name()"))
            else:
                self._open(_OWN_SHELL)
        else:
            self._end(text)

    def _end(self, operator: str) -> None:
        """A command, a line or a group ends here."""
        if self._words:
            doubts = [group.doubt for group in self._groups]
            doubts += [_MAYBE.get(self._before, ""), _OWN_SHELL if operator in _PIPES else ""]
            doubt = next(filter(None, doubts), "")
            in_function = any(group.kind == "function" for group in self._groups)
            self._closed = None
            self.commands.append(Command(tuple(self._words), doubt, in_function))
        if operator in _PIPES and self._closed is not None:
            self._doubt_all_from(self._closed)
        if operator == "&":
            self._doubt_all_from(self._list)
        if operator != "\n" or self._words or self._before not in _MAYBE:
            self._list = self._list if operator in _MAYBE else len(self.commands)
            self._before, self._closed = operator, None
        self._words.clear()
        self._redirected = self._target = False
        if operator == ")":
            self._close()
        elif operator in {";;", ";&", ";;&"} and self._groups and self._groups[-1].kind == "body":
            self._groups[-1].kind = "pattern"

    def _open(self, doubt: str, kind: str = "") -> None:
        if self._function:
            doubt, kind = "inside a function", "function"
        first = len(self.commands)
        self._groups.append(_Group(doubt or _MAYBE.get(self._before, ""), first, self._list, kind))
        self._function, self._before, self._list = False, "", first

    def _close(self) -> None:
        if self._groups:
            group = self._groups.pop()
            self._before, self._list = "", group.list
            self._closed = group.first if group.kind != "name()" else None

    def _doubt_all_from(self, first: int) -> None:
        """What was read since then turns out to have run in a shell of its own."""
        self.commands[first:] = [
            dataclasses.replace(command, doubt=command.doubt or _OWN_SHELL)
            for command in self.commands[first:]
        ]
