"""The domain XML of a guest: libvirt accepts it, values arrive exactly, nothing superfluous is in it."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import libvirt
import pytest
from hypothesis import given
from render_kit import ALICE, IMAGE, VOLUMES, cpu_seconds, illegal, legal, owned_by, parse_xml, plan_of

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import RequestError
from nornir_torque_vm.found import read_domain
from nornir_torque_vm.model import Plan
from nornir_torque_vm.render.domain import GuestVolumes, domain_xml
from nornir_torque_vm.render.metadata import GuestRecord, parse_metadata

DATA = Path(__file__).parent.parent / "data/render"
CHAINED = dataclasses.replace(IMAGE, backing=("/srv/torque-vm/images/middle", "/srv/torque-vm/images/lowest"))
SETTINGS = Settings(bridge="br7")
TYPES = ("kvm", "qemu", "test")


def render(plan: Plan, volumes: GuestVolumes = VOLUMES, settings: Settings = SETTINGS) -> str:
    return domain_xml(plan, plan.guests[0], volumes, settings)


def parse(plan: Plan, volumes: GuestVolumes = VOLUMES) -> ET.Element:
    return parse_xml(render(plan, volumes))


def need(element: ET.Element, path: str) -> ET.Element:
    found = element.findall(path)
    assert len(found) == 1, path
    return found[0]


def test_the_whole_text_for_hardware_virtualization_is_as_recorded() -> None:
    """What a reviewer sees here is what libvirt gets."""
    assert render(plan_of()) == (DATA / "domain-kvm.xml").read_text()


@pytest.mark.parametrize("image", [IMAGE, CHAINED], ids=["plain", "chained"])
@pytest.mark.parametrize("domain_type", TYPES)
def test_libvirt_starts_it_with_schema_validation(domain_type: str, image: object) -> None:
    """The test driver parses and validates like any other and keeps our metadata."""
    plan = plan_of(domain_type=domain_type, image=image)  # type: ignore[arg-type]
    libvirt.registerErrorHandler(lambda *_: None, None)
    conn = libvirt.open("test:///default")
    started = conn.createXML(render(plan), libvirt.VIR_DOMAIN_START_VALIDATE)
    try:
        record = GuestRecord("17[3].head", "head.site", 2, "alice", "c0ffee00", 0, "j17-3-r0")
        assert parse_metadata(started.XMLDesc()) == record
        assert started.UUIDString() == plan.guests[0].uuid
        assert started.isPersistent() == 0
    finally:
        started.destroy()
        conn.close()


@pytest.mark.skipif(
    not (shutil.which("virt-xml-validate") and shutil.which("xmllint")),
    reason="needs virt-xml-validate (libvirt-clients) and xmllint (libxml2-utils)",
)
@pytest.mark.parametrize("domain_type", TYPES)
def test_virt_xml_validate_accepts_it(domain_type: str, tmp_path: Path) -> None:
    """Libvirt's own tool, with the schema of the libvirt that is installed."""
    file = tmp_path / "domain.xml"
    file.write_text(render(plan_of(domain_type=domain_type, image=CHAINED)))
    done = subprocess.run(["virt-xml-validate", file, "domain"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@given(owner=legal, overlay=legal, seed=legal, log=legal, image=legal, bridge=legal)
def test_any_text_is_found_again_exactly(
    owner: str, overlay: str, seed: str, log: str, image: str, bridge: str
) -> None:
    """No value can end an attribute or begin an element."""
    plan = owned_by(name=owner)
    plan = dataclasses.replace(plan, image=dataclasses.replace(IMAGE, path=image))
    settings = dataclasses.replace(SETTINGS)
    object.__setattr__(settings, "bridge", bridge)  # the settings themselves would refuse it
    text = render(plan, GuestVolumes(overlay, seed, log), settings)
    devices = need(parse_xml(text), "devices")
    disks = devices.findall("disk")
    assert [need(disk, "source").get("file") for disk in disks] == [overlay, seed]
    assert need(disks[0], "backingStore/source").get("file") == image
    assert need(devices, "serial/log").get("file") == log
    assert need(devices, "interface/source").get("bridge") == bridge
    record = parse_metadata(text)
    assert record is not None
    assert record.owner == owner


@given(char=illegal)
def test_a_character_xml_cannot_hold_is_refused_in_one_line(char: str) -> None:
    """In a value of the record and in one of the template."""
    for plan, volumes in (
        (owned_by(name=f"al{char}ice"), VOLUMES),
        (plan_of(), GuestVolumes("/a", f"/{char}", "/c")),
    ):
        with pytest.raises(RequestError) as caught:
            render(plan, volumes)
        assert f"U+{ord(char):04X}" in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("domain_type", "cpu"),
    [
        ("kvm", {"mode": "host-passthrough", "check": "none", "migratable": "off"}),
        ("qemu", {"mode": "maximum", "check": "none"}),
        ("test", None),
    ],
)
def test_the_processor_is_the_best_the_domain_type_has(domain_type: str, cpu: dict[str, str] | None) -> None:
    """The host's own, or all that is emulated: never a default that today's distributions refuse."""
    root = parse(plan_of(domain_type=domain_type))
    found = root.find("cpu")
    assert root.get("type") == domain_type
    assert (None if found is None else found.attrib) == cpu


@pytest.mark.parametrize("domain_type", ["kvm", "qemu"])
def test_a_processor_the_site_names_goes_before_that(domain_type: str) -> None:
    """A word of libvirt's is a mode; anything else is a model, and exactly that."""
    mode = need(parse(plan_of(domain_type=domain_type, cpu="host-model")), "cpu")
    assert mode.attrib == {"mode": "host-model", "check": "none"}
    model = need(parse(plan_of(domain_type=domain_type, cpu="EPYC-Rome")), "cpu")
    assert (model.get("mode"), model.get("match")) == ("custom", "exact")
    assert need(model, "model").attrib == {"fallback": "forbid"}
    assert model.findtext("model") == "EPYC-Rome"


@pytest.mark.parametrize("cpu", ["", "qemu64"])
def test_all_virtual_processors_are_cores_of_one_socket(cpu: str) -> None:
    """Not a socket each, as libvirt would have it."""
    topology = need(parse(plan_of(domain_type="qemu", vcpus=6, cpu=cpu)), "cpu/topology")
    assert topology.attrib == {"sockets": "1", "dies": "1", "cores": "6", "threads": "1"}


def test_emulator_and_machine_are_the_plans() -> None:
    """Where it names them."""
    root = parse(plan_of(emulator="/opt/skvm/bin/qemu", machine="pc-q35-7.2"))
    assert root.findtext("devices/emulator") == "/opt/skvm/bin/qemu"
    assert need(root, "os/type").get("machine") == "pc-q35-7.2"


def test_guests_are_on_the_network_the_site_names() -> None:
    """A libvirt network goes before the bridge."""
    card = need(
        parse_xml(render(plan_of(), settings=Settings(bridge="br7", network="cluster"))), "devices/interface"
    )
    assert (card.get("type"), need(card, "source").attrib) == ("network", {"network": "cluster"})


@pytest.mark.parametrize("arch", ["x86_64", "i686"])
def test_the_shape_is_the_plans(arch: str) -> None:
    """Memory in bytes, as the plan has it."""
    root = parse(plan_of(vcpus=3, ram=12345678, arch=arch))
    memory, system = need(root, "memory"), need(root, "os/type")
    assert (memory.get("unit"), memory.text, root.findtext("vcpu")) == ("b", "12345678", "3")
    assert system.attrib == {"arch": arch, "machine": "q35"}


def test_an_architecture_nobody_has_described_is_refused() -> None:
    """Rather than booted with firmware its image does not know."""
    with pytest.raises(RequestError) as caught:
        render(plan_of(arch="riscv64"))
    assert str(caught.value) == (
        "guest j17-3-r0: guests of architecture riscv64 cannot be built; ask for x86_64 or i686"
    )


@pytest.mark.parametrize("image", [IMAGE, CHAINED], ids=["plain", "chained"])
def test_the_chain_of_images_is_written_down_and_keeps_its_owner(image: object) -> None:
    """Libvirt neither guesses a format nor takes a base image over; below the last one there is nothing."""
    plan = plan_of(image=image)  # type: ignore[arg-type]
    layer = need(parse(plan), "devices/disk[1]")
    assert layer.find("source/seclabel") is None
    for path in (plan.image.path, *plan.image.backing):
        layer = need(layer, "backingStore")
        assert need(layer, "format").get("type") == "qcow2"
        assert need(layer, "source").get("file") == path
        assert need(layer, "source/seclabel").attrib == {"model": "dac", "relabel": "no"}
    assert list(need(layer, "backingStore")) == []


def test_a_disk_may_be_on_its_nodes_own_copy_of_the_image() -> None:
    """In place of the whole chain; the copy keeps its owner as well."""
    plan = plan_of(image=CHAINED)
    guest = dataclasses.replace(plan.guests[0], base="/cache/copy.qcow2")
    root = parse(dataclasses.replace(plan, guests=(guest,)))
    chain = root.findall("devices/disk[1]/backingStore//source")
    assert [source.get("file") for source in chain] == [guest.base]
    assert need(root, "devices/disk[1]/backingStore/source/seclabel").get("relabel") == "no"


def test_a_guest_is_told_when_there_is_no_room_for_what_it_writes() -> None:
    """By default it would be paused, for as long as its job may run."""
    assert need(parse(plan_of()), "devices/disk[1]/driver").get("error_policy") == "report"


@pytest.mark.parametrize("domain_type", TYPES)
def test_a_disk_in_memory_has_an_end(domain_type: str) -> None:
    """The emulator keeps to it; libvirt's schema knows it."""
    plan = plan_of(domain_type=domain_type, ramdisk=64 << 20)
    slices = need(parse(plan), "devices/disk[1]/source/slices/slice")
    assert slices.attrib == {"type": "storage", "offset": "0", "size": str(64 << 20)}
    assert parse(plan_of()).findall("devices/disk/source/slices") == []
    libvirt.registerErrorHandler(lambda *_: None, None)
    conn = libvirt.open("test:///default")
    started = conn.createXML(render(plan), libvirt.VIR_DOMAIN_START_VALIDATE)
    found = read_domain(started.XMLDesc(), node="node1")
    started.destroy()
    conn.close()
    assert found is not None
    assert found.ramdisk == 64 << 20


def test_it_boots_from_its_disk_alone() -> None:
    """Not from the seed, and no code for booting from the network is loaded."""
    devices = need(parse(plan_of()), "devices")
    assert [boot.get("order") for boot in devices.iter("boot")] == ["1"]
    assert need(devices, "disk[1]/boot") is not None
    assert need(devices, "interface/rom").get("enabled") == "no"


def test_the_devices_sit_on_the_root_bus_each_in_its_own_slot() -> None:
    """Libvirt would otherwise add a bridge for each, which costs every boot time."""
    addresses = [address.attrib for address in parse(plan_of()).iter("address")]
    assert {address["bus"] for address in addresses} == {"0"}
    assert len({address["slot"] for address in addresses}) == len(addresses) == 5


def test_there_is_nothing_a_batch_job_does_not_need() -> None:
    """No screen, no keyboard, no sound, no balloon."""
    devices = need(parse(plan_of()), "devices")
    for unwanted in ("graphics", "video", "input", "sound", "watchdog", "tpm", "emulator"):
        assert devices.find(unwanted) is None
    assert need(devices, "memballoon").get("model") == "none"
    assert need(devices, "controller[@type='usb']").get("model") == "none"


def test_the_network_filter_knows_the_guests_address_or_learns_it() -> None:
    """From the DHCP server only: a guest's own word is what the filter is against."""
    card = need(parse(plan_of()), "devices/interface")
    assert need(card, "filterref").get("filter") == "torque-vm-guest"
    assert need(card, "filterref/parameter").attrib == {"name": "CTRL_IP_LEARNING", "value": "dhcp"}
    bare = parse_xml(render(plan_of(), settings=Settings(network_filter="")))
    assert need(bare, "devices/interface").find("filterref") is None


def test_two_guests_differ_in_everything_that_must_not_be_shared() -> None:
    """Name, uuid, network address, rank."""
    plan = plan_of()
    texts = [domain_xml(plan, guest, VOLUMES, SETTINGS) for guest in plan.guests]
    roots = [parse_xml(text) for text in texts]
    assert [root.findtext("name") for root in roots] == [guest.domain for guest in plan.guests]
    assert [root.findtext("uuid") for root in roots] == [guest.uuid for guest in plan.guests]
    assert [need(root, "devices/interface/mac").get("address") for root in roots] == [
        g.mac for g in plan.guests
    ]
    records = [parse_metadata(text) for text in texts]
    assert [record and (record.rank, record.guest) for record in records] == [
        (0, "j17-3-r0"),
        (1, "j17-3-r1"),
    ]


def test_one_guest_takes_less_than_half_a_millisecond() -> None:
    """Once the template is compiled; a job may have hundreds. About 0.04 ms when this was written."""
    plan = plan_of()
    render(plan)
    assert cpu_seconds(lambda: render(plan), 100) < 0.0005


def test_alice_is_no_special_case() -> None:
    """The owner's name is the only thing of the owner in it."""
    assert render(owned_by(name="bob")).replace("bob", ALICE.name) == render(plan_of())
