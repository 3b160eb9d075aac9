"""The programs a lab needs, and an ssh server that is never installed.

Installing the package openssh-server would start a daemon on the machine itself, so it is only unpacked.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from nornir_torque_vm.errors import LabError
from nornir_torque_vm.lab.spec import PATH, TOOLS

PACKAGES = {
    "dnsmasq": "dnsmasq-base",
    "ebtables": "iptables",
    "ip": "iproute2",
    "libvirtd": "libvirt-daemon",
    "mount": "mount",
    "nsenter": "util-linux",
    "qemu-system-x86_64": "qemu-system-x86",
    "setpriv": "util-linux",
    "setsid": "util-linux",
    "unshare": "util-linux",
    "virsh": "libvirt-clients",
    "virtlogd": "libvirt-daemon",
}
"""Program → the Debian package that has it."""
INSTALLED_SSHD = Path("/usr/sbin/sshd")
LIBRARIES = {"libwrap.so.0": "libwrap0"}
"""Libraries of sshd that a small system lacks → their packages, unpacked beside it."""
DOWNLOAD_SECONDS = 120.0


@dataclasses.dataclass(frozen=True, slots=True)
class Sshd:
    """An ssh server: its path in a node, and the directory with libraries of its own (or empty)."""

    path: str
    libraries: str = ""


def missing() -> list[str]:
    """Return the programs that are not installed."""
    return [name for name in PACKAGES if shutil.which(name, path=PATH) is None]


def require() -> None:
    """Check that all programs are there.

    :raises LabError: some are not; names their packages.
    """
    absent = missing()
    if absent:
        packages = " ".join(sorted({PACKAGES[name] for name in absent}))
        raise LabError(
            f"{', '.join(absent)} not found",
            hint=f"apt-get install --no-install-recommends {packages}",
        )


def sshd(tools: Path) -> Sshd:
    """Return an ssh server: the installed one, else one unpacked below ``tools``, downloaded when new.

    :raises LabError: it cannot be downloaded, or does not run here.
    """
    tools.mkdir(parents=True, exist_ok=True)
    if INSTALLED_SSHD.exists():
        return Sshd(str(INSTALLED_SSHD))
    for tree in sorted(tools.glob("openssh-server_*"), reverse=True):
        if not unresolved(tree):
            return _in_node(tree)
    return _in_node(_download(tools))


def _in_node(tree: Path) -> Sshd:
    libraries = ":".join(f"{TOOLS}/{path.relative_to(tree.parent)}" for path in _library_dirs(tree))
    return Sshd(f"{TOOLS}/{tree.name}/usr/sbin/sshd", libraries)


def _library_dirs(tree: Path) -> list[Path]:
    return sorted({file.parent for name in LIBRARIES for file in tree.rglob(name)})


def unresolved(tree: Path) -> list[str]:
    """Return the shared libraries the unpacked sshd lacks here, ``["sshd"]`` when there is none."""
    program = tree / "usr/sbin/sshd"
    if not program.exists():
        return ["sshd"]
    path = ":".join(str(directory) for directory in _library_dirs(tree))
    done = subprocess.run(
        ["/usr/bin/ldd", program],
        env={"PATH": PATH, "LC_ALL": "C", "LD_LIBRARY_PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=10,
    )
    return [line.split()[0] for line in done.stdout.splitlines() if line.rstrip().endswith("not found")]


def _download(tools: Path) -> Path:
    with tempfile.TemporaryDirectory(prefix=".new-", dir=tools) as name:
        fresh = Path(name)
        tree = fresh / "tree"
        archive = _fetch("openssh-server", fresh, tree)
        for library in unresolved(tree):
            if library not in LIBRARIES:
                raise LabError(f"sshd needs {library}, which is not installed", hint="apt-get install it")
            _fetch(LIBRARIES[library], fresh, tree)
        place = tools / archive.stem
        if place.exists():  # incomplete: sshd() would have taken it
            shutil.rmtree(place)
        tree.rename(place)
        return place


def _fetch(package: str, directory: Path, tree: Path) -> Path:
    """Download ``package`` into ``directory`` and unpack it into ``tree``; return the archive."""
    # the sandbox user of apt cannot write into root's directories, and would only warn about it
    _run(["/usr/bin/apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", package], directory)
    archive = next(directory.glob(f"{package}_*.deb"))
    _run(["/usr/bin/dpkg-deb", "-x", str(archive), str(tree)], directory)
    return archive


def _run(argv: Sequence[str], directory: Path) -> None:
    try:
        subprocess.run(
            argv,
            cwd=directory,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
            timeout=DOWNLOAD_SECONDS,
        )
    except FileNotFoundError:
        reason = "it is not installed"
    except subprocess.TimeoutExpired:
        reason = f"not done after {DOWNLOAD_SECONDS:g} s"
    except subprocess.CalledProcessError as exc:
        reason = (exc.stdout.strip().splitlines() or ["it printed nothing"])[-1]
    else:
        return
    raise LabError(
        f"the lab's ssh server cannot be fetched: {' '.join(argv)}: {reason}",
        hint="check the network and run apt-get update, or install an sshd yourself",
    )
