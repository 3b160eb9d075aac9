"""The sample settings file of the site kit, written from the table of settings.

``python -m nornir_torque_vm.config.sample > inventory/settings.toml`` renews it.
"""

from __future__ import annotations

import json
import sys
import textwrap

from nornir_torque_vm.config.fields import Field
from nornir_torque_vm.config.settings import DEFAULT_PATH, SETTINGS

HEAD = f"""\
# Settings of nornir-torque-vm (TOML). Copy this file to {DEFAULT_PATH}
# on the submit hosts and on all nodes. Each setting shows its default: take the "#" in front of its
# name away to change it. An unknown name or a bad value is an error that says so.
"""


def sample_settings() -> str:
    """Return a settings file in which every setting is commented out, with help, limits and default."""
    return "\n".join([HEAD, *(_entry(field) for field in SETTINGS)])


def _entry(field: Field) -> str:
    """Return one setting's lines; JSON's numbers, strings and lists of strings are TOML's too."""
    help_lines = textwrap.wrap(f"{field.help} ({field.kind.words})", 100)
    value = json.dumps(field.kind.dump(field.default))
    return "".join(f"# {line}\n" for line in help_lines) + f"#{field.name} = {value}\n"


if __name__ == "__main__":
    sys.stdout.write(sample_settings())
