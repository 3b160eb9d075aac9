"""The value of ``qsub -l nodes=``: taken apart, raised, and put together again. Pure.

TORQUE 6.1.3, src/server: decode_nodes and ctnodes (resc_def_all.c) and proplist, number, property and
mod_spec (node_manager.c). ::

    2:ppn=4:bigmem+node07:gpus=1:reseterr#shared

Parts stand between ``+``. Words of a part stand between ``:``. A part that does not begin with a number
is one node. Every other word is a property, a host name (which every node has as a property), or
``ppn=``, ``gpus=`` or ``mics=`` with a number from 1; ``ppn`` is 1 where it is not stated. What follows
``#`` counts for every part.
"""

from __future__ import annotations

import dataclasses
import re

from nornir_torque_vm.config.fields import show
from nornir_torque_vm.errors import RequestError

LARGEST, MOST_DIGITS = (1 << 31) - 1, 79
"""What TORQUE reads of a number: this many digits, with atoi. Others come out as another number."""

Words = tuple[str, ...]

_NAME = r"[A-Za-z][A-Za-z0-9._-]*"
_WORD = rf"{_NAME}|(?:ppn|gpus|mics)=0*[1-9][0-9]*"


@dataclasses.dataclass(frozen=True, slots=True)
class NodeSpec:
    """A node request: the words of each part, and of each ``#`` behind them."""

    parts: tuple[Words, ...]
    common: tuple[Words, ...] = ()

    def __str__(self) -> str:
        """Return the request as one writes it, without ``nodes=``."""
        return "+".join(map(":".join, self.parts)) + "".join("#" + ":".join(words) for words in self.common)

    @property
    def nodes(self) -> int:
        """How many nodes are asked for."""
        return sum(_count(words) for words in self.parts)

    @property
    def ppns(self) -> tuple[int, ...]:
        """Processors on each node, for each part."""
        return tuple(_ppn(self.effective(words)) for words in self.parts)

    def raised(self, cores: int, node_property: str) -> NodeSpec:
        """Return the request with at least ``cores`` processors on every node, and the property.

        Everything the user wrote stays, in the order it was written, and no number gets smaller.
        """
        parts, common, everywhere = self.parts, self.common, self.effective(())
        if _stated(everywhere):
            common = tuple(_raise(words, cores) if _stated(words) else words for words in common)
        else:
            parts = tuple(_raise(words, cores) for words in parts)
        if node_property and node_property not in everywhere:
            parts = tuple(words if node_property in words else (*words, node_property) for words in parts)
        return NodeSpec(parts, common)

    def effective(self, words: Words) -> Words:
        """Return the words that count for a part: its own ``words`` and the common ones."""
        return words + tuple(word for common in self.common for word in common)


def read_nodes(text: str) -> NodeSpec | None:
    """Take ``nodes=`` apart; None where the server refuses it (then qsub says so itself).

    :raises RequestError: it contradicts itself, or TORQUE takes it for something else than it says.
    """
    own, *behind = text.split("#")
    spec = NodeSpec(_words(own.split("+")), _words(behind))
    for words in spec.common:
        if not all(re.fullmatch(_WORD, word) for word in words):
            raise RequestError(
                f"nodes={show(text)} has more than properties behind the '#'",
                hint="they count for every part, so write them last: nodes=2+node07#bigmem",
            )
    for words in spec.parts:
        names = words[1:] if _is_number(words[0]) else words
        if not all(re.fullmatch(_WORD, word) for word in names):
            return None
        _check_numbers(words, spec)
    return spec


def _words(texts: list[str]) -> tuple[Words, ...]:
    """Split each text at its colons."""
    return tuple(tuple(text.split(":")) for text in texts)


def _check_numbers(words: Words, spec: NodeSpec) -> None:
    """Refuse numbers of one part that cannot be meant, and more than one ``ppn=``."""
    part = show(":".join(words))
    everything = spec.effective(words)
    numbers = [number for word in everything if _is_number(number := word.rpartition("=")[2])]
    if any(len(number) > MOST_DIGITS or int(number) > LARGEST for number in numbers):
        raise RequestError(f"nodes={part} has a number that is too large for TORQUE")
    if _count(words) == 0:
        raise RequestError(f"nodes={part} asks for 0 nodes", hint="ask for 1 at least")
    if len(_stated(everything)) > 1:
        raise RequestError(
            f"nodes={show(str(spec))} states ppn= more than once for the same nodes",
            hint="state it once in each part",
        )


def _is_number(word: str) -> bool:
    """Whether a word is digits only, in C's sense of a digit."""
    return word.isascii() and word.isdigit()


def _count(words: Words) -> int:
    """How many nodes a part asks for."""
    return int(words[0]) if _is_number(words[0]) else 1


def _stated(words: Words) -> list[str]:
    """Return the numbers of all ``ppn=`` words."""
    return [word[4:] for word in words if word.startswith("ppn=")]


def _ppn(words: Words) -> int:
    """Processors on each node of a part."""
    return max(map(int, _stated(words)), default=1)


def _raise(words: Words, cores: int) -> Words:
    """Return the words with ``ppn=`` at least ``cores``: changed in place, or behind count or name."""
    if _ppn(words) >= cores:
        return words
    if _stated(words):
        return tuple(f"ppn={cores}" if word.startswith("ppn=") else word for word in words)
    return (words[0], f"ppn={cores}", *words[1:])
