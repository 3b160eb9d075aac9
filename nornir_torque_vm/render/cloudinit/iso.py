"""The NoCloud seed as a disk: an ISO 9660 image that every system can mount."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Mapping

LABEL = "cidata"
"""Volume label by which NoCloud finds its seed."""


def seed_iso(files: Mapping[str, str]) -> bytes:
    """Return an ISO 9660 image (Rock Ridge and Joliet names, label ``cidata``) of text files.

    Equal files give equal bytes: all its dates are 1970-01-01.

    :param files: name → text, encoded as UTF-8; at least one.
    """
    from pycdlib import PyCdlib  # costs 20 ms, which only a process that starts guests pays

    image = PyCdlib()
    image.new(interchange_level=3, vol_ident=LABEL, joliet=3, rock_ridge="1.09")
    for name, text in files.items():
        data = text.encode()
        plain = "".join(char if char.isalnum() and char.isascii() else "_" for char in name.upper())
        image.add_fp(
            io.BytesIO(data),
            len(data),
            f"/{plain}.;1",
            rr_name=name,
            joliet_path=f"/{name}",
            file_mode=0o100400,
        )
    out = io.BytesIO()
    image.write_fp(out)
    image.close()
    return _undated(bytearray(out.getvalue()))


_SECTOR = 2048
_DATE = bytes([70, 1, 1, 0, 0, 0, 0])
"""1970-01-01 00:00:00 UTC as directory records have it (ECMA-119, 9.1.5)."""
_LONG_DATE = b"1970010100000000\0"
"""The same as volume descriptors have it (ECMA-119, 8.4.26.1)."""


def _undated(image: bytearray) -> bytes:
    """Set every date pycdlib took from the clock to 1970: it cannot be told one."""
    sector = 16 * _SECTOR
    while image[sector] != 255:  # the descriptor that ends the set
        if image[sector] in {1, 2}:  # ISO 9660's and Joliet's
            for date in (813, 830, 864):  # creation, modification, effective; expiration is unset
                image[sector + date : sector + date + 17] = _LONG_DATE
            image[sector + 174 : sector + 181] = _DATE  # of the root directory's record
            extent, size = (struct.unpack_from("<I", image, sector + at)[0] for at in (158, 166))
            for record in _records(image, extent * _SECTOR, size):
                _undate_record(image, record)
        sector += _SECTOR
    return bytes(image)


def _records(image: bytearray, start: int, size: int) -> Iterator[int]:
    """Yield where each record of a directory begins; none crosses a sector's end, where zeros may follow."""
    at = start
    while at < start + size:
        if image[at]:
            yield at
            at += image[at]
        else:
            at += _SECTOR - at % _SECTOR


def _undate_record(image: bytearray, record: int) -> None:
    """Set the date of one directory record and those of its Rock Ridge ``TF`` entry (RRIP 4.1.6)."""
    image[record + 18 : record + 25] = _DATE
    entry = record + 33 + image[record + 32]
    entry += (entry - record) % 2
    while entry + 4 <= record + image[record]:
        length = image[entry + 2]
        if image[entry : entry + 2] == b"TF":
            image[entry + 5 : entry + length] = _DATE * ((length - 5) // 7)
        entry += max(length, 4)
