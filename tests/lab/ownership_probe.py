"""Run inside a node: start the domain of standard input with a libvirt that takes over the files it opens.

That is how distributions configure libvirt; the lab's own daemon leaves owners alone. The driver runs
inside this process, below a directory of its own. Arguments: that directory, then the files to look at.
Prints for each file its owner and whether it was touched at all, while the guest exists and after.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path

import libvirt

CONFIG = """\
user = "libvirt-qemu"
group = "libvirt-qemu"
dynamic_ownership = 1
remember_owner = 0
security_driver = "none"
cgroup_controllers = [ ]
namespaces = [ ]
stdio_handler = "file"
"""


def serve_events() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()


def look(files: list[str]) -> dict[str, tuple[int, int, int]]:
    states = {file: Path(file).stat() for file in files}
    return {file: (state.st_uid, state.st_ctime_ns, state.st_mtime_ns) for file, state in states.items()}


def main() -> None:
    root, *files = sys.argv[1:]
    config = Path(root, "etc/qemu.conf")
    config.parent.mkdir(parents=True)
    config.write_text(CONFIG)
    libvirt.registerErrorHandler(lambda *_: None, None)
    libvirt.virEventRegisterDefaultImpl()
    threading.Thread(target=serve_events, daemon=True).start()
    conn = libvirt.open(f"qemu:///embed?root={root}")
    before = look(files)
    domain = conn.createXML(
        sys.stdin.read(), libvirt.VIR_DOMAIN_START_VALIDATE | libvirt.VIR_DOMAIN_START_PAUSED
    )
    during = look(files)
    domain.destroy()
    after = look(files)
    found = {
        file: {"during": during[file][0], "after": after[file][0], "touched": after[file] != before[file]}
        for file in files
    }
    print(json.dumps(found), flush=True)
    os._exit(0)  # the driver's threads do not end by themselves


if __name__ == "__main__":
    main()
