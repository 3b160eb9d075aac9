"""What is shipped, what an import costs, and what is pinned."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import nornir_torque_vm

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "nornir_torque_vm"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
KIT = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
DATA = f"nornir_torque_vm-{nornir_torque_vm.__version__}.data/data"
ENTRY_POINTS = [
    target
    for group in (PROJECT["project"]["scripts"], *PROJECT["project"]["entry-points"].values())
    for target in group.values()
]
HEAVY = {"asyncio", "click", "cryptography", "jinja2", "libvirt", "netmiko", "nornir", "nornir_utils",
         "paramiko", "pycdlib", "rich", "ruamel"}  # fmt: skip
"""Libraries that cost tens of milliseconds to import, or need headers to install."""


def files_below(directory: Path) -> Iterator[Path]:
    """Files under ``directory`` that belong to the project, without what Python leaves there."""
    return (path for path in directory.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def modules_loaded_by(statement: str) -> set[str]:
    """Names of the modules that ``statement`` adds to a Python that has loaded nothing else."""
    code = f"import sys; before = set(sys.modules); {statement}; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this checkout with what is installed: no network, no isolation."""
    directory = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(directory), str(ROOT)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PIP_NO_INDEX": "1"},
    )
    (path,) = directory.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel and none of its dependencies: what a submit host has."""
    venv = tmp_path_factory.mktemp("submit-host")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(venv / "bin/python"), "--quiet"]
    subprocess.run([*pip, "install", "--no-index", "--no-deps", str(wheel)], check=True, capture_output=True)
    return venv


def test_the_wheel_brings_one_importable_package(wheel: Path) -> None:
    """Nothing called ``inventory`` or ``tasks`` may land in anybody's site-packages."""
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    stem = f"nornir_torque_vm-{nornir_torque_vm.__version__}"
    assert tops <= {"nornir_torque_vm", f"{stem}.dist-info", f"{stem}.data"}


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    """Templates, recorded data and the micro guest's files travel with the code."""
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {str(path.relative_to(ROOT)) for path in files_below(PACKAGE)}
    assert expected - names == set()


@pytest.mark.parametrize("directory", sorted(KIT))
def test_the_wheel_holds_the_site_kit(wheel: Path, directory: str) -> None:
    """What a site deploys and edits ships under share/torque-vm."""
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        f"{DATA}/{KIT[directory]}/{path.relative_to(ROOT / directory)}"
        for path in files_below(ROOT / directory)
    }
    assert expected
    assert expected - names == set()


def test_installing_adds_one_top_level_package(installed: Path) -> None:
    """After ``pip install`` of the wheel, site-packages has our package and its metadata only."""
    (site,) = installed.glob("lib/python3*/site-packages")
    assert {path.name.split("-")[0] for path in site.iterdir()} == {"nornir_torque_vm"}


def test_the_package_imports_without_any_dependency(installed: Path) -> None:
    """A submit host has no libvirt headers and no Nornir."""
    code = "import nornir_torque_vm; print(nornir_torque_vm.__version__)"
    done = subprocess.run(
        [str(installed / "bin/python"), "-I", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == nornir_torque_vm.__version__


def test_importing_the_package_imports_nothing_else() -> None:
    """The wrapper and every hook pay for this import."""
    assert modules_loaded_by("import nornir_torque_vm") == {"nornir_torque_vm"}


@pytest.mark.parametrize("target", ENTRY_POINTS)
def test_entry_points_resolve_and_stay_light(target: str) -> None:
    """InitNornir loads every plugin it finds, so none may drag in what only its use needs.

    Components are none of Nornir's plugins: they are loaded where guests are started, whose XML is rendered.
    """
    module, _, name = target.partition(":")
    assert callable(getattr(importlib.import_module(module), name))
    loaded = {name.partition(".")[0] for name in modules_loaded_by(f"import {module}")}
    rendering = {"jinja2"} if module.startswith("nornir_torque_vm.components.") else set()
    assert loaded & (HEAVY - {"nornir", "ruamel"} - rendering) == set()


def test_plugin_names_collide_with_nobody() -> None:
    """Nornir keeps the plugins of all groups in one table, where a name can be taken only once."""
    taken = {"threaded", "serial", "netmiko", "napalm", "paramiko", "scrapli", "ssh", "SimpleInventory"}
    plugins = [
        name
        for group, names in PROJECT["project"]["entry-points"].items()
        if group.startswith("nornir.plugins.")
        for name in names
    ]
    assert len(plugins) == len(set(plugins))
    assert taken.isdisjoint(plugins)


def test_modules_stay_small() -> None:
    """A module does one thing: 300 lines at most."""
    lines = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in PACKAGE.rglob("*.py")}
    assert {name: count for name, count in lines.items() if count > 300} == {}


def test_the_version_is_a_literal_and_the_wheel_has_it(wheel: Path) -> None:
    """Reading the version must not cost an import of importlib.metadata (40 ms)."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    (literal,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and "__version__" in ast.unparse(node)
    )
    assert isinstance(literal, ast.Constant)
    assert literal.value == nornir_torque_vm.__version__ == wheel.name.split("-")[1]


def pins() -> dict[str, str]:
    """Name → version of everything the virtual environment is made of."""
    found: dict[str, str] = {}
    for name in ("build", "node", "dev"):
        for line in (ROOT / "requirements" / f"{name}.txt").read_text().splitlines():
            if pin := line.partition("#")[0].strip():
                match = re.fullmatch(r"([A-Za-z0-9_.-]+)==([0-9][0-9a-z.]*)", pin)
                assert match, f"requirements/{name}.txt: {pin!r} is not name==version"
                found[canonicalize_name(match[1])] = match[2]
    return found


@pytest.mark.parametrize("extra", ["submit", "node", "dev"])
def test_pins_satisfy_the_extras(extra: str) -> None:
    """What is tested is what pyproject.toml promises to work with."""
    pinned = pins()
    wanted = [Requirement(text) for text in PROJECT["project"]["optional-dependencies"][extra]]
    assert {r.name for r in wanted if canonicalize_name(r.name) not in pinned} == set()
    assert {str(r): pinned[canonicalize_name(r.name)] for r in wanted
            if not r.specifier.contains(pinned[canonicalize_name(r.name)])} == {}  # fmt: skip


def test_no_debian_package_of_ours_starts_a_service() -> None:
    """The lab's daemons live in its namespaces; these packages would start the machine's own."""
    names = {
        line.partition("#")[0].strip()
        for path in (ROOT / "requirements").glob("debian-*.txt")
        for line in path.read_text().splitlines()
    }
    assert "libvirt-daemon" in names
    assert names.isdisjoint({"libvirt-daemon-system", "libvirt-daemon-system-systemd", "dnsmasq", "dropbear",
                             "openssh-server"})  # fmt: skip
