"""UNCLOT: guests of a node share memory that is their job's alone and gone after it."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from component_kit import JOB, plan_on, slots
from hook_kit import Site
from render_kit import VOLUMES, parse_xml

from nornir_torque_vm.capabilities import emulator_user
from nornir_torque_vm.components import unclot
from nornir_torque_vm.components.devices import EmulatorDevice, Extras, SharedMemory
from nornir_torque_vm.config.settings import Settings, loads
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.engine import Engine
from nornir_torque_vm.errors import HypervisorError, RequestError, SettingsError, StorageError
from nornir_torque_vm.found import read_domain
from nornir_torque_vm.identity import job_tag
from nornir_torque_vm.inventory.build import build_inventory, node_inventory
from nornir_torque_vm.model import Distro, Image, Node, UserFiles
from nornir_torque_vm.reap.reaper import Fate, Reaper
from nornir_torque_vm.render.domain import domain_xml
from nornir_torque_vm.report import Report
from nornir_torque_vm.storage import RAMDISK
from nornir_torque_vm.storage.folder import LocalFolder
from nornir_torque_vm.tasks import destroy
from nornir_torque_vm.tasks.common import folder_of

MIB = 1 << 20
QEMU = "{http://libvirt.org/schemas/domain/qemu/1.0}"
SITE = loads('unclot_enabled = true\nunclot_distros = ["debian", "osv"]\nramdisk_dir = "/mem,ory"\n')
OSV = Image("o.qcow2", "/pool/o.qcow2", distro=Distro.OSV)


@pytest.fixture(autouse=True)
def logged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sentences hooks write to syslog."""
    lines: list[str] = []
    for hook in ("prologue", "epilogue"):
        monkeypatch.setattr(f"nornir_torque_vm.hooks.{hook}.log", lambda *words: lines.append(words[-1]))
    return lines


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = sharing(tmp_path)
    yield made
    made.close()


def sharing(folder: Path, **settings: Any) -> Site:
    """A site whose nodes have a file system in memory."""
    memory = folder / "memory"
    memory.mkdir()
    return Site(folder, unclot_enabled=True, unclot_distros=["debian"], ramdisk_dir=str(memory), **settings)


def files(site: Site) -> list[Path]:
    """The shared memory on all nodes."""
    return sorted(Path(site.settings.ramdisk_dir).glob("*/*/*"))


def left(site: Site) -> list[str]:
    """What jobs left behind, in memory too."""
    return site.left() + [path.name for path in Path(site.settings.ramdisk_dir).glob("*/*")]


def shared(**asked: Any) -> list[tuple[str, int]]:
    """Name and size of what each guest of a job gets."""
    plan = plan_on(slots(0, 1), settings=SITE, **asked)
    extras = [guest.extras for guest in plan.guests]
    return [(memory.name, memory.size) for one in extras if one for memory in one.shared_memory]


@pytest.mark.proves("unclot", "unclot_shmem", "unclot_shmem_default", "unclot_default", "unclot_enabled")
def test_guests_of_a_node_share_memory_of_their_jobs_own() -> None:
    """Its name is that of the attempt; its size a power of two, as a PCI device's has to be."""
    name = f"{job_tag(JOB)}-n0"
    assert shared(unclot=True, unclot_shmem=3 * MIB, vms_per_node=2) == [(name, 4 * MIB)] * 2
    assert shared(unclot=True) == [(name, 1 << 30)]
    assert shared() == []
    usual = dataclasses.replace(SITE, unclot_default=True, unclot_shmem_default=2 * MIB)
    (guest,) = plan_on(slots(0), settings=usual).guests
    assert guest.extras is not None
    assert guest.extras.shared_memory[0].size == 2 * MIB
    assert plan_on(slots(0), settings=usual, unclot=False).components == ()
    off = dataclasses.replace(SITE, unclot_enabled=False)
    assert plan_on(slots(0), settings=off, unclot=True).guests[0].extras is None


@pytest.mark.proves("unclot_distros")
def test_guests_that_cannot_use_it_get_none() -> None:
    """Asked for, that is the user's mistake; as the site's default it does not concern them."""
    usual = Settings(unclot_enabled=True, unclot_default=True, ramdisk_dir="/memory")
    plan = plan_on(slots(0), settings=usual)
    assert (plan.components, plan.guests[0].extras) == ((), None)
    assert [part.name for part in plan_on(slots(0), settings=usual, image=OSV).components] == ["unclot"]
    with pytest.raises(RequestError) as error:
        plan_on(slots(0), settings=usual, unclot=True)
    assert str(error.value) == (
        "unclot works in osv guests only, and the image is debian; leave unclot away, or choose another image"
    )


def test_a_site_without_memory_for_it_is_told_when_settings_are_read() -> None:
    """One sentence; torque-vm doctor says the same."""
    with pytest.raises(SettingsError) as error:
        loads("unclot_enabled = true\n", "f.toml")
    assert str(error.value) == (
        "f.toml: unclot_enabled is true and there is no ramdisk_dir; "
        "name the directory of the nodes' file system in memory, or switch unclot off"
    )
    assert loads('unclot_enabled = true\nramdisk_dir = "/memory"\n').unclot_enabled


def described() -> str:
    """The XML of a guest with shared memory."""
    plan = plan_on(slots(0), settings=SITE, unclot=True, unclot_shmem=MIB)
    return domain_xml(plan, plan.guests[0], VOLUMES, SITE)


def test_the_domain_has_the_device() -> None:
    """On the root bus like all others."""
    domain = parse_xml(described())
    assert domain.findall("devices/shmem") == []
    assert [one.get("value") for one in domain.findall(f"{QEMU}commandline/{QEMU}arg")] == [
        "-object",
        f"memory-backend-file,id=tvm-shared0,mem-path=/mem,,ory/{job_tag(JOB)}-n0/memory,size={MIB},share=on",
        "-device",
        "ivshmem-plain,memdev=tvm-shared0,addr=0x18",
    ]


def test_the_domain_says_what_it_shares() -> None:
    """So that the memory of a node counts once; whatever else the domain has is not asked."""
    found = read_domain(described(), node="n1")
    assert found is not None
    assert found.shared == ((f"{job_tag(JOB)}-n0", MIB),)
    plan = plan_on(slots(0), settings=SITE)
    found = read_domain(domain_xml(plan, plan.guests[0], VOLUMES, SITE), node="n1")
    assert found is not None
    assert found.shared == ()


def test_each_piece_of_memory_is_a_device_of_its_own_before_those_that_take_any_place() -> None:
    """The emulator gives a device that states no place the first that is free."""
    extras = Extras(
        shared_memory=(SharedMemory("a", MIB, "/m/a"), SharedMemory("b", MIB, "/m/b")),
        emulator_devices=(EmulatorDevice("other"),),
    )
    devices = [word for before, word in pairwise(extras.emulator_arguments) if before == "-device"]
    assert devices == [
        "ivshmem-plain,memdev=tvm-shared0,addr=0x18", "ivshmem-plain,memdev=tvm-shared1,addr=0x19", "other",
    ]  # fmt: skip


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("files", [UserFiles.NONE, UserFiles.NFS, UserFiles.NINE_P])
def test_the_memory_is_the_emulators_whoever_that_is(own: bool, files: UserFiles) -> None:
    """Of the user's own image it has the owner's rights too, and could not open what libvirt's has."""
    plan = plan_on(slots(0), settings=SITE, unclot=True, unclot_shmem=MIB)
    plan = dataclasses.replace(plan, user_files=files, image=dataclasses.replace(plan.image, own=own))
    settings = dataclasses.replace(SITE, user_image_bridge="br-user")
    label = parse_xml(domain_xml(plan, plan.guests[0], VOLUMES, settings)).findtext("seclabel/label")
    owner = plan.job.owner
    expected = (64055, 106) if label is None else (owner.uid, owner.gid)
    assert unclot.user_of(plan, lambda: (64055, 106)) == expected
    assert label in {None, f"+{owner.uid}:+{owner.gid}"}


@pytest.mark.skipif(
    not (shutil.which("virt-xml-validate") and shutil.which("xmllint")),
    reason="needs virt-xml-validate (libvirt-clients) and xmllint (libxml2-utils)",
)
def test_libvirts_schema_takes_the_domain(tmp_path: Path) -> None:
    """Its own tool says so."""
    file = tmp_path / "domain.xml"
    file.write_text(described())
    done = subprocess.run(["virt-xml-validate", file, "domain"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_memory_is_there_while_the_job_is(site: Site) -> None:
    """One file on each node, as large as it will be, root's here; nothing after."""
    assert site.prologue(site.call("ram=64M:unclot=true:unclot_shmem=2M")).ok
    assert [path.parents[1].name for path in files(site)] == ["node1", "node2"]
    assert {path.stat().st_size for path in files(site)} == {2 * MIB}
    assert {path.stat().st_mode & 0o777 for path in files(site)} == {0o600}
    assert len({path.parent.name for path in files(site)}) == 2
    assert site.epilogue().ok
    assert left(site) == []


def test_memory_that_the_node_has_not_is_refused_before_the_boot(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With both sizes; nothing is left."""
    monkeypatch.setattr("nornir_torque_vm.storage.local.LocalStorage.capacity", lambda _: MIB)
    with pytest.raises(StorageError) as error:
        site.prologue(site.call("ram=64M:unclot=true:unclot_shmem=2M"))
    assert str(error.value) == (
        f"node node1: 2M of shared memory is more than {site.settings.ramdisk_dir} has, 1M; "
        "mount it with a larger size=, or lower unclot_shmem"
    )
    assert left(site) == []


@pytest.mark.proves("component_failure")
def test_a_site_can_have_jobs_without_rather_than_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    """A guest whose memory is not as planned fails the start, or is one line."""
    usual = unclot.make_shared_memory

    def vanishing(task: Any) -> Any:
        made = usual(task)
        folder_of(task, made.result, RAMDISK).dispose()
        return made

    monkeypatch.setattr(unclot, "make_shared_memory", vanishing)
    for policy, ok in (("abort", False), ("warn", True)):
        (tmp_path / policy).mkdir()
        site = sharing(tmp_path / policy, component_failure=[f"unclot={policy}"])
        report = site.prologue(site.call("ram=64M:unclot=true:unclot_shmem=1M"))
        assert report.ok is ok
        assert f"unclot-verify: {site.settings.ramdisk_dir}/tvm-17-a1-" in logged[-1]
        assert " is gone" in logged[-1]
        assert len(site.domains()) == (2 if ok else 0)
        assert site.epilogue().ok
        assert left(site) == []
        site.close()


def test_a_guest_without_its_memory_is_found(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The running domain is asked, not the plan."""
    monkeypatch.setattr(
        sys.modules["nornir_torque_vm.tasks.start_guest"],
        "domain_xml",
        lambda plan, guest, *rest: domain_xml(plan, dataclasses.replace(guest, extras=None), *rest),
    )
    report = site.prologue(site.call("ram=64M:unclot=true:unclot_shmem=1M"))
    assert "unclot-verify: it runs without its shared memory" in report.sentences()[0]
    assert left(site) == []


def test_what_cannot_be_removed_is_remembered(
    site: Site, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    """The next one who cleans up removes it; other jobs' stays."""
    site.prologue(site.call("ram=64M:unclot=true:unclot_shmem=1M"))

    def refusing(*_: object, **__: object) -> None:
        raise HypervisorError("libvirt is busy")

    with monkeypatch.context() as patched:
        patched.setattr(unclot, "remove_shared_memory", refusing)
        assert not site.epilogue().ok
    assert "not cleaned up: node[1-2], unclot-stop: libvirt is busy" in logged[-1]
    assert len(files(site)) == 2
    other = files(site)[0].parent.with_name("tvm-170-a1-00000000-n0") / "memory"
    other.parent.mkdir()
    other.touch()
    assert site.epilogue().ok
    assert files(site) == [other]


def test_a_guests_own_folder_is_not_taken_for_shared_memory_nor_that_for_a_guests(site: Site) -> None:
    """They are side by side; who removes the one leaves the other alone."""
    settings = site.settings
    around, engine = Path(settings.ramdisk_dir, "node1"), Engine(settings, Deadline.after(20))
    guest, memory, other = (
        around / name
        for name in ("tvm-17-a1-r0-0badcafe", "tvm-17-a1-0badcafe-n0", "tvm-17-3-a1-0badcafe-n0")
    )
    for folder in (guest, memory, other):
        folder.mkdir(parents=True)
        (folder / "memory").touch()
    inventory = node_inventory([Node("node1")], settings)
    assert engine.run(inventory, unclot.find_shared_memory)["node1"][0].result == [other.name, memory.name]
    removed = engine.run(inventory, destroy, job_id="17.head")["node1"][0]
    assert removed.result.volumes == (guest.name,)
    assert sorted(around.iterdir()) == sorted([memory, other])
    guest.mkdir()
    assert engine.run(inventory, unclot.remove_shared_memory, job_id="17.head")["node1"][0].changed
    assert sorted(around.iterdir()) == sorted([guest, other])


def test_it_is_taken_from_libvirt_when_the_guests_are_ready(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not before: of a start that fails it can be removed from any node. It is the nodes' own then."""
    closed: list[tuple[str, int]] = []
    real = LocalFolder.close

    def close(folder: LocalFolder) -> None:
        real(folder)
        if folder.directory.startswith(site.settings.ramdisk_dir):
            closed.append((Path(folder.directory).name, len(site.domains())))

    monkeypatch.setattr(LocalFolder, "close", close)
    assert site.prologue(site.call("ram=64M:unclot=true:unclot_shmem=1M:vms_per_node=2")).ok
    assert {name for name, _ in closed} == {path.parent.name for path in files(site)}
    assert {number for _, number in closed} == {4}


def test_a_node_where_it_is_not_mounted_has_none(site: Site) -> None:
    """The job fails before the boot, and nothing is made on the node's disk."""
    memory = Path(site.settings.ramdisk_dir)
    memory.rmdir()
    with pytest.raises(StorageError, match=f"node node1: there is no directory {memory} for shared memory"):
        site.prologue(site.call("ram=64M:unclot=true:unclot_shmem=1M"))
    assert (site.domains(), memory.exists()) == ([], False)
    assert site.epilogue().ok
    assert left(site) == []


def test_nor_one_where_it_is_gone_since_the_plan(site: Site) -> None:
    """It is looked for once more."""
    (site.folder / "n1.xml").write_text("<node/>")
    memory = Path(site.settings.ramdisk_dir)
    memory.rmdir()
    plan = plan_on(slots(0), settings=SITE, unclot=True)
    engine, inventory = Engine(site.settings, Deadline.after(20)), build_inventory(plan, site.settings)
    report = Report.from_results(engine.run(inventory, unclot.make_shared_memory, role="node"))
    assert report.sentences() == (f"n1: there is no directory {memory}; create it, or correct ramdisk_dir",)
    assert not memory.exists()


def test_of_memory_that_cannot_be_made_nothing_is_left(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor of its folder; and the first reason is told."""

    def full(folder: LocalFolder, name: str, *_: object) -> None:
        folder.put(name, b"")
        raise StorageError("no space is left", node="node1")

    monkeypatch.setattr(LocalFolder, "hole", full)
    monkeypatch.setattr("nornir_torque_vm.components.running.stop", lambda _e, _i, destroyed, *_: destroyed)
    report = site.prologue(site.call("ram=64M:unclot=true:unclot_shmem=1M"))
    assert "no space is left" in report.sentences()[0]
    assert left(site) == []


def test_after_a_crash_between_start_and_stop_reap_removes_it(site: Site, tmp_path: Path) -> None:
    """Guests and run state are gone already: the file alone tells of the job."""
    folder = Path(site.settings.ramdisk_dir, "node1", "tvm-17-a1-0badcafe-n0")
    folder.mkdir(parents=True)
    (folder / "memory").touch()
    settings = dataclasses.replace(site.settings, local_uri=f"test://{tmp_path}/node1.xml")
    reaper = Reaper(settings, Deadline.after(20), grace=0.0, node="node1")
    (case,) = reaper.run_for("17.head").cases
    assert case.fate is Fate.REMOVED, case.reason
    assert left(site) == []


@pytest.mark.parametrize(
    ("label", "user"), [("+64055:+106", (64055, 106)), ("+0:+0", (0, 0)), ("libvirt-qemu", (0, 0))]
)
def test_the_files_user_is_the_emulators(label: str, user: tuple[int, int]) -> None:
    """As the capabilities say."""
    text = (
        "<capabilities><host><secmodel><model>apparmor</model><baselabel type='kvm'>x</baselabel></secmodel>"
        f"<secmodel><model>dac</model><doi>0</doi><baselabel type='kvm'>{label}</baselabel></secmodel>"
        "</host></capabilities>"
    )
    assert emulator_user(text) == user
    assert emulator_user("<capabilities/>") == (0, 0)
    with pytest.raises(HypervisorError):
        emulator_user("<")
