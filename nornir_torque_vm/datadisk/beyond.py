"""What an emulator opened beyond what it was given: a disk's header can name another file.

The file of a disk is its owner's, who can change the header between our look at it and the emulator's; and
the emulator has other rights than the owner. QEMU does not open a backing file where libvirt says that there
is none, but a data file it opens by the header alone (measured: libvirt 9.0, QEMU 7.2). So it is asked.
"""

from __future__ import annotations

import json

from nornir_torque_vm.config.fields import show
from nornir_torque_vm.errors import HypervisorError, ImageError

QUESTION = '{"execute": "query-named-block-nodes", "arguments": {"flat": true}}'
"""In the emulator's own protocol (qapi/block-core.json)."""
_MADE_UP = "#"
"""How the emulator begins the names of what nobody named to it (util/id.c); libvirt names all it asks for."""


def check_opened(answer: str, subject: str) -> None:
    """Refuse an emulator that has files open which libvirt did not ask for. Pure.

    :param answer: to :data:`QUESTION`.
    :param subject: the disk, for messages.
    :raises ImageError: it has.
    :raises HypervisorError: the answer is none.
    """
    try:
        nodes = [(str(node["node-name"]), str(node["file"])) for node in json.loads(answer)["return"]]
    except (ValueError, KeyError, TypeError) as error:
        raise HypervisorError(f"its emulator does not say which files it has: {show(answer)}") from error
    others = [file for name, file in nodes if name.startswith(_MADE_UP)]
    if others:
        raise ImageError(
            f"{subject} keeps its data in another file ({show(others[0])})",
            hint="make it self-contained: qemu-img convert -O qcow2 OLD NEW",
        )
