"""What the driver hands to hooks is what was recorded on TORQUE 6.1.3 (see driver/slots.json)."""

from __future__ import annotations

import pytest

from nornir_torque_vm.driver import slots
from nornir_torque_vm.driver.batch import BatchJob, Submission
from nornir_torque_vm.driver.slots import JobFacts
from nornir_torque_vm.hooks.arguments import parse_epilogue, parse_prologue


def job(**changes: object) -> JobFacts:
    facts: dict[str, object] = {
        "job_id": "17.head", "server": "head", "user": "trqu", "group": "trqu", "user_home": "/home/trqu",
        "shell": "/bin/bash", "job_name": "x;y$(id)`w`&|", "hosts": ("node3", "node2"), "ppn": 2,
        "resources": "nodes=2:ppn=2,other=vm1:ram=1,neednodes=2:ppn=2",
        "script": "/var/spool/torque/mom_priv/jobs/17.head.SC", "home_dir": "/var/spool/torque",
        "workdir": "/home/trqu", "submit_host": "head",
    }  # fmt: skip
    return JobFacts(**{**facts, **changes})  # type: ignore[arg-type]


def test_a_prologue_gets_eight_arguments_the_job_name_verbatim() -> None:
    """TF 1.3: id, user, group, name, resources, queue, account (empty if none), script."""
    assert slots.arguments("prologue", job()) == [
        "17.head", "trqu", "trqu", "x;y$(id)`w`&|", "nodes=2:ppn=2,other=vm1:ram=1,neednodes=2:ppn=2",
        "batch", "", "/var/spool/torque/mom_priv/jobs/17.head.SC",
    ]  # fmt: skip


def test_an_epilogue_gets_eleven_arguments_with_session_and_exit_status() -> None:
    """TF 1.3: the session is the fifth, the exit status the tenth."""
    given = slots.arguments("epilogue", job(session=2541, exit_status=271))
    assert len(given) == 11
    assert (given[4], given[9]) == ("2541", "271")


def test_a_sister_is_told_exit_status_and_session_zero() -> None:
    """TF 1.3: always 0 on sisters that ran no task."""
    given = slots.arguments("epilogue.parallel", job(session=2541, exit_status=271), nodenum=1)
    assert (given[4], given[9]) == ("0", "0")


def test_hooks_parse_what_the_driver_hands_over() -> None:
    """Record and parser agree on the meaning of every position."""
    facts = job(exit_status=7)
    call = parse_prologue(slots.arguments("prologue", facts), slots.environment("prologue", facts))
    assert (call.job_id, call.user, call.resources) == (facts.job_id, facts.user, facts.resources)
    assert call.nodefile == "/var/spool/torque/aux//17.head"
    assert call.mother_superior == "node3"
    done = parse_epilogue(slots.arguments("epilogue", facts), slots.environment("epilogue", facts))
    assert (done.job_id, done.exit_status) == ("17.head", "7")


def test_only_the_mother_superior_has_a_nodefile() -> None:
    """TF 1.4: the nodefile does not exist on sisters, so neither does the variable."""
    assert "PBS_NODEFILE" in slots.environment("prologue", job())
    assert "PBS_NODEFILE" not in slots.environment("prologue.parallel", job(), nodenum=1)


def test_hooks_get_no_variable_of_the_user_but_the_forgeable_ones() -> None:
    """TF 1.4: -v variables stay out of hooks, except MOAB_* and a few."""
    facts = job(variables=(("LD_PRELOAD", "/tmp/evil.so"), ("MOAB_USER", "root")))
    found = slots.environment("prologue", facts)
    assert "LD_PRELOAD" not in found
    assert found["MOAB_USER"] == "root"
    assert "MOAB_USER" not in slots.environment("prologue.user", facts)
    assert not {"PBS_JOBID", "HOME", "USER"} & set(found)


def test_the_job_gets_its_id_nodefile_and_the_users_variables() -> None:
    """TF 3: the environment of a batch job."""
    found = slots.environment("job", job(variables=(("ANSWER", "42"),)))
    assert found["PBS_JOBID"] == "17.head"
    assert found["PBS_NP"] == "4"
    assert found["ANSWER"] == "42"


@pytest.mark.parametrize(
    ("slot", "outcome", "expected"),
    [
        ("prologue", 0, "start"),
        ("prologue", 1, "abort"),
        ("prologue", 2, "requeue"),
        ("prologue", 255, "requeue"),
        ("prologue", -9, "start"),
        ("prologue", slots.ALARM, "requeue"),
        ("prologue", slots.REFUSED, "requeue"),
        ("prologue.parallel", 1, "requeue"),
        ("prologue.parallel", -9, "start"),
        ("prologue.user", 1, "abort"),
        ("epilogue.user", slots.REFUSED, "ignored"),
        ("epilogue", 1, "ignored"),
        ("epilogue.parallel", 3, "ignored"),
    ],
)
def test_an_exit_code_leads_to_what_torque_does(slot: str, outcome: int | str, expected: str) -> None:
    """TF 1.6: a prologue killed by a signal counts as success, 1 aborts, all else requeues."""
    assert slots.fate(slot, outcome) == expected


def test_nodefile_and_exec_host_are_grouped_by_host() -> None:
    """TF 3: one line per slot, in exec_host order."""
    assert job().nodefile == "node3\nnode3\nnode2\nnode2\n"
    assert job().exec_host == "node3/0-1+node2/0-1"
    assert job(ppn=1).exec_host == "node3/0+node2/0"


def test_resources_carry_the_request_before_neednodes() -> None:
    """TF 1.3: neednodes comes last."""
    submission = Submission(b"", "j", ("n1",), 2, ("other=vm1:ram=1",), walltime=3725)
    assert (
        BatchJob.resource_list(submission)
        == "nodes=1:ppn=2,other=vm1:ram=1,walltime=01:02:05,neednodes=1:ppn=2"
    )
