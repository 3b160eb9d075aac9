"""The administrators' commands on real nodes, outside any batch job."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pytest
from driving import SMALL, command, leftovers

from nornir_torque_vm.exitcodes import CliExit
from nornir_torque_vm.lab import Lab

pytestmark = pytest.mark.lab

JOB = "4242.adhoc"
HOSTS = """
node1: {hostname: 10.89.0.11, data: {rack: a}}
node2: {hostname: 10.89.0.12, data: {rack: b}}
"""


@pytest.fixture(scope="module")
def booted(lab: Lab) -> Iterator[Lab]:
    """A guest on each of two nodes, started by hand."""
    done = command(lab, "boot", "node1", "node2", "--job", JOB, "-vm", SMALL)
    assert done.returncode == CliExit.OK, done.stderr
    yield lab
    gone = command(lab, "destroy", "--job", JOB)
    assert gone.returncode == CliExit.OK, gone.stderr
    assert leftovers(lab) == {}


def test_boot_lists_every_guest_with_its_address_and_says_how_to_get_rid_of_it(lab: Lab, booted: Lab) -> None:
    """Booting what runs already changes nothing and fails nothing."""
    found = json.loads(command(lab, "guests", "node1", "node2", "--json").stdout)
    assert [guest["guest"] for guest in found["guests"]] == ["j4242-r0", "j4242-r1"]
    assert {guest["state"] for guest in found["guests"]} == {"running"}
    assert {guest["owner"] for guest in found["guests"]} == {"root"}


def test_guests_can_be_filtered_by_what_they_are(booted: Lab) -> None:
    """Rank, node, job, state …: the keys of the table."""
    table = command(booted, "guests", "node1", "node2", "--filter", "rank=1").stdout.splitlines()
    assert [line.split()[0] for line in table[1:]] == ["j4242-r1"]
    none = command(booted, "guests", "node1", "node2", "--filter", "owner=nobody")
    assert none.returncode == CliExit.NOTHING


def test_nodes_can_come_from_a_simple_inventory_and_be_filtered_by_its_data(booted: Lab) -> None:
    """An administrator's own hosts.yaml, with the data that is there already."""
    folder = booted.root("node1") / "root" / "site"
    folder.mkdir(exist_ok=True)
    (folder / "hosts.yaml").write_text(HOSTS)
    done = command(booted, "guests", "--inventory", "/root/site", "--filter", "rack=b", "--json")
    assert [guest["node"] for guest in json.loads(done.stdout)["guests"]] == ["node2"]
    wrong = command(booted, "guests", "--inventory", "/root/site", "--filter", "rackk=b")
    assert wrong.returncode == CliExit.USAGE
    assert "rack" in wrong.stderr


def test_addresses_are_found_again_without_any_plan(booted: Lab) -> None:
    """What libvirt knows of its guests is enough; the node's neighbour table knows where they are."""
    done = command(booted, "address", "node1", "node2", "--job", JOB, "--timeout", "60")
    assert done.returncode == CliExit.OK, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    assert [row[0] for row in rows] == ["j4242-r0", "j4242-r1"]
    assert all(row[2].startswith("10.89.0.") for row in rows)


def test_health_runs_a_command_in_every_guest(booted: Lab) -> None:
    """With the job's keys, which the node that booted the guests has; a failing command is a failure."""
    good = command(
        booted, "health", "node1", "node2", "--job", JOB, "--timeout", "60", "--command", "uname -n"
    )
    assert good.returncode == CliExit.OK, good.stderr
    bad = command(
        booted, "health", "node1", "node2", "--job", JOB, "--timeout", "60", "--command", "exit 3", "--quiet"
    )
    assert bad.returncode == CliExit.FAILED
    assert "j4242-r[0-1]" in bad.stderr


def test_an_unreachable_node_does_not_hide_the_others(booted: Lab) -> None:
    """One node of three does not answer: exit 1, the rest is listed; no node answers: exit 5."""
    done = command(booted, "guests", "node1", "10.89.0.99", "--json", "--timeout", "5")
    assert [guest["node"] for guest in json.loads(done.stdout)["guests"]] == ["node1"]
    assert done.returncode in {CliExit.FAILED, CliExit.LATE}
    empty = command(booted, "guests", "no-such-node", "--timeout", "10")
    assert empty.returncode == CliExit.UNREACHABLE


def test_the_tasks_work_from_a_plain_nornir_script(booted: Lab) -> None:
    """InitNornir with our inventory, runner and connection; filters and print_result as usual."""
    script = """
from nornir import InitNornir
from nornir_utils.plugins.functions import print_result
from nornir_torque_vm.tasks import list_guests
with InitNornir(
    inventory={"plugin": "TorqueInventory", "options": {"hosts": ["node1", "node2"]}},
    runner={"plugin": "deadline", "options": {"run_timeout": 30}},
    logging={"enabled": False},
) as nr:
    result = nr.filter(name="node2").run(list_guests)
    print_result(result)
    assert [guest.guest for guest in result["node2"][0].result] == ["j4242-r1"]
"""
    done = booted.run("node1", [sys.executable, "-c", script], check=False)
    assert done.returncode == 0, done.stderr
    assert "j4242-r1" in done.stdout
