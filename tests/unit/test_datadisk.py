"""The user's disk: opened by its owner, one job's at a time, given to the emulator open, then put away."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libvirt
import libvirt_qemu
import pytest
from hook_kit import JOB, Site, site
from nornir.core.task import Result, Task
from qcow2_bytes import image_bytes
from task_kit import FakeLibvirt, Plugged, World, first_error, make_plan

from nornir_torque_vm import tasks
from nornir_torque_vm.accounts import caller, owner_named
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.connections.command import CommandResult
from nornir_torque_vm.datadisk.beyond import check_opened
from nornir_torque_vm.datadisk.lock import take
from nornir_torque_vm.datadisk.opening import opened_disk
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import (
    BusyError,
    HypervisorError,
    ImageError,
    NotHealthy,
    RequestError,
    TorqueVMError,
)
from nornir_torque_vm.hooks import datadisk as hook_module
from nornir_torque_vm.hooks.datadisk import put_away
from nornir_torque_vm.model import DataDisk, Distro, Image, Owner, Plan
from nornir_torque_vm.ownerfile import open_as_owner
from nornir_torque_vm.plan import plan_from_json, plan_to_json
from nornir_torque_vm.render.datadisk import NO_FILE_SYSTEM, SERIAL, mount_disk_script
from nornir_torque_vm.render.domain import GuestVolumes, domain_xml
from nornir_torque_vm.request import Request
from nornir_torque_vm.runstate.jobstate import History, JobState
from nornir_torque_vm.tasks import destroy, mount_disk, start_guest

__all__ = ["site"]

IMAGE = Image("micro.qcow2", "/pool/micro.qcow2")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")


@pytest.fixture
def owner() -> Owner:
    """Somebody else for root, ourselves for everybody else."""
    return owner_named("nobody") if os.geteuid() == 0 else caller()


@pytest.fixture
def home(tmp_path: Path, owner: Owner) -> Path:
    """A directory of the owner's with a disk of each kind."""
    (tmp_path / "data.qcow2").write_bytes(image_bytes())
    (tmp_path / "data.img").write_bytes(bytes(4096))
    if os.geteuid() == 0:
        for above in (tmp_path.parent, tmp_path.parent.parent):
            above.chmod(0o755)
        for path in (tmp_path, *tmp_path.iterdir()):
            os.chown(path, owner.uid, owner.gid)
            path.chmod(0o700 if path.is_dir() else 0o600)
    return tmp_path


@contextlib.contextmanager
def opened(path: Path | str, owner: Owner, image: Image = IMAGE) -> Iterator[tuple[DataDisk, int] | None]:
    with opened_disk(Request(disk=str(path)), Settings(), owner, image, Deadline.after(30)) as found:
        yield found


def refused(kind: type[TorqueVMError], path: Path, owner: Owner, image: Image = IMAGE) -> str:
    with pytest.raises(kind) as caught, opened(path, owner, image):
        pass
    assert type(caught.value) is kind
    return str(caught.value)


@pytest.mark.parametrize(("name", "form"), [("data.qcow2", "qcow2"), ("data.img", "raw")])
def test_a_disk_is_open_for_reading_and_writing(home: Path, owner: Owner, name: str, form: str) -> None:
    """And closed afterwards."""
    with opened(home / name, owner) as found:
        assert found is not None
        disk, fd = found
        assert disk == DataDisk(str(home / name), form)
        assert os.pwrite(fd, b"x", 4000) == 1
        assert not os.get_inheritable(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    assert (home / name).read_bytes()[4000:4001] == b"x"


@pytest.mark.proves("disk_default")
def test_without_a_disk_there_is_none_and_the_site_may_name_one(home: Path, owner: Owner) -> None:
    """What a job asks for goes first."""
    with opened_disk(Request(), Settings(), owner, IMAGE, Deadline.after(30)) as found:
        assert found is None
    default = Settings(disk_default=str(home / "data.img"))
    with opened_disk(Request(), default, owner, IMAGE, Deadline.after(30)) as found:
        assert found is not None
        assert found[0].format == "raw"
    with opened_disk(Request(disk=""), default, owner, IMAGE, Deadline.after(30)) as found:
        assert found is None


def test_one_job_at_a_time_has_it_and_for_as_long_as_anybody_has_it_open(home: Path, owner: Owner) -> None:
    """The emulator's duplicate keeps the lock when the prologue is long over."""
    path = home / "data.img"
    with opened(path, owner) as found:
        assert found is not None
        emulators = os.dup(found[1])
    assert refused(BusyError, path, owner).startswith(f"disk '{path}'"[:20])
    assert "is in use by another job" in refused(BusyError, path, owner)
    os.close(emulators)
    with opened(path, owner) as found:
        assert found is not None


def test_what_qemu_has_locked_is_busy_and_no_lock_of_ours_is_left(home: Path, owner: Owner) -> None:
    """An emulator that is none of ours, or qemu-img."""
    import fcntl
    import struct

    path = home / "data.img"
    other = os.open(path, os.O_RDWR)
    fcntl.fcntl(other, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_RDLCK, 0, 101, 1, 0))
    assert "is in use by an emulator or by qemu-img" in refused(BusyError, path, owner)
    os.close(other)
    mine = os.open(path, os.O_RDWR)
    take(mine, "it")
    os.close(mine)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"backing": b"/etc/shadow", "fmt": b"raw"}, "builds on another file ('/etc/shadow')"),
        ({"data_file": b"/etc/shadow", "features": 4}, "keeps its data in another file"),
        ({"crypt": 1}, "is encrypted"),
        ({"features": 2}, "is marked as corrupt"),
    ],
)
def test_an_image_leads_to_no_other_file(home: Path, owner: Owner, change: Any, words: str) -> None:
    """Whatever it is called: a guest may have written the header of a raw disk."""
    for name in ("data.qcow2", "data.img"):
        (home / name).write_bytes(image_bytes(**change))
        assert words in refused(ImageError, home / name, owner)


def test_only_what_is_called_like_a_raw_disk_is_one(home: Path, owner: Owner) -> None:
    """A thesis is not formatted by mistake, nor is half a sector."""
    (home / "data.qcow2").write_bytes(b"not a disk" * 512)
    assert "is no qcow2 image, and not called *.img or *.raw" in refused(
        RequestError, home / "data.qcow2", owner
    )
    for size in (0, 1000):
        (home / "data.img").write_bytes(bytes(size))
        assert f"has {size} bytes" in refused(RequestError, home / "data.img", owner)


@pytest.mark.proves("allow_user_disks")
def test_a_site_may_have_no_disks_of_users(home: Path, owner: Owner) -> None:
    """Its own default is no user's."""
    settings, path = Settings(allow_user_disks=False), str(home / "data.img")
    with (
        pytest.raises(RequestError, match="is not allowed: jobs bring no disks here"),
        opened_disk(Request(disk=path), settings, owner, IMAGE, Deadline.after(30)),
    ):
        pass
    default = dataclasses.replace(settings, disk_default=path)
    with opened_disk(Request(), default, owner, IMAGE, Deadline.after(30)) as found:
        assert found is not None


def test_guests_of_osv_get_no_disk(home: Path, owner: Owner) -> None:
    """Nobody would mount it."""
    osv = dataclasses.replace(IMAGE, distro=Distro.OSV)
    assert "OSv" in refused(RequestError, home / "data.img", owner, osv)


@pytest.mark.parametrize("kind", ["missing", "directory", "fifo", "link"])
def test_what_is_no_file_is_not_opened(home: Path, owner: Owner, kind: str) -> None:
    """Nor waited for, nor followed."""
    path = home / kind
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(home / "data.img")
    if kind != "missing" and os.geteuid() == 0:
        os.chown(path, owner.uid, owner.gid, follow_symlinks=False)
    with pytest.raises(RequestError, match="disk names"):
        open_as_owner("disk", str(path), owner, Deadline.after(30))


@as_root
@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_what_the_owner_may_not_write_is_not_opened(home: Path, owner: Owner, mode: int) -> None:
    """Root could."""
    os.chown(home / "data.img", 0, 0)
    (home / "data.img").chmod(mode)
    assert "Permission denied" in refused(RequestError, home / "data.img", owner)


def with_disk(plan: Plan) -> Plan:
    return dataclasses.replace(plan, disk=DataDisk("/home/a & b/data.img", "raw"))


def test_a_plan_keeps_its_disk() -> None:
    """In JSON too."""
    plan = with_disk(make_plan())
    assert plan_from_json(plan_to_json(plan)) == plan


def test_the_first_guest_alone_gets_it_as_an_open_file() -> None:
    """Nobody looks for it by name or takes it over; what the guest flushes is on the disk."""
    plan = make_plan(1, 2)
    plan = with_disk(dataclasses.replace(plan, guests=tuple(
        dataclasses.replace(guest, shape=dataclasses.replace(guest.shape, arch="x86_64", domain_type="qemu"))
        for guest in plan.guests
    )))  # fmt: skip
    volumes = GuestVolumes("/v/o", "/v/s", "/v/c")
    first, second = (ET.fromstring(domain_xml(plan, guest, volumes, Settings())) for guest in plan.guests)  # noqa: S314
    assert second.find("devices/disk[3]") is None
    disk = first.find("devices/disk[3]")
    assert disk is not None
    source, driver, label = disk.find("source"), disk.find("driver"), disk.find("source/seclabel")
    assert source is not None
    assert driver is not None
    assert label is not None
    assert (source.get("file"), source.get("fdgroup")) == ("/home/a & b/data.img", "data")
    assert (driver.get("type"), driver.get("cache")) == ("raw", "writeback")
    assert (label.get("model"), label.get("relabel")) == ("dac", "no")
    assert disk.findtext("serial") == SERIAL
    assert len(SERIAL) <= 20, "what virtio carries"
    assert [child.tag for child in disk if child.tag == "backingStore"] == ["backingStore"]


NODES = [
    {"node-name": "libvirt-1-format", "drv": "qcow2", "file": "/dev/fdset/2"},
    {"node-name": "libvirt-1-storage", "drv": "file", "file": "/dev/fdset/2"},
]
"""As QEMU 7.2 tells them."""


class Defined:
    """A domain that notes what is done to it."""

    def __init__(self, notes: list[str], *, refuses: bool = False) -> None:
        self.notes, self.refuses = notes, refuses
        self.block_nodes = NODES

    def FDAssociate(self, name: str, fds: list[int], _flags: int) -> None:  # noqa: N802 - libvirt's name
        self.notes.append(f"{name} {fds}")

    def createWithFlags(self, flags: int) -> None:  # noqa: N802
        self.notes.append("create" if flags == libvirt.VIR_DOMAIN_START_PAUSED else "run")
        if self.refuses:
            error: Any = libvirt.libvirtError("no")
            error.err = (1, 10, "no", 2, None, None, None, -1, -1)
            raise error

    def resume(self) -> None:
        self.notes.append("resume")

    def destroy(self) -> None:
        self.notes.append("destroy")

    def undefine(self) -> None:
        self.notes.append("undefine")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, with_disk(make_plan(1, 2)))


@pytest.fixture(autouse=True)
def emulator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers for the emulator of a :class:`Defined`."""

    def asked(domain: Defined, question: str, _flags: int) -> str:
        assert json.loads(question)["execute"] == "query-named-block-nodes"
        domain.notes.append("ask")
        return json.dumps({"return": domain.block_nodes, "id": "libvirt-386"})

    monkeypatch.setattr(libvirt_qemu, "qemuMonitorCommand", asked)


def start(world: World, domain: Any) -> Any:
    """Start the first guest with descriptor 99, on a libvirt that has this domain."""
    conn = FakeLibvirt(libvirt.libvirtError("none"))
    conn.defineXMLFlags = lambda _xml, flags: domain if flags == 1 else None  # type: ignore[attr-defined]
    host = world.inventory.hosts["j17-r0"]
    host.data["disk"] = 99
    host.connections["libvirt"] = Plugged(conn)
    return world.nornir().filter(name="j17-r0").run(start_guest)


def test_a_guest_with_a_disk_is_defined_for_a_moment_only(world: World) -> None:
    """Transient like all others when it runs."""
    notes: list[str] = []
    assert not start(world, Defined(notes)).failed
    assert notes == ["data [99]", "create", "ask", "resume", "undefine"]


def test_a_disk_whose_header_was_changed_leads_the_emulator_nowhere(world: World) -> None:
    """Its owner can do so after our look at it: the emulator has other rights than the owner."""
    notes: list[str] = []
    domain = Defined(notes)
    domain.block_nodes = [*NODES, {"node-name": "#block090", "drv": "file", "file": "/etc/\x1bshadow"}]
    error = first_error(start(world, domain), "j17-r0")
    assert isinstance(error, ImageError)
    assert str(error) == (
        "node node1, guest j17-r0: disk '/home/a & b/data.img' keeps its data in another file "
        "('/etc/\\x1bshadow'); make it self-contained: qemu-img convert -O qcow2 OLD NEW"
    )
    assert notes == ["data [99]", "create", "ask", "destroy", "undefine"]


@pytest.mark.parametrize("answer", ["", "[]", '{"error": {}}', '{"return": [{}]}', '{"return": 1}'])
def test_an_emulator_that_does_not_say_what_it_has_open_is_not_trusted(answer: str) -> None:
    """Whatever the reason."""
    with pytest.raises(HypervisorError, match="does not say which files it has"):
        check_opened(answer, "disk")


def test_a_guest_that_cannot_be_started_is_not_left_defined(world: World) -> None:
    """Whatever the reason."""
    notes: list[str] = []
    assert isinstance(first_error(start(world, Defined(notes, refuses=True)), "j17-r0"), HypervisorError)
    assert notes[-1] == "undefine"


def test_an_old_libvirt_is_named(world: World) -> None:
    """It cannot be given an open file."""

    class Old:
        def undefine(self) -> None:
            """Forget it."""

    assert "9.0 or later" in str(first_error(start(world, Old()), "j17-r0"))


@pytest.mark.parametrize("running", [False, True])
def test_what_a_killed_start_left_defined_is_removed(tmp_path: Path, running: bool) -> None:
    """Between definition and the end of it a hook may be killed like anywhere."""
    world = World(tmp_path, make_plan(1, 1))
    guest = world.plan.guests[0]
    volumes = GuestVolumes("/v/o", "/v/s", "/v/c")
    domain = world.connect().defineXML(domain_xml(world.plan, guest, volumes, world.settings))
    if running:
        domain.create()
    assert world.domains() == [guest.domain]
    results = world.run(destroy, "node", job_id="17.head")
    assert not results.failed
    assert world.domains() == []


class Shell:
    """A guest's shell with a script of answers."""

    def __init__(self, answer: CommandResult) -> None:
        self.answer = answer
        self.read: list[bytes] = []

    def run(self, _command: str, stdin: bytes = b"", timeout: float | None = None) -> CommandResult:
        """Answer."""
        assert timeout is not None
        self.read.append(stdin)
        return self.answer


def shells(world: World, answer: CommandResult) -> list[Shell]:
    made = [Shell(answer), Shell(answer)]
    for rank, shell in enumerate(made):
        world.inventory.hosts[f"j17-r{rank}"].connections["guest_ssh"] = Plugged(shell)
    return made


def test_the_first_guest_alone_mounts_it_and_lets_go_of_it(world: World) -> None:
    """The others are not even asked."""
    first, second = shells(world, CommandResult(0))
    assert not world.run(mount_disk, "guest").failed
    assert not world.run(tasks.unmount_disk, "guest").failed
    assert first.read[0].decode() == mount_disk_script(world.plan.job.owner)
    assert (len(first.read), second.read) == (2, [])


@pytest.mark.parametrize(("code", "kind"), [(NO_FILE_SYSTEM, RequestError), (1, NotHealthy)])
def test_a_disk_without_a_file_system_is_its_owners_mistake(world: World, code: int, kind: type) -> None:
    """What else keeps it from being mounted is not."""
    shells(world, CommandResult(code, "", "mount: what\nno ext4 here\n"))
    error = first_error(world.run(mount_disk, "guest"), "j17-r0")
    assert type(error) is kind
    assert "disk '/home/a & b/data.img' was not mounted as /data: no ext4 here" in str(error)


@pytest.mark.proves("shutdown_timeout")
def test_the_guest_with_the_disk_is_shut_down_before_the_others_are_ended(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unmounted first; and what goes wrong there is told, and the guest ended all the same."""
    done: list[str] = []

    def unmount_disk(task: Task, seconds: float) -> Result:
        done.append(f"unmount {task.host.name}")
        assert 1.0 < seconds <= 10.0
        raise NotHealthy("its disk was not unmounted: /data is still in use")

    real: Any = libvirt.virDomain.destroy
    monkeypatch.setattr(hook_module, "unmount_disk", unmount_disk)
    monkeypatch.setattr(libvirt.virDomain, "shutdown", lambda self: done.append(f"shut {self.name()[:10]}"))

    def end(domain: Any) -> Any:
        done.append(f"end {domain.name()[:10]}")
        return real(domain)

    monkeypatch.setattr(libvirt.virDomain, "destroy", end)
    settings = dataclasses.replace(site.settings, shutdown_timeout=4.0)
    site.prologue()
    state, history = JobState.find(settings.run_dir, JOB), History.latest(settings.history_dir, JOB)
    assert state is not None
    plan = state.plan()
    assert plan is not None
    assert put_away(settings, Deadline.after(20), state, history) == [], "it has no disk"
    assert done == []
    monkeypatch.setattr(JobState, "plan", lambda _: with_disk(plan))
    failed = put_away(settings, Deadline.after(20), state, history)
    assert done == ["unmount j17-r0", "shut tvm-17-a1-", "end tvm-17-a1-"]
    assert failed == ["j17-r0 on node1, unmount: its disk was not unmounted: /data is still in use"]
    assert [name for name in site.domains() if "-r0-" in name] == []
    monkeypatch.setattr(hook_module, "_put_away", lambda *_: 1 / 0)
    assert put_away(settings, Deadline.after(20), state, history)[0].startswith("its disk was not put away")
