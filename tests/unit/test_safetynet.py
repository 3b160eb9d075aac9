"""The safety net of a sister: what its mother superior left behind goes, and nothing else."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hook_kit import JOB, Site, cut_off, site

from nornir_torque_vm import safetynet
from nornir_torque_vm.engine import Engine
from nornir_torque_vm.errors import InventoryError
from nornir_torque_vm.report import Report
from nornir_torque_vm.safetynet import SafetyNet
from nornir_torque_vm.storage.folder import LocalFolder

__all__ = ["site"]


@pytest.fixture(autouse=True)
def logged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sentences the net writes to syslog."""
    lines: list[str] = []
    monkeypatch.setattr(safetynet, "log", lambda *words: lines.append(words[-1]))
    return lines


def net(site: Site, node: str = "node2", grace: float = 0.3) -> SafetyNet:
    return SafetyNet(JOB, dataclasses.replace(site.settings, sister_grace=grace), node)


def meanwhile(monkeypatch: pytest.MonkeyPatch, act: Callable[[], Any]) -> None:
    """Do something while the net waits for the first time."""
    acts = [act]

    def wait(_net: SafetyNet, seconds: float) -> None:
        if acts:
            acts.pop()()
        time.sleep(min(seconds, 0.1))

    monkeypatch.setattr(SafetyNet, "wait", wait)


def on(site: Site, node: str) -> list[str]:
    return sorted(domain.name() for domain in site.connect(node).listAllDomains())


def test_what_the_mother_superior_left_goes_when_the_time_is_up(site: Site, logged: list[str]) -> None:
    """Domains and files of this node; other nodes have nets of their own."""
    site.prologue()
    (guest,) = on(site, "node2")
    made = net(site)
    made.run()
    assert on(site, "node2") == []
    assert on(site, "node1") != []
    assert not [name for name in site.volumes() if name.startswith(guest)]
    assert made.removed == (guest,)
    assert logged == [f"removed {guest}"]


def test_files_without_a_domain_go_too(site: Site) -> None:
    """A teardown that was cut short between the two."""
    site.prologue()
    (guest,) = on(site, "node2")
    site.connect("node2").lookupByName(guest).destroy()
    made = net(site)
    made.run()
    assert made.removed == (guest,)
    assert not [name for name in site.volumes() if name.startswith(guest)]


def test_it_leaves_as_soon_as_the_mother_superior_has_acted(
    site: Site, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    """Long before its time is up."""
    site.prologue()
    meanwhile(monkeypatch, site.epilogue)
    made = net(site, grace=3600)
    made.run()
    assert (made.removed, logged) == ((), ["nothing of its guests is left here"])
    assert site.left() == []


def test_shared_memory_goes_where_all_files_of_guests_went_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    """Its folder is closed on every node, that of an OSv guest's console on none."""
    (tmp_path / "memory").mkdir()
    site = Site(tmp_path, unclot_enabled=True, unclot_distros=["debian"], ramdisk_dir=f"{tmp_path}/memory")
    site.prologue(site.call("ram=64M:unclot=true"))
    real = LocalFolder.dispose
    acting: list[bool] = []

    def dispose(folder: LocalFolder) -> bool:
        there = "/memory/node2/" in folder.directory and not acting
        return False if there else real(folder)

    monkeypatch.setattr(LocalFolder, "dispose", dispose)

    def epilogue() -> None:
        assert site.epilogue().ok
        (closed,) = (tmp_path / "memory").glob("*/tvm-*")
        assert closed.parent.name == "node2"
        (closed.parent / "tvm-17-a1-00000000-n0").mkdir()  # of an attempt that is not this net's
        acting.append(True)

    meanwhile(monkeypatch, epilogue)
    made = net(site, grace=3600)
    made.run()
    (line,) = logged
    assert re.fullmatch(r"removed what components had of tvm-17-a1-[0-9a-f]{8}", line)
    assert [path.name for path in (tmp_path / "memory").glob("*/tvm-*")] == ["tvm-17-a1-00000000-n0"]
    site.close()


def test_nothing_is_waited_for_where_nothing_is(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job whose guests never started."""
    monkeypatch.setattr(SafetyNet, "wait", lambda *_: pytest.fail("waited"))
    net(site, grace=3600).run()


@pytest.mark.parametrize("forgetful", [False, True], ids=["next attempt", "same attempt, other nonce"])
def test_guests_of_a_job_that_came_back_are_never_touched(
    site: Site, monkeypatch: pytest.MonkeyPatch, forgetful: bool
) -> None:
    """Another mother superior may count its attempts anew; the nonce tells them apart."""
    site.prologue()
    before = on(site, "node2")

    def again() -> None:
        site.epilogue()
        if forgetful:
            shutil.rmtree(site.settings.history_dir)
        site.prologue()

    meanwhile(monkeypatch, again)
    made = net(site)
    made.run()
    assert made.removed == ()
    (guest,) = on(site, "node2")
    assert guest not in before
    assert [name for name in site.volumes() if name.startswith(guest)]


def test_leftovers_go_while_the_job_that_came_back_runs(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its new guests are beside old ones that it could not remove, whose names the net knows."""
    site.prologue()
    made = net(site)
    seen = made.look()
    assert seen is not None
    old = seen.guests
    shutil.rmtree(site.settings.history_dir)  # as on another mother superior, which knows of no attempt
    with monkeypatch.context() as patch:
        patch.setattr(Engine, "destroy", lambda *_: Report(()))
        site.prologue()
    assert len(on(site, "node2")) == 2
    made.remove(old)
    (new,) = on(site, "node2")
    assert new not in old
    assert not [name for name in site.volumes() for guest in old if name.startswith(guest)]


def test_a_libvirt_that_never_answers_is_reported(
    site: Site, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    """Unknown is not gone: nothing is removed."""
    site.prologue()
    with monkeypatch.context() as patch:
        cut_off(patch, "node2")
        net(site).run()
    assert logged == ["libvirt did not say whether guests are left here"]
    assert on(site, "node2") != []


def test_a_libvirt_that_answers_later_is_asked_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first answer counts as what was there at the job's end."""
    site.prologue()
    with monkeypatch.context() as patch:
        cut_off(patch, "node2")
        meanwhile(monkeypatch, patch.undo)
        made = net(site)
        made.run()
    assert len(made.removed) == 1


@pytest.mark.parametrize("marked", [False, True])
def test_a_hand_over_that_came_too_late_is_withdrawn(site: Site, marked: bool) -> None:
    """By a prologue that went on after its job was deleted; a marker is that of a new start."""
    for folder in ("markers", "handover"):
        Path(site.settings.run_dir, folder).mkdir(parents=True)
    handover = Path(site.settings.run_dir, "handover", JOB)
    handover.mkdir()
    (handover / "given").write_text("{}")
    if marked:
        Path(site.settings.run_dir, "markers", JOB).touch()
    net(site).run()
    assert handover.exists() == marked


def test_only_a_job_id_is_taken(site: Site) -> None:
    """It becomes the name of files."""
    with pytest.raises(InventoryError):
        SafetyNet("../x", site.settings)


DETACHED = """
import json, os, sys
from nornir_torque_vm.hooks.safetynet import detach
before = set(sys.modules)
detach()
names = os.listdir("/proc/self/fd")
links = {}
for name in names:
    try:
        links[name] = os.readlink(f"/proc/self/fd/{name}")
    except OSError:
        pass
umask = os.umask(0)
with open(sys.argv[1], "w") as file:
    json.dump([links, os.getcwd(), os.getsid(0) == os.getpid(), umask, sorted(before)], file)
"""


@pytest.mark.parametrize("closed", ["", " 1>&- 2>&-"])
def test_it_keeps_nothing_of_the_mom(tmp_path: Path, closed: str) -> None:
    """Session, directory, umask, descriptors; and that before it imports anything large."""
    import json

    told = tmp_path / "told"
    argv = ["sh", "-c", f'"$@" 7<"$0"{closed} & wait', __file__, sys.executable, "-I", "-c", DETACHED]
    with Path(os.devnull).open() as extra:
        os.set_inheritable(extra.fileno(), True)
        subprocess.run(
            [*argv, str(told)], stdin=subprocess.DEVNULL, close_fds=False, check=True, cwd=tmp_path
        )
    links, directory, leads, umask, modules = json.loads(told.read_text())
    assert {name for name in links if int(name) > 2} == set()
    assert {"0", "1", "2"} <= set(links)
    assert (directory, leads, umask) == ("/", True, 0o077)
    assert not {"libvirt", "nornir", "jinja2"} & set(modules)
