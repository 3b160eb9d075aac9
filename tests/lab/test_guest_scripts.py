"""The site's and the user's scripts in real guests: who runs them, when, and what their failures do."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import threading
from collections.abc import Iterator, Mapping

import pytest
from driving import SMALL, Job, command, history, leftovers, settings, wait_for

from nornir_torque_vm.driver.session import Ended
from nornir_torque_vm.lab import Lab
from nornir_torque_vm.lab.files import USER
from nornir_torque_vm.model import FileRef
from nornir_torque_vm.request import parse_request

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

FOLDER = "/srv/scripts"
WHO = (
    "#!/bin/sh\n"
    'echo "$VM_SCRIPT $(id -un) $PWD $VM_RANK/$VM_COUNT $VM_NODE $PBS_JOBID"\n'
    'echo "$VM_SCRIPT" >>/tmp/order; chmod a+w /tmp/order 2>/dev/null; cat /tmp/order >&2\n'
)


@contextlib.contextmanager
def scripts(lab: Lab, script: str, texts: Mapping[str, str], request: str = SMALL) -> Iterator[Job]:
    """A job with scripts in its guests, by the key or setting that names them, with their files in place."""
    folder = lab.root("node1") / FOLDER[1:]
    folder.mkdir(parents=True)
    changes, asked = {}, {}
    for name, text in texts.items():
        (folder / name).write_text(text)
        if name.startswith("vm_"):
            asked[name] = FileRef(f"{FOLDER}/{name}", hashlib.sha256(text.encode()).hexdigest())
        else:
            changes[name] = f"{FOLDER}/{name}"
    job = Job(lab, script)
    wanted = dataclasses.replace(parse_request([request]), **asked)  # type: ignore[arg-type]
    job.submission = dataclasses.replace(job.submission, resources=(f"other={wanted.encode()}",))
    try:
        with settings(lab, changes, *lab.node_names):
            yield job
    finally:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


def said(lab: Lab, ended: Ended) -> dict[str, list[str]]:
    """What scripts printed, as the history has it, by script and guest."""
    (record,) = (lab.root("node1") / "var/log/torque-vm").glob(f"{ended.outcome.job_id}.1")
    return {path.stem: path.read_text().splitlines() for path in sorted(record.glob("*logue-*.log"))}


@pytest.mark.proves("vm_prologue", "vm_epilogue", "guest_prologue", "guest_epilogue")
def test_scripts_run_in_every_guest_in_their_order_as_who_wrote_them(lab: Lab) -> None:
    """The site's as root, the user's as the user, before the job and after it; output is in the history."""
    kinds = ("guest_prologue", "vm_prologue", "vm_epilogue", "guest_epilogue")
    with scripts(
        lab, "cat /tmp/order; echo job >>/tmp/order", dict.fromkeys(kinds, WHO), f"{SMALL},vms_per_node=2"
    ) as job:
        ended = job.run()
    assert (ended.exit_code, job.lines) == (0, ["guest_prologue", "vm_prologue"])
    number = ended.outcome.job_id.partition(".")[0]
    found = said(lab, ended)
    assert sorted(found) == sorted(f"{kind}-j{number}-r{rank}" for kind in kinds for rank in (0, 1))
    for rank in (0, 1):
        for kind in kinds:
            who = ("root", "/root") if kind.startswith("guest") else (USER.name, USER.home)
            line = f"{kind} {' '.join(who)} {rank}/2 node1 {ended.outcome.job_id}"
            assert found[f"{kind}-j{number}-r{rank}"][0] == line
    job_too = ["guest_prologue", "vm_prologue", "job", "vm_epilogue", "guest_epilogue"]
    assert found[f"guest_epilogue-j{number}-r0"][1:] == job_too
    assert {"guest-prologue", "vm-prologue", "vm-epilogue"} <= set(ended.timeline.rows()[0].phases)
    assert leftovers(lab) == {}


def test_a_failing_script_of_the_user_ends_the_job_with_its_last_words(lab: Lab) -> None:
    """Refused: another attempt would fail alike."""
    script = "#!/bin/sh\n[ $VM_RANK = 0 ] || exit 0\necho looking >&2; echo 'no licence' >&2; exit 3\n"
    with scripts(lab, "echo never", {"vm_prologue": script}, f"{SMALL},vms_per_node=2") as job:
        ended = job.run()
    number = ended.outcome.job_id.partition(".")[0]
    assert (ended.exit_code, job.lines) == (120, [])
    sentence = f"j{number}-r0 on node1, vm-prologue: it ended with exit status 3: no licence"
    assert f"{sentence}; console in " in job.errors
    assert history(lab, ended, "verdict")["outcome"] == "refused"
    assert leftovers(lab) == {}


def test_a_failing_script_of_the_site_is_the_sites_fault(lab: Lab) -> None:
    """The job would be tried again; the user's script never ran."""
    with scripts(lab, "echo never", {"guest_prologue": "#!/bin/nothing\n", "vm_prologue": WHO}) as job:
        ended = job.run()
    assert (ended.outcome.fate, ended.exit_code, job.lines) == ("requeue", 122, [])
    assert "guest-prologue: it ended with exit status 12" in job.errors  # 127 or 126, as timeout finds it
    assert not any(name.startswith("vm_") for name in said(lab, ended))
    assert leftovers(lab) == {}


@pytest.mark.proves("guest_script_timeout")
def test_a_failing_epilogue_script_is_told_and_changes_nothing(lab: Lab) -> None:
    """The job's exit status is its own; the site's script runs, over its limit or not; all is removed."""
    texts = {
        "vm_epilogue": "#!/bin/sh\necho 'nothing to save' >&2; exit 4\n",
        "guest_epilogue": "#!/bin/sh\necho begun; sleep 300\n",
    }
    with settings(lab, {"guest_script_timeout": 2}, *lab.node_names), scripts(lab, "exit 5", texts) as job:
        ended = job.run()
    assert ended.exit_code == 5
    report = history(lab, ended, "scripts")
    assert [(host["phase"], host["error"]["message"].split(": ", 1)[1]) for host in report["hosts"]] == [
        ("vm-epilogue", "it ended with exit status 4: nothing to save"),
        ("guest-epilogue", "it was ended after 2 s"),
    ]
    page = command(lab, "job", ended.outcome.job_id).stdout
    assert "it ended with exit status 4: nothing to save" in page
    assert leftovers(lab) == {}


def test_a_job_that_is_deleted_while_its_script_runs_is_removed_at_once(lab: Lab) -> None:
    """What runs in the guest is not waited for."""
    with scripts(lab, "echo never", {"vm_prologue": "#!/bin/sh\necho begun\nsleep 600\n"}) as job:
        thread = threading.Thread(target=job.run)
        thread.start()
        folder = lab.root("node1") / "var/log/torque-vm"

        def begun() -> bool:
            number = job.session.job.job.job_id if job.session.job else "none"
            events = folder.glob(f"{number}.1/events.jsonl")
            return any('"event":"host_start","task":"vm_prologue"' in path.read_text() for path in events)

        wait_for(begun, 120)
        job.session.cancel()
        thread.join(60)
        assert not thread.is_alive()
    assert job.lines == []
    assert leftovers(lab) == {}
