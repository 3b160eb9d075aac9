"""The site kit is found in a checkout and in an installation, and its hooks carry the site's values."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from nornir_torque_vm import sitekit
from nornir_torque_vm.errors import SettingsError
from nornir_torque_vm.sitekit import (
    FRONTS,
    MODULE_FILES,
    front_text,
    hook_text,
    kit_file,
    module_text,
    starter_text,
)

HOOKS = ("prologue.vm", "epilogue.vm")
ODD = """/opt/it's "here" [x] {y} $z \\ ü"""


def test_a_checkouts_kit_goes_before_a_copy_that_was_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An editable installation copies the kit; whoever edits a hook means the one that is edited."""
    checkout = Path(__file__).parents[2] / "hooks/prologue.vm"
    installed = tmp_path / "share/torque-vm/hooks/prologue.vm"
    installed.parent.mkdir(parents=True)
    installed.write_text("PYTHON=old\n")
    monkeypatch.setattr(sysconfig, "get_path", lambda _name: str(tmp_path))
    assert kit_file("hooks", "prologue.vm") == checkout
    package = tmp_path / "site-packages/nornir_torque_vm/sitekit.py"
    (package.parents[1] / "hooks").mkdir(parents=True)
    (package.parents[1] / "hooks/prologue.vm").write_text("of another package\n")
    monkeypatch.setattr(sitekit, "__file__", str(package))
    assert kit_file("hooks", "prologue.vm") == installed
    assert hook_text("prologue.vm", python="/new") == "PYTHON=/new\n"


@pytest.mark.parametrize("parts", [("hooks", "prologue"), ("hooks",), ("..", "nothing")])
def test_what_is_not_in_the_kit_is_named(parts: tuple[str, ...]) -> None:
    """A wheel that was built wrongly, or a directory."""
    with pytest.raises(SettingsError, match="is not part of this installation"):
        kit_file(*parts)


@pytest.mark.parametrize("name", HOOKS)
def test_only_the_values_of_a_hook_change(name: str) -> None:
    """The rest is the file as it is reviewed."""
    before = kit_file("hooks", name).read_text().splitlines()
    after = hook_text(name, python="/opt/it's here/python", run_dir="/run/x y").splitlines()
    changed = {old.partition("=")[0]: new for old, new in zip(before, after, strict=True) if old != new}
    assert changed.pop("PYTHON") == """PYTHON='/opt/it'"'"'s here/python'"""
    assert changed in ({}, {"RUN_DIR": "RUN_DIR='/run/x y'"})
    assert sys.executable in hook_text(name)


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_a_shell_script_that_parses(name: str) -> None:
    """Whatever the values."""
    text = hook_text(name, python="/a'b", run_dir="/c d")
    assert text.startswith("#!/bin/sh\n")
    assert kit_file("hooks", name).stat().st_mode & 0o111
    subprocess.run(["sh", "-n"], input=text, text=True, check=True)


def test_only_the_values_of_the_job_starter_change() -> None:
    """And perl reads them back, whatever they are."""
    before = kit_file("hooks", "job_starter").read_text().splitlines()
    after = starter_text(python=ODD, run_dir=f"{ODD}/run", mom_config="$source_login_batch off\n")
    changed = [new for old, new in zip(before, after.splitlines(), strict=True) if old != new]
    assert kit_file("hooks", "job_starter").stat().st_mode & 0o111
    subprocess.run(["perl", "-c", "-t", "-C0"], input=after, text=True, check=True, capture_output=True)
    shown = subprocess.run(
        ["perl", "-e", "\n".join([*changed, 'print "$PYTHON\\n$RUN_DIR\\n$LOGIN_BATCH\\n"'])],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert shown.stdout == f"{ODD}\n{ODD}/run\n0\n"


@pytest.mark.parametrize(
    ("config", "batch", "interactive"),
    [
        ("", "1", "1"),
        ("$source_login_batch false\n", "0", "1"),
        ("$source_login_interactive No\n", "1", "0"),
        ("$source_login_batch 0\n$source_login_batch True\n", "1", "1"),
        ("$source_login_batch off\n$source_login_interactive OFF\n", "0", "0"),
        ("$source_login_batch off\n$source_login_batch on\n", "1", "1"),
        ("$source_login_batch\n# $source_login_batch no\n$source_login_batch other\n", "1", "1"),
    ],
)
def test_the_job_starter_knows_whether_its_mom_starts_login_shells(
    config: str, batch: str, interactive: str
) -> None:
    """The last line that says something counts, in the words TORQUE reads."""
    lines = starter_text(mom_config=config).splitlines()
    assert f"my $LOGIN_BATCH = '{batch}';" in lines
    assert f"my $LOGIN_INTERACTIVE = '{interactive}';" in lines


@pytest.mark.parametrize("name", FRONTS)
def test_only_the_values_of_a_front_change(name: str) -> None:
    """And it parses whatever they are; ``vsub`` is ``qsub`` under another name."""
    before = kit_file("wrapper", FRONTS[name]).read_text().splitlines()
    after = front_text(name, python=ODD, etc=f"{ODD}/etc")
    changed = [new for old, new in zip(before, after.splitlines(), strict=True) if old != new]
    assert [line.partition("=")[0] for line in changed] == ["torque_vm_python", "torque_vm_etc"]
    assert kit_file("wrapper", FRONTS[name]).stat().st_mode & 0o111
    subprocess.run(["sh", "-n"], input=after, text=True, check=True)
    shown = subprocess.run(
        ["sh", "-c", "\n".join([*changed, 'echo "$torque_vm_python"; echo "$torque_vm_etc"'])],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert shown.stdout == f"{ODD}\n{ODD}/etc\n"


@pytest.mark.parametrize("name", MODULE_FILES)
def test_only_the_values_of_a_module_file_change(name: str) -> None:
    """That Tcl and Lua read them back is tested with the module systems themselves."""
    before = kit_file("wrapper", "modulefiles", name).read_text().splitlines()
    after = module_text(name, fronts="/new/fronts", manuals="/new/man").splitlines()
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    assert len(changed) == 2
    assert "/new/fronts" in changed[0]
    assert "/new/man" in changed[1]
