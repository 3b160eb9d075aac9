"""What a user asks for with ``-vm``, and the form in which it rides in the job.

``qsub -l other=vm1:vcpus=2:ram=2G`` reaches every root hook in its argv, verbatim, for all
kinds of jobs; a comma would end it there and 2048 bytes hold the whole resource list. So values
are percent-encoded, and hooks read the result as hostile text: anybody can write ``-l other=``.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable

from nornir_torque_vm.config.fields import show
from nornir_torque_vm.config.kinds import BLANKS
from nornir_torque_vm.errors import RequestError
from nornir_torque_vm.keys import KEYS
from nornir_torque_vm.model import Distro, FileRef

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = "vm1"
"""First word of an encoded request; the number grows when older readers would misread it."""

_ENCODED = re.compile(r"vm[0-9]{1,9}(:.*)?", re.DOTALL)
_RISKY = re.compile(r"[^A-Za-z0-9._~/-]")
_VALUE = re.compile(r"(?:[A-Za-z0-9._~/-]|%[0-9A-F]{2})*")
_ESCAPE = re.compile(r"%([0-9A-F]{2})")


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """The keys a user gave, read and within their limits; None = not asked. Sizes in bytes."""

    img: str | None = None
    """A name in the pool, or a path, told by its slash."""
    distro: Distro | None = None
    arch: str | None = None
    ram: int | None = None
    vcpus: int | None = None
    vms_per_node: int | None = None
    vcpu_pinning: bool | FileRef | None = None
    vm_prologue: FileRef | None = None
    vm_epilogue: FileRef | None = None
    metadata: FileRef | None = None
    disk: str | None = None
    fs_type: str | None = None
    hypervisor: str | None = None
    iocm: bool | None = None
    iocm_min_cores: int | None = None
    iocm_max_cores: int | None = None
    vrdma: bool | None = None
    unclot: bool | None = None
    unclot_shmem: int | None = None

    def encode(self) -> str:
        """Return ``vm1:key=value:…`` for ``-l other=``: no comma, blank or quote; keys in table order.

        :raises ValueError: a file whose digest is not known yet.
        """
        asked = ((field, getattr(self, field.name)) for field in KEYS)
        items = [f"{f.name}={_quote(f.kind.encode(value))}" for f, value in asked if value is not None]
        return ":".join((VERSION, *items))

    @classmethod
    def decode(cls, text: str) -> Request:
        """Return what :meth:`encode` had put into ``text``.

        :raises RequestError: another form, damage, an unknown or repeated key, a value out of limits.
        """
        version, *items = text.split(":")
        if version != VERSION:
            raise RequestError(
                f"the job carries a VM request of unknown form {show(version)}",
                hint=f"this node reads {VERSION}: install the same version on submit hosts and nodes",
            )
        values: dict[str, Any] = {}
        for item in items:
            key, equals, quoted = item.partition("=")
            if not equals or not _VALUE.fullmatch(quoted):
                raise RequestError(f"the job carries a damaged VM request at {show(item)}")
            name, value = KEYS.decode(key, _unquote(quoted))
            if name in values or name != key:
                raise RequestError(f"the job carries a damaged VM request at {show(item)}")
            values[name] = value
        return cls(**values)


def parse_request(texts: Iterable[str]) -> Request:
    """Return the request that the values of all ``-vm`` options make up; the last one wins per key.

    :param texts: each ``key=value[,key=value…]``; keys in any case, a value may hold ``=`` but no
        comma; a blank text asks for nothing.
    :raises RequestError: an item without ``=``, an unknown key, a value outside its limits.
    """
    values: dict[str, Any] = {}
    for text in texts:
        for item in text.split(",") if text.strip(BLANKS) else ():
            key, equals, raw = (part.strip(BLANKS) for part in item.partition("="))
            if not equals:
                raise RequestError(
                    f"-vm has {show(item)}, which is not key=value",
                    hint="write -vm key=value,key=value without blanks",
                )
            name, value = KEYS.read(key, raw)
            values[name] = value
    return Request(**values)


def find_in_resources(resource_list: str) -> Request | None:
    """Return the request in a job's resource list (``nodes=2:ppn=2,other=vm1:…``), None without one.

    :param resource_list: a hook's argument, comma-separated; user-controlled, see TORQUE's limits
        in the module's text.
    :raises RequestError: two requests, or one that cannot be read.
    """
    values = [item[len("other=") :] for item in resource_list.split(",") if item.startswith("other=")]
    requests = [value for value in values if _ENCODED.fullmatch(value)]
    if len(requests) > 1:
        raise RequestError("the job carries more than one VM request")
    return Request.decode(requests[0]) if requests else None


def _quote(text: str) -> str:
    """Return ``text`` percent-encoded: only letters, digits and ``. _ ~ / -`` stay."""
    octets = text.encode("utf-8", "surrogateescape").decode("latin-1")
    return _RISKY.sub(lambda match: f"%{ord(match[0]):02X}", octets)


def _unquote(text: str) -> str:
    """Return percent-encoded ``text`` decoded, any bytes as Python holds those of argv."""
    octets = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text).encode("latin-1")
    return octets.decode("utf-8", "surrogateescape")
