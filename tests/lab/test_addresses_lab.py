"""Addresses without a DHCP server, machines that have them already, and leases that are given back."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from driving import SMALL, Job, command, history, leftovers, settings, shell
from failing import Daemon
from remains import assert_nothing_left

from nornir_torque_vm.driver.session import Ended
from nornir_torque_vm.exitcodes import RunExit
from nornir_torque_vm.lab import Lab
from nornir_torque_vm.lab.layout import BRIDGE, SWITCH

pytestmark = pytest.mark.lab

PLACE = "/etc/torque-vm/torque"
"""Where node1's qstat and pbsnodes are."""
QSTAT = """\
#!/bin/sh
echo "<Data><Job><Job_Id>$3</Job_Id><exec_host>node1/2-3+node2/0-1</exec_host></Job></Data>"
"""
PBSNODES = """\
#!/bin/sh
echo '<Data>'
for name in node1 node2; do
    echo "<Node><name>$name</name><state>free</state><np>4</np></Node>"
done
echo '</Data>'
"""
COMPUTED = {
    "static_ip_mapping": True,
    "static_network": "10.89.0.0/24",
    "static_first": "10.89.0.80",
    "static_nodes": "node[1-2]",
    "static_slots": 4,
    "static_gateway": "10.89.0.1",
    "real_qsub_on_nodes": f"{PLACE}/qsub",
}
"""The third slot of node1 is 10.89.0.82, the first of node2 10.89.0.84."""
TIMES = (12.0, 60.0)
"""Seconds for a start that fails; the second where the machine was too busy for the guest to get a lease."""
SCRIPT = "/etc/torque-vm/address"
NETWORK = f'<network><name>cluster</name><forward mode="bridge"/><bridge name="{BRIDGE}"/></network>'


@pytest.fixture(scope="module")
def site(lab: Lab) -> Iterator[Lab]:
    """A lab whose first node can ask for the slots of any job."""
    place = lab.root("node1") / PLACE[1:]
    place.mkdir()
    for name, text in (("qstat", QSTAT), ("pbsnodes", PBSNODES)):
        (place / name).write_text(text)
        (place / name).chmod(0o755)
    yield lab
    shell(lab, "node1", f"rm -rf {PLACE} {SCRIPT}")


@pytest.fixture
def silent(lab: Lab) -> Iterator[None]:
    """No DHCP server for a while."""
    server = Daemon(lab, SWITCH, "dnsmasq")
    server.freeze()
    yield
    server.thaw()


def leased(lab: Lab) -> set[str]:
    """MAC addresses in the DHCP server's file."""
    return {line.split()[1] for line in lab.lease_file.read_text().splitlines() if " " in line}


def macs(lab: Lab, ended: Ended) -> set[str]:
    """Those that the guests of a job had."""
    return {guest["mac"] for guest in history(lab, ended, "plan")["guests"]}


@pytest.mark.proves(
    "static_ip_mapping", "static_network", "static_first", "static_nodes", "static_slots", "static_gateway"
)
def test_guests_have_the_addresses_of_their_slots_and_need_no_dhcp_server(site: Lab, silent: None) -> None:
    """On two nodes; the guests know each other, and nothing of the job is left."""
    job = Job(site, "ip route show default; ip -4 -o addr show eth0", SMALL, nodes=2)
    with settings(site, COMPUTED, "node1", "node2"):
        ended = job.run()
    assert ended.exit_code == 0, job.errors
    assert "inet 10.89.0.82/24" in job.lines[-1]
    assert "default via 10.89.0.1 " in job.lines[0]
    report = history(site, ended, "report")
    assert [entry["host"] for entry in report["hosts"]][:2] == [job.guest(0), job.guest(1)]
    plan = history(site, ended, "plan")
    assert [guest["static"]["address"] for guest in plan["guests"]] == ["10.89.0.82", "10.89.0.84"]
    assert_nothing_left(site, ended.outcome.job_id)


@pytest.mark.proves("check_addresses")
def test_an_address_that_another_machine_has_is_not_given_to_a_guest(site: Lab, silent: None) -> None:
    """It answers before the guest is there: the start fails at once, by the site's fault."""
    shell(site, "node2", f"ip address add 10.89.0.84/24 dev {BRIDGE}")
    try:
        job = Job(site, "echo never", SMALL, nodes=2)
        with settings(site, {**COMPUTED, "max_requeues": 0}, "node1", "node2"):
            ended = job.run()
    finally:
        shell(site, "node2", f"ip address del 10.89.0.84/24 dev {BRIDGE}")
    assert ended.exit_code == RunExit.SITE
    said = f"guest {job.guest(1)}: at its address 10.89.0.84 the machine with MAC address "
    assert f"{said}02:89:00:00:00:0c answers" in ended.verdict["sentence"]
    assert job.lines == []
    assert leftovers(site) == {}


@pytest.mark.proves("ip_script")
def test_the_sites_program_is_asked_about_the_guests_own_node(site: Lab, silent: None) -> None:
    """And the guest has the address it says."""
    program = site.root("node1") / SCRIPT[1:]
    program.write_text(f"#!/bin/sh\necho $* >> {SCRIPT}.asked\necho 10.89.0.9${{1#node}}/24\n")
    program.chmod(0o755)
    job = Job(site, "ip -4 -o addr show eth0", SMALL, nodes=2)
    with settings(site, {"static_ip_mapping": True, "ip_script": SCRIPT}, "node1", "node2"):
        ended = job.run()
    assert ended.exit_code == 0, job.errors
    assert "inet 10.89.0.91/24" in job.lines[-1]
    asked = [line.split() for line in Path(f"{program}.asked").read_text().splitlines()]
    assert [words[:4] for words in asked] == [
        ["node1", "1", "0", ended.outcome.job_id],
        ["node2", "1", "0", ended.outcome.job_id],
    ]
    assert {words[4] for words in asked} == macs(site, ended)


def test_the_leases_of_a_jobs_guests_end_with_it(site: Lab) -> None:
    """All of them, on the first node and on others; leases of others stay."""
    before = leased(site)
    job = Job(site, "true", SMALL, nodes=2)
    ended = job.run()
    assert ended.exit_code == 0, job.errors
    log = site.paths.log(SWITCH, "dnsmasq").read_text().splitlines()
    mine = macs(site, ended)
    assert len(mine) == 2
    assert all(any("DHCPACK" in line and mac in line for line in log) for mac in mine)
    assert leased(site) == before


def test_guests_of_a_libvirt_network_are_on_its_bridge(site: Lab) -> None:
    """Their leases end there, whatever bridge the settings name."""
    site.run("node1", ["virsh", "-q", "net-create", "/dev/stdin"], input=NETWORK)
    job = Job(site, "true", SMALL)
    try:
        with settings(site, {"network": "cluster", "bridge": "br-none"}, "node1"):
            ended = job.run()
    finally:
        site.run("node1", ["virsh", "-q", "net-destroy", "cluster"])
    assert ended.exit_code == 0, job.errors
    log = site.paths.log(SWITCH, "dnsmasq").read_text().splitlines()
    (mac,) = macs(site, ended)
    assert any("DHCPACK" in line and mac in line for line in log)
    assert_nothing_left(site, ended.outcome.job_id)


def test_leases_of_a_failed_start_end_too(site: Lab) -> None:
    """Nobody was told the guests' addresses: the server is asked for them."""
    before = leased(site)
    for seconds in TIMES:
        job = Job(site, "true", SMALL)
        with settings(site, {"address_sources": ["agent"], "timeout": seconds, "max_requeues": 0}, "node1"):
            ended = job.run()
        assert ended.exit_code == RunExit.LATE, job.errors
        log = site.paths.log(SWITCH, "dnsmasq").read_text().splitlines()
        (mac,) = macs(site, ended)
        if any("DHCPACK" in line and mac in line for line in log):
            break
    assert any("DHCPRELEASE" in line and mac in line for line in log)
    assert leased(site) == before


def test_guests_without_a_job_give_their_leases_back_too(site: Lab) -> None:
    """What an administrator booted and destroyed; the destruction asks the server for the address."""
    before = leased(site)
    booted = command(site, "boot", "--job", "9001.adhoc", "-vm", SMALL, "node1")
    assert booted.returncode == 0, booted.stderr
    assert len(leased(site) - before) == 1
    assert command(site, "destroy", "--job", "9001.adhoc").returncode == 0
    assert leased(site) == before


@pytest.mark.proves("release_leases")
def test_a_site_may_keep_leases(site: Lab) -> None:
    """Its server may be set up for that."""
    before = leased(site)
    job = Job(site, "true", SMALL)
    with settings(site, {"release_leases": False}, "node1"):
        ended = job.run()
    assert ended.exit_code == 0, job.errors
    assert leased(site) - before == macs(site, ended)


def test_a_machine_that_takes_a_guests_address_while_it_starts_is_noticed(site: Lab) -> None:
    """The guest has it by DHCP; who was quiet before the start answers beside it at its end."""
    job = Job(site, "echo never", SMALL)
    taken: list[str] = []

    def take() -> None:
        before = leased(site)
        while not job.over and not leased(site) - before:
            time.sleep(0.1)
        lines = [line.split() for line in site.lease_file.read_text().splitlines()]
        taken.extend(words[2] for words in lines if words[1] not in before)
        shell(site, "node2", f"ip address add {taken[0]}/24 dev {BRIDGE}")

    thief = threading.Thread(target=take)
    thief.start()
    try:
        with settings(site, {"max_requeues": 0}, "node1"):
            ended = job.run()
    finally:
        thief.join(60)
        for address in taken:
            shell(site, "node2", f"ip address del {address}/24 dev {BRIDGE}")
    assert ended.exit_code == RunExit.SITE, job.errors
    said = f"at its address {taken[0]} the machine with MAC address 02:89:00:00:00:0c answers"
    assert said in ended.verdict["sentence"]
    assert job.lines == []
