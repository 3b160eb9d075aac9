"""One mechanism for everything that has a name, a type, a default and a sentence of help.

The settings file and the ``-vm`` keys are a :class:`Table` of :class:`Field` each. Reading, error
messages, ``--help``, the documentation, the sample file and completion all come from the table, so
they cannot disagree.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from nornir_torque_vm.errors import TorqueVMError
from nornir_torque_vm.kinds import Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SHOWN = 60
"""Characters of a foreign text that a message repeats at most."""


def show(raw: object) -> str:
    """Return ``raw`` quoted for a message: printable, on one line, at most :data:`SHOWN` long."""
    try:
        text = repr(raw)
    except ValueError:  # Python does not print numbers of more than 4300 digits
        text = f"a very long {type(raw).__name__}"
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint for an unknown name: the most similar of ``known``, or all of them."""
    import difflib  # only an error pays for it

    names = list(known)
    similar = difflib.get_close_matches(name[:SHOWN].lower(), names, n=1, cutoff=0.5)
    return f"did you mean {similar[0]}?" if similar else f"known are {', '.join(names)}"


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """A name with the kind of its values, its default (None: nothing asked) and help.

    ``help`` is a noun phrase without a final full stop.
    """

    name: str
    kind: Kind
    help: str
    default: object = None


class Table:
    """The fields of one namespace, in the order they are documented.

    :param what: what a field is called in messages, such as ``setting``.
    :param error: the class its errors have.
    """

    def __init__(self, what: str, error: type[TorqueVMError], fields: Iterable[Field]) -> None:
        self.what, self.error = what, error
        self._fields = {field.name: field for field in fields}

    def __iter__(self) -> Iterator[Field]:
        """Iterate over the fields."""
        return iter(self._fields.values())

    def __getitem__(self, name: str) -> Field:
        """Return a field by its exact name."""
        return self._fields[name]

    def find(self, name: str) -> Field:
        """Return the field a person means by ``name``; raise the table's error, naming the nearest."""
        try:
            return self._fields[name]
        except KeyError:
            hint = nearest(name, self._fields)
            raise self.error(f"unknown {self.what} {show(name)}", hint=hint) from None

    def read(self, name: str, raw: object) -> tuple[str, Any]:
        """Return the field's own name and the value ``raw`` stands for; raise the table's error."""
        field = self.find(name)
        try:
            return field.name, field.kind.parse(raw)
        except ValueError as error:
            raise self.error(f"{self.what} {field.name} is {show(raw)} but {error}") from None
