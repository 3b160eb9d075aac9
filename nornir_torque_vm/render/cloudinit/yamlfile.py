"""A cloud-init file as values: YAML, read by a library, and never more of it than it looks like.

Aliases are refused: a few lines of them can stand for more than a machine can hold. So are tags, since a
value is text, a number, true, false, nothing, a list or an object, as in JSON.
"""

from __future__ import annotations

import io
import math
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    NodeEvent,
    ScalarEvent,
)

from nornir_torque_vm.config.fields import show

MAX_BYTES = 64 << 10
"""Of such a file."""
_MOST_EVENTS, _DEEPEST = 10_000, 16


class NotCloudConfig(ValueError):
    """A file is no plain cloud-config; the rest of a sentence that begins with the file's name."""


def read_cloud_config(content: bytes) -> dict[str, Any]:
    """Return the object a cloud-config file holds; one with nothing in it holds an empty one.

    :raises NotCloudConfig: it is no such file.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise NotCloudConfig("is not UTF-8 text") from None
    first = text.lstrip("\ufeff").split("\n", 1)[0].strip()
    if first.startswith("##") or (first.startswith("#") and ":" in first and "template" in first):
        raise NotCloudConfig("is a template, and not cloud-config itself")
    try:
        _bound(text)
        # As cloud-init reads it: YAML 1.1, where yes is true.
        yaml = YAML(typ="safe", pure=True)
        yaml.version = (1, 1)
        found = yaml.load(io.StringIO(text))
    except NotCloudConfig:
        raise
    except YAMLError as error:
        raise NotCloudConfig(f"is not YAML: {_where(error)}") from None
    except Exception as error:  # noqa: BLE001 - of a text made up by anybody, the library can raise anything
        raise NotCloudConfig(f"is not YAML: {' '.join(str(error).split()) or type(error).__name__}") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise NotCloudConfig("holds no keys with values")
    return {_key(key): _plain(value) for key, value in found.items()}


def _bound(text: str) -> None:
    """Refuse a document that stands for more than it says."""
    depth = documents = 0
    for number, event in enumerate(YAML(typ="safe", pure=True).parse(io.StringIO(text))):
        documents += isinstance(event, DocumentStartEvent)
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if number > _MOST_EVENTS or depth > _DEEPEST or documents > 1:
            raise NotCloudConfig("holds too much: one document, 16 levels and 10000 parts are the most")
        if isinstance(event, AliasEvent) or (isinstance(event, NodeEvent) and event.anchor):
            raise NotCloudConfig(f"has an anchor or alias {show(event.anchor)}: write it out")
        if isinstance(event, ScalarEvent | CollectionStartEvent) and event.tag:
            raise NotCloudConfig(f"has a tag {show(str(event.tag))}: leave it out")


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise NotCloudConfig(f"has the key {show(key)}, which is no text")
    return key


def _plain(value: object) -> Any:
    if isinstance(value, dict):
        return {_key(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if (
        value is None
        or isinstance(value, str | bool | int)
        or (isinstance(value, float) and math.isfinite(value))
    ):
        return value
    raise NotCloudConfig(f"has {show(str(value))}, a {type(value).__name__}: put it between quotes")


def _where(error: YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    said = str(getattr(error, "problem", None) or "it cannot be read")
    return f"line {mark.line + 1}: {said}" if mark is not None else said
