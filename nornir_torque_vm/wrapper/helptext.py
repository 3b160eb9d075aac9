"""What ``qsub -vm help`` and ``vsub --help`` print, from the table of keys."""

from __future__ import annotations

import textwrap

from nornir_torque_vm.config.fields import Field
from nornir_torque_vm.config.settings import SETTINGS
from nornir_torque_vm.keys import KEYS
from nornir_torque_vm.wrapper.options import OWN_OPTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nornir_torque_vm.config.settings import Settings

WIDTH = 96
"""Columns the texts keep within."""

USAGE = "-vm KEY=VALUE[,KEY=VALUE...] [QSUB OPTIONS] [SCRIPT]"


def keys_help(settings: Settings | None = None, *, command: str = "qsub") -> str:
    """Return all keys with what they mean, what they take and what holds without them.

    :param settings: whose defaults are shown; None: only the names of the settings.
    """
    entries = "".join(f"\n{_entry(key, settings)}" for key in KEYS)
    return (
        f"usage: {command} {USAGE}\n\n"
        "Keys, in any case; a key may be given again, the last one counts. In the script:\n"
        "    #PBS -vm KEY=VALUE,KEY=VALUE\n"
        "and what the command line says goes first.\n"
        f"{entries}"
    )


def command_help(command: str = "vsub") -> str:
    """Return what the command does, and its own options."""
    width = max(len(name) for name, _ in OWN_OPTIONS)
    options = "".join(f"  {name:<{width}}  {text}\n" for name, text in OWN_OPTIONS)
    return (
        f"usage: {command} {USAGE}\n\n"
        "Submit a batch job that runs in fresh virtual machines. Without -vm, here or in the script,\n"
        "this is plain qsub, whose options all keep their meaning.\n\n"
        f"{options}"
        f"  {'-vm help':<{width}}  explain the keys\n\n"
        "man vsub has all of it.\n"
    )


def default_of(key: Field, settings: Settings | None = None) -> str:
    """Say what holds when ``key`` is not given: the value, and which setting has it.

    :param settings: None leaves the value out.
    :return: a phrase such as ``2G (setting ram_default)``; empty for a key without a default.
    """
    if not key.default_from:
        return ""
    where = f"setting {key.default_from}"
    if settings is None:
        return where
    value = getattr(settings, key.default_from)
    return f"{SETTINGS[key.default_from].kind.text(value) or 'none'} ({where})"


def _entry(key: Field, settings: Settings | None) -> str:
    sentences = [f"{key.help}. Value: {key.kind.words}."]
    if default := default_of(key, settings):
        sentences.append(f"Default: {default}.")
    text = textwrap.fill(" ".join(sentences), WIDTH, initial_indent="    ", subsequent_indent="    ")
    return f"{key.name}=\n{text}\n"
