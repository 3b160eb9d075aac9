"""What Nornir returns, judged: which status, which phase, whose error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from nornir.core import Nornir
from nornir.core.inventory import Defaults, Group, Groups, Host, Hosts, Inventory
from nornir.core.task import AggregatedResult, MultiResult, Result, Task
from nornir.plugins.runners import SerialRunner

from nornir_torque_vm.errors import Blame, Cancelled, DeadlineExceeded, NoAddress
from nornir_torque_vm.model import Node
from nornir_torque_vm.report import Failure, HostReport, Report, Status, status_of


def boot_guest(task: Task, errors: Mapping[str, BaseException]) -> Result:
    """A task with two levels of subtasks; a host named in ``errors`` raises on the lowest."""
    task.run(start_guest)
    task.run(ready, errors=errors)
    return Result(host=task.host, result={"ip": "10.0.0.1"})


def start_guest(task: Task) -> Result:
    return Result(host=task.host, changed=True)


def ready(task: Task, errors: Mapping[str, BaseException]) -> Result:
    task.run(discover_address, errors=errors)
    return Result(host=task.host)


def discover_address(task: Task, errors: Mapping[str, BaseException]) -> Result:
    if task.host.name in errors:
        raise errors[task.host.name]
    return Result(host=task.host)


def nornir_of(*names: str) -> Nornir:
    """Nornir without plugins, files or logging: one host per name, all on node1."""
    hosts = Hosts({name: Host(name=name, data={"node": "node1"}) for name in names})
    inventory = Inventory(hosts=hosts, groups=Groups({"guest": Group("guest")}), defaults=Defaults())
    return Nornir(inventory=inventory, runner=SerialRunner())


def result(name: str, *, host: str = "n1", failed: bool = False, changed: bool = False,
           exception: BaseException | None = None, value: object = None) -> Result:  # fmt: skip
    made = Result(Host(name=host), result=value, failed=failed, changed=changed, exception=exception)
    made.name = name  # type: ignore[assignment]
    return made


def multi(*results: Result, name: str = "survey") -> MultiResult:
    made = MultiResult(name)
    made.extend(results)
    return made


def aggregated(name: str, **hosts: MultiResult) -> AggregatedResult:
    return AggregatedResult(name, **hosts)


def test_a_subtasks_error_is_found_at_its_root_through_real_nornir() -> None:
    """Two levels of wrapping: sentence, class and phase are those of the subtask that raised."""
    error = NoAddress("nobody knows its address", guest="j1-r1", hint="see its console")
    run = nornir_of("j1-r0", "j1-r1").run(boot_guest, errors={"j1-r1": error})
    report = Report.from_results(run, seconds={"j1-r0": 2.5})
    assert report.hosts == (
        HostReport(
            "j1-r0", "node1", "boot_guest", Status.CHANGED, 2.5, None, changed=True, data={"ip": "10.0.0.1"}
        ),
        HostReport(
            "j1-r1", "node1", "address", Status.FAILED, 0.0, changed=True,
            failure=Failure(
                "NoAddress", "nobody knows its address; see its console",
                "guest j1-r1: nobody knows its address; see its console", Blame.SITE,
            ),
        ),
    )  # fmt: skip
    assert report.hosts[1].error == "guest j1-r1: nobody knows its address; see its console"
    assert report.hosts[0].error == ""
    assert not report.ok


def test_a_late_host_is_told_by_its_exception_however_deep() -> None:
    """Late, never started and cancelled are verdicts of their own; other errors are failures."""
    errors = {
        "a": DeadlineExceeded("late"),
        "b": DeadlineExceeded("late", started=False),
        "c": Cancelled("cancelled"),
        "d": TimeoutError("some other timeout"),
        "e": Cancelled("cancelled", started=False),
    }
    run = nornir_of(*errors, "f").run(boot_guest, errors=errors)
    assert [entry.status for entry in Report.from_results(run).hosts] == [
        Status.LATE, Status.NOT_STARTED, Status.CANCELLED, Status.FAILED, Status.CANCELLED, Status.CHANGED,
    ]  # fmt: skip


def test_a_late_hosts_phase_is_that_of_the_subtask_that_was_running() -> None:
    """The deadline runner reports the same error at the task and, last, at the running subtask."""
    error = DeadlineExceeded("late in start_guest after 9.0 s")
    verdict = multi(
        result("boot_guest", failed=True, exception=error),
        result("prepare_image", changed=True),
        result("start_guest", failed=True, exception=error),
    )
    entry = Report.from_results(aggregated("boot_guest", g=verdict)).hosts[0]
    assert (entry.phase, entry.status, entry.changed) == ("start", Status.LATE, True)
    assert entry.error == "late in start_guest after 9.0 s"


def test_a_caught_failure_of_a_subtask_still_counts() -> None:
    """Nornir marks such a host failed, so the report has to say why."""
    caught = multi(result("boot_guest"), result("destroy", failed=True, exception=ValueError("bad")))
    entry = Report.from_results(aggregated("boot_guest", g=caught)).hosts[0]
    assert (entry.status, entry.phase, entry.error) == (Status.FAILED, "destroy", "ValueError: bad")
    assert entry.data == {}


def test_a_failure_without_an_exception_is_described_by_its_result() -> None:
    """A task may return ``Result(failed=True)``; an empty one gets words too."""
    run = aggregated(
        "survey",
        a=multi(result("survey", failed=True, value="disk\n is  odd")),
        b=multi(result("survey", failed=True)),
    )
    report = Report.from_results(run)
    assert [entry.failure for entry in report.hosts] == [
        Failure("Failed", "disk is odd", "disk is odd", Blame.SITE, 0),
        Failure("Failed", "the task failed without saying why", "the task failed without saying why"),
    ]
    assert [entry.phase for entry in report.hosts] == ["survey", "survey"]


@pytest.mark.parametrize(
    ("changes", "status"), [([False], Status.OK), ([True], Status.CHANGED), ([False, True], Status.CHANGED)]
)
def test_changed_is_ok_with_an_effect_anywhere(changes: list[bool], status: Status) -> None:
    """One changed subtask makes the host changed."""
    verdict = multi(*(result("survey", changed=changed) for changed in changes))
    assert status_of(verdict) is status
    assert Report.from_results({"a": verdict}).hosts[0].changed is (status is Status.CHANGED)


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (None, {}),
        ({"a": 1}, {"a": 1}),
        (Node("n1", 2), {"name": "n1", "slots": 2, "address": "", "indexes": (), "np": 0}),
        ("text", {"result": "text"}),
        (0, {"result": 0}),
    ],
)
def test_what_a_task_returned_is_kept_as_a_mapping(value: object, data: dict[str, Any]) -> None:
    """Mappings as they are, anything else under ``result``, nothing for None."""
    assert Report.from_results({"a": multi(result("x", value=value))}).hosts[0].data == data


def test_a_host_without_node_data_and_a_plain_mapping_are_read_too() -> None:
    """An administrator's inventory need not come from us; neither the host's data nor the name is needed."""
    without = Result(None)
    without.name = "discover_address"  # type: ignore[assignment]
    report = Report.from_results({"a": multi(without), "b": multi(result("x", host="b"))})
    assert [(entry.node, entry.phase) for entry in report.hosts] == [("", ""), ("", "")]
