"""What guests that failed said last is kept before they go, and never keeps them alive."""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hook_kit import JOB, Site, ready, site

from nornir_torque_vm.cli.app import outcome
from nornir_torque_vm.connections.command import CommandResult
from nornir_torque_vm.connections.guest_ssh import GuestSshConnection
from nornir_torque_vm.errors import Cancelled, GuestError, NotHealthy
from nornir_torque_vm.runstate.history import TAIL
from nornir_torque_vm.storage.local import LocalStorage

__all__ = ["site"]

SAID = b"\x1b[31mbooting\x1b[0m\r\nlast word\x1b]0;title\x07\r\n"


@pytest.fixture(autouse=True)
def logged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sentences about last words in syslog."""
    lines: list[str] = []
    monkeypatch.setattr("nornir_torque_vm.hooks.lastwords.log", lambda *words: lines.append(words[-1]))
    monkeypatch.setattr("nornir_torque_vm.hooks.prologue.log", lambda *words: None)
    return lines


@pytest.fixture
def job(
    site: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """What ``torque-vm job`` prints."""
    monkeypatch.setenv("TORQUE_VM_SETTINGS", str(site.settings_file))

    def job(*words: str) -> str:
        capsys.readouterr()
        assert outcome(("job", JOB, *words)) == 0
        return capsys.readouterr().out

    return job


def speaks(site: Site, node: str, said: bytes) -> None:
    """Let the guest on a node have printed that."""
    (overlay,) = Path(site.settings.volume_dir, node).glob("*.qcow2")
    folder = overlay.with_suffix("")
    folder.mkdir(exist_ok=True)
    (folder / f"{folder.name}-console.log").write_bytes(said)


def failing_on(site: Site, node: str, error: BaseException, said: bytes = SAID) -> Any:
    """A probe: both guests have printed that; the one on the node fails, the other gets ready."""

    def probe(host: Any) -> bool:
        speaks(site, host["node"], said)
        if host["node"] == node:
            raise error
        return ready(host)

    return probe


def kept(site: Site) -> list[str]:
    """Names of the files with last words."""
    record = Path(site.settings.history_dir, f"{JOB}.1")
    return sorted(path.name for path in record.iterdir() if path.suffix == ".log")


def test_the_console_of_a_guest_that_failed_is_kept_for_root(site: Site) -> None:
    """Byte for byte; the guests that got ready are of no interest."""
    site.prologue(probe=failing_on(site, "node2", GuestError("no")))
    assert kept(site) == ["console-j17-r1.log"]
    path = Path(site.settings.history_dir, f"{JOB}.1", "console-j17-r1.log")
    assert path.read_bytes() == SAID
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert site.left() == []


def test_of_a_guest_that_talks_a_lot_the_end_is_kept(site: Site) -> None:
    """Nobody can fill the history's disk by printing."""
    site.prologue(probe=failing_on(site, "node1", GuestError("no"), b"x" * (3 * TAIL) + b"end"))
    text = Path(site.settings.history_dir, f"{JOB}.1", "console-j17-r0.log").read_bytes()
    assert (len(text), text[-4:]) == (TAIL, b"xend")


def test_late_guests_are_heard_too(site: Site) -> None:
    """What a guest was doing when its time was up is all there is to go by."""

    def slow(host: Any) -> bool:
        speaks(site, host["node"], SAID)
        return False

    site.prologue(probe=slow, seconds=1.0)
    assert kept(site) == ["console-j17-r0.log", "console-j17-r1.log"]


def test_a_job_that_was_deleted_is_not_listened_to(site: Site) -> None:
    """Nobody wants to know, and somebody waits."""
    site.prologue(probe=failing_on(site, "node2", Cancelled("deleted")))
    assert kept(site) == []


def test_cloud_inits_output_is_kept_of_a_guest_that_lets_us_in(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors of cloud-init name a module; why it failed stands in its output."""
    asked: list[str] = []

    def answer(_self: object, command: str, *_: object, **__: object) -> CommandResult:
        asked.append(command)
        return CommandResult(0, "E: no such package\n")

    monkeypatch.setattr(GuestSshConnection, "open", lambda *_, **__: None)
    monkeypatch.setattr(GuestSshConnection, "run", answer)
    site.prologue(probe=failing_on(site, "node2", NotHealthy("cloud-init failed")))
    assert asked == [f"tail -c {TAIL} /var/log/cloud-init-output.log"]
    assert kept(site) == ["cloud-init-j17-r1.log", "console-j17-r1.log"]
    path = Path(site.settings.history_dir, f"{JOB}.1", "cloud-init-j17-r1.log")
    assert path.read_text() == "E: no such package\n"


def test_a_guest_that_cannot_be_heard_costs_little_and_nothing_else(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A storage that hangs takes its share of the teardown's time; the guests go, the verdict stays."""
    real = LocalStorage.read

    def hangs(self: LocalStorage, *words: Any) -> bytes:
        if "/node2/" in self.directory:
            time.sleep(60)
        return real(self, *words)

    monkeypatch.setattr(LocalStorage, "read", hangs)

    def both(host: Any) -> bool:
        speaks(site, host["node"], SAID)
        raise GuestError("the guest says no")

    began = time.monotonic()
    site.prologue(probe=both)
    assert time.monotonic() - began < site.settings.teardown_margin
    assert kept(site) == ["console-j17-r0.log"]
    assert "the guest says no" in site.history("verdict.json")["sentence"]
    assert site.left() == []


def test_an_error_nobody_foresaw_is_logged_and_the_guests_go(
    site: Site, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    """A full history disk, say."""

    def broken(*_: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr("nornir_torque_vm.runstate.history.History.write_console", broken)
    site.prologue(probe=failing_on(site, "node2", GuestError("no")))
    assert logged == ["what its guests said last is not kept: no space"]
    assert site.left() == []


def test_the_last_words_are_shown_without_what_a_terminal_would_act_on(
    site: Site, job: Callable[..., str]
) -> None:
    """By ``torque-vm job``: the file's name and its end; all of it for programs."""
    said = b"".join(b"line %d\r\n" % number for number in range(20)) + SAID
    site.prologue(probe=failing_on(site, "node2", GuestError("no"), said))
    page = job().splitlines()
    start = page.index("console-j17-r1.log ends with:")
    assert page[start + 1 : start + 9] == [
        *(f"  line {n}" for n in range(14, 20)),
        "  booting",
        "  last word",
    ]
    assert all(line.isprintable() for line in page)
    assert f"record    {site.settings.history_dir}/{JOB}.1" in page
    words = json.loads(job("--json"))["last_words"]
    assert words["console-j17-r1.log"][-2:] == ["booting", "last word"]
    assert len(words["console-j17-r1.log"]) == 22


def test_a_job_whose_guests_got_ready_has_no_last_words(site: Site, job: Callable[..., str]) -> None:
    """They are not over."""
    site.prologue()
    assert json.loads(job("--json"))["last_words"] is None
    assert "ends with:" not in job()
