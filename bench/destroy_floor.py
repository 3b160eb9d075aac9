"""The floor of ``destroy.py``: end domains whose names are known, each over a connection of its own.

The names come as JSON on standard input, the answer is ``{"seconds": …}``. The clock starts when
everything is imported and all threads are there.
"""

from __future__ import annotations

import json
import sys
import threading
import time

import libvirt

URI = "qemu:///system"


def main() -> None:
    """End all domains at once."""
    names = json.load(sys.stdin)
    gate = threading.Barrier(len(names) + 1)
    failures: list[str] = []

    def end(name: str) -> None:
        gate.wait()
        try:
            conn = libvirt.open(URI)
            conn.lookupByName(name).destroy()
            conn.close()
        except libvirt.libvirtError as error:
            failures.append(f"{name}: {error}")

    threads = [threading.Thread(target=end, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    gate.wait()
    began = time.monotonic()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - began
    if failures:
        sys.exit("; ".join(failures))
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
