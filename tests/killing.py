"""Killing a hook at a chosen event, from outside of it: whatever it does to files or to libvirt is an event.

Python's own audit events tell of files, locks and programs, and so of places in the code that nobody thought
of; libvirt's methods are wrapped. An event is announced *before* it happens, so killing at each of
them leaves every state there is between two of them. Events have names, since threads order them anew
in every run: what is done, to what, and which functions of ours do it.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

PACKAGE = f"{os.sep}nornir_torque_vm{os.sep}"
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
EFFECTS = frozenset(
    {
        "fcntl.flock", "os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir",
        "os.symlink", "os.truncate", "subprocess.Popen",
    }
)  # fmt: skip
"""Audit events that change something; ``open`` does when it is for writing."""
METHODS = {
    "virConnect": ("createXML", "storagePoolCreateXML", "storagePoolDefineXML"),
    "virDomain": ("destroy", "shutdown"),
    "virStoragePool": ("build", "create", "createXML", "createXMLFrom", "destroy", "undefine"),
    "virStorageVol": ("delete", "upload"),
    "virStream": ("send",),
}
"""Methods of libvirt's classes that change something."""
_CHANGING = re.compile(r"\b[0-9a-f]{8}(?:[0-9a-f]{8})?\b|(?<=/)tmp[^/]*")


class Killer:
    """Numbers the events of one run by name, and calls ``kill`` at the chosen one.

    :param at: ``name`` of an event with ``#2`` and so on behind it when it happens more than once.
    """

    def __init__(self, at: str = "", kill: Callable[[], object] = lambda: None) -> None:
        self.at, self.kill = at, kill
        self.events: list[str] = []
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, name: str) -> None:
        """An event is about to happen."""
        with self._lock:
            self._counts[name] += 1
            number = self._counts[name]
            label = name if number == 1 else f"{name} #{number}"
            self.events.append(label)
        if label == self.at:
            self.kill()


def announce(told: Callable[[str], object]) -> None:
    """From now on, call ``told`` with the name of every event before it happens; for good."""

    def audit(event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = args
            if isinstance(path, str) and path != os.devnull and flags & WRITING:
                _tell(told, event, path)
        elif event in EFFECTS and not (event == "os.mkdir" and _exists(*args)):
            _tell(told, event, args[1] if event == "os.rename" else args[0])

    sys.addaudithook(audit)
    import libvirt

    for kind, methods in METHODS.items():
        for method in methods:
            _wrap(getattr(libvirt, kind), method, told)


def _exists(path: Any, _mode: int, dir_fd: int) -> bool:
    """Whether making a directory changes nothing."""
    try:
        os.lstat(path, dir_fd=dir_fd if dir_fd >= 0 else None)
    except OSError:
        return False
    return True


def _wrap(kind: Any, method: str, told: Callable[[str], object]) -> None:
    real = getattr(kind, method)

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        xml = str(args[0]) if args else ""
        found = re.search("<name>(.*?)</name>", xml)
        what = found[1] if found else self.name() if hasattr(self, "name") else ""
        _tell(told, f"{kind.__name__}.{method}", what)
        return real(self, *args, **kwargs)

    setattr(kind, method, call)


def _tell(told: Callable[[str], object], event: str, what: object) -> None:
    """Tell of an event by its name, which leaves out what differs from run to run; tests' own are none."""
    if who := _who():
        thing = what if isinstance(what, str) else ""
        told(f"{who}: {event} {_CHANGING.sub('*', Path(thing).name)}".rstrip())


def _who() -> str:
    """The function of ours that acts, and the one of another module that wanted it; empty for none."""
    inner: CodeType | None = None
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        code = frame.f_code
        if PACKAGE in code.co_filename:
            if inner is None:
                inner = code
            elif code.co_filename != inner.co_filename:
                return f"{_name(code)} > {_name(inner)}"
        frame = frame.f_back
    return _name(inner) if inner is not None else ""


def _name(code: CodeType) -> str:
    return f"{Path(code.co_filename).stem}.{code.co_qualname.rpartition('.<locals>')[0] or code.co_qualname}"
