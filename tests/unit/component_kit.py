"""Components of other packages, installed for a test: the example, and what a test makes up."""

from __future__ import annotations

import importlib
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[1] / "example_component"


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, project: Path = EXAMPLE) -> None:
    """Put a project's modules and what its pyproject.toml declares where an installer would."""
    about = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    for module in project.glob("*.py"):
        (folder / module.name).write_text(module.read_text())
    declare(folder, about["name"], about["entry-points"]["nornir_torque_vm.components"])
    monkeypatch.syspath_prepend(folder)


def declare(folder: Path, name: str, points: dict[str, str]) -> None:
    """Write the metadata of an installed distribution."""
    metadata = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = "".join(f"{key} = {value}\n" for key, value in points.items())
    (metadata / "entry_points.txt").write_text(f"[nornir_torque_vm.components]\n{lines}")


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The example component is installed."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    install(folder, monkeypatch)
    yield
    sys.modules.pop("torque_vm_notice", None)
    importlib.invalidate_caches()
