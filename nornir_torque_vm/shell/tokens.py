"""A shell script as a row of words and operators; comments, here-documents and their marks are left out."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

from nornir_torque_vm.errors import SettingsError
from nornir_torque_vm.shell.words import Dynamic, Operator, Word, WordReader

_OPERATOR = re.compile(r";;&|;;|;&|&&|\|\||\|&|&>>|&>|<<<|<<-|<<|<>|<&|>>|>&|>\||[\n;&|<>()]")

_PLAIN_LINE = re.compile(r"[^\n]*\n?")
_JOINED_LINE = re.compile(r"(?:\\.|[^\\\n])*(?:\n|\Z)", re.DOTALL)


@dataclasses.dataclass(frozen=True, slots=True)
class _Document:
    """A here-document that begins at the next line: the line that ends it, and how it is read."""

    mark: str
    tabs: bool
    quoted: bool


def read_tokens(text: str) -> Iterator[Word | Operator]:
    """Yield the words and operators of a script.

    :raises SettingsError: a quote, a bracket or an expansion that never ends, with its line.
    """
    reader = _TokenReader(text)
    try:
        while (token := reader.token()) is not None:
            yield token
    except RecursionError:
        raise SettingsError(f"line {reader.line(reader.at)}: too many brackets in each other") from None


class _TokenReader(WordReader):
    """A position in a script, and the here-documents that begin at the next line."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._documents: list[_Document] = []

    def token(self) -> Word | Operator | None:
        """The next token, None at the end."""
        self.skip_blanks()
        if self.at >= len(self.text):
            return None
        begin = self.at
        if self.sees("(("):
            self.skip_balanced("(", ")", begin)
            return self.word_from(begin, (Dynamic(self.text[begin : self.at]),))
        operator = None if self.substitution() else _OPERATOR.match(self.text, begin)
        if operator is None:
            word = self.word()
            descriptor = word.text.isdigit() and self.char() in {"<", ">"}  # the 2 of 2>file
            return self.token() if descriptor else word
        self.at = operator.end()
        if operator[0] == "\n":
            self._skip_documents()
        elif operator[0] in {"<<", "<<-"}:
            self._announce_document(tabs=operator[0] == "<<-")
        return Operator(self.line(begin), operator[0])

    def _announce_document(self, *, tabs: bool) -> None:
        self.skip_blanks()
        begin = self.at
        mark = self.word()
        if not mark.text:
            raise SettingsError(f"line {self.line(begin)}: a here-document without the word that ends it")
        quoted = re.search(r"[\\\"']", mark.text) is not None
        self._documents.append(_Document(re.sub(r"[\\\"']", "", mark.text), tabs, quoted))

    def _skip_documents(self) -> None:
        waiting, self._documents = self._documents, []
        for document in waiting:
            begin = self.at
            while self._line_of(document) != document.mark:
                if self.at >= len(self.text):
                    line = self.line(begin)
                    raise SettingsError(f"line {line}: the here-document up to {document.mark} never ends")

    def _line_of(self, document: _Document) -> str:
        """The next line of a here-document; a backslash at its end joins two, unless the mark was quoted."""
        begin = self.at
        pattern = _PLAIN_LINE if document.quoted else _JOINED_LINE
        match = pattern.match(self.text, begin)
        self.at = len(self.text) if match is None else match.end()
        line = self.text[begin : self.at].removesuffix("\n")
        return line.lstrip("\t") if document.tabs else line
