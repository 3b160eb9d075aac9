"""``torque-vm selftest`` on libvirt's test driver: what is started is asked and removed, whatever happens."""

from __future__ import annotations

import os
from typing import Any

import pytest
from cli_kit import BOTH, Run, probed, run
from hook_kit import Site, cut_off, site
from nornir.core.task import Result, Task

from nornir_torque_vm.cli import selftest
from nornir_torque_vm.engine import Engine
from nornir_torque_vm.errors import GuestError, NotHealthy
from nornir_torque_vm.runstate.jobstate import JobState
from nornir_torque_vm.sshkeys import make_job_keys
from nornir_torque_vm.tasks.check_health import Health

__all__ = ["run", "site"]


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Guests that were asked; all say the same."""
    names: list[str] = []

    def check_health(task: Task, command: str) -> Result:
        assert command == "true && uname -srm"
        assert task.host.hostname
        names.append(task.host.name)
        return Result(host=task.host, result=Health(0.1, 1, "", "Linux 6.1 x86_64\n"))

    monkeypatch.setattr(selftest, "check_health", check_health)
    return names


def test_a_guest_on_each_node_is_started_asked_and_removed(site: Site, run: Run, asked: list[str]) -> None:
    """One a node, however many a job would get; a row each with the seconds it took."""
    said = run("selftest", *BOTH, "-vm", "ram=64M")
    assert said.code == 0, said.err
    assert len(asked) == 2
    assert [(row[0], row[5:]) for row in said.rows] == [(node, ["Linux", "6.1", "x86_64"]) for node in BOTH]
    assert all(float(row[1]) >= 0.0 for row in said.rows)
    assert site.left() == []


def test_nodes_can_be_named_by_an_option_and_the_result_is_json(site: Site, run: Run) -> None:
    """With the phases of each guest."""
    said = run("selftest", "--node", "node2", "-vm", "ram=64M", "--json")
    assert said.code == 0, said.err
    assert {host["node"] for host in said.json["hosts"]} == {"node2"}
    (guest,) = [row for row in said.json["timeline"]["guests"] if row["guest"].startswith("j")]
    assert {"start", "address", "health"} & set(guest["phases"])


def test_its_job_is_nobodys(site: Site, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """No batch server has such a name; the job is known nowhere afterwards."""
    seen: list[str] = []
    destroy = Engine.destroy

    def noting(self: Any, nodes: Any, job_id: str, *args: Any, **more: Any) -> Any:
        seen.append(job_id)
        return destroy(self, nodes, job_id, *args, **more)

    monkeypatch.setattr(Engine, "destroy", noting)
    run("selftest", *BOTH, "-vm", "ram=64M")
    (job_id,) = seen
    assert job_id.partition(".")[2] == f"selftest-{os.uname().nodename.partition('.')[0]}"
    assert JobState.find(site.settings.run_dir, job_id) is None


def test_a_guest_that_is_not_healthy_fails_and_goes(
    site: Site, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node is named; the other node's guest is asked all the same."""

    def never(host: Any) -> bool:
        if host["node"] == "node2":
            raise NotHealthy("cloud-init failed")
        return True

    probed(monkeypatch, never)
    said = run("selftest", *BOTH, "-vm", "ram=64M")
    assert said.code == 1
    assert [row[0] for row in said.rows] == ["node1"]
    assert "node2" in said.err
    assert "cloud-init failed" in said.err
    assert site.left() == []


def test_a_node_that_does_not_answer_keeps_none_of_the_others(
    site: Site, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its guest is not started, theirs are."""
    cut_off(monkeypatch, "node2")
    said = run("selftest", *BOTH, "-vm", "ram=64M")
    assert said.code == 1
    assert [row[0] for row in said.rows] == ["node1"]
    assert "node2" in said.err


def test_no_node_that_answers_is_told_as_such(site: Site, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was started."""
    cut_off(monkeypatch, "node2")
    said = run("selftest", "node2", "-vm", "ram=64M")
    assert said.code == 5
    assert site.left() == []


def test_what_nobody_foresaw_leaves_nothing_either(
    site: Site, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is told, the guests are gone."""

    def broken(self: Any, plan: Any) -> Any:
        self.engine.boot(plan, make_job_keys([guest.name for guest in plan.guests]))
        assert site.domains()
        raise GuestError("oops")

    monkeypatch.setattr(selftest.Trial, "try_guests", broken)
    said = run("selftest", *BOTH, "-vm", "ram=64M")
    assert (said.code, said.err) == (1, "torque-vm: oops\n")
    assert site.left() == []


def test_a_request_that_cannot_be_met_starts_nothing(site: Site, run: Run) -> None:
    """One line."""
    said = run("selftest", *BOTH, "-vm", "ram=64M,vcpus=99")
    assert said.code == 2
    assert "more than the 16 processors" in said.err
    assert site.left() == []
