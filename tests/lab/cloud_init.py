"""Debian's cloud-init, unpacked and never installed, as a judge of what we tell guests.

Installing it would have it set up the machine itself at its next boot.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Self

from nornir_torque_vm.guestimages import apt
from nornir_torque_vm.lab.layout import cache_dir

PACKAGES = (
    "cloud-init", "python3-attr", "python3-certifi", "python3-chardet", "python3-configobj", "python3-idna",
    "python3-jinja2", "python3-json-pointer", "python3-jsonpatch", "python3-jsonschema", "python3-markupsafe",
    "python3-netifaces", "python3-oauthlib", "python3-pyrsistent", "python3-requests", "python3-serial",
    "python3-six", "python3-urllib3", "python3-yaml",
)  # fmt: skip
LIBRARY = "usr/lib/python3/dist-packages"
PYTHON = "/usr/bin/python3"
"""Debian's, for which these packages are."""
PROGRAM = Path(__file__).with_name("cloud_init_program.py")


def unpacked() -> Path:
    """Where it is unpacked, below the lab's own tools; apt is asked only when there is none yet.

    :raises ImageBuildError: it cannot be fetched. That is no reason to skip a test.
    """
    tools = cache_dir() / "tools"
    tools.mkdir(parents=True, exist_ok=True)
    for tree in sorted(tools.glob("cloud-init-*"), reverse=True):
        if (tree / LIBRARY / "cloudinit").is_dir():
            return tree
    wanted = apt.candidates(PACKAGES)
    (version,) = (package.version for package in wanted if package.name == PACKAGES[0])
    place = tools / f"cloud-init-{version}"
    files = apt.fetch(wanted, cache_dir() / "images/downloads")
    with tempfile.TemporaryDirectory(prefix=".new-", dir=tools) as fresh:
        apt.unpack(files, Path(fresh, "tree"))
        with contextlib.suppress(OSError):  # another session was faster
            Path(fresh, "tree").rename(place)
    return place


class CloudInit:
    """cloud-init, as long as the ``with`` lasts."""

    def __init__(self) -> None:
        self.tree = unpacked()

    def __enter__(self) -> Self:
        """Start it."""
        self._program = subprocess.Popen(
            [PYTHON, "-I", "-W", "ignore", str(PROGRAM), str(self.tree / LIBRARY)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._program.communicate(timeout=20)

    def against(self, user_data: str) -> str:
        """What its schema says against user-data: an error or a word that is going to be dropped."""
        return str(self._ask({"user-data": user_data}))

    def files(self, network_config: str, renderer: str, distro: str) -> dict[str, str]:
        """The files it writes of network-config on a system, by path without the leading slash."""
        return dict(self._ask({"network": network_config, "renderer": renderer, "distro": distro}))

    def _ask(self, question: dict[str, str]) -> Any:
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        print(json.dumps(question), file=self._program.stdin, flush=True)
        answer = self._program.stdout.readline()
        assert answer, "cloud-init's program ended"
        return json.loads(answer)
