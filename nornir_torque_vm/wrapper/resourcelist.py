"""The text of ``qsub -l``, as qsub reads it and as a hook on a node gets it. Pure."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from nornir_torque_vm.errors import RequestError

MOST_BYTES = 2048
"""Size of the buffer pbs_mom writes the resource list for a hook into."""
SITE_BYTES = 128
"""Kept free for what the server adds and rewrites: a walltime by default, ``100`` as ``00:01:40``."""

_BLANKS = " \t\n\v\f\r"
_QUOTES = "'\""


def read_resources(texts: Iterable[str]) -> dict[str, str] | None:
    """Return resource → value of all ``-l`` values; None when qsub refuses one of them.

    A later value of the same resource wins; so give those of the script before those of the command
    line. TORQUE 6.1.3, src/lib/Libcmds/add_verify_resources.c: commas separate, except in quotes and
    brackets; a quote counts wherever it stands before the next comma, ends at the next quote of either
    kind, and what stands in front of it is lost; ``gpus=2`` becomes ``gres=gpus:2``.
    """
    resources: dict[str, str] = {}
    for text in texts:
        pairs = _pairs(text)
        if pairs is None:
            return None
        resources.update(pairs)
    return resources


def resource_list_size(effective: Mapping[str, str]) -> int:
    """Return how many bytes of TORQUE's buffer the job's resources take in a root hook's argument.

    Counted are, as TORQUE 6.1.3 does (src/resmom/prolog.c: resc_to_string), name, value and 4 bytes for
    each resource; ``nodes`` twice, because the server adds it as ``neednodes``; and :data:`SITE_BYTES`.
    Resources that only a scheduler reads do not get there, but a few bytes too many do no harm.
    """
    listed = dict(effective)
    if "nodes" in listed:
        listed["neednodes"] = listed["nodes"]
    return SITE_BYTES + sum(_size(name, value) for name, value in listed.items())


def check_fits(effective: Mapping[str, str]) -> None:
    """Refuse a resource list that TORQUE would not hand to a hook completely.

    What does not fit is dropped silently, and the request in ``other`` could be just that.

    :param effective: every resource of the job, the additions and ``other`` among them.
    :raises RequestError: they take more than 2048 bytes as :func:`resource_list_size` counts them.
    """
    size = resource_list_size(effective)
    if size <= MOST_BYTES:
        return
    taken = {name: resource_list_size({name: effective[name]}) - SITE_BYTES for name in effective}
    longest = max(taken, key=taken.__getitem__)
    raise RequestError(
        f"the job's resources take {size} bytes and TORQUE hands at most {MOST_BYTES} to a node",
        hint=f"shorten {'the -vm request' if longest == 'other' else f'{longest}='}, "
        f"which takes {taken[longest]} of them",
    )


def _size(name: str, value: str) -> int:
    """Return the bytes one resource takes in the list."""
    return len(os.fsencode(name)) + len(os.fsencode(value)) + 4


def _pairs(text: str) -> list[tuple[str, str]] | None:
    """Return the pairs of one ``-l`` value; None when qsub refuses it."""
    pairs, at, open_bracket = [], 0, False
    while at < len(text):
        at = _skip(text, at, _BLANKS)
        equals = at + len(text[at:].partition("=")[0].partition(",")[0])
        if equals == at or text[equals : equals + 1] != "=":
            return None
        start, quoted = _value_start(text, equals + 1)
        end, open_bracket = _value_end(text, start, quoted, open_bracket)
        if text.startswith("gpus", at):
            # qsub takes the words as they stand, and as many characters as the value has and five more
            pairs.append(("gres", f"{text[at:equals]}:{text[equals + 1 :]}"[: end - start + 5]))
        else:
            pairs.append((_name(text[at:equals]), text[start:end]))
        at = _skip(text, end, _QUOTES) if quoted else end
        if text[at : at + 1] == ",":
            at += 1
            if at == len(text):
                return None
    return pairs


def _skip(text: str, at: int, characters: str) -> int:
    """Return the first place from ``at`` on that has none of ``characters``."""
    return len(text) - len(text[at:].lstrip(characters))


def _name(text: str) -> str:
    """Return ``text`` up to its first blank."""
    return next((text[:at] for at, letter in enumerate(text) if letter in _BLANKS), text)


def _value_start(text: str, at: int) -> tuple[int, bool]:
    """Return where the value begins, and whether it is in quotes."""
    at = _skip(text, at, _BLANKS)
    before_comma = text[at:].partition(",")[0]
    for quote in _QUOTES:
        if quote in before_comma:
            return at + before_comma.index(quote) + 1, True
    return at, False


def _value_end(text: str, at: int, quoted: bool, open_bracket: bool) -> tuple[int, bool]:
    """Return where the value ends, and whether a bracket is still open there, even for the next one."""
    for end in range(at, len(text)):
        letter = text[end]
        if letter == "[" and not quoted:
            open_bracket = True
        elif letter == "]":
            open_bracket = False
        if letter in _QUOTES if quoted else letter == "," and not open_bracket:
            return end, open_bracket
    return len(text), open_bracket
