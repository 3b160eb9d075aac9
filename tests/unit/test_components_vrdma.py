"""vRDMA: a function of the node's card for each guest, or the earlier system's device."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from component_kit import plan_on, slots
from hook_kit import JOB, Site
from render_kit import VOLUMES, parse_xml

from nornir_torque_vm.components import hyv, loading, vrdma
from nornir_torque_vm.components.vrdma import Functions, judge, read_functions
from nornir_torque_vm.config.kinds import Hosts
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import BusyError, HypervisorError, RequestError, TorqueVMError
from nornir_torque_vm.model import Plan
from nornir_torque_vm.reap.reaper import Fate, Reaper
from nornir_torque_vm.render.domain import domain_xml
from nornir_torque_vm.tasks import node_command

SITE = Settings(vrdma_enabled=True, vrdma_network="vf")
HYV = dataclasses.replace(SITE, vrdma_backend="hyv")
FUNCTION = "<address type='pci' domain='0x0000' bus='0x03' slot='0x00' function='0x{:x}'/>"
GIVEN = """<network><name>vf</name><forward mode="nat"/><ip address="10.77.0.1" netmask="255.255.255.0">
<dhcp><range start="10.77.0.2" end="10.77.0.99"/></dhcp></ip></network>"""
"""One that the test driver can give to guests; it crashes when asked for addresses in others."""
CURE = "start the network there, or take the node out of vrdma_nodes"
MANY = "vrdma=true for 3 guests, and the network vf has 2 virtual functions"
DEVINFO = """hca_id:\tmlx4_0
\ttransport:\t\t\tInfiniBand (0)
\tfw_ver:\t\t\t\t2.40.7000
\tnode_guid:\t\t\te41d:2d03:0011:2233
\tsys_image_guid:\t\t\te41d:2d03:0011:2236
"""


def network(functions: int, taken: int = 0, name: str = "vf", mode: str = "hostdev") -> str:
    """The XML of a network of that many functions, as libvirt writes it."""
    used = f" connections='{taken}'" if taken else ""
    inside = "".join(FUNCTION.format(number) for number in range(functions))
    return (
        f"<network{used}><name>{name}</name><forward mode='{mode}' managed='yes'>{inside}</forward></network>"
    )


@pytest.fixture(autouse=True)
def logged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sentences hooks write to syslog."""
    lines: list[str] = []
    for hook in ("prologue", "epilogue"):
        monkeypatch.setattr(f"nornir_torque_vm.hooks.{hook}.log", lambda *words: lines.append(words[-1]))
    return lines


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Two nodes whose libvirt has a network of two functions, which the test driver cannot give to guests."""
    made = Site(tmp_path, vrdma_enabled=True, vrdma_network="vf")
    for node in made.nodes:
        made.connect(node).networkDefineXML(network(2)).create()
    yield made
    made.close()


@pytest.fixture
def giving(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The same with another kind of network in its place, which the survey takes for it."""
    for node in site.nodes:
        there = site.connect(node).networkLookupByName("vf")
        there.destroy()
        there.undefine()
        site.connect(node).networkDefineXML(GIVEN).create()
    monkeypatch.setattr(vrdma, "look", lambda *_: Functions(2))
    return site


def cards(plan: Plan) -> list[list[tuple[str, str]]]:
    """Network and MAC of what each guest gets."""
    extras = [guest.extras for guest in plan.guests]
    return [[(card.network, card.mac) for card in one.network_functions] if one else [] for one in extras]


@pytest.mark.proves("vrdma", "vrdma_enabled", "vrdma_enabled_default", "vrdma_nodes", "vrdma_network")
def test_every_guest_of_a_job_that_wants_it_gets_a_function() -> None:
    """With an address of its own; only where the site has the hardware."""
    plan = plan_on(slots(0, 1), settings=SITE, vrdma=True, vms_per_node=2)
    found = [card for per_guest in cards(plan) for card in per_guest]
    assert [name for name, _ in found] == ["vf", "vf"]
    macs = [mac for _, mac in found] + [guest.mac for guest in plan.guests]
    assert len(set(macs)) == 4
    assert cards(plan_on(slots(0), settings=SITE)) == [[]]
    usual = dataclasses.replace(SITE, vrdma_enabled_default=True)
    assert len(cards(plan_on(slots(0), settings=usual))[0]) == 1
    assert cards(plan_on(slots(0), settings=usual, vrdma=False)) == [[]]
    elsewhere = dataclasses.replace(SITE, vrdma_enabled_default=True, vrdma_nodes=Hosts("n[2-9]"))
    assert cards(plan_on(slots(0), settings=elsewhere, vrdma=True)) == [[]]
    off = dataclasses.replace(SITE, vrdma_enabled=False)
    assert cards(plan_on(slots(0), settings=off, vrdma=True)) == [[]]


def described(settings: Settings) -> str:
    """The XML of a guest that has it."""
    plan = plan_on(slots(0), settings=settings, vrdma=True)
    return domain_xml(plan, plan.guests[0], VOLUMES, settings)


@pytest.mark.proves("vrdma_backend")
def test_the_domain_has_what_the_back_end_says() -> None:
    """A card of the network behind the guest's own, or an argument of the emulator's."""
    first, second = parse_xml(described(SITE)).findall("devices/interface")
    source = second.find("source")
    assert source is not None
    assert (second.get("type"), source.get("network")) == ("network", "vf")
    assert first.find("mac") is not None
    arguments = parse_xml(described(HYV)).findall("{http://libvirt.org/schemas/domain/qemu/1.0}commandline/*")
    assert [one.get("value") for one in arguments] == [
        "-device", "virtio-hyv-pci,config_path=/run/torque-vm/vrdma.conf",
    ]  # fmt: skip


@pytest.mark.skipif(
    not (shutil.which("virt-xml-validate") and shutil.which("xmllint")),
    reason="needs virt-xml-validate (libvirt-clients) and xmllint (libxml2-utils)",
)
@pytest.mark.parametrize("settings", [SITE, HYV], ids=["sriov", "hyv"])
def test_libvirts_schema_takes_the_domain(tmp_path: Path, settings: Settings) -> None:
    """Its own tool says so."""
    file = tmp_path / "domain.xml"
    file.write_text(described(settings))
    done = subprocess.run(["virt-xml-validate", file, "domain"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (network(4, 3), Functions(4, 3)),
        (network(2), Functions(2, 0)),
        (
            network(2, 1).replace("managed='yes'>", "dev='eth3' managed='yes'><pf dev='eth3'/>"),
            Functions(2, 1),
        ),
        (network(0), Functions(why="no free virtual function: the network vf has none at all")),
        (
            network(1, mode="bridge"),
            Functions(why="the network vf has no functions: its forward mode is bridge"),
        ),
        (
            "<network><name>vf</name></network>",
            Functions(why="the network vf has no functions: its forward mode is none"),
        ),
    ],
)
def test_what_a_network_has_is_read_from_its_xml(text: str, found: Functions) -> None:
    """Its functions, and how many guests are on it."""
    assert read_functions(text, "vf") == found


@pytest.mark.parametrize(
    ("found", "guests", "error", "sentence"),
    [
        (Functions(4, 2), 2, None, ""),
        (Functions(4, 3), 2, BusyError, "1 free virtual function, 2 asked: other guests have 3 of 4"),
        (Functions(2, 2), 1, BusyError, "no free virtual function, 1 asked: other guests have 2 of 2"),
        (
            Functions(2, 0), 3, RequestError,
            f"{MANY}; ask for fewer guests per node",
        ),
        (
            Functions(why="Network not found"), 1, HypervisorError,
            f"guests cannot have vrdma here: Network not found; {CURE}",
        ),
    ],
)  # fmt: skip
def test_lack_of_functions_is_whose_fault_it_is(
    found: Functions, guests: int, error: type[TorqueVMError] | None, sentence: str
) -> None:
    """Others' guests end some day; a card does not grow; a missing network is the site's."""
    if error is None:
        judge(found, "n1", guests, SITE)
        return
    with pytest.raises(error) as raised:
        judge(found, "n1", guests, SITE)
    assert type(raised.value) is error
    assert str(raised.value) == f"node n1: {sentence}"


def test_guests_run_with_a_function_each_and_nothing_is_left(giving: Site) -> None:
    """Libvirt takes the functions back itself."""
    assert giving.prologue(giving.call("ram=64M:vrdma=true")).ok
    for name in giving.nodes:
        (domain,) = giving.connect(name).listAllDomains()
        sources = parse_xml(domain.XMLDesc(0)).findall("devices/interface/source")
        assert [source.get("network") for source in sources].count("vf") == 1
    assert giving.epilogue().ok
    assert giving.left() == []


def test_after_a_crash_between_start_and_stop_reap_leaves_nothing(giving: Site) -> None:
    """Each node's own removes its guests, and with them what they had of the network."""
    assert giving.prologue(giving.call("ram=64M:vrdma=true")).ok
    assert len(giving.domains()) == 2
    for node in giving.nodes:
        assert reaped(giving, node) is Fate.REMOVED
    assert giving.left() == []


def reaped(site: Site, node: str) -> Fate:
    """What a node's own reaper makes of the job."""
    settings = dataclasses.replace(site.settings, local_uri=f"test://{site.folder}/{node}.xml")
    (case,) = Reaper(settings, Deadline.after(20), grace=0.0, node=node).run_for(JOB).cases
    return case.fate


def test_the_survey_refuses_a_node_without_the_network(site: Site) -> None:
    """Before a guest is started; jobs that do not want it run there."""
    site.connect("node2").networkLookupByName("vf").destroy()
    with pytest.raises(HypervisorError) as raised:
        site.prologue(site.call("ram=64M:vrdma=true"))
    assert str(raised.value) == (
        f"node node2: guests cannot have vrdma here: the network vf is not active; {CURE}"
    )
    assert site.domains() == []
    assert site.prologue().ok


def test_a_node_whose_functions_are_taken_makes_the_job_wait(
    giving: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is nobody's fault; a node that never has them comes before it."""
    found = {"node1": Functions(2, 2), "node2": Functions(2, 0)}
    monkeypatch.setattr(vrdma, "look", lambda conn, _: found[Path(conn.getURI()).stem])
    with pytest.raises(
        BusyError, match=r"^node node1: no free virtual function, 1 asked: other guests have 2"
    ):
        giving.prologue(giving.call("ram=64M:vrdma=true"))
    found["node2"] = Functions(why="it is gone")
    with pytest.raises(HypervisorError, match=r"^node node2: guests cannot have vrdma here: it is gone; "):
        giving.prologue(giving.call("ram=64M:vrdma=true"))


def test_a_guest_without_its_function_is_noticed(giving: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The start of the job fails."""
    monkeypatch.setattr(vrdma, "adjust", lambda plan, request, settings: plan)
    assert giving.prologue(giving.call("ram=64M:vrdma=true")).sentences()[0].endswith(
        "vrdma-verify: it runs without a virtual function of vf"
    )  # fmt: skip
    assert giving.left() == []


class Programs:
    """Stand-ins for a node's programs, which write down how they were called."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.said = folder / "programs", folder / "called"
        self.folder.mkdir()
        self.give("modprobe", "")
        self.give("ibv_devinfo", f"cat <<'END'\n{DEVINFO}END")
        self.give("test", 'exec /usr/bin/test "$@"')

    def give(self, name: str, body: str) -> None:
        """Let a program do something."""
        path = self.folder / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> {self.said}\n{body}\n')
        path.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        return self.said.read_text().splitlines() if self.said.exists() else []


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    """What the node has of them."""
    made = Programs(tmp_path)
    monkeypatch.setattr(node_command, "PATH", f"{made.folder}:/usr/bin:/bin")
    return made


@pytest.fixture
def earlier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """This machine as a node with the earlier device; the test driver knows no arguments of emulators."""
    name = os.uname().nodename
    uri = f"test://{tmp_path}/{name}.xml"
    made = Site(tmp_path, nodes=[name], local_uri=uri, vrdma_enabled=True, vrdma_backend="hyv")
    monkeypatch.setattr(hyv, "adjust", lambda plan, request, settings: plan)
    yield made
    made.close()


def start(site: Site) -> Any:
    return site.prologue(site.call("ram=64M:vrdma=true"))


def test_modules_are_loaded_and_the_cards_guid_is_written(
    earlier: Site, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the guests; for their emulators to read; another job finds or makes the same."""
    programs.give("test", "exit 0")
    for _ in range(2):
        assert start(earlier).ok
        assert earlier.epilogue().ok
    modules = "ib_core vhost vhost_hyv mlx4_ib rdma_cm rdma_ucm vhost_rdmacm ib_uverbs ib_umad"
    path = Path(earlier.settings.run_dir, "vrdma.conf")
    assert programs.calls[:4] == [
        f"modprobe --all {modules}", "ibv_devinfo ", "test -d /sys/module/vhost_hyv", f"test -s {path}",
    ]  # fmt: skip
    assert path.read_text() == "e41d:2d03:0011:2233\n"
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(path.parent.glob("vrdma.conf.*")) == []
    assert earlier.left() == ["vrdma.conf"]


def test_after_a_crash_reap_leaves_the_nodes_own_file_only(earlier: Site, programs: Programs) -> None:
    """It is for all jobs; whatever was the job's is gone."""
    programs.give("test", "exit 0")
    assert start(earlier).ok
    (node,) = earlier.nodes
    assert reaped(earlier, node) is Fate.REMOVED
    assert earlier.left() == ["vrdma.conf"]


@pytest.mark.parametrize(
    ("program", "body", "sentence"),
    [
        ("modprobe", "echo 'modprobe: FATAL: Module vhost_hyv not found.' >&2; exit 1",
         "vrdma-start: modprobe ended with 1: modprobe: FATAL: Module vhost_hyv not found."),
        ("ibv_devinfo", "echo 'No IB device' >&2; exit 9", "vrdma-start: ibv_devinfo ended with 9: N"),
        ("ibv_devinfo", "echo hca_id: none", "vrdma-start: ibv_devinfo knows no card for vrdma"),
        ("test", "exit 1", "vrdma-verify: the module vhost_hyv is not loaded"),
    ],
)  # fmt: skip
def test_a_node_that_cannot_is_one_sentence(
    earlier: Site, programs: Programs, program: str, body: str, sentence: str
) -> None:
    """The start of the job fails, and no guest is left."""
    programs.give(program, body)
    report = start(earlier)
    assert not report.ok
    assert sentence in report.sentences()[0]
    assert earlier.domains() == []


def test_a_program_that_is_missing_is_named(earlier: Site, programs: Programs) -> None:
    """It is the node's."""
    (programs.folder / "ibv_devinfo").unlink()
    (sentence,) = start(earlier).sentences()
    assert "vrdma-start: cannot run ibv_devinfo: No such file or directory" in sentence


def test_the_other_back_end_is_not_even_imported() -> None:
    """Each form of the component has its own steps."""
    assert loading.load("vrdma", SITE).start is None
    one = loading.load("vrdma", HYV)
    assert (one.look, one.start, one.verify) == (None, hyv.load_modules, hyv.verify_modules)
