"""What ``torque-vm doctor`` says of components."""

from __future__ import annotations

from pathlib import Path

from component_kit import example

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.doctor.components import DIM
from nornir_torque_vm.doctor.here import ON_NODES, examine
from nornir_torque_vm.doctor.model import Here, Mark

__all__ = ["example"]


def said(settings: Settings, folder: Path) -> dict[str, tuple[Mark, str]]:
    """What is said of each component of a node."""
    here = Here(settings, "n1", etc=str(folder), prefix=str(folder), quick=True, root=str(folder))
    lines = examine(here, Deadline.after(20), {"components": ON_NODES["components"]})
    return {line.subject: (line.mark, line.text) for line in lines}


def test_a_site_without_components_reads_nothing_of_them(tmp_path: Path) -> None:
    """No line."""
    assert said(Settings(), tmp_path) == {}


def test_each_that_is_switched_on_has_a_line(tmp_path: Path, example: None) -> None:
    """One that no package has fails, with what to do; the others are in order."""
    settings = Settings(unclot_enabled=True, ramdisk_dir="/memory", components=("notice", "other"))
    fine = (Mark.OK, "there is all that it needs to be loaded")
    assert said(settings, tmp_path) == {
        "component unclot": fine,
        "component notice": fine,
        "component other": (Mark.FAIL, "no installed package has a component other"),
    }


def test_the_managers_programs_have_to_be_there(tmp_path: Path) -> None:
    """Where they are the back end."""
    settings = Settings(iocm_enabled=True, iocm_backend="dim", iocm_dim_dir=str(tmp_path / "dim"))
    path = tmp_path / "dim" / DIM[0]
    assert said(settings, tmp_path) == {"component iocm": (Mark.FAIL, f"{path} is no program")}
    (tmp_path / "dim").mkdir()
    for name in DIM:
        (tmp_path / "dim" / name).touch(0o755)
    assert said(settings, tmp_path)["component iocm"][0] is Mark.OK
