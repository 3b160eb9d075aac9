"""One mechanism for everything that has a name, a type, a default and a sentence of help.

The settings file and the ``-vm`` keys are a :class:`Table` of :class:`Field` each. Reading, error
messages, ``--help``, the documentation, the sample file and completion all come from the table, so
they cannot disagree.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator

from nornir_torque_vm.config.kinds import Kind
from nornir_torque_vm.errors import TorqueVMError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    T = TypeVar("T")

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
    """Return a hint for an unknown name: the most similar of ``known``, or all of them.

    One with the same letters in another order comes first: to difflib ``rma`` is nearer to ``vrdma`` than
    to ``ram``.
    """
    import difflib  # only an error pays for it

    names, typed = list(known), name[:SHOWN].lower()
    similar = [one for one in names if sorted(one) == sorted(typed)]
    similar += difflib.get_close_matches(typed, names, n=1, cutoff=0.5)
    return f"did you mean {similar[0]}?" if similar else f"known are {', '.join(names)}"


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """A name with the kind of its values, its default (None: nothing asked) and help.

    ``help`` is a noun phrase without a final full stop. ``aliases`` are other names it is found by,
    in lower case. ``default_from`` names the setting that holds a key's default.
    """

    name: str
    kind: Kind
    help: str
    default: object = None
    aliases: tuple[str, ...] = ()
    default_from: str = ""


def setting(kind: Kind, default: T, text: str, *, aliases: tuple[str, ...] = ()) -> T:
    """Return a dataclass field that carries its kind and its help ``text``."""
    about = {"kind": kind, "help": text, "aliases": aliases}
    return dataclasses.field(default=default, metadata=about)


def fields_of(settings: type) -> Iterator[Field]:
    """Yield what the dataclass fields made by :func:`setting` carry."""
    for field in dataclasses.fields(settings):
        yield Field(field.name, default=field.default, **field.metadata)


class Table:
    """The fields of one namespace, in the order they are documented.

    :param what: what a field is called in messages, such as ``setting``.
    :param error: the class its errors have.
    """

    def __init__(self, what: str, error: type[TorqueVMError], fields: Iterable[Field]) -> None:
        self.what, self.error = what, error
        self._fields = {field.name: field for field in fields}
        self._names = {name: field for field in self for name in (*field.aliases, field.name)}

    def __iter__(self) -> Iterator[Field]:
        """Iterate over the fields."""
        return iter(self._fields.values())

    def __getitem__(self, name: str) -> Field:
        """Return a field by its exact name."""
        return self._fields[name]

    def find(self, name: str) -> Field:
        """Return the field a person means by ``name``; raise the table's error, naming the nearest.

        Names count in any case; a field's aliases stand for it.
        """
        try:
            return self._names[name.lower()]
        except KeyError:
            hint = nearest(name, self._fields)
            raise self.error(f"unknown {self.what} {show(name)}", hint=hint) from None

    def read(self, name: str, raw: object) -> tuple[str, Any]:
        """Return the field's own name and the value ``raw`` stands for; raise the table's error."""
        field = self.find(name)
        return field.name, self._judge(field, field.kind.parse, raw)

    def decode(self, name: str, text: str) -> tuple[str, Any]:
        """As :meth:`read`, of a value in the form it has inside a job."""
        field = self.find(name)
        return field.name, self._judge(field, field.kind.decode, text)

    def _judge(self, field: Field, parse: Callable[[Any], object], raw: object) -> object:
        try:
            return parse(raw)
        except ValueError as error:
            raise self.error(f"{self.what} {field.name} is {show(raw)} but {error}") from None
