"""Monitoring by snap: a task of its daemon for each job, against a recorder of the command lines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from component_kit import JOB
from hook_kit import Site

from nornir_torque_vm.components.monitoring import SnapTask, read_tasks
from nornir_torque_vm.config.settings import Settings, settings_of
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import SettingsError
from nornir_torque_vm.identity import tag_of_domain
from nornir_torque_vm.monitoring.manifest import manifest_for, tag_of
from nornir_torque_vm.reap.reaper import Reaper
from nornir_torque_vm.sitekit import kit_file

SNAPTEL = r"""#!/bin/sh
# Plays snaptel: tasks are files; what was asked is written down.
cd "$(dirname "$0")" || exit 1
echo "$*" >> calls
case "$2" in
    create) cp "$4" manifest; echo Running > "tasks/$6"; echo "Task created" ;;
    list)
        [ "$(ls tasks)" ] || { echo "No task found. Have you created a task?"; exit 0; }
        printf 'ID \t\tNAME \t\tSTATE \t\tHIT\n'
        for task in tasks/*; do
            name=${task#tasks/}
            printf 'id-%s \t%-41s \t%s \t0 \n' "$name" "$name" "$(cat "$task")"
        done ;;
    stop) echo Stopped > "tasks/${3#id-}" ;;
    remove)
        [ "$(cat "tasks/${3#id-}")" = Stopped ] || { echo "Task must be stopped" >&2; exit 1; }
        rm "tasks/${3#id-}" ;;
esac
"""
FOREIGN = "another-task"


class Snap:
    """The daemon's tasks, and how it was called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "snap"
        (self.folder / "tasks").mkdir(parents=True)
        self.play(SNAPTEL)

    def play(self, text: str) -> None:
        (self.folder / "snaptel").write_text(text)
        (self.folder / "snaptel").chmod(0o755)

    @property
    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def tasks(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "tasks").iterdir())

    @property
    def manifest(self) -> Any:
        return json.loads((self.folder / "manifest").read_text())


@pytest.fixture(autouse=True)
def logged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sentences hooks write to syslog."""
    lines: list[str] = []
    for hook in ("prologue", "epilogue"):
        monkeypatch.setattr(f"nornir_torque_vm.hooks.{hook}.log", lambda *words: lines.append(words[-1]))
    return lines


@pytest.fixture
def snap(tmp_path: Path) -> Snap:
    return Snap(tmp_path)


@pytest.fixture
def site(tmp_path: Path, snap: Snap) -> Iterator[Site]:
    """This machine as a node with snap."""
    name = os.uname().nodename
    made = Site(
        tmp_path, nodes=[name], local_uri=f"test://{tmp_path}/{name}.xml", snap_monitoring_enabled=True,
        monitoring_backend="snap", snap_bin_dir=str(snap.folder),
    )  # fmt: skip
    yield made
    made.close()


@pytest.mark.proves("monitoring_backend", "snap_bin_dir", "snap_tag_format", "snap_monitoring_enabled")
def test_a_job_has_a_task_while_it_has_guests(site: Site, snap: Snap) -> None:
    """Of the attempt's name, with the job's tag; stopped before it is removed, and another's left alone."""
    (snap.folder / "tasks" / FOREIGN).write_text("Running\n")
    assert site.prologue().ok
    tag = tag_of_domain(site.domains()[0])
    assert snap.tasks == sorted([FOREIGN, f"{tag}-snap"])
    (tagger,) = snap.manifest["workflow"]["collect"]["process"]
    assert tagger["config"] == {"tags": f"jobID:snapTask-{site.call().user}-17.head"}
    (create,) = [call for call in snap.calls if "create" in call]
    path = f"{site.settings.volume_dir}/{site.nodes[0]}/{tag}-snap.json"
    assert create == f"task create -t {path} -n {tag}-snap"
    assert not Path(path).exists()
    assert site.epilogue().ok
    assert snap.calls[-2:] == [f"task stop id-{tag}-snap", f"task remove id-{tag}-snap"]
    assert snap.tasks == [FOREIGN]
    assert site.left() == []


def test_a_crash_between_start_and_stop_leaves_nothing_after_reap(site: Site, snap: Snap) -> None:
    """The task is found by its name, also when nothing else of the job is left."""
    site.prologue()
    for domain in site.connect(site.nodes[0]).listAllDomains():
        domain.destroy()
    (name,) = snap.tasks
    (Path(site.settings.volume_dir) / site.nodes[0] / name.replace("-snap", "-snap.json")).write_text("{}")
    reaper = Reaper(site.settings, Deadline.after(20), grace=0)
    assert [case.fate for case in reaper.run_for("17.head").cases] == ["removed"]
    assert snap.tasks == []
    assert site.volumes() == []


@pytest.mark.parametrize("step", ["create", "list", "stop", "remove"])
def test_a_failure_is_one_line_and_the_job_runs(site: Site, snap: Snap, step: str, logged: list[str]) -> None:
    """As the component says itself; the guests come and go all the same."""
    snap.play(SNAPTEL.replace(f"    {step})", f"    {step}) echo 'no daemon' >&2; exit 3 ;;\n    never)"))
    assert site.prologue().ok
    assert site.epilogue().ok
    assert f"monitoring-{'start' if step in {'create', 'list'} else 'stop'}: " in "".join(logged)
    assert "snaptel ended with 3: no daemon" in "".join(logged)
    assert site.domains() == []


def test_a_task_that_does_not_run_is_noticed(site: Site, snap: Snap, logged: list[str]) -> None:
    """A daemon disables a task that fails."""
    snap.play(SNAPTEL.replace("echo Running", "echo Disabled"))
    assert site.prologue().ok
    assert "monitoring-verify: the task of snap is disabled" in logged[-1]
    site.epilogue()
    assert snap.tasks == []


def test_lists_of_tasks_are_read_by_their_tabs() -> None:
    """Only tasks with names of ours count."""
    text = (
        "ID \t\t\t\t\t NAME \t\t\t\t STATE \t\t HIT \n"
        "5a1b-11 \t tvm-17-a1-0badcafe-snap                   \t Running \t 3 \t 0 \n"
        "5a1b-12 \t Task-5a1b-12 \t Stopped \t 1 \n"
        "No task found. Have you created a task?\n"
    )
    assert read_tasks(text) == [SnapTask("5a1b-11", "tvm-17-a1-0badcafe-snap", "Running")]


def site_with(path: Path, text: str, **more: Any) -> Settings:
    """Settings with a manifest of the site's own."""
    path.write_text(text)
    return settings_of({"snap_task": str(path), **more})


@pytest.mark.proves("snap_task", "snap_tag_format")
def test_the_sites_own_manifest_is_tagged(tmp_path: Path) -> None:
    """Everything else of it stays."""
    text = '{"version": 1, "process": [{"plugin_name": "tag", "config": {"tags": "x:y"}}], "deadline": "4s"}'
    settings = site_with(tmp_path / "task.json", text, snap_tag_format="[jobid].[username]")
    made = json.loads(manifest_for(JOB, settings))
    assert made["process"][0]["config"] == {"tags": "jobID:17.head.alice"}
    assert made["deadline"] == "4s"
    assert tag_of(JOB, Settings()) == "snapTask-alice-17.head"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "is not JSON"),
        ('{"process": []}', "has no processor tag"),
        ('{"a": [{"plugin_name": "tag", "config": {"password": "x"}}]}', "has a password"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    """It names the file."""
    settings = site_with(tmp_path / "task.json", text)
    with pytest.raises(SettingsError) as raised:
        manifest_for(JOB, settings)
    assert f"snap_task {tmp_path}/task.json {sentence}" in str(raised.value)


def test_a_manifest_that_others_could_have_written_is_refused(tmp_path: Path) -> None:
    """What publishes figures runs as root."""
    text = '{"version": 1, "process": [{"plugin_name": "tag"}]}'
    settings = site_with(tmp_path / "task.json", text)
    assert manifest_for(JOB, settings)
    (tmp_path / "task.json").chmod(0o666)
    with pytest.raises(SettingsError) as raised:
        manifest_for(JOB, settings)
    assert str(raised.value) == (
        f"snap_task: {tmp_path}/task.json can be written by others (mode 0666), who could have root's daemon "
        "do anything; give it to root and take the right to write from all others"
    )


def test_what_is_shipped_has_no_credentials() -> None:
    """Neither users nor passwords nor hosts."""
    text = kit_file("monitoring", "snap-task.json").read_text()
    assert not {"user", "password", "token", "host"} & set(text.replace('"', " ").split())
    assert manifest_for(JOB, Settings())


def test_with_figures_for_prometheus_jobs_have_no_component() -> None:
    """And nothing of it is imported."""
    assert Settings(snap_monitoring_enabled=True).switched_on() == ()
    assert Settings(snap_monitoring_enabled=True, monitoring_backend="snap").switched_on() == ("monitoring",)
    code = (
        "import sys, nornir_torque_vm.components.monitoring\n"
        "print(*(name for name in sys.modules if 'prometheus' in name))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
