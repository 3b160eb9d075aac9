"""``module load torque-vm`` with the real Environment Modules and the real Lmod.

Debian's packages of the two exclude each other, so neither is installed: each is unpacked and laid over
``/usr`` and ``/etc`` in a mount namespace, in which a login shell finds it as on any host.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from nornir_torque_vm.config.compiled import compile_settings
from nornir_torque_vm.guestimages import apt
from nornir_torque_vm.guestimages.tool import run
from nornir_torque_vm.lab.layout import cache_dir
from nornir_torque_vm.sitekit import FRONTS, MODULE_FILES, front_text, module_text

pytestmark = pytest.mark.lab

LAID_OVER = """\
for top in usr etc; do
    mount -t overlay overlay -o "lowerdir=$1/$top:/$top" "/$top" || exit
done
shift
exec env -i "$@"
"""


class Host:
    """A host with a module system, TORQUE's qsub in ``torque`` and our files in directories of odd names."""

    def __init__(self, system: Path, folder: Path) -> None:
        self.system, self.folder = system, folder
        self.torque = folder / "torque"
        self.fronts = folder / "it's our [fronts] \\ $HOME"
        self.manuals = folder / 'the "manuals"'
        self.modules = folder / "modulefiles"
        for directory in (self.torque, self.fronts, self.manuals, self.modules):
            directory.mkdir()
        executable(self.torque / "qsub", "#!/bin/sh\n")
        for name in FRONTS:
            executable(self.fronts / name, front_text(name))
        for name in MODULE_FILES:
            text = module_text(name, fronts=str(self.fronts), manuals=str(self.manuals))
            (self.modules / name).write_text(text)

    def shell(self, script: str, environment: Mapping[str, str] | None = None) -> str:
        """Run a script in a login shell that knows our modules; return what it prints on both streams."""
        given = {
            "HOME": str(self.folder), "TERM": "dumb", "USER": "root", "PATH": f"{self.torque}:/usr/bin:/bin",
            **(environment or {}),
        }  # fmt: skip
        done = subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", LAID_OVER, "sh", self.system,
             *(f"{name}={value}" for name, value in given.items()),
             "bash", "-lc", f'PATH="{self.torque}:$PATH"; module use "$0"\n{script}', self.modules],
            check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120,
        )  # fmt: skip
        return done.stdout


def executable(path: Path, text: str) -> None:
    """Write a program."""
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture(scope="module", params=["environment-modules", "lmod"])
def system(
    request: pytest.FixtureRequest, lab_possible: None, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """What one of the module systems, and what it needs beyond this host, would have installed."""
    plan = run(["apt-get", "--simulate", "--no-install-recommends", "install", request.param], timeout=60)
    names = re.findall(r"^Inst (\S+)", plan, re.MULTILINE)
    root = tmp_path_factory.mktemp("root")
    for top in ("usr", "etc"):
        (root / top).mkdir()
    if names:
        apt.unpack(apt.fetch(apt.candidates(names), cache_dir() / "module-systems"), root)
    return root


@pytest.fixture
def host(system: Path, tmp_path: Path) -> Host:
    """A host with one of the module systems."""
    return Host(system, tmp_path)


def test_a_loaded_module_puts_the_fronts_first(host: Host) -> None:
    """Once, however often it is loaded; unloaded, TORQUE's own qsub is back and PATH what it was."""
    out = host.shell(
        "before=$PATH; type -p qsub; module load torque-vm; type -p qsub vsub; module load torque-vm\n"
        'echo "$PATH" | grep -o "our .fronts" | wc -l; module unload torque-vm; type -p qsub\n'
        '[ "$PATH" = "$before" ] && echo same; type -p vsub || echo gone'
    )
    theirs = str(host.torque / "qsub")
    ours = [str(host.fronts / name) for name in ("qsub", "vsub")]
    assert out.splitlines() == [theirs, *ours, "1", theirs, "same", "gone"]


@pytest.mark.parametrize("before", [None, "/mine", "/mine:", ":/mine"])
def test_manuals_are_added_and_none_is_lost(host: Host, before: str | None) -> None:
    """An empty part of MANPATH, or no MANPATH, means the system's own manuals: then they stay."""
    show = 'echo "${MANPATH-unset}"\n'
    out = host.shell(
        f"{show}module load torque-vm\n{show}module unload torque-vm\n{show}",
        {} if before is None else {"MANPATH": before},
    )
    at_first, loaded, unloaded = out.splitlines()
    assert loaded.split(":")[0] == str(host.manuals)
    assert has_the_systems(loaded) == has_the_systems(at_first)
    assert str(host.manuals) not in unloaded
    assert has_the_systems(unloaded) == has_the_systems(at_first)
    assert ("/mine" in unloaded) == (before is not None)


def has_the_systems(path: str) -> bool:
    """Whether ``man`` looks into the system's own manuals too."""
    return path in {"unset", ""} or "" in path.split(":")


def test_the_module_introduces_itself(host: Host) -> None:
    """In lists, and to whom asks for help; one of the two files is seen, not both."""
    out = host.shell("module -t avail; echo; module whatis torque-vm; module help torque-vm")
    assert re.search(r"^torque-vm$", out, re.MULTILINE)
    assert "torque-vm.lua" not in out
    assert "Batch jobs inside fresh virtual machines" in out
    assert "Jobs without -vm go to TORQUE's qsub as they are." in out


def test_the_module_function_reaches_the_real_qsub(host: Host) -> None:
    """Where a site exports it ``qsub -V`` takes it into the job; not every shell would pass it on."""
    real, etc = host.folder / "real", host.folder / "etc"
    executable(real, "#!/bin/bash\ntype -t module\n")
    etc.mkdir()
    (etc / "settings.toml").write_text(f'real_qsub_on_nodes = "{real}"\n')
    compile_settings(str(etc))
    executable(host.fronts / "qsub", front_text("qsub", etc=str(etc)))
    out = host.shell("module load torque-vm; unset BASH_ENV; export -f module; qsub -V -I")
    assert out == "function\n"
