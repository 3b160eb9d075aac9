"""How guests are given files: the devices in the domain XML, and the script that mounts them."""

from __future__ import annotations

import dataclasses
import getpass
import os
import shlex
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import libvirt
import pytest
from hypothesis import given
from render_kit import ALICE, VOLUMES, legal, parse_xml, plan_of

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.model import Plan, UserDir, UserFiles
from nornir_torque_vm.render.domain import domain_xml
from nornir_torque_vm.render.mounts import mount_script

DIRS = (UserDir("/home/alice", "user0"), UserDir("/project", "user1"))
SHELLS = [["/bin/sh"], ["busybox", "sh"]]


def plan_with(kind: UserFiles, dirs: tuple[UserDir, ...] = DIRS, **owner: Any) -> Plan:
    made = plan_of(owner=dataclasses.replace(ALICE, **owner))
    return dataclasses.replace(made, user_files=kind, user_dirs=dirs)


def domain(plan: Plan) -> ET.Element:
    return parse_xml(domain_xml(plan, plan.guests[0], VOLUMES, Settings()))


@pytest.mark.parametrize("kind", [UserFiles.NONE, UserFiles.NFS])
def test_what_comes_by_nfs_is_no_device(kind: UserFiles) -> None:
    """And with no files nothing is different from before."""
    plan = plan_with(kind, () if kind is UserFiles.NONE else DIRS)
    assert domain_xml(plan, plan.guests[0], VOLUMES, Settings()) == domain_xml(
        plan_of(), plan.guests[0], VOLUMES, Settings()
    )


def test_with_9p_the_whole_process_has_the_owners_rights() -> None:
    """Numbers, not names: libvirt would look up a name, and a number's account may be called anything."""
    root = domain(plan_with(UserFiles.NINE_P))
    (label,) = root.findall("seclabel")
    assert label.attrib == {"type": "static", "model": "dac", "relabel": "yes"}
    assert label.findtext("label") == "+2001:+2002"
    assert [
        (fs.get("accessmode"), fs.find("source").get("dir"), fs.find("target").get("dir"))  # type: ignore[union-attr]
        for fs in root.iter("filesystem")
    ] == [("squash", "/home/alice", "user0"), ("squash", "/project", "user1")]
    for layer in root.findall("devices/disk/backingStore/source/seclabel"):
        assert layer.get("relabel") == "no", "images of the pool stay whose they are"


def test_with_virtiofs_the_server_sees_the_guests_memory() -> None:
    """The process keeps the site's rights: the server is another one."""
    root = domain(plan_with(UserFiles.VIRTIOFS))
    assert root.find("seclabel") is None
    assert root.find("memoryBacking/access[@mode='shared']") is not None
    assert [fs.find("driver").get("type") for fs in root.iter("filesystem")] == ["virtiofs"] * 2  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", [UserFiles.NINE_P, UserFiles.VIRTIOFS])
def test_libvirts_schema_takes_as_many_directories_as_there_can_be(kind: UserFiles) -> None:
    """The home and sixteen more, each in a slot of its own on the root bus."""
    dirs = tuple(UserDir(f"/d{number}", f"user{number}") for number in range(17))
    plan = plan_with(kind, dirs)
    text = domain_xml(plan, plan.guests[0], VOLUMES, Settings())
    slots = [address.get("slot") for address in parse_xml(text).iter("address")]
    assert len(set(slots)) == len(slots)
    assert max(int(slot or "0", 16) for slot in slots) < 0x1F, "the chipset's own"
    if shutil.which("virt-xml-validate") and shutil.which("xmllint"):
        done = subprocess.run(
            ["virt-xml-validate", "-", "domain"], input=text, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


@given(path=legal, user=legal)
def test_any_text_is_one_word_of_the_script(path: str, user: str) -> None:
    """Accounts and paths come from the site's directory; a blank or quote in one is no other command."""
    plan = plan_with(UserFiles.NINE_P, (UserDir(path, "user0"),), name=user)
    lines = mount_script(plan).split("# The files are those", 1)
    words = shlex.split(lines[0].split("set -eu")[0])
    assert words[0] == f"user={user}"
    (call,) = mount_script(plan).split("\nshare ")[1:]
    assert shlex.split(call.split("\n\nmounted ")[0])[:2] == ["user0", path]


@pytest.mark.proves("nfs_options")
def test_nfs_is_mounted_by_address_and_nothing_is_setuid() -> None:
    """Guests' kernels look up no names; the site's options cannot take ours away."""
    plan = plan_with(UserFiles.NFS, (UserDir("/home/alice", "filer:/export/home/alice"),))
    (line,) = [
        line for line in mount_script(plan, "vers=4.1,suid", {"filer": "10.0.0.5"}).splitlines()
        if line.startswith("share ")
    ]  # fmt: skip
    assert shlex.split(line) == [
        "share", "10.0.0.5:/export/home/alice", "/home/alice", "/home/alice",
        "vers=4.1,suid,nosuid,nodev,addr=10.0.0.5,clientaddr=0.0.0.0",
    ]  # fmt: skip
    with pytest.raises(KeyError):
        mount_script(plan, "vers=4.1", {})


@pytest.mark.parametrize("kind", [UserFiles.NFS, UserFiles.NINE_P, UserFiles.VIRTIOFS])
def test_what_is_elsewhere_in_guests_is_read_only_there(kind: UserFiles) -> None:
    """With 9p for root in the guest too; libvirt 9 knows no such virtiofs."""
    source = "filer:/sw" if kind is UserFiles.NFS else "user1"
    plan = plan_with(kind, (UserDir("/home/alice", "filer:/h"), UserDir("/opt", source, "/opt-hpc")))
    lines = mount_script(plan, "vers=4.1,rw", {"filer": "10.0.0.5"}).splitlines()
    home, software = (shlex.split(line) for line in lines if line.startswith("share "))
    assert software[2:4] == ["/opt-hpc", "/opt-hpc"]
    assert ("ro" in software[4].split(","), "ro" in home[4].split(",")) == (True, False)
    devices = list(domain(plan).iter("filesystem"))
    assert [device.find("readonly") is not None for device in devices] == (
        [] if kind is UserFiles.NFS else [False, kind is UserFiles.NINE_P]
    )
    if devices:
        assert devices[1].find("source").get("dir") == "/opt"  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", [UserFiles.NINE_P, UserFiles.VIRTIOFS])
def test_every_kind_is_mounted_without_setuid_and_devices(kind: UserFiles) -> None:
    """A setuid program would give its owner's rights to others in the guest."""
    for line in mount_script(plan_with(kind)).splitlines():
        if line.startswith("share "):
            assert shlex.split(line)[4].split(",")[-2:] == ["nosuid", "nodev"]


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_an_account_with_another_number_or_home_gets_no_files(shell: list[str]) -> None:
    """Its processes would be somebody else to the file server, or run in another home."""
    user, uid = getpass.getuser(), os.getuid()
    home = Path.home()

    def said(**owner: Any) -> str:
        script = mount_script(plan_with(UserFiles.NINE_P, name=user, **owner))
        done = subprocess.run(
            [*shell, "-s"], input=script, capture_output=True, text=True, check=False, timeout=30
        )
        assert done.returncode == 1
        return done.stderr

    assert said(uid=uid + 1) == f"{user} has another number in the image than {uid + 1}\n"
    elsewhere = said(uid=uid, home="/nowhere/at/all")
    assert elsewhere.startswith(f"the home of {user} is ")
    assert elsewhere.endswith("in the image, not /nowhere/at/all\n")
    assert home.is_dir()


def test_guests_that_make_the_homes_ssh_directory_at_the_same_moment_all_have_it(tmp_path: Path) -> None:
    """They share a home: between looking and making, another guest has made it."""
    home, programs = tmp_path / "home", tmp_path / "bin"
    home.mkdir()
    programs.mkdir()
    for name, text in (("mkdir", '/bin/mkdir "$HOME/.ssh"; exec /bin/mkdir "$@"'), ("sleep", "pwd")):
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    (line,) = [one for one in mount_script(plan_with(UserFiles.NINE_P)).splitlines() if "stand=" in one]
    done = subprocess.run(
        ["/bin/sh", "-c", line.removeprefix("stand=").strip("'")],
        env={"HOME": str(home), "PATH": f"{programs}:/usr/bin:/bin"},
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1:] == [str(home / ".ssh")]


def test_libvirts_test_driver_takes_the_devices() -> None:
    """It parses as any driver does."""
    libvirt.registerErrorHandler(lambda *_: None, None)
    plan = dataclasses.replace(plan_of(domain_type="test"), user_files=UserFiles.VIRTIOFS, user_dirs=DIRS)
    conn = libvirt.open("test:///default")
    started = conn.createXML(domain_xml(plan, plan.guests[0], VOLUMES, Settings()), 0)
    assert started.XMLDesc().count("<filesystem") == len(DIRS)
    started.destroy()
    conn.close()
