"""Whether a file may be a base image, by its first bytes and its size. Pure."""

from __future__ import annotations

from nornir_torque_vm.config.fields import show
from nornir_torque_vm.errors import ImageError, RequestError, SettingsError
from nornir_torque_vm.qcow2 import MAGIC, MAX_SIZE, Header, parse_header
from nornir_torque_vm.sizes import format_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nornir_torque_vm.config.settings import Settings

QCOW2, RAW = "qcow2", "raw"
FORMATS = (QCOW2, RAW)
"""What a base image can be; QEMU's words. Which of them is told, never guessed from the content."""

CONVERT = "make it self-contained: qemu-img convert -O qcow2 OLD NEW"
_REPAIR = "repair it with: qemu-img check -r all FILE"
_AGAIN = "build it again"
_OTHERS = {
    b"KDMV": "vmdk", b"# Disk D": "vmdk", b"<<< ": "vdi", b"conectix": "vpc", b"vhdxfile": "vhdx",
    b"QED\0": "qed", b"\x1f\x8b": "gzip", b"\xfd7zXZ\0": "xz", b"BZh": "bzip2", b"\x28\xb5\x2f\xfd": "zstd",
    b"LUKS": "luks", MAGIC: QCOW2,
}  # fmt: skip
"""How files begin that are no raw disk. A hint for people, never what a format is taken from."""


def examine(data: bytes, size: int, subject: str, form: str = QCOW2) -> Header:
    """Return what a base image says of itself.

    :param data: its first :data:`~nornir_torque_vm.qcow2.HEADER_BYTES`.
    :param size: of the file, bytes.
    :param subject: how errors call the file.
    :param form: ``qcow2`` or ``raw``, as somebody who may say it has said. A raw disk says nothing but
        its size, whatever stands in it: a header there would be its guest's word.
    :raises ImageError: QEMU must not be given it.
    """
    if form == RAW:
        header = Header(version=0, cluster_size=0, virtual_size=-(-size // 512) * 512)
    else:
        header = parse_header(data, subject)
    refusal = _refusal(header, size)
    if refusal:
        cause, cure = refusal
        raise ImageError(f"{subject} {cause}", hint=cure)
    return header


def examine_own(data: bytes, size: int, subject: str) -> Header:
    """Return what an image of a user's says of itself: qcow2, and all of it in one file.

    :raises ImageError: jobs cannot boot it.
    """
    header = examine(data, size, subject)
    if header.backing_file:
        raise ImageError(f"{subject} builds on another file ({show(header.backing_file)})", hint=CONVERT)
    return header


def check_allowed(path: str, settings: Settings) -> None:
    """Refuse a user's image where the site does.

    :raises RequestError: it wants none.
    :raises SettingsError: it has not said where such guests are to be.
    """
    if not settings.allow_user_images:
        raise RequestError(
            f"img={path} is a path, and the site allows images of its pool only",
            hint="qsub --list-images shows their names",
        )
    if not settings.user_image_bridge:
        raise SettingsError(
            "images of users are allowed (allow_user_images), but no bridge is named for their guests",
            hint="set user_image_bridge",
        )


def looks_like(data: bytes) -> str:
    """What the first bytes of a file look like, in a word; empty when like nothing known here."""
    return next((name for start, name in _OTHERS.items() if data.startswith(start)), "")


def _refusal(header: Header, size: int) -> tuple[str, str] | None:
    """Cause and cure when an image of ``size`` bytes with this header cannot be used."""
    if header.data_file:
        return f"keeps its data in another file ({show(header.data_file)})", CONVERT
    if header.encrypted:
        return "is encrypted", "images must be readable without a secret"
    if header.corrupt:
        return "is marked as corrupt", _REPAIR
    if header.dirty:
        return "was not closed properly", _REPAIR
    if header.unknown_features:
        return f"needs features unknown here (bits {header.unknown_features:#x})", CONVERT
    if header.virtual_size == 0:
        return "holds a disk of 0 bytes", _AGAIN
    if header.virtual_size > MAX_SIZE:
        disk = format_size(header.virtual_size)
        return f"holds a disk of {disk}, more than {format_size(MAX_SIZE)}", f"{_AGAIN}, smaller"
    if header.tables_end > size:
        return f"is cut off after {size} bytes", "copy the image again from its source"
    return None
