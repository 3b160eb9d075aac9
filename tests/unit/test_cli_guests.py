"""Looking at guests on nodes of libvirt's test driver, and what all these commands share."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_kit import BOTH, Run, Said, boot, run
from hook_kit import JOB, USER, Site, cut_off, site
from nornir.core.task import Result, Task

from nornir_torque_vm import tasks
from nornir_torque_vm.cli import command as command_module
from nornir_torque_vm.cli.app import outcome
from nornir_torque_vm.errors import GuestError
from nornir_torque_vm.processors.base import Event, EventProcessor
from nornir_torque_vm.runstate.jobstate import JobState

__all__ = ["run", "site"]


def test_guests_lists_what_exists_by_node_and_rank(site: Site, run: Run) -> None:
    """Jobs of the batch system and others alike."""
    site.prologue(site.call("ram=64M:vms_per_node=2"))
    boot(run)
    said = run("guests", *BOTH)
    assert said.code == 0
    assert [row[:5] for row in said.rows] == [
        ["j17-r0", "node1", JOB, USER.pw_name, "running"],
        ["j17-r1", "node1", JOB, USER.pw_name, "running"],
        ["j5-r0", "node1", "5.adhoc", USER.pw_name, "running"],
        ["j17-r2", "node2", JOB, USER.pw_name, "running"],
        ["j17-r3", "node2", JOB, USER.pw_name, "running"],
        ["j5-r1", "node2", "5.adhoc", USER.pw_name, "running"],
    ]
    assert {row[6] for row in said.rows} == {"64M"}


def test_guests_as_json_has_every_fact(site: Site, run: Run) -> None:
    """Bytes are bytes; the nodes' own verdicts stand beside the guests."""
    site.prologue()
    said = run("guests", *BOTH, "--json", "--filter", "rank=1")
    (guest,) = said.json["guests"]
    assert (guest["guest"], guest["node"], guest["memory"], guest["vcpus"]) == (
        "j17-r1",
        "node2",
        64 << 20,
        1,
    )
    assert set(guest) >= {"domain", "mac", "uuid", "server", "attempt", "owner", "job", "state", "rank"}
    assert [(node["host"], node["status"]) for node in said.json["nodes"]] == [
        ("node1", "ok"),
        ("node2", "ok"),
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--job", JOB], ["j17-r0", "j17-r1"]),
        (["--filter", "owner=" + USER.pw_name, "--filter", "rank=0"], ["j17-r0", "j5-r0"]),
        (["--filter", "node=node2"], ["j17-r1", "j5-r1"]),
    ],
)
def test_guests_are_chosen_by_job_and_filters(
    site: Site, run: Run, words: list[str], expected: list[str]
) -> None:
    """All conditions have to hold."""
    site.prologue()
    boot(run)
    assert [row[0] for row in run("guests", *BOTH, *words).rows] == expected


@pytest.mark.parametrize("name", ["guests", "address", "health"])
def test_no_guest_is_code_four_and_one_line(site: Site, run: Run, name: str) -> None:
    """Not a success: whoever asked expected some."""
    assert run(name, *BOTH) == Said(4, "", "torque-vm: there is no such guest\n")


@pytest.mark.parametrize("words", [["guests"], ["boot"], ["destroy", "--all"]])
def test_no_node_is_code_four_and_one_line(site: Site, run: Run, tmp_path: Path, words: list[str]) -> None:
    """A filter that fits no node of an inventory."""
    (tmp_path / "hosts.yaml").write_text("node1: {data: {rack: a}}\n")
    said = run(*words, "--inventory", str(tmp_path), "--filter", "rack=b")
    assert said == Said(4, "", "torque-vm: no node is selected\n")


@pytest.mark.parametrize("name", ["guests", "address", "health"])
def test_all_nodes_out_of_reach_is_code_five_and_one_of_them_code_one(
    site: Site, run: Run, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node's name is in the line."""
    cut_off(monkeypatch, "node2")
    said = run(name, *BOTH)
    assert (said.code, len(said.err.splitlines())) == (1, 1)
    assert said.err.startswith("torque-vm: node2: ")
    cut_off(monkeypatch, "node1")
    assert run(name, *BOTH).code == 5


def test_a_node_out_of_reach_does_not_hide_behind_the_others_guests(
    site: Site, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could be asked is shown; the exit code says that it is not all."""
    site.prologue()
    cut_off(monkeypatch, "node2")
    said = run("address", *BOTH)
    assert said.code == 1
    assert said.rows == [["j17-r0", "node1", "192.168.0.1"]]
    assert said.err.startswith("torque-vm: node2: ")


def test_address_finds_the_addresses_of_guests_that_run(site: Site, run: Run) -> None:
    """No plan is needed, and no keys: libvirt says what exists."""
    site.prologue()
    said = run("address", *BOTH, "--filter", "rank=1")
    assert (said.code, said.rows) == (0, [["j17-r1", "node2", "192.168.0.1"]])
    said = run("address", *BOTH, "--json")
    assert [host["data"]["address"] for host in said.json["hosts"]] == ["192.168.0.1"] * 2
    assert said.json["ok"] is True


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, bool]]:
    """Guests that check_health is asked about, the command, and whether the way in is known."""
    asked: list[tuple[str, str, bool]] = []

    def check_health(task: Task, command: str = "") -> Result:
        asked.append((task.host.name, command, "guest_ssh" in task.host.connection_options))
        if command == "false":
            raise GuestError("not well", guest=task.host.name)
        return Result(host=task.host)

    monkeypatch.setattr(tasks, "check_health", check_health)
    return asked


def test_health_asks_every_guest_with_the_keys_of_its_job(
    site: Site, run: Run, checked: list[tuple[str, str, bool]]
) -> None:
    """Several jobs at once, each with its own."""
    site.prologue()
    boot(run)
    said = run("health", *BOTH, "--command", "uptime")
    assert said.code == 0
    assert sorted(checked) == [(name, "uptime", True) for name in ("j17-r0", "j17-r1", "j5-r0", "j5-r1")]
    assert [row[2] for row in said.rows] == ["ok"] * 4


def test_health_without_the_jobs_keys_is_refused(
    site: Site, run: Run, checked: list[tuple[str, str, bool]]
) -> None:
    """They are on the mother superior alone; nothing is tried without them."""
    site.prologue()
    JobState.forget(site.settings.run_dir, JOB)
    said = run("health", *BOTH)
    assert (said.code, checked) == (2, [])
    assert said.err == (
        f"torque-vm: the keys of job {JOB} are not known here; its mother superior has them while it runs\n"
    )


def test_a_guest_that_is_not_well_is_code_one(
    site: Site, run: Run, checked: list[tuple[str, str, bool]]
) -> None:
    """Those that fail alike share a line."""
    site.prologue()
    said = run("health", *BOTH, "--command", "false")
    assert said.code == 1
    assert said.err == "torque-vm: j17-r[0-1] on node[1-2], health: not well\n"


@pytest.mark.parametrize("name", ["guests", "boot", "address", "health"])
@pytest.mark.parametrize("job_id", ["../17", "17 head", ""])
def test_what_is_no_job_id_is_refused(site: Site, run: Run, name: str, job_id: str) -> None:
    """Whatever the command."""
    said = run(name, "node1", "--job", job_id)
    assert said.code == 2
    assert "not a job id" in said.err


def test_the_administrators_own_connection_counts(site: Site, run: Run, tmp_path: Path) -> None:
    """Here the settings alone would lead nowhere."""
    (site.folder / "hosts.yaml").write_text(
        f"node1: {{connection_options: {{libvirt: {{extras: {{uri: 'test://{site.folder}/node1.xml'}}}}}}}}\n"
    )
    site.prologue()
    site.settings_file.write_text(
        site.settings_file.read_text().replace(f"{site.folder}/{{node}}.xml", "/nonexistent/{node}.xml")
    )
    for words in (["guests"], ["address"], ["destroy", "--all"]):
        assert run(*words, "--inventory", str(site.folder)).code == 0
    assert [name for name in site.domains() if "-r0-" in name] == []


class Closing(EventProcessor):
    """Progress that knows whether it was closed."""

    closed = 0

    def handle(self, event: Event) -> None:
        """Show nothing."""

    def close(self) -> None:
        super().close()
        Closing.closed += 1


@pytest.mark.parametrize("words", [["guests", *BOTH], ["boot", "node1", "-vm", "vcpus=99"]])
def test_progress_is_closed_however_the_command_ends(
    site: Site,
    run: Run,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A live display that is left open keeps the terminal's cursor."""
    monkeypatch.setattr(command_module, "progress", lambda _stream: Closing())
    Closing.closed = 0
    outcome(words)
    assert Closing.closed == 1


def test_progress_is_on_stderr_and_not_beside_json(
    site: Site, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pipe gets plain lines."""
    site.prologue()
    capsys.readouterr()
    outcome(["guests", *BOTH])
    assert "2 ok node[1-2]" in capsys.readouterr().err
    outcome(["guests", *BOTH, "--json"])
    assert capsys.readouterr().err == ""
