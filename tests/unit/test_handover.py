"""The hand-over: for the job's owner, complete, and for nobody else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jobs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_torque_vm.errors import DeadlineExceeded, InventoryError, NoAddress, RequestError, StateError
from nornir_torque_vm.identity import job_tag
from nornir_torque_vm.model import Plan
from nornir_torque_vm.runstate.handover import HandOver, HandOverGuest, Refusal, read_handover

JOB = "17[3].head"


def hand_over(plan: Plan | None = None) -> HandOver:
    plan = plan or jobs.plan()
    return HandOver.of(plan, jobs.keys(plan), jobs.addresses(plan))


def lay_down(run_dir: Path, text: str) -> Path:
    file = run_dir / "handover" / JOB / "given"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_it_says_where_the_guests_are_and_how_to_get_in() -> None:
    """The user's key and the pinned host keys; the admin key and the host keys' private halves stay."""
    made = hand_over()
    assert made == HandOver(
        job_id=JOB,
        tag=job_tag(jobs.job()),
        user="alice",
        guests=(
            HandOverGuest("j17-3-r0", 0, "n1", "10.0.0.1", 3),
            HandOverGuest("j17-3-r1", 1, "n2", "10.0.0.2", 3),
        ),
        user_key="user\n",
        known_hosts=made.known_hosts,
        nodes=(("n1", 1), ("n2", 1)),
        distro="debian",
    )
    assert "j17-3-r0 ssh-ed25519 AAAA0\n" in made.known_hosts
    assert "10.0.0.2 ssh-ed25519 AAAA1\n" in made.known_hosts
    assert "admin" not in made.to_json()
    assert "private" not in made.to_json()


def test_every_guest_needs_an_address() -> None:
    """A job that cannot reach all of its guests is not started."""
    plan = jobs.plan()
    with pytest.raises(NoAddress):
        HandOver.of(plan, jobs.keys(plan), {"j17-3-r0": "10.0.0.1"})


def test_the_key_is_not_shown_in_messages() -> None:
    """A traceback or a debug log prints values with ``repr``."""
    assert "user_key" not in repr(hand_over())


@given(st.from_type(HandOver))
def test_it_survives_json_exactly(value: HandOver) -> None:
    """Whatever the values are."""
    assert HandOver.from_json(value.to_json()) == value


def test_the_json_form_is_an_interface() -> None:
    """The job starter of another version reads it."""
    raw = json.loads(hand_over().to_json())
    names = ["version", "job_id", "tag", "user", "guests", "user_key", "known_hosts", "nodes", "distro"]
    assert list(raw) == names
    assert raw["version"] == 1
    assert raw["guests"][1] == {
        "name": "j17-3-r1",
        "rank": 1,
        "node": "n2",
        "address": "10.0.0.2",
        "vcpus": 3,
    }
    assert hand_over().to_json().startswith('{\n "version": 1,\n')
    assert hand_over().to_json().endswith("}\n")


@pytest.mark.parametrize(
    ("slots", "guests", "expected"),
    [
        ([2, 2], 1, [0, 0, 1, 1]),
        ([2, 2], 2, [0, 1, 2, 3]),
        ([4, 4], 2, [0, 0, 1, 1, 2, 2, 3, 3]),
        ([3, 1], 2, [0, 0, 1, 2]),
        ([5], 3, [0, 0, 1, 1, 2]),
    ],
)
def test_a_nodes_slots_go_block_wise_to_its_guests(
    slots: list[int], guests: int, expected: list[int]
) -> None:
    """Slots are counted over all nodes, as PBS_VNODENUM is; neighbours share a guest."""
    nodes = tuple((f"n{number}", count) for number, count in enumerate(slots))
    all_guests = tuple(
        HandOverGuest(f"g{rank}", rank, f"n{rank // guests}", "10.0.0.1", 1)
        for rank in range(guests * len(slots))
    )
    made = hand_over()._replace(nodes=nodes, guests=all_guests)
    assert [made.guest_of_slot(slot).rank for slot in range(sum(slots))] == expected
    for slot in (-1, sum(slots)):
        with pytest.raises(StateError, match=f"no guest belongs to slot {slot}"):
            made.guest_of_slot(slot)


def test_another_version_is_refused() -> None:
    """It could lack what this one needs."""
    raw = {**json.loads(hand_over().to_json()), "version": 2}
    with pytest.raises(StateError) as caught:
        HandOver.from_json(json.dumps(raw))
    assert str(caught.value) == "the hand-over has form 2, this program reads 1; submit the job again"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", "JSONDecodeError"), ("[]", "TypeError"), ("1", "AttributeError"), ("{}", "KeyError"),
        ('{"version": 1}', "KeyError"), ('{"version": 1, "guests": [], "x": 1}', "TypeError"),
    ],
)  # fmt: skip
def test_a_damaged_one_is_told_in_one_sentence(text: str, kind: str) -> None:
    """The job starter prints it to the job's error file."""
    with pytest.raises(StateError) as caught:
        HandOver.from_json(text)
    assert str(caught.value) == f"the hand-over cannot be read ({kind}); submit the job again"


def test_its_owner_reads_it_by_the_job_id_alone(tmp_path: Path) -> None:
    """``$PBS_JOBID`` is all the job starter has, brackets included."""
    file = lay_down(tmp_path, hand_over().to_json())
    file.chmod(0o400)
    assert read_handover(tmp_path, JOB) == hand_over()
    assert read_handover(str(tmp_path), JOB) == hand_over()


def test_without_one_the_job_is_refused(tmp_path: Path) -> None:
    """A marked job never runs on bare metal; the sentence says what happened."""
    with pytest.raises(StateError) as caught:
        read_handover(tmp_path, JOB)
    assert str(caught.value) == (
        "job 17[3].head: its guests were not started, or are gone; "
        "the prologue on this node failed or was killed: submit the job again"
    )


@pytest.mark.parametrize("job_id", ["", "../etc/passwd", "17/x", "no job"])
def test_only_job_ids_are_looked_up(tmp_path: Path, job_id: str) -> None:
    """The environment belongs to the user."""
    with pytest.raises(InventoryError):
        read_handover(tmp_path, job_id)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("kind", ["link", "fifo", "directory"])
def test_only_a_regular_file_is_read(tmp_path: Path, kind: str) -> None:
    """Never followed, never waited for."""
    real = lay_down(tmp_path, hand_over().to_json())
    real.rename(tmp_path / "elsewhere")
    if kind == "link":
        real.symlink_to(tmp_path / "elsewhere")
    elif kind == "fifo":
        os.mkfifo(real)
    else:
        real.mkdir()
    why = (
        r"cannot read .*: Too many levels of symbolic links$"
        if kind == "link"
        else ".* is not a regular file; "
    )
    with pytest.raises(StateError, match=rf"^job 17\[3\].head: {why}"):
        read_handover(tmp_path, JOB)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")
def test_somebody_elses_is_refused(tmp_path: Path) -> None:
    """Even root's: whoever is not the owner has no business in the guests."""
    os.chown(lay_down(tmp_path, hand_over().to_json()), 2001, 2001)
    with pytest.raises(StateError) as caught:
        read_handover(tmp_path, JOB)
    assert str(caught.value) == (
        f"job 17[3].head: {tmp_path}/handover/{JOB}/given belongs to uid 2001, not to uid 0; "
        "a job's guests are entered by its owner only"
    )


def test_reading_one_needs_neither_nornir_nor_cryptography() -> None:
    """Every task of a job starts with it."""
    code = (
        "import sys, nornir_torque_vm.runstate.handover; "
        "sys.exit(bool({'nornir', 'cryptography', 'jinja2', 'tomllib'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_values_cannot_be_changed() -> None:
    """What root wrote is what is used."""
    with pytest.raises(AttributeError):
        hand_over().user = "root"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"user": True}, RequestError),
        ({"user": False}, StateError),
        ({"user": False, "late": True}, DeadlineExceeded),
    ],
)
def test_a_refusal_in_place_of_a_hand_over_is_what_its_owner_reads(
    tmp_path: Path, fault: dict[str, bool], error: type[Exception]
) -> None:
    """Word for word, and by whose fault."""
    file = tmp_path / "handover" / "17.head" / "given"
    file.parent.mkdir(parents=True)
    file.write_text(Refusal("vms_per_node=9 is more than 8; ask for less", **fault).to_json())
    with pytest.raises(error) as caught:
        read_handover(tmp_path, "17.head")
    assert str(caught.value) == "vms_per_node=9 is more than 8; ask for less"


@pytest.mark.parametrize(
    "refusal", ['"x"', "{}", '{"sentence": "x"}', '{"sentence": "x", "user": true, "y": 1}']
)
def test_a_damaged_refusal_is_still_no_hand_over(refusal: str) -> None:
    """The job does not run."""
    with pytest.raises(StateError, match="cannot be read"):
        HandOver.from_json(f'{{"version": 1, "refusal": {refusal}}}')
