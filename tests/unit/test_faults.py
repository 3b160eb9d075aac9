"""Which nodes a failed start speaks against, and when that is enough."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_torque_vm.errors import AddressTaken, Blame, ImageError, RequestError, SettingsError, StateError
from nornir_torque_vm.faults import HERE, NOTE_LENGTH, Fault, blamed, did_well, note, weight
from nornir_torque_vm.report import Failure, HostReport, Report, Status

JOB, NOW = "17.head", 1_000_000.0


def host(
    node: str, phase: str = "survey", status: Status = Status.FAILED, blame: Blame = Blame.SITE
) -> HostReport:
    """What became of a guest, or of the node itself."""
    failure = None if status.good else Failure("HypervisorError", "it broke", f"{node}: it broke", blame)
    return HostReport(f"g-{node}", node, phase, status, failure=failure)


def fine(node: str) -> HostReport:
    return host(node, "boot_guest", Status.OK)


def nodes(*hosts: HostReport) -> list[str]:
    """The nodes that such a start speaks against."""
    return sorted(blamed(Report(hosts), JOB, NOW, "n1"))


def test_a_fault_says_where_when_why_and_of_which_job() -> None:
    """Kept until the node is taken out, for the note."""
    (fault,) = blamed(Report((fine("n1"), host("n2"))), JOB, NOW, "n1").values()
    assert fault == Fault(NOW, JOB, "survey", "it broke")


@pytest.mark.parametrize("status", [Status.FAILED, Status.LATE])
@pytest.mark.parametrize("phase", ["survey", "image", "start", "hand_over", "address", "health", "roster"])
def test_the_node_that_fails_beside_others_is_blamed(phase: str, status: Status) -> None:
    """Its guests have the same image as theirs."""
    assert nodes(fine("n1"), host("n2", phase, status), fine("n3")) == ["n2"]


def test_users_full_nodes_cancelled_and_never_begun_starts_do_not_count() -> None:
    """Only what the site has to mend."""
    for blame in (Blame.USER, Blame.NOBODY):
        assert nodes(fine("n1"), host("n2", blame=blame)) == []
    for status in (Status.CANCELLED, Status.NOT_STARTED):
        assert nodes(fine("n1"), host("n2", status=status)) == []


@pytest.mark.parametrize("phase", ["address", "health", "roster"])
def test_a_guest_alone_does_not_speak_against_its_node(phase: str) -> None:
    """An image that never gets ready would take one node after the other out."""
    assert nodes(host("n1", phase), host("n1", phase)) == []
    assert nodes(host("n1", "start")) == ["n1"]


def test_where_most_nodes_fail_none_is_blamed() -> None:
    """What they share, or the one that asked them, is at fault."""
    assert nodes(host("n1"), host("n2")) == []
    assert nodes(fine("n1"), host("n2"), host("n3")) == []
    assert nodes(fine("n1"), fine("n2"), host("n3"), host("n4")) == ["n3", "n4"]


def test_a_mother_superior_that_cannot_work_is_blamed_itself() -> None:
    """Its disk, its configuration, its pool; nobody when TORQUE did not say who it is."""
    disk = StateError("cannot write")
    disk.__cause__ = OSError(28, "No space left on device")
    pool = ImageError("the pool cannot be read", blame=Blame.SITE)
    for error, phase in ((disk, HERE), (SettingsError("no job starter"), HERE), (pool, "image")):
        (found,) = blamed(error, JOB, NOW, "n1").items()
        assert (found[0], found[1].phase) == ("n1", phase)
        assert blamed(error, JOB, NOW, "") == {}


@pytest.mark.parametrize(
    "error",
    [RequestError("no"), ImageError("no such image"), StateError("somebody is at work"), ZeroDivisionError()],
)
def test_errors_of_users_and_those_nobody_foresaw_blame_no_node(error: Exception) -> None:
    """A request that meets a mistake of ours would take nodes out."""
    assert blamed(error, JOB, NOW, "n1") == {}


def test_a_start_that_went_well_clears_its_nodes() -> None:
    """All of them, and only then."""
    assert did_well(Report((fine("n1"), fine("n1"), fine("n2")))) == ("n1", "n2")
    assert did_well(Report((fine("n1"), host("n2")))) == ()


def test_a_job_whose_request_has_a_part_in_it_counts_once() -> None:
    """One job with an odd request is tried four times; a node that does not answer is so each time."""
    odd = [Fault(NOW, JOB, "start", "no such processor")] * 4
    assert weight(odd) == 1
    assert weight([*odd, Fault(NOW, "18.head", "start", "x")]) == 2
    assert weight([Fault(NOW, JOB, "survey", "unreachable")] * 3) == 3


def test_the_note_says_how_often_since_when_why_and_how_to_put_the_node_back() -> None:
    """Whoever reads pbsnodes -ln has all they need."""
    faults = [Fault(NOW, JOB, "survey", "libvirt, is down"), Fault(NOW + 60, "18[3].head", "survey", "gone")]
    text = note("n2", faults)
    assert text.startswith("torque-vm: 2 failed starts since 1970-01-1")
    assert "(job 17.head 18[3].head); last: gone" in text
    assert text.endswith("put back: pbsnodes -c -N n n2")


@given(st.text(), st.text())
def test_a_note_is_one_short_line_whatever_a_console_said(what: str, job_id: str) -> None:
    """Commas part the fields of a MOM's report; terminals act on escapes."""
    text = note("n2", [Fault(NOW, job_id, "survey", what)] * 3)
    assert text.isascii()
    assert text.isprintable()
    assert "," not in text
    assert len(text) <= NOTE_LENGTH
    assert text.endswith("pbsnodes -c -N n n2")


def test_an_address_that_another_machine_has_speaks_against_no_node() -> None:
    """It is the network's fault, and the next guest with that address will be on another node."""
    taken = AddressTaken("somebody answers", node="n2", guest="g-n2")
    entry = HostReport("g-n2", "n2", "address", Status.FAILED, failure=Failure.of(taken))
    assert nodes(fine("n1"), entry, fine("n3")) == []
    assert blamed(taken, JOB, NOW, "n1") == {}
