"""``qsub -vm help`` and ``vsub --help``: everything from the table, nothing wider than a terminal."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from nornir_torque_vm.config.settings import SETTINGS, Settings
from nornir_torque_vm.keys import KEYS
from nornir_torque_vm.wrapper.helptext import WIDTH, command_help, default_of, keys_help
from nornir_torque_vm.wrapper.options import OWN_OPTIONS
from nornir_torque_vm.wrapper.qsub import OWN_WORDS

NAMES = [key.name for key in KEYS]


def flat(text: str) -> str:
    """The text as one line, however it was wrapped."""
    return " ".join(text.split())


def test_every_key_has_an_entry_in_the_order_of_the_table() -> None:
    """A name, then what it means and what it takes."""
    text = keys_help()
    assert re.findall(r"^([a-z_]+)=$", text, re.MULTILINE) == NAMES
    for key in KEYS:
        assert f"{key.name}= {flat(key.help)}. Value: {flat(key.kind.words)}." in flat(text)


def test_the_sites_defaults_are_shown_as_they_are_written() -> None:
    """With their settings' names; an empty one is none."""
    text = flat(keys_help(Settings(ram_default=3 << 30, img_default="")))
    assert "Default: 3G (setting ram_default)." in text
    assert "Default: none (setting img_default)." in text


def test_without_settings_only_their_names_are_given() -> None:
    """The manual page is the same at every site."""
    assert default_of(KEYS["ram"]) == "setting ram_default"
    assert default_of(KEYS["metadata"]) == ""
    assert "(setting ram_default)" not in keys_help()


@pytest.mark.parametrize("key", [key for key in KEYS if key.default_from], ids=lambda key: key.name)
def test_every_default_can_be_shown(key: object) -> None:
    """The setting that is named exists, and its value has a form."""
    field = KEYS[getattr(key, "name", "")]
    assert default_of(field, Settings()).endswith(f"(setting {SETTINGS[field.default_from].name})")


def test_the_command_shows_its_own_options() -> None:
    """What qsub has is not repeated; the way to the rest is named."""
    text = command_help("vsub")
    assert text.startswith("usage: vsub -vm KEY=VALUE")
    for name, about in OWN_OPTIONS:
        assert re.search(rf"^  {re.escape(name)} +{re.escape(about)}$", text, re.MULTILINE)
    assert "-vm help" in text
    assert "man vsub" in text


def test_the_options_shown_are_those_the_wrapper_knows() -> None:
    """No more and no fewer; ``--help`` and ``-vm help`` aside."""
    assert {name for name, _ in OWN_OPTIONS} == OWN_WORDS


@pytest.mark.parametrize("text", [keys_help(Settings()), command_help()], ids=["keys", "command"])
def test_lines_fit_and_end(text: str) -> None:
    """No trailing blanks, a line end at the end."""
    assert all(len(line) <= WIDTH and line == line.rstrip() for line in text.splitlines())
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


def test_it_needs_the_standard_library_only() -> None:
    """A submit host has nothing else, and help is there before anything is set up."""
    code = (
        "import sys; import nornir_torque_vm.wrapper.helptext;"
        "print(*sorted({name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {"nornir_torque_vm", "__main__", "_virtualenv", "_distutils_hack"}
