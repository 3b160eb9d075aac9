"""The reference page: made from the tables, up to date, and complete."""

from __future__ import annotations

import pathlib
import re
import runpy

import pytest

from nornir_torque_vm.config.obsolete import REASONS
from nornir_torque_vm.config.reference import reference
from nornir_torque_vm.config.settings import SETTINGS
from nornir_torque_vm.keys import KEYS

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "configuration.md"


def rows() -> list[list[str]]:
    """The cells of all tables; a bar that is text has a backslash before it."""
    lines = [line for line in reference().splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_the_page_is_up_to_date() -> None:
    """Renew it with ``python -m nornir_torque_vm.config.reference > docs/configuration.md``."""
    assert PAGE.read_text(encoding="utf-8") == reference()


def test_the_module_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    """That is how it is renewed."""
    with pytest.warns(RuntimeWarning, match="sys.modules"):
        runpy.run_module("nornir_torque_vm.config.reference", run_name="__main__")
    assert capsys.readouterr().out == reference()


def test_every_setting_has_its_row() -> None:
    """Once, with what it takes, its default as one writes it, and its older names."""
    found = {row[0].strip("`"): row for row in rows() if len(row) == 5}
    assert sorted(found) == sorted(field.name for field in SETTINGS)
    assert len([row for row in rows() if len(row) == 5]) == len(found)
    for field in SETTINGS:
        _, meaning, values, _, earlier = found[field.name]
        assert meaning.startswith(field.help)
        assert ("Not yet acted on by the nodes" in meaning) == bool(field.pending)
        assert field.pending in meaning
        assert values == field.kind.words.replace("|", r"\|").replace("<", r"\<")
        assert earlier == ", ".join(f"`{alias.upper()}`" for alias in field.aliases)
    assert found["ram_default"][3] == '`"2G"`'
    assert found["parallel"][3] == "`true`"
    assert found["address_sources"][3] == '`["agent", "lease", "arp", "neighbour"]`'


def test_every_key_has_its_row() -> None:
    """In the order of the table, with the setting its default comes from."""
    found = [row for row in rows() if len(row) == 4]
    assert [row[0] for row in found] == [f"`{key.name}`" for key in KEYS]
    defaults = [f"setting `{key.default_from}`" if key.default_from else "none" for key in KEYS]
    assert [row[3] for row in found] == defaults


def test_every_name_without_a_counterpart_is_explained() -> None:
    """Each once."""
    found = [name for row in rows() if len(row) == 2 for name in re.findall("`([A-Z_0-9]+)`", row[0])]
    assert sorted(found) == sorted(REASONS)
