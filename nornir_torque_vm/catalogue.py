"""What the site says about the images in its pool: ``catalogue.json`` beside them."""

from __future__ import annotations

import dataclasses

from nornir_torque_vm.baseimages.check import FORMATS, QCOW2
from nornir_torque_vm.config.fields import Field, Table
from nornir_torque_vm.config.kinds import Choice, Text
from nornir_torque_vm.errors import Blame, ImageError
from nornir_torque_vm.keys import DISTRO, IMAGE_NAME, KEYS
from nornir_torque_vm.model import Distro

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

FILE = "catalogue.json"
"""Name of the catalogue in the pool; an object of image name → object of the fields of :class:`Entry`."""
_LIMIT = 1 << 20
"""Bytes a catalogue may have."""


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """What is known of one image; None and empty: nothing is."""

    distro: Distro | None = None
    arch: str | None = None
    description: str = ""
    sha256: str = ""
    format: str = QCOW2
    """``raw`` only when it was said: nothing in a raw disk tells that it is one."""


_NAMES = Table("image", ImageError, [Field("name", Text(IMAGE_NAME, "the name of a file"), "image")])
_FIELDS = Table(
    "entry",
    ImageError,
    (
        Field("distro", DISTRO, "operating system family"),
        Field("arch", KEYS["arch"].kind, "processor architecture"),
        Field("description", Text(r"[^\0-\x1f\x7f]{0,500}", "one line of text"), "what it is for"),
        Field("sha256", Text(r"[0-9a-f]{64}", "64 hexadecimal digits"), "digest of the file"),
        Field("format", Choice({form: form for form in FORMATS}), "how the disk is stored"),
    ),
)


def read_catalogue(pool: str) -> Mapping[str, Entry]:
    """Return the entries of the pool's catalogue by image name; none when it has no catalogue.

    :raises ImageError: the catalogue cannot be read or understood; the site's fault.
    """
    path = f"{pool}/{FILE}"
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - pathlib costs the wrapper milliseconds
            content = file.read(_LIMIT + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise _bad(path, error.strerror) from None
    if len(content) > _LIMIT:
        raise _bad(path, f"it has more than {_LIMIT} bytes")
    try:
        return _entries(content)
    except ImageError as error:
        raise _bad(path, error.what) from None
    except (ValueError, AttributeError, RecursionError) as error:
        raise _bad(path, f"it is not JSON of the form {{name: {{field: value}}}} ({error})") from None


def read_entry(stated: Mapping[str, object]) -> dict[str, Any]:
    """Return the fields of an :class:`Entry` as they are given: by name, in the catalogue's words.

    :raises ImageError: an unknown name or a bad value.
    """
    return dict(_FIELDS.read(field, raw) for field, raw in stated.items())


def _entries(content: bytes) -> dict[str, Entry]:
    import json

    entries: dict[str, Entry] = {}
    for name, stated in json.loads(content).items():
        _NAMES.read("name", name)
        entries[name] = Entry(**read_entry(stated))
    return entries


def _bad(path: str, why: object) -> ImageError:
    return ImageError(
        f"the image catalogue {path} cannot be used: {why}", hint="correct it", blame=Blame.SITE
    )
