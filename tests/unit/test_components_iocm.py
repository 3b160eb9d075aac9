"""IOcm: how many processors are kept, which, and what the domain and its verification make of them."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from component_kit import JOB, ROOM, plan_on, slots
from hook_kit import Site
from nornir.core.inventory import ConnectionOptions
from render_kit import VOLUMES, parse_xml
from task_kit import Plugged

from nornir_torque_vm.components.base import Kept, Part
from nornir_torque_vm.components.iocm import component, verify_threads
from nornir_torque_vm.config.settings import Settings, loads
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.engine import Engine
from nornir_torque_vm.errors import InventoryError, RequestError, SettingsError
from nornir_torque_vm.inventory.build import build_inventory
from nornir_torque_vm.model import DataDisk, Image, Plan
from nornir_torque_vm.plan import make_plan
from nornir_torque_vm.render.domain import domain_xml
from nornir_torque_vm.render.metadata import HELD
from nornir_torque_vm.report import Report
from nornir_torque_vm.request import Request

SITE = Settings(iocm_enabled=True, host_os_core_count=0)
ON: dict[str, Any] = {"iocm": True, "iocm_min_cores": 1, "iocm_max_cores": 2}


def places(plan: Plan) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """What each guest may use, and what it leaves."""
    return [(guest.placement.cpus, guest.placement.kept) for guest in plan.guests if guest.placement]


@pytest.mark.proves("iocm", "iocm_max_cores", "iocm_enabled")
def test_the_last_cores_of_the_share_are_left_to_input_and_output() -> None:
    """No guest of the job is bound to them, nor are they another job's."""
    plan = plan_on(slots(0, 1, 2, 3), settings=SITE, vcpus=1, vms_per_node=2, **ON)
    assert places(plan) == [((0, 2, 8, 10), (3, 11)), ((1, 9), (3, 11))]
    assert plan.components == (Part("iocm", ("n1",), Kept(1, 2)),)


def test_as_many_as_the_guests_can_spare_are_kept_at_most() -> None:
    """Between the least and the most: virtual processors come first."""
    share = slots(0, 1)  # processors 0, 1, 8 and 9
    kept = [
        len(
            places(plan_on(share, settings=SITE, vcpus=vcpus, iocm=True, iocm_min_cores=0, iocm_max_cores=3))[
                0
            ][1]
        )
        for vcpus in (1, 2, 3, 4)
    ]
    assert kept == [3, 2, 1, 0]


@pytest.mark.proves("iocm_min_cores")
def test_a_share_that_is_too_small_for_the_least_is_refused() -> None:
    """With the number to ask for."""
    with pytest.raises(RequestError) as error:
        plan_on(slots(0), settings=SITE, vcpus=2, **ON)
    assert str(error.value) == (
        "node n1: 2 processors for guests and 1 kept for input and output are more than the 2 the job has "
        "here (slots 0); ask for ppn=3, or for fewer vcpus"
    )


def test_floating_guests_leave_them_too() -> None:
    """They float over the rest of the share."""
    plan = plan_on(slots(0, 1), settings=SITE, vcpus=4, vcpu_pinning=False, **ON)
    assert places(plan) == [((0, 8), (1, 9))]


def test_where_the_share_is_not_known_nothing_can_be_kept() -> None:
    """Said so, with what does without."""
    with pytest.raises(
        InventoryError, match="1 processors cannot be kept for input and output: TORQUE did not"
    ):
        plan_on(slots(np=0), settings=SITE, **ON)
    free = ON | {"iocm_min_cores": 0}
    assert places(plan_on(slots(np=0), settings=SITE, **free))[0][1] == ()


@pytest.mark.proves("iocm_nodes")
def test_other_nodes_keep_none() -> None:
    """By the site's expression; the job runs there all the same."""
    settings = loads('iocm_enabled = true\niocm_nodes = "n[2-9]"\nhost_os_core_count = 0\n')
    plan = plan_on(slots(0, 1), settings=settings, vcpus=1, **ON)
    assert places(plan)[0][1] == ()
    assert plan.components == ()


@pytest.mark.proves("iocm_enabled_default", "iocm_min_cores_default", "iocm_max_cores_default")
def test_jobs_that_do_not_say_have_what_the_site_gives() -> None:
    """Numbers and all."""
    settings = Settings(
        iocm_enabled=True, iocm_enabled_default=True, iocm_min_cores_default=2, iocm_max_cores_default=2,
        host_os_core_count=0,
    )  # fmt: skip
    assert len(places(plan_on(slots(0, 1), settings=settings, vcpus=1))[0][1]) == 2
    assert places(plan_on(slots(0, 1), settings=settings, vcpus=1, iocm=False))[0][1] == ()
    with pytest.raises(RequestError, match="and 2 kept"):
        plan_on(slots(0, 1), settings=settings, vcpus=3)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"iocm_max_cores": 7}, "iocm_max_cores=7 is not within the site's limits, 1 to 6"),
        ({"iocm_min_cores": 0}, "iocm_min_cores=0 is not within the site's limits, 1 to 6"),
        ({"iocm_min_cores": 6}, "iocm_min_cores=6 is more than iocm_max_cores=4"),
    ],
)
@pytest.mark.proves("setting iocm_min_cores", "setting iocm_max_cores")
def test_nodes_hold_the_user_to_the_sites_limits(asked: dict[str, int], sentence: str) -> None:
    """What was checked at submission may have been written by anybody."""
    settings = Settings(iocm_enabled=True, iocm_min_cores=1, iocm_max_cores=6)
    with pytest.raises(RequestError) as error:
        component(settings).kept(Request(iocm=True, **asked), settings)  # type: ignore[arg-type]
    assert str(error.value) == sentence


def test_defaults_beyond_the_limits_are_the_sites_mistake() -> None:
    """Not the user's."""
    settings = Settings(iocm_enabled=True, iocm_max_cores=3)
    with pytest.raises(SettingsError, match="iocm_max_cores=4 is not within"):
        component(settings).kept(Request(iocm=True), settings)


def described(**asked: Any) -> str:
    """The XML of a job's first guest, which has a disk of the user's, too."""
    plan = plan_on(slots(0, 1), settings=SITE, vcpus=2, **asked)
    plan = dataclasses.replace(plan, disk=DataDisk("/home/alice/data.img", "raw"))
    return domain_xml(plan, plan.guests[0], VOLUMES, SITE)


def test_the_domain_has_a_thread_for_its_disks_on_what_is_kept() -> None:
    """And its emulator there; its metadata say that the job holds all of it."""
    domain = parse_xml(described(**ON))
    assert domain.findtext("iothreads") == "1"
    pins = {pin.tag: pin.get("cpuset") for pin in domain.find("cputune") or () if pin.tag != "vcpupin"}
    assert pins == {"emulatorpin": "1,9", "iothreadpin": "1,9"}
    drivers = [driver.get("iothread") for driver in domain.findall("devices/disk/driver")]
    assert drivers == ["1", "1", "1"]
    (record,) = domain.findall("metadata/*")
    assert record.get(HELD) == "0-1,8-9"
    plain = parse_xml(described())
    assert plain.find("iothreads") is None
    assert plain.find("cputune/iothreadpin") is None


@pytest.mark.skipif(
    not (shutil.which("virt-xml-validate") and shutil.which("xmllint")),
    reason="needs virt-xml-validate (libvirt-clients) and xmllint (libxml2-utils)",
)
def test_libvirts_schema_takes_the_domain(tmp_path: Path) -> None:
    """Its own tool says so."""
    file = tmp_path / "domain.xml"
    file.write_text(described(**ON))
    done = subprocess.run(["virt-xml-validate", file, "domain"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


class Domain:
    """A running guest whose threads are somewhere."""

    def __init__(self, threads: tuple[int, ...], emulator: tuple[int, ...]) -> None:
        self.threads, self.emulator = threads, emulator

    def ioThreadInfo(self, flags: int) -> list[tuple[int, list[bool]]]:  # noqa: N802 - libvirt's name
        return [(1, [number in self.threads for number in range(16)])] if self.threads else []

    def emulatorPinInfo(self, flags: int) -> tuple[bool, ...]:  # noqa: N802 - libvirt's name
        return tuple(number in self.emulator for number in range(16))


class Libvirt:
    """A node's libvirt with one guest."""

    def __init__(self, domain: Domain) -> None:
        self.domain = domain

    def lookupByName(self, name: str) -> Domain:  # noqa: N802 - libvirt's name
        return self.domain


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path, nodes=("n1",), iocm_enabled=True)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("threads", "emulator", "found"),
    [
        ((1, 9), (1, 9), ""),
        ((0,), (1, 9), "its I/O threads and emulator are on 0 and 1,9, not on 1,9"),
        ((1, 9), (0, 1, 8, 9), "its I/O threads and emulator are on 1,9 and 0-1,8-9, not on 1,9"),
        ((), (1, 9), "its I/O threads and emulator are on 1,9, not on 1,9"),
    ],
)
def test_verification_reads_the_threads_of_the_live_domain(
    site: Site, threads: tuple[int, ...], emulator: tuple[int, ...], found: str
) -> None:
    """A guest whose threads are elsewhere is an error with both lists."""
    plan = plan_on(slots(0, 1), settings=SITE, vcpus=2, **ON)
    inventory = build_inventory(plan, site.settings)
    host = inventory.hosts["n1"]
    host.connection_options["libvirt"] = ConnectionOptions()
    host.connections["libvirt"] = Plugged(Libvirt(Domain(threads, emulator)))
    report = Report.from_results(
        Engine(site.settings, Deadline.after(20)).run(inventory, verify_threads, role="node")
    )
    sentences = [entry.what for entry in report.bad]
    assert sentences == ([found] if found else [])


def test_without_a_survey_nothing_is_kept_and_nothing_breaks() -> None:
    """A sample on a submit host knows no processors."""
    plan = make_plan(Request(iocm=True), SITE, JOB, [slots(0)], Image("i", "/i"))
    assert plan.guests[0].extras is None
    assert ROOM.topology is not None
