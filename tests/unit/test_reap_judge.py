"""The reaper's judgement: over only when everybody who could know better agrees, unknown otherwise."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_torque_vm.reap.judge import (
    LONGEST_SELFTEST,
    WORKING,
    Answer,
    Facts,
    Said,
    Server,
    Verdict,
    ids_of,
    judge,
    judge_by_order,
    settle,
)

HEAD = Server("head", "Active", 100)
GONE = Answer(Said.UNKNOWN_ID, "the server knows no such job")
OVER = Facts("17", ("17.head",), server=HEAD, answers={"17.head": GONE})
"""Nobody has it, and the server does not know it."""


def with_(**changes: object) -> Facts:
    return dataclasses.replace(OVER, **changes)  # type: ignore[arg-type]


def answered(said: Said, detail: str = "said so") -> Facts:
    return with_(answers={"17.head": Answer(said, detail)})


@pytest.mark.parametrize("said", [Said.UNKNOWN_ID, Said.COMPLETED])
def test_a_job_that_nobody_has_and_the_server_says_is_over_is_over(said: Said) -> None:
    """The two proofs there are."""
    assert judge(answered(said)) == Verdict(True, "said so")


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (with_(worker="process 9 is at work on it"), "process 9 is at work on it"),
        (with_(mom_jobs=frozenset({"17"})), "this node's pbs_mom has it"),
        (with_(mom_jobs=None, mom_error="cannot be listed"), "cannot be listed"),
        (with_(mom_jobs=None), "this node's pbs_mom cannot be asked"),
        (with_(server=None, server_error="refused"), "refused"),
        (with_(server=None), "no server was asked"),
        (with_(server=dataclasses.replace(HEAD, state="Down")), "the server head is in state Down"),
        (with_(job_ids=()), "it cannot be told which server's job it is"),
        (with_(job_ids=("17.other",)), "17.other is not a job of the server head"),
        (with_(job_ids=("17.head", "17.other")), "17.other is not a job of the server head"),
        (with_(server=dataclasses.replace(HEAD, next_number=17)),
         "the server head has given out no such number since it was set up"),
        (with_(answers={}), "the server did not say: it was not asked"),
        (answered(Said.NOTHING, "timeout"), "the server did not say: timeout"),
        (answered(Said.EXISTS, "state R"), "state R"),
        (answered(Said.EXISTS, ""), "the server knows it"),
    ],
)  # fmt: skip
def test_whatever_is_not_known_for_certain_is_not_over(facts: Facts, why: str) -> None:
    """Each with its reason; all else would have been a proof."""
    assert judge(facts) == Verdict(False, why)


def test_the_last_number_given_out_counts_as_given_out() -> None:
    """The server's next number is the first that was not."""
    assert judge(with_(server=dataclasses.replace(HEAD, next_number=18))).over


def test_a_member_of_an_array_goes_by_the_number_of_its_array() -> None:
    """17[200].head of a server that has come to 100."""
    job_id = "17[200].head"
    assert judge(Facts("17-200", (job_id,), server=HEAD, answers={job_id: GONE})).over


def test_every_combination_is_over_only_when_all_agree() -> None:
    """All that can be said about one job, in all combinations."""
    workers = ["", "process 9 is at work on it"]
    moms = [frozenset[str](), frozenset({"17"}), frozenset({"18"}), None]
    servers = [None, HEAD, dataclasses.replace(HEAD, state="Idle"), dataclasses.replace(HEAD, state="Hot"),
               dataclasses.replace(HEAD, name="other"), dataclasses.replace(HEAD, next_number=3)]  # fmt: skip
    seen = set()
    for worker, mom, server, said in itertools.product(workers, moms, servers, Said):
        facts = Facts("17", ("17.head",), worker, mom, "", server, "", {"17.head": Answer(said, "x")})
        agree = (
            not worker
            and mom is not None
            and "17" not in mom
            and server is not None
            and (server.name, server.next_number) == ("head", 100)
            and server.state in WORKING
            and said in {Said.COMPLETED, Said.UNKNOWN_ID}
        )
        assert judge(facts).over == agree
        assert judge(facts).reason
        seen.add(agree)
    assert seen == {True, False}


ANSWERS = st.builds(Answer, st.sampled_from(Said), st.sampled_from(["", "why"]))
IDS = st.lists(st.sampled_from(["17.head", "17.other", "17", "17.head.site"]), unique=True).map(tuple)
SERVERS = st.builds(
    Server,
    st.sampled_from(["head", "other"]),
    st.sampled_from(["Active", "Idle", "Scheduling", "Terminating", ""]),
    st.integers(0, 40),
    st.sampled_from(["", "site"]),
    st.booleans(),
)
FACTS = st.builds(
    Facts,
    slug=st.just("17"),
    job_ids=IDS,
    worker=st.sampled_from(["", "process 9 is at work on it"]),
    mom_jobs=st.none() | st.frozensets(st.sampled_from(["17", "18"])),
    server=st.none() | SERVERS,
    answers=st.dictionaries(st.sampled_from(["17.head", "17.other", "17", "17.head.site"]), ANSWERS),
)


@given(FACTS)
def test_over_means_that_each_id_was_proven_by_its_own_server(facts: Facts) -> None:
    """Whatever else is true of it; and there is always a reason."""
    verdict = judge(facts)
    assert verdict.over or verdict.reason
    if verdict.over:
        assert facts.job_ids
        assert facts.server is not None
        for job_id in facts.job_ids:
            assert facts.server.owns(job_id)
            assert facts.answers[job_id].said in {Said.COMPLETED, Said.UNKNOWN_ID}


@given(FACTS)
def test_more_knowledge_of_life_never_makes_a_job_over(facts: Facts) -> None:
    """A process, a MOM's file, a server that falls silent."""
    if not judge(facts).over:
        assert not judge(dataclasses.replace(facts, worker="process 9")).over
    assert not judge(dataclasses.replace(facts, mom_jobs=frozenset({"17"}))).over
    assert not judge(dataclasses.replace(facts, mom_jobs=None)).over
    assert not judge(dataclasses.replace(facts, server=None)).over


@pytest.mark.parametrize(
    ("server", "own", "foreign"),
    [
        (HEAD, ["17.head"], ["17", "17.other", "17.head.site", "17.heads"]),
        (dataclasses.replace(HEAD, alias="site"), ["17.head.site"], ["17.head", "17", "17.site"]),
        (dataclasses.replace(HEAD, shows_name=False), ["17", "17.head"], ["17.other"]),
    ],
)
def test_a_server_owns_ids_of_the_form_it_gives(server: Server, own: list[str], foreign: list[str]) -> None:
    """One whose form was changed answers "unknown" for jobs it has: recorded on TORQUE 6.1.3."""
    assert all(map(server.owns, own))
    assert not any(map(server.owns, foreign))


class TestIdsOf:
    """Which ids are asked about."""

    def test_known_ids_are_asked_as_they_are(self) -> None:
        """Whatever the server's name."""
        assert ids_of("17", ("17.other",), HEAD) == ("17.other",)

    def test_files_alone_are_taken_for_the_servers_own_job(self) -> None:
        """Their names have the number; no marker, domain or plan of another server's job has it."""
        assert ids_of("17", (), HEAD) == ("17.head",)
        assert ids_of("17-3", (), HEAD) == ("17[3].head",)

    @pytest.mark.parametrize(
        "server", [None, dataclasses.replace(HEAD, alias="site"), dataclasses.replace(HEAD, shows_name=False)]
    )
    def test_where_the_form_of_ids_was_changed_they_cannot_be_told(self, server: Server | None) -> None:
        """Jobs from before the change have the other form."""
        assert ids_of("17", (), server) == ()


class TestByOrder:
    """An administrator's word replaces the server's, not what this node sees itself."""

    def test_the_servers_word_does_not_matter(self) -> None:
        """Nor that the MOM cannot be asked: there may be none any more."""
        facts = with_(server=None, job_ids=("17.other",), mom_jobs=None, answers={})
        assert judge_by_order(facts) == Verdict(True, "by order")

    def test_a_live_process_does(self) -> None:
        """It would lose its guests under its hands."""
        facts = with_(worker="process 9 is at work on it")
        assert judge_by_order(facts) == Verdict(False, "process 9 is at work on it")

    def test_a_job_of_the_mom_keeps_its_marker(self) -> None:
        """Without it the rest of the job would run on bare metal."""
        verdict = judge_by_order(with_(mom_jobs=frozenset({"17"})))
        assert not verdict.over
        assert "torque-vm destroy" in verdict.reason


class TestGrace:
    """How long a job has to be over."""

    def test_it_waits_until_the_time_is_up(self) -> None:
        """And says how far it is."""
        assert settle(Verdict(True, "over"), 60, 600) == Verdict(False, "over; seen for 60 of 600 s")

    @pytest.mark.parametrize(("seen", "grace"), [(600, 600), (601, 600), (0, 0)])
    def test_then_it_stands(self, seen: float, grace: float) -> None:
        """No grace at all is a site's own choice."""
        assert settle(Verdict(True, "over"), seen, grace) == Verdict(True, "over")

    def test_what_is_not_over_stays_so(self) -> None:
        """However long ago something was seen."""
        assert settle(Verdict(False, "state R"), 1e9, 0) == Verdict(False, "state R")


BEGAN = 1_795_000_000
TEST = f"{BEGAN}.selftest-node1"


def selftest(**changes: object) -> Facts:
    """What node2 knows of a self-test that node1 began an hour ago."""
    facts = Facts(str(BEGAN), (TEST,), mom_jobs=None, server=HEAD, here="node2", now=BEGAN + 3600.0)
    return dataclasses.replace(facts, **changes)  # type: ignore[arg-type]


def test_a_self_test_is_over_where_it_was_made_when_its_process_is_gone() -> None:
    """No server ever knew it, and no MOM has it."""
    assert judge(selftest(here="node1.example.org")).over
    assert judge(selftest(here="node1", worker="process 9 is at work on it")) == Verdict(
        False, "process 9 is at work on it"
    )


def test_elsewhere_a_self_test_is_over_when_it_began_longer_ago_than_any_may_last() -> None:
    """Its process cannot be seen from there."""
    assert judge(selftest()) == Verdict(
        False, "a self-test of node1: run torque-vm destroy there, or wait for two days"
    )
    assert judge(selftest(now=BEGAN + LONGEST_SELFTEST + 1)) == Verdict(
        True, "a self-test that began 48 hours ago"
    )
    assert not judge(selftest(now=BEGAN + LONGEST_SELFTEST + 1, worker="process 9")).over


@pytest.mark.parametrize("job_id", ["17.selftest", "17.selftester", "17.head", "x.selftest-n", "17.adhoc"])
def test_only_self_tests_are_judged_as_such(job_id: str) -> None:
    """Guests of torque-vm boot stay until somebody removes them."""
    assert not judge(selftest(job_ids=(job_id,), here="n")).over
    assert not judge(selftest(job_ids=(TEST, job_id), here="node1")).over
