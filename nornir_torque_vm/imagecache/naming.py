"""What the copy of an image is called: after its content, so that two images never meet in one name."""

from __future__ import annotations

from nornir_torque_vm.catalogue import Entry, read_catalogue
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.model import Image


def copy_name(image: Image, settings: Settings) -> str:
    """Return the name of an image's copy in ``image_cache``; empty for an image that is not copied.

    Only images of the pool whose digest the catalogue states, and that build on no other, are copied.

    :raises ImageError: the pool's catalogue cannot be used.
    """
    if not settings.image_cache or image.own or image.backing:
        return ""
    digest = read_catalogue(settings.image_pool).get(image.name, Entry()).sha256
    return f"{digest}.{image.format}" if digest else ""
