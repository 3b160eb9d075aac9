"""An NFS server in user space (NFS-Ganesha) inside a node of the lab; its packages are never installed.

Installing them would start it, and rpcbind, on the machine itself.
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from driving import wait_for

from nornir_torque_vm.guestimages import apt
from nornir_torque_vm.lab import Lab
from nornir_torque_vm.lab.layout import cache_dir

PACKAGES = (
    "nfs-ganesha", "nfs-ganesha-vfs", "libntirpc4.3", "liburcu8", "libnfsidmap1", "libwbclient0", "libbsd0",
    "libmd0", "libdbus-1-3", "libgssapi-krb5-2", "libkrb5-3", "libk5crypto3", "libkrb5support0",
    "libkeyutils1", "libcom-err2",
)  # fmt: skip
"""The server, and those of its libraries that a small system may lack."""
PROGRAM = "usr/bin/ganesha.nfsd"
PORT = 2049

_CONFIG = """\
NFS_CORE_PARAM {{
    Protocols = 4; Bind_addr = {address}; Enable_NLM = false; Enable_RQUOTA = false; Enable_UDP = false;
    Plugins_Dir = "{tree}/usr/lib/x86_64-linux-gnu/ganesha";
}}
# Guests have numbers in common with the server, no names.
NFSV4 {{
    Minor_Versions = 1, 2; Graceless = true; RecoveryBackend = fs; RecoveryRoot = "{folder}";
    Only_Numeric_Owners = true; UseGetpwnam = true;
}}
EXPORT {{
    Export_Id = 1; Path = {path}; Pseudo = {pseudo}; Access_Type = RW; Squash = Root_Squash; SecType = sys;
    Protocols = 4; Transports = TCP; FSAL {{ Name = VFS; }}
}}
"""


def unpacked() -> Path:
    """Where the server is unpacked, below the lab's own tools; apt is asked only when there is none yet.

    :raises ImageBuildError: it cannot be fetched. That is no reason to skip a test.
    """
    tools = cache_dir() / "tools"
    for tree in sorted(tools.glob("ganesha-*"), reverse=True):
        if (tree / PROGRAM).exists():
            return tree
    wanted = apt.candidates(PACKAGES)
    (version,) = (package.version for package in wanted if package.name == PACKAGES[0])
    place = tools / f"ganesha-{version}"
    files = apt.fetch(wanted, cache_dir() / "images/downloads")
    with tempfile.TemporaryDirectory(prefix=".new-", dir=tools) as fresh:
        apt.unpack(files, Path(fresh, "tree"))
        with contextlib.suppress(OSError):  # another session was faster
            Path(fresh, "tree").rename(place)
    assert (place / PROGRAM).exists(), place
    return place


@contextlib.contextmanager
def nfs_server(lab: Lab, node: str, path: str, pseudo: str) -> Iterator[Path]:
    """Serve a directory of a node, empty at first, to everybody, root as nobody.

    It is a file system of its own: by a file's handle the server would find the machine's, read-only there.

    :param path: the directory, in the node, which is made.
    :param pseudo: what clients call it.
    :return: the directory as seen from here.
    """
    address = next(known.address for known in lab.nodes if known.name == node)
    folder, tree = "/var/lib/ganesha", unpacked()
    root = lab.root(node)
    (root / folder[1:]).mkdir(exist_ok=True)
    lab.run(node, ["mkdir", "-p", path])
    lab.run(node, ["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", path])
    config = root / folder[1:] / "ganesha.conf"
    inside = f"/run/lab/tools/{tree.name}"
    config.write_text(
        _CONFIG.format(address=address, tree=inside, folder=folder, path=path, pseudo=pseudo), "ascii"
    )
    words = [
        *lab.enter(node), f"{inside}/{PROGRAM}", "-F", "-f", f"{folder}/ganesha.conf",
        "-L", f"{folder}/log", "-p", f"{folder}/pid",
    ]  # fmt: skip
    folders = ("usr/lib/ganesha", "usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu")
    libraries = {"LD_LIBRARY_PATH": ":".join(f"{inside}/{name}" for name in folders)}
    with subprocess.Popen(words, env=libraries, stdin=subprocess.DEVNULL) as process:
        try:
            wait_for(lambda: process.poll() is not None or _listens(lab, node), 60)
            assert process.poll() is None, (root / folder[1:] / "log").read_text("utf-8", "replace")[-3000:]
            yield root / path[1:]
        finally:
            process.kill()
            lab.run(node, ["umount", "-l", path])


def _listens(lab: Lab, node: str) -> bool:
    return f":{PORT}" in lab.run(node, ["ss", "-Hltn"]).stdout
