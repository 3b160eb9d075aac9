"""The interface of components, held by one of another package."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from component_kit import declare, example
from hook_kit import JOB, Site
from nornir.core.task import Result, Task

from nornir_torque_vm.components import loading, running
from nornir_torque_vm.components.base import Component, Kept, OnFailure, When
from nornir_torque_vm.components.devices import (
    EmulatorDevice,
    Extras,
    NetworkFunction,
    SharedMemory,
)
from nornir_torque_vm.config.settings import Settings, settings_of
from nornir_torque_vm.deadline import Deadline, current
from nornir_torque_vm.engine import Engine
from nornir_torque_vm.errors import HypervisorError, SettingsError
from nornir_torque_vm.identity import domain_name, job_tag, tag_of_domain
from nornir_torque_vm.model import Job, Node, Owner, Plan
from nornir_torque_vm.plan import make_plan, plan_from_json, plan_to_json
from nornir_torque_vm.request import Request
from nornir_torque_vm.tasks.selection import is_of_job

__all__ = ["example"]

NODES = (Node("node1"), Node("node2"))
OWNER = Owner("alice", 2001, 2001, "alice", "/home/alice")
ADHOC = Job("17.head", "head", OWNER, nonce="0badcafe")


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sentences hooks write to syslog."""
    lines: list[str] = []
    for hook in ("prologue", "epilogue"):
        monkeypatch.setattr(f"nornir_torque_vm.hooks.{hook}.log", lambda *words: lines.append(words[-1]))
    return lines


@pytest.fixture
def site(tmp_path: Path, example: None) -> Iterator[Site]:
    """A site whose jobs have the example component."""
    made = Site(tmp_path, components=["notice"])
    yield made
    made.close()


def notices(site: Site) -> list[str]:
    """Where notes are: node and name."""
    root = Path(site.settings.volume_dir)
    return sorted(str(path.relative_to(root)) for path in root.glob("*/*-notice.txt"))


def refusing(*_: object, **__: object) -> Result:
    """A task that fails."""
    raise HypervisorError("it is broken")


def altered(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """Let the example component differ."""
    import torque_vm_notice

    usual = torque_vm_notice.component
    monkeypatch.setattr(
        torque_vm_notice, "component", lambda settings: dataclasses.replace(usual(settings), **changes)
    )


@pytest.mark.proves("components")
def test_a_component_of_another_package_is_there_while_the_job_is(site: Site, logged: list[str]) -> None:
    """On every node from before the guests to after them; nothing of it stays."""
    assert site.prologue().ok
    names = [name.partition("/")[2] for name in notices(site)]
    assert len(names) == 2
    tag = names[0].removesuffix("-notice.txt")
    assert {tag_of_domain(domain) for domain in site.domains()} == {tag}
    note = Path(site.settings.volume_dir, notices(site)[0]).read_text()
    assert note.startswith(f"1 guests of job {JOB} of ")
    assert site.epilogue().ok
    assert site.left() == []


def test_its_steps_are_phases_of_the_job(site: Site, logged: list[str]) -> None:
    """In the events that the timeline is made of, in the order they happened; the plan names it."""
    site.prologue()
    site.epilogue()
    ended = [event["phase"] for event in site.history("events.jsonl") if event["event"] == "run_end"]
    assert [ended.index(phase) for phase in ("notice-start", "boot_guest", "notice-verify")] == sorted(
        ended.index(phase) for phase in ("notice-start", "boot_guest", "notice-verify")
    )
    assert ended[-2:] == ["destroy", "notice-stop"]
    (part,) = site.history("plan.json")["components"]
    kept = {"least": 0, "most": 0}
    assert part == {"name": "notice", "nodes": ["node1", "node2"], "kept": kept, "shared": 0}


def test_a_killed_start_leaves_nothing_after_the_epilogue(site: Site, logged: list[str]) -> None:
    """The component was started, and no plan tells so: it is asked, not remembered."""
    engine = Engine(site.settings, Deadline.after(20))
    plan = planned(site)
    from nornir_torque_vm.inventory.build import build_inventory

    running.start(engine, build_inventory(plan, site.settings), plan.components, When.BEFORE_BOOT)
    assert len(notices(site)) == 2
    assert site.run_state() == []
    assert site.epilogue().ok
    assert site.left() == []


def planned(site: Site) -> Plan:
    """A plan for both nodes."""
    from nornir_torque_vm.images import image_for

    return make_plan(Request(), site.settings, ADHOC, NODES, image_for(Request(), site.settings))


@pytest.mark.proves("component_failure")
def test_a_failure_ends_the_start_where_the_site_says_so(
    tmp_path: Path, example: None, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    """The sentence says which node and step; the guests and what was started are removed again."""
    site = Site(tmp_path, components=["notice"], component_failure=["notice=abort"])
    altered(monkeypatch, verify=refusing)
    report = site.prologue()
    assert not report.ok
    assert report.sentences() == ("node[1-2], notice-verify: it is broken",)
    assert site.left() == []
    site.close()


def test_a_failure_before_the_boot_starts_no_guest(
    tmp_path: Path, example: None, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    """Nothing is booted that would find nothing."""
    site = Site(tmp_path, components=["notice"], component_failure=["notice=abort"])
    altered(monkeypatch, start=refusing)
    assert site.prologue().sentences() == ("node[1-2], notice-start: it is broken",)
    phases = {event["phase"] for event in site.history("events.jsonl")}
    assert "boot_guest" not in phases
    site.close()


@pytest.mark.parametrize("step", ["start", "verify"])
def test_a_failure_that_only_warns_is_one_line(
    site: Site, step: str, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    """As the component itself says; the job runs without it."""
    altered(monkeypatch, **{step: refusing, **({"verify": None} if step == "start" else {})})
    assert site.prologue().ok
    assert logged[-1].startswith("ready; ")
    assert logged[-1].endswith(f"; node[1-2], notice-{step}: it is broken")
    assert len(site.domains()) == 2


def test_what_cannot_be_stopped_is_not_cleaned_up(
    tmp_path: Path, example: None, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    """The job is not forgotten, so that the next one who cleans up knows of it; the guests are gone."""
    site = Site(tmp_path, components=["notice"], component_failure=["notice=abort"])
    site.prologue()
    with monkeypatch.context() as patched:
        altered(patched, stop=refusing)
        assert not site.epilogue().ok
    assert logged[-1].startswith("not cleaned up: node[1-2], notice-stop: it is broken")
    assert (site.domains(), len(notices(site))) == ([], 2)
    assert site.run_state()
    assert site.epilogue().ok
    assert site.left() == []
    site.close()


def test_what_cannot_be_stopped_and_only_warns_lets_the_job_be_forgotten(
    site: Site, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    """One line says it."""
    site.prologue()
    altered(monkeypatch, stop=refusing)
    assert site.epilogue().ok
    assert "node[1-2], notice-stop: it is broken" in logged[-1]
    assert site.run_state() == []


def test_a_component_that_cannot_be_loaded_keeps_no_guest_alive(
    site: Site, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    """Its package was removed while jobs ran: guests go, and the sentence says what to do."""
    site.prologue()
    monkeypatch.setattr(sys, "path", [place for place in sys.path if "site-packages" not in place])
    monkeypatch.delitem(sys.modules, "torque_vm_notice")
    report = site.epilogue()
    assert site.domains() == []
    assert not report.ok
    assert "no installed package has a component notice" in logged[-1]


def test_each_step_has_its_share_of_the_time(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A component that hangs is late; what follows still has time."""

    def hang(task: Task) -> Result:
        time.sleep(current.get().remaining() + 5)
        return Result(host=task.host)

    altered(monkeypatch, start=hang, share=0.05, failure=OnFailure.ABORT)
    engine = Engine(site.settings, Deadline.after(20))
    plan = planned(site)
    from nornir_torque_vm.inventory.build import build_inventory

    began = time.monotonic()
    report = running.start(engine, build_inventory(plan, site.settings), plan.components, When.BEFORE_BOOT)
    assert [entry.status for entry in report.hosts] == ["late", "late"]
    assert time.monotonic() - began < 5


def test_a_component_starts_when_it_says(
    site: Site, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    """After the boot: the guests are there."""
    seen: list[int] = []

    def count(task: Task) -> Result:
        seen.append(len(site.domains()))
        return Result(host=task.host)

    altered(monkeypatch, start=count, verify=None, when=When.AFTER_BOOT)
    assert site.prologue().ok
    assert seen == [2, 2]


def test_what_components_keep_and_change_is_in_the_plan(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """And in the plan's JSON form."""
    extras = Extras(
        iothreads=(3,),
        shared_memory=(SharedMemory("tvm-x", 1 << 20, "/memory/tvm-x/memory"),),
        network_functions=(NetworkFunction("vf", "02:00:00:00:00:01"), NetworkFunction("vf")),
        emulator_devices=(EmulatorDevice("virtio-hyv-pci", (("config_path", "/a,b"),)),),
    )

    def adjust(plan: Plan, request: Request, settings: Settings) -> Plan:
        guests = tuple(dataclasses.replace(guest, extras=extras) for guest in plan.guests)
        return dataclasses.replace(plan, guests=guests)

    altered(monkeypatch, adjust=adjust, wanted=lambda request, settings, node: node.name == "node2")
    plan = planned(site)
    assert [(part.name, part.nodes) for part in plan.components] == [("notice", ("node2",))]
    assert {guest.extras for guest in plan.guests} == {extras}
    assert plan_from_json(plan_to_json(plan)) == plan
    assert extras.emulator_devices[0].argument == "virtio-hyv-pci,config_path=/a,,b"


def test_stopping_spares_other_attempts_of_the_job(site: Site) -> None:
    """A job that came back has a note of its own: the net of the earlier attempt does not take it."""
    tags = [job_tag(dataclasses.replace(ADHOC, attempt=number)) for number in (1, 2)]
    folder = Path(site.settings.volume_dir, "node1")
    folder.mkdir(parents=True)
    for tag in tags:
        (folder / f"{tag}-notice.txt").touch()
    engine = Engine(site.settings, Deadline.after(20))
    engine.destroy(NODES[:1], ADHOC.id, tags=tags[:1], domains=[])
    assert notices(site) == [f"node1/{tags[1]}-notice.txt"]
    engine.destroy(NODES[:1], "18.head")
    assert len(notices(site)) == 1
    engine.destroy(NODES[:1], ADHOC.id)
    assert notices(site) == []


def test_a_tag_is_the_jobs_by_its_whole_number() -> None:
    """Not job 1's or 171's, nor one element's of an array, nor another attempt's."""
    tag = job_tag(ADHOC)
    assert tag_of_domain(domain_name(ADHOC, 12)) == tag
    assert is_of_job(f"{tag}-n0", "17.head")
    assert is_of_job(tag, "17")
    assert not any(is_of_job(tag, other) for other in ("1.head", "171.head", "17[1].head"))
    assert not is_of_job(f"{tag}0-n0", "17.head")
    assert not is_of_job(f"{tag}0", "17.head", [tag])


@pytest.mark.parametrize(
    ("points", "sentence"),
    [
        ({}, "no installed package has a component other"),
        ({"other": "nowhere_to_be_found:component"}, "ModuleNotFoundError: No module named"),
        ({"other": "os:getcwd"}, "cannot be loaded: TypeError"),
        ({"other": "builtins:repr"}, "its entry point returned str"),
        ({"other": "torque_vm_notice:component"}, "the component other calls itself notice"),
    ],
)
def test_a_component_that_is_none_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, example: None, points: dict[str, str], sentence: str
) -> None:
    """Whose it is, why, and what to do."""
    if points:
        declare(tmp_path / "more", "other-package", points)
        monkeypatch.syspath_prepend(tmp_path / "more")
    with pytest.raises(SettingsError) as error:
        loading.load("other", Settings())
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_two_packages_with_one_component_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, example: None
) -> None:
    """Nobody could say which is meant."""
    declare(tmp_path / "more", "other-package", {"notice": "elsewhere:component"})
    monkeypatch.syspath_prepend(tmp_path / "more")
    with pytest.raises(SettingsError, match="2 installed packages have a component notice"):
        loading.load("notice", Settings())


def test_no_other_package_takes_the_name_of_ours() -> None:
    """The settings refuse it when they are read."""
    with pytest.raises(SettingsError, match="components has iocm, which is one of this package's own"):
        settings_of({"components": ("iocm",)})


def test_switched_off_components_import_nothing() -> None:
    """Neither the interface nor what looks for packages, in anything a job goes through."""
    script = (
        "import sys\n"
        "from nornir_torque_vm import engine, plan\n"
        "from nornir_torque_vm.config.settings import Settings\n"
        "from nornir_torque_vm.hooks import prologue, epilogue\n"
        "from nornir_torque_vm.reap import reaper\n"
        "from nornir_torque_vm.model import Image, Job, Node, Owner\n"
        "from nornir_torque_vm.request import Request\n"
        "owner = Owner('a', 1, 1, 'a', '/home/a')\n"
        "job, image = Job('1.h', 'h', owner), Image('i', '/i')\n"
        "made = plan.make_plan(Request(), Settings(), job, [Node('n')], image)\n"
        "assert plan.plan_from_json(plan.plan_to_json(made)) == made\n"
        "print(*(name for name in sys.modules if 'nornir_torque_vm.components' in name))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_entry_points_are_looked_up_for_named_components_only(
    example: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What all installed packages declare is read from disk for it."""
    import importlib.metadata

    asked: list[dict[str, str]] = []
    usual: Callable[..., Any] = importlib.metadata.entry_points

    def counted(**which: str) -> Any:
        asked.append(which)
        return usual(**which)

    monkeypatch.setattr(importlib.metadata, "entry_points", counted)
    assert loading.load_all(Settings()) == ()
    assert asked == []
    assert [one.name for one in loading.load_all(Settings(components=("notice",)))] == ["notice"]
    assert asked == [{"group": "nornir_torque_vm.components", "name": "notice"}]


def test_all_that_a_component_need_not_do_is_left_out() -> None:
    """Nothing but a name and when it is wanted has to be stated."""
    least = Component(name="least", wanted=lambda request, settings, node: True)
    plan = Plan(ADHOC, NODES, (), image=None)  # type: ignore[arg-type]
    assert least.adjust(plan, Request(), Settings()) is plan
    assert least.kept(Request(), Settings()) == Kept()


def test_what_a_component_left_is_found_and_reaped(site: Site, tmp_path: Path) -> None:
    """After a crash between start and stop, when nothing else of the job is left."""
    from nornir_torque_vm.reap.reaper import Fate, Reaper

    tag = job_tag(ADHOC)
    folder = Path(site.settings.volume_dir, "node1")
    folder.mkdir(parents=True)
    (folder / f"{tag}-notice.txt").touch()
    settings = dataclasses.replace(site.settings, local_uri=f"test://{tmp_path}/node1.xml")
    reaper = Reaper(settings, Deadline.after(20), grace=0.0, node="node1")
    (case,) = reaper.run_for("17.head").cases
    assert case.leftovers.names("component") == [f"{tag}-notice.txt"]
    assert case.fate is Fate.REMOVED, case.reason
    assert notices(site) == []


def test_a_component_that_does_not_say_what_it_left_hinders_no_reaping(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a trouble of the run, in words."""
    from nornir_torque_vm.reap.reaper import Reaper

    altered(monkeypatch, find=refusing)
    settings = dataclasses.replace(site.settings, local_uri=f"test://{tmp_path}/node1.xml")
    outcome = Reaper(settings, Deadline.after(20), grace=0.0, node="node1").run_for("17.head")
    assert [str(error) for error in outcome.troubles] == [
        "the component notice does not say what it has here: it is broken"
    ]


def test_ours_are_declared_like_those_of_others() -> None:
    """The package's own entry points lead to what the loader loads."""
    import tomllib

    about = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    declared = about["entry-points"]["nornir_torque_vm.components"]
    assert declared == {name: f"{module}:component" for name, module in loading.MODULES.items()}
    for name in loading.MODULES:
        assert loading.load(name, Settings()).name == name
