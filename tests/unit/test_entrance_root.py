"""Root at a job's guests: a hand-over is its owner's file, who may have written anything into it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jobs
import pytest

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.entrance.whereabouts import for_root
from nornir_torque_vm.errors import DeadlineExceeded, RequestError, StateError
from nornir_torque_vm.identity import job_tag
from nornir_torque_vm.runstate.handover import HandOver, Refusal

JOB = "17[3].head"
GUEST: dict[str, Any] = {"name": "x", "rank": 0, "node": "n1", "address": "", "vcpus": 1}


def given(run_dir: Path) -> Path:
    """The file, as its owner can make it: writable."""
    file = run_dir / "handover" / JOB / "given"
    file.chmod(0o600)
    return file


def changed(file: Path, **values: Any) -> None:
    """Write other values into it."""
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def asked(run_dir: Path) -> HandOver:
    return for_root(Settings(run_dir=str(run_dir)), JOB)


def sister(run_dir: Path) -> None:
    """Take away what only the first node has."""
    for folder in (run_dir / "jobs").iterdir():
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


def test_on_the_first_node_root_believes_its_own_files(tmp_path: Path) -> None:
    """Else the owner could lead an administrator's session to any machine."""
    state = jobs.started(tmp_path)
    before = asked(tmp_path)
    elsewhere = [guest._asdict() | {"address": "198.51.100.7"} for guest in before.guests]
    changed(given(tmp_path), guests=elsewhere, known_hosts="198.51.100.7 ssh-ed25519 AAAA", tag="tvm-1-a1-x")
    plan = jobs.plan(state.job)
    assert asked(tmp_path) == before == HandOver.of(plan, jobs.keys(plan), jobs.addresses(plan))


def test_on_a_sister_what_names_the_guests_is_theirs(tmp_path: Path) -> None:
    """There is nothing but the owner's file; unchanged it will do."""
    jobs.started(tmp_path)
    sister(tmp_path)
    assert asked(tmp_path).tag == job_tag(jobs.job())


@pytest.mark.parametrize(
    "values",
    [
        {"tag": "../../../etc/x-0badcafe"}, {"tag": "tvm-170-3-a1-0badcafe"}, {"tag": "tvm-17-a1-0badcafe"},
        {"tag": 17}, {"guests": [GUEST | {"node": "-oProxyCommand=id"}]},
        {"guests": [GUEST | {"node": ["n1"]}]},
        {"nodes": [["\x1b]0;n1\x07", 1]]}, {"job_id": "18.head"},
    ],
)  # fmt: skip
def test_on_a_sister_a_hand_over_that_was_changed_is_not_used(tmp_path: Path, values: dict[str, Any]) -> None:
    """Its words become paths, names of domains and of hosts."""
    jobs.started(tmp_path)
    sister(tmp_path)
    changed(given(tmp_path), **values)
    with pytest.raises(StateError) as caught:
        asked(tmp_path)
    assert str(caught.value) == (
        f"job {JOB}: its hand-over is not what was left here; "
        "its owner can write it: go to the job's first node"
    )


@pytest.mark.parametrize("text", ["[" * 100_000, '{"version": 1}', "\udcff"])
def test_a_hand_over_that_cannot_be_read_is_one_sentence(tmp_path: Path, text: str) -> None:
    """However it was spoilt."""
    jobs.started(tmp_path)
    sister(tmp_path)
    given(tmp_path).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(StateError, match="the hand-over cannot be read"):
        asked(tmp_path)


def test_a_refusal_does_nothing_to_roots_terminal(tmp_path: Path) -> None:
    """The owner can write one, too."""
    jobs.started(tmp_path)
    sister(tmp_path)
    given(tmp_path).write_text(Refusal("\x1b]0;root\x07no \x1b[2Jguests\r", user=True).to_json())
    with pytest.raises(RequestError) as caught:
        asked(tmp_path)
    assert str(caught.value).isprintable()
    assert "guests" in str(caught.value)


def test_without_one_the_guests_are_not_ready(tmp_path: Path) -> None:
    """A job whose prologue is at work."""
    jobs.saved(tmp_path)
    with pytest.raises(StateError, match="its guests are not ready yet"):
        asked(tmp_path)


@pytest.mark.parametrize(
    ("user", "late"), [(True, False), (False, True), (False, False)], ids=["request", "late", "site"]
)
def test_an_attempt_goes_whatever_its_owner_made_of_the_hand_over(
    tmp_path: Path, user: bool, late: bool
) -> None:
    """Its keys must not outlive it."""
    state = jobs.started(tmp_path)
    given(tmp_path).write_text(Refusal("x", user=user, late=late).to_json())
    state.remove()
    assert list((tmp_path / "jobs").iterdir()) == []


def test_refusals_have_these_classes() -> None:
    """All that root's own commands have to expect of the file."""
    for refusal, kind in (
        (Refusal("x", user=True), RequestError),
        (Refusal("x", user=False), StateError),
        (Refusal("x", user=False, late=True), DeadlineExceeded),
    ):
        with pytest.raises(kind):
            HandOver.from_json(refusal.to_json())
