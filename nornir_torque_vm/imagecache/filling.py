"""What a node does for the next guests of an image, in a process of its own that no start waits for."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.connections.libvirt import lease, mapped
from nornir_torque_vm.deadline import Deadline, current
from nornir_torque_vm.imagecache.cache import ImageCache
from nornir_torque_vm.imagecache.naming import copy_name
from nornir_torque_vm.images import open_image
from nornir_torque_vm.request import find_in_resources

MIB = 1 << 20
FILL_SECONDS = 3600.0
"""How long a copy may take; a slower pool is no use to a cache."""


def see_to_copy(resources: str, settings: Settings, node: str) -> str:
    """See to a copy of the image that a job boots from; return what was done, empty when nothing.

    :param resources: the job's resource list, as a hook gets it: the user's words, judged like any request.
    :param node: this node's name.
    :raises TorqueVMError: why there is no copy.
    """
    request = find_in_resources(resources)
    if request is None or not settings.image_cache:
        return ""
    name = request.img or settings.img_default
    if not name or "/" in name:
        return ""
    image = open_image(settings.image_pool, name)
    copy = copy_name(image, settings)
    if not copy:
        return ""
    deadline = Deadline.after(FILL_SECONDS)
    token = current.set(deadline)
    try:
        busy = in_use(settings, node)
    finally:
        current.reset(token)
    cache = ImageCache(settings.image_cache, settings.image_cache_mb * MIB)
    return cache.want(copy, image.path, busy, deadline)


def in_use(settings: Settings, node: str) -> frozenset[str]:
    """Return the names of the copies that domains of this node are on, ours and others.

    :raises HypervisorError: libvirt does not say.
    """
    start = f"{settings.image_cache.rstrip('/')}/"
    with lease(settings.local_uri, node) as conn, mapped(node):
        texts = [domain.XMLDesc(0) for domain in conn.listAllDomains()]
    sources = (source for text in texts for source in ET.fromstring(text).iter("source"))  # noqa: S314 - libvirtd's
    files = (source.get("file", "") for source in sources)
    return frozenset(file.removeprefix(start) for file in files if file.startswith(start))
