"""``torque-vm selftest --user``: a job on each node of a recorded TORQUE, judged one by one, nothing left."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_kit import BOTH, Run, boot, probed, run
from hook_kit import Site, ready, site
from selftest_kit import DOWN, FORGOTTEN, RECORDED, Torque, words_of

from nornir_torque_vm.cli import selftest
from nornir_torque_vm.selftest import jobs
from nornir_torque_vm.selftest.commands import AsUser
from nornir_torque_vm.selftest.judge import SCRIPT

__all__ = ["run", "site"]
USER = ("--user", "tester")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")


@pytest.fixture
def torque(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Torque]:
    """A server with three nodes, two of them the site's, which is asked often enough for a test."""
    place = Path(tempfile.mkdtemp(prefix="torque-vm-selftest-"))
    place.chmod(0o755)
    made = Torque(site, place)
    monkeypatch.setattr(selftest, "owner_named", lambda _: made.owner)
    monkeypatch.setattr(jobs, "POLL_FIRST", 0.05)
    monkeypatch.setattr(jobs, "POLL_LONGEST", 0.2)
    monkeypatch.setattr(jobs, "COMING_BACK", 0.2)
    yield made
    shutil.rmtree(place)


def rows(said: Any) -> list[tuple[str, str, str, str]]:
    """Node, verdict, job and what is said, of each line."""
    found = [line.split(maxsplit=4) for line in said.out.splitlines()[1:]]
    return [(row[0], row[1], row[3], row[4]) for row in found]


def test_a_job_on_each_node_is_submitted_awaited_and_told(torque: Torque, run: Run) -> None:
    """By our qsub, in the words that are documented; its guest says who it is; nothing stays in the home."""
    said = run("selftest", *USER, "-vm", "ram=64M", *BOTH)
    assert (said.code, said.err) == (
        0, f"torque-vm: jobs of {torque.owner.name} were submitted by {torque.qsub}\n",
    )  # fmt: skip
    system = "torque-vm micro guest (parts of Debian 12)"
    assert rows(said) == [
        ("node1", "ok", "20.head", f"j20-r0, {system}{unseen()}"),
        ("node2", "ok", "21.head", f"j21-r0, {system}{unseen()}"),
    ]
    submitted = sorted(words_of(torque.calls("qsub")))
    for node, words in zip(BOTH, submitted, strict=True):
        assert [word for word in words if not word.startswith(("/", "walltime="))] == [
            "-N", "selftest", "-m", "n", "-l", f"nodes={node}:ppn=1", "-l", "-o", "-e",
            "-vm", "vcpus=1,vms_per_node=1", "-vm", "ram=64M",
        ]  # fmt: skip
        assert (torque.folder / node / "script").read_text() == SCRIPT
    assert torque.calls("qdel") == []
    assert torque.left() == []


def unseen() -> str:
    """What follows where we are not root."""
    return "" if os.geteuid() == 0 else "; what is left was not looked at: only root can"


def test_all_jobs_are_one_question_and_there_are_few(torque: Torque, run: Run) -> None:
    """A job that is over is not asked about again."""
    torque.course("node2", "queued", "running", "running", "running", "completed")
    assert run("selftest", *USER, *BOTH).code == 0
    asked = [words[2:] for words in words_of(torque.calls("qstat"))]
    assert asked == [["20.head", "22.head"]] * 3 + [["22.head"]] * 2


@as_root
def test_nothing_of_the_users_is_done_by_root(torque: Torque, run: Run) -> None:
    """Each command has the user's ids and groups alone, and the user's home."""
    assert run("selftest", *USER, *BOTH).code == 0
    calls = torque.calls("qsub", "qstat", "qdel")
    groups = {torque.owner.gid, *(gid for _, gid in torque.owner.groups)}
    assert calls
    for call in calls:
        assert (call.uid, set(call.groups)) == (torque.owner.uid, groups)
        assert (call.cwd, call.home) == (str(torque.home), str(torque.home))


@as_root
def test_root_reads_no_file_that_the_user_cannot(
    torque: Torque, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link in place of the output leads nowhere."""
    secret = torque.place / "secret"
    secret.write_text(RECORDED["output"]["out"].replace("j13-", "j20-"))
    secret.chmod(0o600)
    link = 'ln -sf "$D/../secret" "$(cat "$D/node1/o")"'
    torque.program("qstat", f'[ "$1" = -B ] && exec cat "$D/server"\n{link}\ncat "$D/node1/3.xml"\n')
    said = run("selftest", *USER, "node1")
    assert said.code == 1
    assert "its output did not come back" in said.out
    assert torque.left() == []
    assert secret.exists()


def test_a_node_where_guests_do_not_start_is_one_line_and_the_other_is_well(torque: Torque, run: Run) -> None:
    """The sentence is the one that the owner of a job gets."""
    course = ("queued", "running", "sent_back", "running_again", "refused")
    torque.course("node1", *course, out="", err=RECORDED["refusal"]["out"])
    said = run("selftest", *USER, *BOTH)
    assert said.code == 1
    first, second = rows(said)
    assert second[:2] == ("node2", "ok")
    assert first[:3] == ("node1", "fail", "22.head")
    assert first[3].startswith("node3, survey: cannot open qemu:///system: ")
    assert first[3].endswith("given up after 4 attempts; torque-vm job 22.head on node1 tells why")


@pytest.mark.parametrize(
    ("course", "what"),
    [
        (["queued"], "it was never started, its state is Q; it was deleted; look at pbsnodes node1"),
        (["running"], "it was started and has not ended in time; it was deleted; torque-vm job 22.head"),
        (["running", "sent_back"], "it was started 2 times and sent back to the queue; it was deleted;"),
    ],
)
def test_what_has_not_ended_in_time_is_deleted(
    torque: Torque, run: Run, course: list[str], what: str
) -> None:
    """And told as late; the others' jobs are left alone."""
    torque.course("node1", *course)
    said = run("selftest", *USER, *BOTH, "--timeout", "5")
    assert said.code == 3
    first, second = rows(said)
    assert first[3].startswith(what)
    assert second[1] == "ok"
    assert words_of(torque.calls("qdel")) == [["22.head"]]
    assert torque.left() == []


def test_a_job_that_cannot_be_deleted_costs_the_others_nothing(
    torque: Torque, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is waited for as long as a deleted one may take; their output is read all the same."""
    monkeypatch.setattr(jobs, "ENDING_SECONDS", 0.0)
    torque.program("qdel", "exit 1\n")
    torque.course("node1", "running")
    said = run("selftest", *USER, *BOTH, "--timeout", "5")
    first, second = rows(said)
    assert first[3].startswith(
        "it was started and has not ended in time; it cannot be deleted; qdel 22.head "
    )
    assert second[:2] == ("node2", "ok")
    assert said.code == 3


@pytest.mark.parametrize(
    ("course", "out", "what"),
    [
        ((), "selftest host node1\nselftest end here\n", "it ran on the node itself, not in a guest; "),
        ((), "selftest host other\n", "it ran on other, which is not its first guest; "),
        ((), "selftest host jN-r0\nselftest guest node1\nselftest end here\n", "PBS_NODEFILE names node1 "),
        ((), "selftest host jN-r0\nselftest guest jN-r0\n", "its output is cut off; "),
        ((), "", "its output did not come back; look at undelivered in TORQUE's home on node1"),
        (("running", FORGOTTEN), None, "the server forgot the job before it told its exit status; set "),
        (("queued", "deleted"), "", "it was deleted before it ran; "),
    ],
)  # fmt: skip
def test_a_job_that_is_not_as_it_should_be_fails_its_node(
    torque: Torque, run: Run, course: tuple[str, ...], out: str | None, what: str
) -> None:
    """What, and what to do."""
    torque.course("node1", *course, out=out)
    said = run("selftest", *USER, *BOTH)
    assert said.code == 1
    first, second = rows(said)
    assert first[1] == "fail"
    assert first[3].startswith(what)
    assert second[1] == "ok"


@as_root
def test_what_a_job_has_left_on_its_node_fails_it(
    torque: Torque, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guests and files by name, and nothing is removed."""
    probed(monkeypatch, ready)
    assert boot(run, job="20.head").code == 0
    before = torque.site.domains()
    assert before
    said = run("selftest", *USER, "node1")
    assert said.code == 1
    ((_, verdict, _, what),) = rows(said)
    assert verdict == "fail"
    assert what.startswith("left on the node: tvm-20-")
    assert "torque-vm reap --job 20.head there removes it" in what
    assert torque.site.domains() == before
    run("destroy", *BOTH, "--job", "20.head")


def test_a_node_that_gets_no_job_is_told_at_once(torque: Torque, run: Run) -> None:
    """Nothing is submitted there, nor to a node that the server does not know."""
    torque.nodes(node1="down,offline")
    said = run("selftest", *USER, *BOTH, "node9")
    assert said.code == 1
    down, well, unknown = rows(said)
    assert down[:3] == ("node1", "fail", "-")
    assert down[3] == "the server gives it no job: it is down, offline; pbsnodes -c node1 puts it back"
    assert unknown[3] == "the server knows no such node; pbsnodes lists those it knows"
    assert well[1] == "ok"
    assert len(torque.calls("qsub")) == 1


def test_without_a_name_all_nodes_of_the_server_are_tested(torque: Torque, run: Run) -> None:
    """They are three."""
    torque.course("node3")
    said = run("selftest", *USER)
    assert [row[0] for row in rows(said)] == ["node1", "node2", "node3"]


@pytest.mark.parametrize("name", ["submit_refused", "submit_unknown_node"])
def test_what_qsub_refuses_is_told_in_its_words(torque: Torque, run: Run, name: str) -> None:
    """Of this node alone."""
    torque.course("node1", submit=name)
    said = run("selftest", *USER, *BOTH)
    assert said.code == 1
    first, second = rows(said)
    assert first[:3] == ("node1", "fail", "-")
    complaint = RECORDED[name]["err"].strip().removeprefix("torque-vm: ")
    assert first[3] == f"qsub refuses its job: {complaint}"
    assert second[1] == "ok"


def test_a_server_that_falls_silent_is_late_and_the_jobs_are_deleted_all_the_same(
    torque: Torque, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As far as it hears."""
    monkeypatch.setattr(jobs, "ENDING_SECONDS", 0.0)
    torque.write("down", DOWN["err"])
    said = run("selftest", *USER, "node1", "--timeout", "1")
    assert said.code == 3
    ((_, _, _, what),) = rows(said)
    assert what.startswith("the server does not tell how far it is: ")
    assert what.endswith("it cannot be deleted; qdel 20.head when the server answers")
    assert words_of(torque.calls("qdel")) == [["20.head"]]


def test_the_result_is_json(torque: Torque, run: Run) -> None:
    """With job and verdict."""
    said = run("selftest", *USER, "node1", "--json")
    assert (said.json["tried"], said.json["user"]) == ("jobs", torque.owner.name)
    ((host),) = said.json["hosts"]
    assert (host["node"], host["status"], host["data"]["job"]) == ("node1", "ok", "20.head")


def test_a_home_that_cannot_be_entered_or_written_is_told(torque: Torque, run: Run) -> None:
    """One line; nothing is submitted."""
    torque.home.rmdir()
    said = run("selftest", *USER, "node1")
    assert said.code == 1
    assert f"cannot enter the home directory {torque.home} here; mount it, or name" in said.err
    assert torque.calls("qsub") == []


@as_root
def test_a_home_that_takes_no_output_is_told(torque: Torque, run: Run) -> None:
    """As the user sees it."""
    os.chown(torque.home, 0, 0)
    said = run("selftest", *USER, "node1")
    assert said.code == 1
    assert "cannot make a directory for the jobs' output: mktemp: " in said.err
    assert torque.calls("qsub") == []


def test_what_nobody_foresaw_deletes_the_jobs_and_leaves_nothing(
    torque: Torque, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While they are waited for."""
    torque.course("node1", "running")

    def broken(*_: object) -> None:
        raise RuntimeError("oops")

    monkeypatch.setattr(jobs.JobTest, "_note", broken)
    assert run("selftest", *USER, "node1").code != 0
    assert words_of(torque.calls("qdel")) == [["22.head"]]
    assert torque.left() == []


def test_an_interrupted_test_deletes_its_jobs(
    torque: Torque, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says so."""
    torque.course("node1", "running")
    note = jobs.JobTest._note

    def cancelling(self: jobs.JobTest, *more: Any) -> None:
        note(self, *more)
        self.deadline.cancel()

    monkeypatch.setattr(jobs.JobTest, "_note", cancelling)
    said = run("selftest", *USER, "node1")
    assert said.code == 1
    assert rows(said)[0][3] == "the self-test was interrupted; it was deleted"
    assert words_of(torque.calls("qdel")) == [["22.head"]]
    assert torque.left() == []


def test_a_request_that_nobody_understands_submits_nothing(torque: Torque, run: Run) -> None:
    """One line."""
    said = run("selftest", *USER, "node1", "-vm", "nonsense=1")
    assert said.code == 2
    assert "nonsense" in said.err
    assert torque.calls("qsub") == []


def test_a_host_without_our_qsub_starts_guests_and_says_so(
    torque: Torque, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it did, and why not the other."""
    monkeypatch.setattr(selftest, "by_guests", lambda *_, **__: 0)
    torque.program("qsub", "exit 1\n")
    path = torque.place / "bin/qsub"
    path.write_text(path.read_text().replace("nornir_torque_vm", "another"))
    monkeypatch.setattr("nornir_torque_vm.selftest.server.Places", lambda: selftest_places(torque))
    said = run("selftest", *USER, "node1")
    assert said.code == 0
    assert said.err == (
        "torque-vm: guests were started without jobs: our qsub is not installed here; "
        "torque-vm install submit-host puts it here\n"
    )


def selftest_places(torque: Torque) -> Any:
    """A prefix below which nothing is."""
    from nornir_torque_vm.install.submit_host import Places

    return Places(str(torque.place / "nowhere"))


def test_a_host_without_a_server_starts_guests_and_says_so(
    site: Site, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user's name is looked at all the same."""
    monkeypatch.setattr(selftest, "by_guests", lambda *_, **__: 0)
    said = run("selftest", "--user", "nobody", "node1")
    assert "guests were started without jobs: no server answers: qstat: no server here" in said.err
    assert run("selftest", "--user", "no-such-account", "node1").code == 2
    assert run("selftest", "--user", "root", "node1").code == 2


def test_only_root_submits_jobs_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operating system would refuse it anyhow."""
    from nornir_torque_vm.accounts import owner_named
    from nornir_torque_vm.errors import InventoryError

    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(InventoryError, match="only root and nobody can submit jobs of nobody"):
        AsUser(owner_named("nobody"))
