"""What hooks and commands build on: runs under one deadline, reports, addresses, the guests' introduction."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hook_kit import Site, cut_off, ready
from nornir.core.inventory import ConnectionOptions, Defaults, Groups, Host, Hosts, Inventory
from nornir.core.task import Result, Task
from nornir_kit import noop
from runner_kit import Recorder

from nornir_torque_vm import engine as engine_module
from nornir_torque_vm.connections.libvirt import LibvirtConnection
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.engine import CONNECTIONS, Engine
from nornir_torque_vm.errors import NotHealthy
from nornir_torque_vm.images import image_for
from nornir_torque_vm.inventory.build import build_inventory, node_inventory
from nornir_torque_vm.model import Job, JobKeys, Node, Owner, Plan
from nornir_torque_vm.plan import make_plan
from nornir_torque_vm.report import Report, Status
from nornir_torque_vm.request import Request
from nornir_torque_vm.sshkeys import make_job_keys
from nornir_torque_vm.tasks import destroy

NODES = (Node("node1"), Node("node2"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("site"))
    yield made
    made.close()


@pytest.fixture
def engine(site: Site) -> Iterator[Engine]:
    made = Engine(site.settings, Deadline.after(20))
    yield made
    made.destroy(NODES, "17.head")


def planned(site: Site, engine: Engine) -> tuple[Plan, JobKeys]:
    job = Job("17.head", "head", Owner("alice", 2001, 2001, "alice", "/home/alice"), nonce="0badcafe")
    facts, _ = engine.survey(NODES)
    request = Request(ram=64 << 20)
    plan = make_plan(request, site.settings, job, NODES, image_for(request, site.settings), facts)
    return plan, make_job_keys([guest.name for guest in plan.guests])


def test_a_survey_gives_facts_by_node(engine: Engine) -> None:
    """Of those that answered."""
    facts, report = engine.survey(NODES)
    assert report.ok
    assert {name: fact.cpus for name, fact in facts.items()} == {"node1": 16, "node2": 16}


def test_a_node_that_does_not_answer_has_no_facts(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in the report."""
    cut_off(monkeypatch, "node1")
    facts, report = engine.survey(NODES)
    assert list(facts) == ["node2"]
    assert [entry.host for entry in report.failed] == ["node1"]


def test_booted_guests_have_addresses_and_can_be_listed_and_destroyed(site: Site, engine: Engine) -> None:
    """From nothing to nothing."""
    boot = engine.boot(*planned(site, engine), probe=ready)
    assert boot.report.ok
    assert boot.addresses == {"j17-r0": "192.168.0.1", "j17-r1": "192.168.0.1"}
    found, report = engine.guests(NODES)
    assert [(guest.guest, guest.node) for guest in found] == [("j17-r0", "node1"), ("j17-r1", "node2")]
    assert report.ok
    gone = engine.destroy(NODES, "17.head")
    assert [len(entry.data["domains"]) for entry in gone.hosts] == [1, 1]
    assert engine.guests(NODES)[0] == []


def test_a_guest_without_an_address_has_an_empty_one(site: Site, engine: Engine) -> None:
    """The others' are known all the same."""

    def no(host: Any) -> bool:
        raise NotHealthy("no")

    boot = engine.boot(*planned(site, engine), probe=no)
    assert not boot.report.ok
    assert set(boot.addresses) == {"j17-r0", "j17-r1"}


@pytest.fixture
def introduced(monkeypatch: pytest.MonkeyPatch) -> dict[str, Mapping[str, str]]:
    """Guests that were told the others' addresses; booting only gives them one."""
    told: dict[str, Mapping[str, str]] = {}

    def boot_guest(task: Task, command: str = "", probe: object = None) -> Result:
        if command and task.host["rank"] == 1:
            raise NotHealthy("no")
        task.host.hostname = f"10.0.0.{task.host['rank']}"
        return Result(host=task.host, changed=True)

    def publish_roster(task: Task, addresses: Mapping[str, str]) -> Result:
        told[task.host.name] = addresses
        if "10.0.0.9" in addresses.values():
            raise NotHealthy("disk full")
        return Result(host=task.host)

    monkeypatch.setattr(engine_module, "boot_guest", boot_guest)
    monkeypatch.setattr(engine_module, "publish_roster", publish_roster)
    return told


def test_healthy_guests_are_introduced_to_each_other(
    site: Site, engine: Engine, introduced: dict[str, Mapping[str, str]]
) -> None:
    """Each is told the addresses of all."""
    boot = engine.boot(*planned(site, engine))
    assert boot.report.ok
    assert introduced == dict.fromkeys(("j17-r0", "j17-r1"), boot.addresses)
    assert boot.addresses == {"j17-r0": "10.0.0.0", "j17-r1": "10.0.0.1"}


def test_nobody_is_introduced_when_a_guest_failed(
    site: Site, engine: Engine, introduced: dict[str, Mapping[str, str]]
) -> None:
    """The job will not run."""
    boot = engine.boot(*planned(site, engine), command="uptime")
    assert [entry.host for entry in boot.report.failed] == ["j17-r1"]
    assert introduced == {}


def test_a_failed_introduction_fails_the_boot(
    site: Site, engine: Engine, introduced: dict[str, Mapping[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """MPI would hang at the unknown host key."""

    def boot_guest(task: Task, **_: Any) -> Result:
        task.host.hostname = f"10.0.0.{9 + task.host['rank']}"
        return Result(host=task.host)

    monkeypatch.setattr(engine_module, "boot_guest", boot_guest)
    boot = engine.boot(*planned(site, engine))
    assert [(entry.phase, entry.what) for entry in boot.report.failed] == [("roster", "disk full")] * 2


def test_two_guests_at_one_address_fail_the_boot(
    site: Site, engine: Engine, introduced: dict[str, Mapping[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where that is why one of them was late: the reason goes before what came of it."""

    def boot_guest(task: Task, late: bool = False, **_: Any) -> Result:
        task.host.hostname = "10.0.0.1"
        if late and task.host["rank"] == 1:
            raise NotHealthy("its host key is another's")
        return Result(host=task.host)

    monkeypatch.setattr(engine_module, "boot_guest", boot_guest)
    for late in (False, True):
        boot = engine.boot(*planned(site, engine), late=late)
        (entry,) = boot.report.failed
        assert (entry.host, entry.phase) == ("j17-r1", "address")
        assert "it was found at 10.0.0.1, and so was guest j17-r0" in entry.error


def test_an_administrators_own_connection_goes_before_the_settings(site: Site, tmp_path: Path) -> None:
    """For booting, and for guests that exist."""
    nowhere = dataclasses.replace(site.settings, node_uri="test:///nonexistent/{node}.xml")
    lost = Engine(nowhere, Deadline.after(20))
    plan, keys = planned(site, Engine(site.settings, Deadline.after(20)))
    base = inventory({name: f"test://{site.folder}/{name}.xml" for name in site.nodes})
    assert lost.boot(plan, keys, base=base, probe=ready).report.ok
    found, _ = Engine(site.settings, Deadline.after(20)).guests(NODES)
    results = lost.on_guests(found, destroy, base=base)
    assert not results.failed
    assert site.domains() == []


def inventory(uris: Mapping[str, str]) -> Inventory:
    """A hosts file that states a libvirt for each host."""
    hosts = {
        name: Host(name, connection_options={"libvirt": ConnectionOptions(extras={"uri": uri})})
        for name, uri in uris.items()
    }
    return Inventory(Hosts(hosts), Groups(), Defaults())


def test_a_run_can_be_limited_to_a_role(site: Site, engine: Engine) -> None:
    """Nodes and guests are hosts of one inventory."""
    plan, keys = planned(site, engine)
    both = build_inventory(plan, site.settings, keys=keys)
    assert set(engine.run(both, noop)) == {"node1", "node2", "j17-r0", "j17-r1"}
    assert set(engine.run(both, noop, role="node")) == {"node1", "node2"}
    assert set(engine.run(both, noop, role="guest")) == {"j17-r0", "j17-r1"}


def test_hosts_that_failed_take_part_in_the_next_run(engine: Engine) -> None:
    """One Nornir for all runs would leave them out, and what they left would stay."""

    def fail(task: Task) -> Result:
        raise NotHealthy("no")

    both = inventory({"node1": "", "node2": ""})
    assert engine.run(both, fail).failed
    assert set(engine.run(both, noop)) == {"node1", "node2"}


def test_all_runs_share_the_deadline(site: Site) -> None:
    """Once it is due, or cancelled, every later run ends at once with a verdict for each host."""
    engine = Engine(site.settings, Deadline.after(20))
    hosts = inventory({"node1": "", "node2": ""})
    assert not engine.run(hosts, noop).failed
    engine.deadline.cancel()
    report = Report.from_results(engine.run(hosts, noop))
    assert [entry.status for entry in report.hosts] == [Status.CANCELLED] * 2


def test_processors_see_every_run(site: Site) -> None:
    """Progress and events of survey and boot alike."""
    recorder = Recorder()
    engine = Engine(site.settings, Deadline.after(20), [recorder])
    engine.survey(NODES)
    engine.destroy(NODES, "17.head")
    assert {task for _, task, _ in recorder.events} == {"survey", "destroy"}


def test_nothing_is_logged_to_a_file_or_the_screen(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nornir's own logging would write nornir.log into the current directory, tracebacks to stderr."""
    monkeypatch.chdir(tmp_path)

    def fail(task: Task) -> Result:
        raise ZeroDivisionError

    assert engine.run(inventory({"node1": ""}), fail).failed
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr() == ("", "")
    handlers = logging.getLogger("nornir").handlers
    assert all(isinstance(handler, logging.NullHandler) for handler in handlers)


def test_our_connections_are_known_to_nornir(engine: Engine) -> None:
    """No plugin that happens to be installed has to be loaded for that."""
    from nornir.core.plugins.connections import ConnectionPluginRegister

    assert CONNECTIONS["libvirt"] is LibvirtConnection
    assert CONNECTIONS.items() <= ConnectionPluginRegister.available.items()


@pytest.mark.proves("parallel")
def test_without_parallel_the_nodes_are_worked_on_one_after_the_other(site: Site) -> None:
    """All guests of a node before any of the next; the verdicts are the same."""
    order: list[str] = []

    def note(task: Task) -> Result:
        order.append(str(task.host["node"]))
        return Result(host=task.host)

    engine = Engine(dataclasses.replace(site.settings, parallel=False), Deadline.after(20))
    plan, _ = planned(site, engine)
    guests = tuple(dataclasses.replace(plan.guests[n % 2], name=f"g{n}", rank=n) for n in range(6))
    inventory = build_inventory(dataclasses.replace(plan, guests=guests), engine.settings, keys=None)
    results = engine.run(inventory, note)
    assert order == ["node1"] * 4 + ["node2"] * 4
    assert Report.from_results(results).ok
    assert list(results) == ["node1", "g0", "g2", "g4", "node2", "g1", "g3", "g5"]


def test_without_parallel_one_deadline_holds_for_all_nodes(site: Site) -> None:
    """The second node gets what the first has left."""

    def hang(task: Task) -> Result:
        time.sleep(2)
        return Result(host=task.host)

    engine = Engine(dataclasses.replace(site.settings, parallel=False), Deadline.after(0.3))
    results = engine.run(node_inventory(NODES, engine.settings), hang)
    assert [entry.status for entry in Report.from_results(results).hosts] == [Status.LATE, Status.NOT_STARTED]
