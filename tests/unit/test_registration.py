"""What Nornir finds when this package is installed: every plugin loads, cheaply, under a name of its own."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint, entry_points

import pytest

GROUPS = tuple(
    f"nornir.plugins.{kind}" for kind in ("inventory", "transform_function", "runners", "connections")
)
HEAVY = ("libvirt", "netmiko", "paramiko", "cryptography", "rich", "jinja2", "pycdlib")
OURS = {
    "TorqueInventory": "inventory",
    "deadline": "runners",
    "guest_ssh": "connections",
    "libvirt": "connections",
    "node_shell": "connections",
}
TAKEN = {"netmiko", "napalm", "scrapli", "threaded", "serial", "SimpleInventory", "YAMLInventory", "paramiko"}
"""Names of well-known plugins: Nornir keeps all kinds in one table and refuses the second of a name."""


def installed() -> list[EntryPoint]:
    """The plugins this package registers."""
    return [
        point
        for group in GROUPS
        for point in entry_points(group=group)
        if point.value.startswith("nornir_torque_vm.")
    ]


def test_the_plugins_are_registered_in_their_groups() -> None:
    """By the names that configuration files and documents use."""
    assert {point.name: point.group.rpartition(".")[2] for point in installed()} == OURS


def test_no_name_is_used_twice_over_all_groups() -> None:
    """Also not by the plugins that are commonly installed beside ours."""
    names = [point.name for group in GROUPS for point in set(entry_points(group=group))]
    assert len(names) == len(set(names))
    assert not TAKEN & set(OURS)


@pytest.mark.parametrize("name", OURS)
def test_loading_a_plugin_imports_nothing_heavy(name: str) -> None:
    """InitNornir loads all of them, used or not, on machines that may have none of these libraries."""
    point = next(point for point in installed() if point.name == name)
    script = (
        f"import sys; sys.modules.update(dict.fromkeys({HEAVY}))\n"  # importing any of them now fails
        f"from {point.module} import {point.attr}\n"
        f"print({point.attr}.__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == (point.attr, "")


def test_a_plain_initnornir_script_can_use_the_runner_and_the_connection() -> None:
    """As in anybody's config.yaml; nothing is written into the working directory."""
    script = (
        "from nornir import InitNornir\n"
        "from nornir.core.inventory import Host\n"
        "from nornir.core.plugins.connections import ConnectionPluginRegister\n"
        "nr = InitNornir(runner={'plugin': 'deadline', 'options': {'run_timeout': 5}},\n"
        "                inventory={'plugin': 'SimpleInventory', 'options': {'host_file': '/dev/null'}},\n"
        "                logging={'enabled': False})\n"
        "print(type(nr.runner).__name__, nr.runner.run_timeout,\n"
        "      ConnectionPluginRegister.get_plugin('libvirt').__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "DeadlineRunner 5 LibvirtConnection\n", done.stderr
