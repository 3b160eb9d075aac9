"""Encoders: the one way a value gets into XML, JSON or a shell script.

Each gives back exactly the text it was given once the target's own parser has read it. What no
target can carry (NUL, most control characters, lone surrogates) is refused by all of them alike.
"""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

from nornir_torque_vm.config.fields import show
from nornir_torque_vm.errors import RequestError

# XML 1.0, production 2 (Char); JSON and shells could carry a few more, but a value has to survive all.
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_XML_SPECIAL = re.compile("[&<>\"'\t\n\r]")
# JSON allows these inside a string as they are; YAML takes some for line breaks and refuses the others.
_NOT_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff]")


def legible(text: str) -> str:
    """Return ``text`` unchanged.

    :raises RequestError: it holds a character that cannot be written into XML.
    """
    found = _ILLEGAL.search(text)
    if found is not None:
        raise RequestError(
            f"{show(text)} holds the character U+{ord(found[0]):04X}, which cannot be written into XML",
            hint="take it out",
        )
    return text


def xml(text: str) -> str:
    """Return ``text`` for use as element content or inside a quoted attribute.

    Line ends and tabs are written as references: a parser would turn them into blanks in attributes.

    :raises RequestError: like :func:`legible`.
    """
    return _XML_SPECIAL.sub(lambda found: f"&#{ord(found[0])};", legible(text))


def json_line(value: Any) -> str:
    """Return ``value`` as JSON on one line that every YAML 1.1 or 1.2 parser reads as the same value.

    Characters beyond U+FFFF are not escaped: JSON would write them as surrogate pairs, which YAML
    takes for two characters.

    :param value: objects, lists, strings, integers, booleans and None.
    :raises RequestError: like :func:`legible`, for any string in it.
    """
    _check_strings(value)
    text = json.dumps(value, ensure_ascii=False)
    return _NOT_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def word(text: str) -> str:
    """Return ``text`` as one word of a POSIX shell.

    :raises RequestError: like :func:`legible`.
    """
    return shlex.quote(legible(text))


def _check_strings(value: Any) -> None:
    if isinstance(value, str):
        legible(value)
    elif isinstance(value, dict):
        for key, item in value.items():
            legible(key)
            _check_strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_strings(item)
