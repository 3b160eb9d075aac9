"""Lists of values of one kind."""

from __future__ import annotations

from nornir_torque_vm.config.kinds import Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DIRECTORY = r"(/(?!\.\.?(?:/|=|$))[^/\s,=\0-\x1f\x7f]+)+"
"""One of such values: an absolute path other than ``/``, without ``.``, ``..``, blanks, commas or ``=``."""


class Many(Kind):
    """Different values of ``one`` kind, whose text has neither blanks nor commas; perhaps none."""

    MOST = 16
    """More than a site needs, and few enough for the slots of a guest's bus."""

    def __init__(self, one: Kind, *, most: int = MOST) -> None:
        self._one, self._most = one, most
        self.words = f"a list of at most {most} different texts, each {one.words}"

    def parse(self, raw: object) -> tuple[object, ...]:
        """Read a list, or a text of values with blanks or commas between."""
        if isinstance(raw, str):
            raw = raw.replace(",", " ").split()
        if not isinstance(raw, list | tuple) or len(raw) > self._most:
            raise self.refuse()
        try:
            values = tuple(self._one.parse(value) for value in raw)
        except ValueError:
            raise self.refuse() from None
        if len(set(values)) < len(values):
            raise self.refuse()
        return values

    def dump(self, value: tuple[Any, ...]) -> list[object]:
        """Return the values as a list."""
        return [self._one.dump(one) for one in value]

    def text(self, value: tuple[Any, ...]) -> str:
        """Return the values with blanks between."""
        return " ".join(self._one.text(one) for one in value)
