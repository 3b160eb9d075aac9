"""The sample settings file: made from the table, up to date, and harmless as it stands."""

from __future__ import annotations

import pathlib
import re
import runpy

import pytest

from nornir_torque_vm.config.sample import sample_settings
from nornir_torque_vm.config.settings import SETTINGS, Settings, loads

SAMPLE = pathlib.Path(__file__).parents[2] / "inventory" / "settings.toml"


def test_the_sample_of_the_site_kit_is_up_to_date() -> None:
    """Renew it with ``python -m nornir_torque_vm.config.sample > inventory/settings.toml``."""
    assert SAMPLE.read_text(encoding="utf-8") == sample_settings()


def test_the_module_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    """That is how it is renewed."""
    with pytest.warns(RuntimeWarning, match="sys.modules"):
        runpy.run_module("nornir_torque_vm.config.sample", run_name="__main__")
    assert capsys.readouterr().out == sample_settings()


def test_as_it_stands_it_changes_nothing() -> None:
    """Everything is commented out, and what is commented out are the defaults."""
    assert loads(sample_settings()) == Settings()
    live = re.sub(r"^#(?=[a-z0-9_]+ = )", "", sample_settings(), flags=re.MULTILINE)
    assert loads(live) == Settings()
    assert len(re.findall(r"^[a-z0-9_]+ = ", live, re.MULTILINE)) == len(list(SETTINGS))


def test_each_setting_has_its_help_and_what_it_takes() -> None:
    """Wrapped lines apart, the words of the table."""
    flat = re.sub(r"\n# ", " ", sample_settings())
    for field in SETTINGS:
        assert f"# {field.help} ({field.kind.words})\n#{field.name} = " in flat or (
            f" {field.help} ({field.kind.words})\n#{field.name} = " in flat
        )
    assert '#ram_default = "2G"\n' in flat
    assert '#address_sources = ["agent", "lease", "arp", "neighbour"]\n' in flat
    assert "/etc/torque-vm/settings.toml" in flat


def test_lines_fit_a_terminal_and_entries_are_apart() -> None:
    """At most 102 characters, a blank line between entries, a line end at the end."""
    text = sample_settings()
    assert max(map(len, text.splitlines())) <= 102
    assert text.count("\n\n") == len(list(SETTINGS))
    assert text.endswith("#reap_grace = 600\n")
