"""The reference of all settings and all ``-vm`` keys, written from the tables that read them.

``python -m nornir_torque_vm.config.reference > docs/configuration.md`` renews it, in the project's folder:
each row has the test that proves its effect, found in ``tests/``.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from nornir_torque_vm.config.fields import Field
from nornir_torque_vm.config.obsolete import REASONS
from nornir_torque_vm.config.proofs import proofs
from nornir_torque_vm.config.settings import DEFAULT_PATH, SETTINGS, Settings
from nornir_torque_vm.config.tomltext import toml_value
from nornir_torque_vm.keys import KEYS

SECTIONS = {
    "GuestSettings": (
        "Guests",
        "Submit hosts check and resolve requests by them; nodes do the same again, and plan guests by them.",
    ),
    "MachineSettings": (
        "Machines",
        "The plan and the domain of each guest follow them; what a node has not got the survey tells.",
    ),
    "CloudInitSettings": (
        "Cloud-init",
        "The seed of each guest is made of them: what it is told beside its name, account and address.",
    ),
    "HookSettings": ("Hooks", "The hooks on the nodes act on them."),
    "AddressSettings": (
        "Addresses",
        "Nodes plan and check the guests' addresses by them, and give leases back.",
    ),
    "SubmitSettings": (
        "Submission",
        "The wrapper and the submit filter act on them, some of them the hooks too.",
    ),
    "MonitoringSettings": (
        "Monitoring",
        "Nodes act on them: a timer of each, and what the installation puts there.",
    ),
    "DeviceSettings": (
        "Remote memory access",
        "Submit hosts resolve requests by them; nodes look for the hardware, and plan guests by them.",
    ),
    "ComponentSettings": (
        "Components",
        "Submit hosts check and resolve requests by them, and carry the result in the job.",
    ),
    "Settings": ("Nodes", "The hooks on the nodes and the administrators' commands act on them."),
}
"""Class that defines settings → heading, and where they take effect. A new one needs no entry."""

_KEY_NAMES = {key.name for key in KEYS}

HEAD = f"""\
# Configuration reference

Made from the tables in the code by `python -m nornir_torque_vm.config.reference`; do not edit it here. How to
work with the settings is said in [Administration](administration.md#configuration).

Settings stand in `{DEFAULT_PATH}` (TOML), the same file on submit hosts and nodes. Names count in
any case: `IMAGE_POOL` is `image_pool`. Truth values are `true` and `false`; sizes are texts such as `"2G"`,
binary; times are seconds. Hosts are chosen by `"*"` (all), `""` (none) or a regular expression that has to
match a host's whole name, short or full. The last column names a test, below `tests/`, that looks at the
effect: at the live domain, from inside a guest, or at what a hook or a command does.
"""
KEYS_HEAD = """\
## Keys of `-vm`

A key that a job does not name has the value of the setting that is named as its default.
"""
OBSOLETE_HEAD = """\
## Names of the earlier system without a counterpart

`torque-vm config import` leaves them as comments.
"""


def reference(proved: Mapping[str, tuple[str, ...]]) -> str:
    """Return the whole page.

    :param proved: name of a setting or key → tests that prove it.
    """
    keys = _table(("key", "meaning", "values", "default", "test"), (_key(field, proved) for field in KEYS))
    parts = [HEAD, *_sections(proved), KEYS_HEAD, keys]
    return "\n".join([*parts, OBSOLETE_HEAD, _table(("name", "it …"), _obsolete())])


def _sections(proved: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    for owner in reversed(Settings.__mro__):
        names = [name for name in vars(owner).get("__annotations__", {}) if dataclasses.is_dataclass(owner)]
        if names:
            heading, where = SECTIONS.get(owner.__name__, (owner.__name__, owner.__doc__ or ""))
            yield f"## {heading}\n\n{where}\n"
            titles = ("setting", "meaning", "values", "default", "earlier names", "test")
            yield _table(titles, (_setting(SETTINGS[name], proved) for name in names))


def _setting(field: Field, proved: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    default = toml_value(field.kind.dump(field.default))
    earlier = ", ".join(f"`{alias.upper()}`" for alias in field.aliases)
    words = field.kind.words
    test = _test(proof_name(field), proved)
    return f"`{field.name}`", field.help, words, f"`{default}`", earlier, test


def _key(field: Field, proved: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    default = f"setting `{field.default_from}`" if field.default_from else "none"
    return f"`{field.name}`", field.help, field.kind.words, default, _test(field.name, proved)


def proof_name(field: Field) -> str:
    """What tests call a setting that they prove: its name alone could be meant of a key."""
    return f"setting {field.name}" if field.name in _KEY_NAMES else field.name


def _test(name: str, proved: Mapping[str, tuple[str, ...]]) -> str:
    """One of the tests that prove it; the nearest to a real guest."""
    tests = sorted(proved.get(name, ()), key=lambda test: (test.partition("/")[0] != "lab", test))
    return f"`{tests[0]}`" if tests else ""


def _obsolete() -> Iterator[tuple[str, str]]:
    for reason in dict.fromkeys(REASONS.values()):
        names = sorted(name for name, why in REASONS.items() if why == reason)
        yield ", ".join(f"`{name}`" for name in names), reason


def _table(titles: Iterable[str], rows: Iterable[tuple[str, ...]]) -> str:
    """A table as Markdown writes it."""
    head = tuple(titles)
    lines = (head, ("---",) * len(head), *(tuple(map(_cell, row)) for row in rows))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(text: str) -> str:
    return re.sub(r"([|<])", r"\\\1", text)


if __name__ == "__main__":
    sys.stdout.write(reference(proofs(Path("tests"))))
