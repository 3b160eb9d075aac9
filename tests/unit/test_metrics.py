"""What Prometheus is told of guests, read back with its own parser."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import libvirt
import pytest
from cli_kit import Said
from hook_kit import Site, cut_off
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from test_gueststats import RECORDED

from nornir_torque_vm.cli.app import outcome
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.doctor.here import examine
from nornir_torque_vm.doctor.model import Here, Mark
from nornir_torque_vm.doctor.system import metrics as check
from nornir_torque_vm.gueststats import GuestStats, parse_stats
from nornir_torque_vm.monitoring.metrics import (
    GUEST_FIGURES,
    GUEST_LABELS,
    JOB_LABELS,
    Start,
    metric_names,
    metrics_text,
)
from nornir_torque_vm.monitoring.overhead import start_phases
from nornir_torque_vm.monitoring.textfile import NAME
from nornir_torque_vm.processors.replay import read_events
from nornir_torque_vm.render.metadata import GuestRecord
from nornir_torque_vm.sitekit import kit_file

RECORD = GuestRecord("17.head", "head", 2, "alice", "0badcafe", 3, "j17-r3")
USED = parse_stats(RECORDED)
DASHBOARD = json.loads(kit_file("monitoring", "torque-vm-dashboard.json").read_text())


def stats(**changes: Any) -> GuestStats:
    """The recorded figures, of a guest on node1."""
    figures = {name: getattr(USED, name) for name in USED.__dataclass_fields__}
    return GuestStats(**{**figures, "guest": "j17-r3", "node": "node1", "rank": 3, "attempt": 2, **changes})


def samples(text: bytes) -> list[Sample]:
    """All samples of a file."""
    return [one for family in text_string_to_metric_families(text.decode()) for one in family.samples]


def test_every_figure_of_a_guest_is_a_metric_with_the_jobs_labels() -> None:
    """In base units; whose it is stands in labels."""
    found = {one.name: one for one in samples(metrics_text([(RECORD, stats())]))}
    assert found.keys() == metric_names() - {"torque_vm_job_start_phase_seconds"}
    values = {name.removeprefix("torque_vm_guest_"): one.value for name, one in found.items()}
    assert values == {
        "cpu_seconds_total": pytest.approx(4.26),
        "memory_bytes": 259296 << 10,
        "memory_limit_bytes": 196608 << 10,
        "disk_read_bytes_total": 18815488 + 20480,
        "disk_written_bytes_total": 4096,
        "network_received_bytes_total": 12964,
        "network_sent_bytes_total": 7220,
    }
    for one in found.values():
        assert one.labels == {
            "job": "17.head", "attempt": "2", "user": "alice",
            "rank": "3", "guest": "j17-r3", "node": "node1",
        }  # fmt: skip


def test_what_grows_is_a_counter_and_nothing_else_is() -> None:
    """Prometheus' ``rate`` is for counters."""
    families = text_string_to_metric_families(metrics_text([(RECORD, stats())]).decode())
    kinds = {family.name: family.type for family in families}
    assert {name for name, kind in kinds.items() if kind == "counter"} == {
        f"torque_vm_{figure.name.removesuffix('_total')}"
        for figure in GUEST_FIGURES
        if figure.name.endswith("_total")
    }
    assert set(kinds.values()) == {"counter", "gauge"}


def test_what_libvirt_does_not_tell_is_left_out() -> None:
    """It is not zero."""
    found = samples(metrics_text([(RECORD, stats(cpu_seconds=None, net_sent=None, disk_written=0))]))
    names = {one.name for one in found}
    assert "torque_vm_guest_cpu_seconds_total" not in names
    assert "torque_vm_guest_network_sent_bytes_total" not in names
    assert [one.value for one in found if one.name == "torque_vm_guest_disk_written_bytes_total"] == [0]


def test_guests_with_the_same_labels_do_not_spoil_the_file() -> None:
    """The exporter refuses a file with one sample twice."""
    text = metrics_text([(RECORD, stats(memory=1)), (RECORD, stats(memory=2))])
    found = [one for one in samples(text) if one.name == "torque_vm_guest_memory_bytes"]
    assert [one.value for one in found] == [2]


@given(st.text(st.characters(codec="utf-8"), max_size=40), st.text(st.characters(codec="utf-8"), max_size=40))
def test_no_name_breaks_the_file(job: str, user: str) -> None:
    """Quotes, backslashes, braces, line ends: what was a label is one, and there is nothing more."""
    record = GuestRecord(job, "head", 1, user, "0badcafe", 0, "j17-r0")
    found = samples(metrics_text([(record, stats(guest="j17-r0"))], [Start(job, 1, user, "n", {"a": 1.0})]))
    assert len(found) == len(GUEST_FIGURES) + 1
    assert {(one.labels["job"], one.labels["user"]) for one in found} == {(job, user)}


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A site that wants figures; its first node is this one, and every guest has the recorded figures."""
    (tmp_path / "textfiles").mkdir()
    site = Site(
        tmp_path,
        local_uri=f"test://{tmp_path}/node1.xml",
        snap_monitoring_enabled=True,
        textfile_dir=str(tmp_path / "textfiles"),
    )
    answer: Callable[..., Any] = lambda _conn, domains, *_: [(one, RECORDED) for one in domains]  # noqa: E731
    monkeypatch.setattr(libvirt.virConnect, "domainListGetStats", answer)
    yield site
    site.close()


@pytest.fixture
def run(watched: Site, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Runs ``torque-vm metrics``."""

    def run(*words: str) -> Said:
        capsys.readouterr()
        code = outcome(["metrics", "--settings", str(watched.settings_file), *words])
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return run


def path_of(site: Site) -> Path:
    return Path(site.settings.textfile_dir, NAME)


@pytest.mark.proves("snap_monitoring_enabled", "monitoring_backend", "textfile_dir")
def test_the_file_is_there_while_the_guests_are(watched: Site, run: Callable[..., Said]) -> None:
    """For everybody to read; this node's guests only; gone with them, and nothing else was ever there."""
    assert run() == Said(0, "", "")
    assert not path_of(watched).exists()
    assert watched.prologue().ok
    old = os.umask(0o077)
    try:
        assert run() == Said(0, "", "")
    finally:
        os.umask(old)
    assert path_of(watched).stat().st_mode & 0o7777 == 0o644
    found = samples(path_of(watched).read_bytes())
    assert {one.name for one in found} == metric_names()
    assert {one.labels.get("guest") for one in found} == {"j17-r0", None}
    assert watched.epilogue().ok
    assert run() == Said(0, "", "")
    assert list(path_of(watched).parent.iterdir()) == []


def test_the_start_of_the_job_is_told_phase_by_phase(watched: Site, run: Callable[..., Said]) -> None:
    """By the node that has the record, from the events of the prologue; whole seconds are not guessed."""
    watched.prologue()
    found = samples(run("--stdout").out.encode())
    phases = {
        one.labels["phase"]: one.value for one in found if one.name == "torque_vm_job_start_phase_seconds"
    }
    assert {"survey", "image", "start", "address", "health", "total"} <= phases.keys()
    assert all(0 <= phases[name] <= phases["total"] for name in phases)
    assert "destroy" not in phases
    shutil.rmtree(watched.settings.history_dir)
    assert "phase_seconds{" not in run("--stdout").out


def test_phases_are_from_their_first_begin_to_their_last_end() -> None:
    """Two guests at once cost what one does; what comes after the job is none of the start."""
    spans = [("a", "start_guest", 10.0, 2.0), ("b", "start_guest", 11.0, 3.0), ("n", "survey", 8.0, 1.0)]
    after = [("n", "destroy", 50.0, 1.0), ("n", "iocm-stop", 51.0, 1.0)]
    lines = [
        json.dumps({
            "t": 0.0, "run": "r", "event": "host_end", "task": task, "host": host, "status": "ok",
            "started": started, "seconds": seconds, "changed": None, "error": None,
        }).encode()
        for host, task, started, seconds in [*spans, *after]
    ]  # fmt: skip
    assert start_phases(read_events(lines)) == {"start": 4.0, "survey": 1.0, "total": 6.0}
    assert start_phases([]) == {}


def test_without_libvirts_answer_there_is_no_file(
    watched: Site, run: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Figures that stand still would look like guests that do nothing."""
    watched.prologue()
    run()
    assert path_of(watched).exists()
    cut_off(monkeypatch, "node1")
    said = run()
    assert (said.code, said.err.count("\n")) == (5, 1)
    assert not path_of(watched).exists()


def test_a_history_that_cannot_be_read_takes_no_figures_away(watched: Site, run: Callable[..., Said]) -> None:
    """One sentence; the guests' own figures are there."""
    watched.prologue()
    Path(watched.settings.history_dir).chmod(0o777)
    said = run()
    assert said.code == 0
    assert "can be written by others" in said.err
    assert "torque_vm_guest_cpu_seconds_total{" in path_of(watched).read_text()


def test_switched_off_the_file_goes(watched: Site, run: Callable[..., Said]) -> None:
    """Whatever still calls the command."""
    path_of(watched).write_text("old\n")
    text = watched.settings_file.read_text()
    watched.settings_file.write_text(
        text.replace("snap_monitoring_enabled = true", "snap_monitoring_enabled = false")
    )
    said = run()
    assert said.code == 0
    assert "snap_monitoring_enabled is off" in said.err
    assert not path_of(watched).exists()


def test_what_a_killed_one_left_goes_and_two_at_once_do_not_mix(
    watched: Site, run: Callable[..., Said]
) -> None:
    """The directory has the file and nothing else."""
    watched.prologue()
    folder = path_of(watched).parent
    (folder / ".new-0123456789abcdef").write_text("half")
    fd = os.open(folder, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    said = run()
    assert (said.code, (folder / NAME).exists()) == (1, False)
    assert "another process writes into" in said.err
    os.close(fd)
    assert run().code == 0
    assert [path.name for path in folder.iterdir()] == [NAME]


def test_a_directory_that_is_not_there_is_one_sentence(watched: Site, run: Callable[..., Said]) -> None:
    """And a line of doctor's."""
    watched.prologue()
    path_of(watched).parent.rmdir()
    said = run()
    assert (said.code, said.err.count("\n")) == (1, 1)
    assert "correct textfile_dir" in said.err
    here = Here(watched.settings, "node1")
    lines = examine(here, Deadline.after(10), {"metrics": check})
    assert (lines[0].mark, "nobody sees the guests' figures" in lines[0].text) == (Mark.WARN, True)


def test_doctor_says_nothing_of_what_the_site_does_not_want(watched: Site) -> None:
    """And with it whether the timer runs, once."""
    lines = examine(Here(watched.settings, "node1", root="/nonexistent"), Deadline.after(10), {"m": check})
    assert [line.subject for line in lines] == ["metrics", "metrics"]
    off = watched.settings.__class__()
    assert examine(Here(off, "node1"), Deadline.after(10), {"m": check}) == []


def queries() -> list[str]:
    """Every expression of the dashboard, of panels and of its variables."""
    panels = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    variables = [one["query"]["query"] for one in DASHBOARD["templating"]["list"] if one["type"] == "query"]
    return panels + variables


def test_the_dashboard_asks_for_what_there_is_and_for_all_of_it() -> None:
    """Each metric by its name, labels as Prometheus has them: a file's ``job`` becomes ``exported_job``."""
    text = "\n".join(queries())
    assert set(re.findall(r"torque_vm_\w+", text)) == metric_names()
    labels = {*GUEST_LABELS, *JOB_LABELS, "exported_job"} - {"job"}
    asked = re.findall(r"(\w+)\s*[=!]~?\"", text) + re.findall(r"label_values\([^)]*, (\w+)\)", text)
    shown = " ".join(target["legendFormat"] for panel in DASHBOARD["panels"] for target in panel["targets"])
    assert set(asked) | set(re.findall(r"{{(\w+)}}", shown)) <= labels
    variables = {one["name"] for one in DASHBOARD["templating"]["list"]}
    assert set(re.findall(r"\$(\w+)", text)) - {"__rate_interval"} <= variables


def test_only_counters_are_rated_on_the_dashboard() -> None:
    """And no counter is shown raw."""
    for query in queries():
        for name in re.findall(r"torque_vm_\w+", query):
            assert name.endswith("_total") == (f"rate({name}" in query), query
