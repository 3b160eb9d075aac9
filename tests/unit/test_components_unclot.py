"""UNCLOT: guests of a node share memory that is their job's alone and gone after it."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from component_kit import JOB, plan_on, slots
from hook_kit import Site
from render_kit import VOLUMES, parse_xml

from nornir_torque_vm.capabilities import emulator_user
from nornir_torque_vm.components import unclot
from nornir_torque_vm.config.settings import Settings, loads
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import HypervisorError, RequestError
from nornir_torque_vm.identity import job_tag
from nornir_torque_vm.model import Distro, Image, UserFiles
from nornir_torque_vm.reap.reaper import Fate, Reaper
from nornir_torque_vm.render.domain import domain_xml

MIB = 1 << 20
SITE = loads('unclot_enabled = true\nunclot_distros = ["debian", "osv"]\n')
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
    made = Site(tmp_path, unclot_enabled=True, unclot_distros=["debian"])
    yield made
    made.close()


def files(site: Site) -> list[Path]:
    """The shared memory on all nodes: the test driver's stands for /dev/shm."""
    return sorted(Path(site.settings.run_dir).glob("shm/*/*"))


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
    usual = Settings(unclot_enabled=True, unclot_default=True)
    plan = plan_on(slots(0), settings=usual)
    assert (plan.components, plan.guests[0].extras) == ((), None)
    assert [part.name for part in plan_on(slots(0), settings=usual, image=OSV).components] == ["unclot"]
    with pytest.raises(RequestError) as error:
        plan_on(slots(0), settings=usual, unclot=True)
    assert str(error.value) == (
        "unclot works in osv guests only, and the image is debian; leave unclot away, or choose another image"
    )


def described() -> str:
    """The XML of a guest with shared memory."""
    plan = plan_on(slots(0), settings=SITE, unclot=True, unclot_shmem=MIB)
    return domain_xml(plan, plan.guests[0], VOLUMES, SITE)


def test_the_domain_has_the_device() -> None:
    """On the root bus like all others."""
    (shmem,) = parse_xml(described()).findall("devices/shmem")
    model, size, address = shmem.find("model"), shmem.find("size"), shmem.find("address")
    assert shmem.get("name") == f"{job_tag(JOB)}-n0"
    assert model is not None
    assert size is not None
    assert address is not None
    assert (model.get("type"), size.get("unit"), size.text, address.get("bus")) == (
        "ivshmem-plain", "b", str(MIB), "0",
    )  # fmt: skip


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
    assert [path.parent.name for path in files(site)] == ["node1", "node2"]
    assert {path.stat().st_size for path in files(site)} == {2 * MIB}
    assert {path.stat().st_mode & 0o777 for path in files(site)} == {0o600}
    assert len({path.name for path in files(site)}) == 2
    assert site.epilogue().ok
    assert site.left() == []


def test_memory_that_the_node_has_not_is_refused_before_the_boot(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With both sizes; nothing is left."""
    monkeypatch.setattr("nornir_torque_vm.storage.local.LocalStorage.capacity", lambda _: MIB)
    report = site.prologue(site.call("ram=64M:unclot=true:unclot_shmem=2M"))
    (sentence,) = report.sentences()
    assert sentence == (
        "node[1-2], unclot-start: 2M of shared memory is more than /dev/shm has, 1M; "
        "mount it with a larger size=, or lower unclot_shmem"
    )
    assert site.left() == []


@pytest.mark.proves("component_failure")
def test_a_site_can_have_jobs_without_rather_than_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    """A guest whose memory is not as planned fails the start, or is one line."""
    usual = unclot.make_shared_memory

    def vanishing(task: Any) -> Any:
        made = usual(task)
        unclot._storage(task).remove(made.result)
        return made

    monkeypatch.setattr(unclot, "make_shared_memory", vanishing)
    for policy, ok in (("abort", False), ("warn", True)):
        (tmp_path / policy).mkdir()
        site = Site(
            tmp_path / policy, unclot_enabled=True, unclot_distros=["debian"],
            component_failure=[f"unclot={policy}"],
        )  # fmt: skip
        report = site.prologue(site.call("ram=64M:unclot=true:unclot_shmem=1M"))
        assert report.ok is ok
        assert "unclot-verify: /dev/shm/tvm-17-a1-" in logged[-1]
        assert " is gone" in logged[-1]
        assert len(site.domains()) == (2 if ok else 0)
        assert site.epilogue().ok
        assert site.left() == []
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
    assert site.left() == []


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
    other = files(site)[0].with_name("tvm-170-a1-00000000-n0")
    other.touch()
    assert site.epilogue().ok
    assert files(site) == [other]


def test_after_a_crash_between_start_and_stop_reap_removes_it(site: Site, tmp_path: Path) -> None:
    """Guests and run state are gone already: the file alone tells of the job."""
    folder = Path(site.settings.run_dir, "shm/node1")
    folder.mkdir(parents=True)
    (folder / "tvm-17-a1-0badcafe-n0").touch()
    settings = dataclasses.replace(site.settings, local_uri=f"test://{tmp_path}/node1.xml")
    reaper = Reaper(settings, Deadline.after(20), grace=0.0, node="node1")
    (case,) = reaper.run_for("17.head").cases
    assert case.fate is Fate.REMOVED, case.reason
    assert files(site) == []


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
