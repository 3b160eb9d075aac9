"""The epilogue asks what the guests used before it ends them, and ends them whatever comes of that."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import libvirt
import pytest
from hook_kit import JOB, Site, cut_off, site
from test_gueststats import RECORDED

from nornir_torque_vm.hooks import figures as figures_module

__all__ = ["site"]


@pytest.fixture(autouse=True)
def logged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sentences about figures in syslog."""
    lines: list[str] = []

    def log(*words: str) -> None:
        parts = words[-1].split("; ")
        lines.extend(part for part in parts if part.startswith(("guests=", "no figures")))

    monkeypatch.setattr("nornir_torque_vm.hooks.epilogue.log", log)
    return lines


def answering(monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]) -> None:
    """Make every guest's figures these."""
    monkeypatch.setattr(
        libvirt.virConnect,
        "domainListGetStats",
        lambda _conn, domains, *_: [(one, answer) for one in domains],
    )


def test_figures_of_all_guests_are_kept_and_the_guests_end(
    site: Site, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    """For root alone, with the rest of the job's history."""
    answering(monkeypatch, RECORDED)
    site.prologue()
    assert site.epilogue().ok
    kept = site.history("stats.json")
    assert [(one["guest"], one["node"], one["net_sent"]) for one in kept["guests"]] == [
        ("j17-r0", "node1", 7220),
        ("j17-r1", "node2", 7220),
    ]
    assert kept["missing"] == {}
    assert Path(site.settings.history_dir, f"{JOB}.1", "stats.json").stat().st_mode & 0o777 == 0o600
    assert site.left() == []
    assert logged == ["guests=2 cpu_seconds=9 memory_bytes=531038208 disk_bytes=37680128 net_bytes=40368"]


def test_asking_is_no_phase_of_the_job(site: Site) -> None:
    """The timeline shows where guests spent their time."""
    site.prologue()
    site.epilogue()
    assert "guest_stats" not in {event["task"] for event in site.history("events.jsonl")}


def test_a_node_that_refuses_costs_one_line_and_only_its_own_figures(
    site: Site, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    """The others' are kept, with the reason for the gap."""
    site.prologue()
    with monkeypatch.context() as patch:
        cut_off(patch, "node2")
        site.epilogue()
    kept = site.history("stats.json")
    assert [one["guest"] for one in kept["guests"]] == ["j17-r0"]
    (why,) = kept["missing"].values()
    assert list(kept["missing"]) == ["node2"]
    assert logged == [
        "guests=1 cpu_seconds=- memory_bytes=- disk_bytes=- net_bytes=-",
        f"no figures of its guests: node2: {why.partition('; ')[0]}",
    ]
    site.epilogue()  # node2 is back
    kept = site.history("stats.json")
    assert [one["guest"] for one in kept["guests"]] == ["j17-r0", "j17-r1"]
    assert kept["missing"] == {}


def test_a_node_that_hangs_does_not_keep_the_teardown(
    site: Site, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    """Its libvirtd answers other questions; this one never."""
    monkeypatch.setattr(figures_module, "PATIENCE", 0.3)
    over = threading.Event()
    monkeypatch.setattr(libvirt.virConnect, "domainListGetStats", lambda *_: over.wait(20) and [])
    site.prologue()
    began = time.monotonic()
    assert site.epilogue().ok
    took = time.monotonic() - began
    over.set()
    assert took < 3
    assert site.left() == []
    assert len(logged) == 1
    assert "node[1-2]: late in guest_stats" in logged[0]
    assert set(site.history("stats.json")["missing"]) == {"node1", "node2"}


def test_patience_is_a_small_part_of_what_time_is_left(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """An epilogue that begins late has better things to do."""
    over = threading.Event()
    monkeypatch.setattr(libvirt.virConnect, "domainListGetStats", lambda *_: over.wait(20) and [])
    site.prologue()
    began = time.monotonic()
    assert site.epilogue(seconds=4.0).ok
    took = time.monotonic() - began
    over.set()
    assert took < 2.5


def test_an_error_nobody_foresaw_is_logged_and_no_more(
    site: Site, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    """Figures are not worth a guest that stays."""
    monkeypatch.setattr(figures_module, "ask", lambda *_: 1 / 0)
    monkeypatch.setattr(figures_module, "log_unforeseen", lambda *_: None)
    site.prologue()
    assert site.epilogue().ok
    assert site.left() == []
    assert logged == ["no figures of its guests: division by zero"]


def test_figures_that_cannot_be_read_are_replaced(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """By those there are now."""
    answering(monkeypatch, RECORDED)
    site.prologue()
    Path(site.settings.history_dir, f"{JOB}.1", "stats.json").write_text("{")
    site.epilogue()
    assert len(site.history("stats.json")["guests"]) == 2


def test_a_repeated_epilogue_keeps_what_is_there(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A restarted pbs_mom runs it again, without any guest left."""
    answering(monkeypatch, RECORDED)
    site.prologue()
    site.epilogue()
    before = site.history("stats.json")
    site.epilogue()
    assert site.history("stats.json") == before
    assert len(before["guests"]) == 2


def test_a_job_without_guests_has_no_figures(site: Site) -> None:
    """A start that failed has been cleaned up by the prologue."""
    site.epilogue()
    assert not Path(site.settings.history_dir, f"{JOB}.1", "stats.json").exists()
