"""Guests that never get ready: no address, a panic, no sshd, off at once. Told soon, with last words."""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import broken_images
import pytest
from driving import SMALL, Job, command, history, leftovers, settings
from failing import BUSY_MACHINE, Bystander, Daemon, on_panic

from nornir_torque_vm.driver.session import Ended
from nornir_torque_vm.exitcodes import RunExit
from nornir_torque_vm.lab import Lab
from nornir_torque_vm.lab.layout import BRIDGE, SWITCH

pytestmark = pytest.mark.lab

HOOKS = {"timeout": BUSY_MACHINE, "teardown_margin": 15.0, "requeue_pause": 0}
SOON = 5.0
"""Seconds from a panic to its report."""
TIMES = (12.0, 30.0, 60.0, BUSY_MACHINE)
"""Deadlines to try where the test is about what is said at the end of one: a busy machine boots slowly."""


@pytest.fixture(scope="module")
def bystander(lab: Lab) -> Iterator[Bystander]:
    """Another job's guests."""
    other = Bystander(lab)
    try:
        yield other
    finally:
        other.remove()


@pytest.fixture
def image(lab: Lab, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Makes an image for the pool; gone afterwards."""
    with broken_images.in_pool(lab, tmp_path) as make:
        yield make


def errors(lab: Lab, ended: Ended) -> dict[str, str]:
    """Guest → class of its error, in the report of a job's last attempt."""
    hosts = history(lab, ended, "report")["hosts"]
    return {host["host"]: host["error"]["type"] for host in hosts if host["error"]}


def record(lab: Lab, ended: Ended) -> Path:
    """The directory of a job's only attempt in the history."""
    return lab.root("node1") / f"var/log/torque-vm/{ended.outcome.job_id}.1"


def checked(lab: Lab, ended: Ended, bystander: Bystander, exit_code: RunExit) -> str:
    """What holds for each of these jobs: requeued, nothing left. Return its sentence."""
    assert (ended.outcome.fate, ended.exit_code) == ("requeue", exit_code)
    assert leftovers(lab) == bystander.left
    return str(ended.verdict["sentence"])


def test_a_panic_at_boot_is_reported_at_once_with_the_kernels_words(
    lab: Lab, bystander: Bystander, image: Callable[..., str]
) -> None:
    """The kernel has no driver for the panic device yet, so libvirt calls the guest running for ever."""
    seen: list[float] = []
    job = Job(lab, "echo never", f"{SMALL},img={image(arguments=broken_images.PANICS)}")
    folder = lab.root("node1") / "var/lib/torque-vm/volumes"
    with settings(lab, HOOKS, "node1"):
        on_panic(job, [folder], bystander.left["node1"], lambda: seen.append(time.time()))
        ended = job.run()
    sentence = checked(lab, ended, bystander, RunExit.SITE)
    assert errors(lab, ended) == {job.guest(0): "GuestDied"}
    assert sentence.startswith(f"{job.guest(0)} on node1, address: it panicked; its console says: ")
    assert "Kernel panic - not syncing: VFS: Unable to mount root fs" in sentence
    lines = [json.loads(line) for line in (record(lab, ended) / "events.jsonl").read_text().splitlines()]
    told = next(line["t"] for line in lines if line["event"] == "host_end" and line["status"] == "failed")
    assert told - seen[0] < SOON  # below 0 when the hook looked before this test did
    bystander.untouched()


@pytest.mark.proves("console_file")
def test_a_job_that_is_given_up_leaves_its_owner_the_console_beside_its_output(
    lab: Lab, bystander: Bystander, image: Callable[..., str]
) -> None:
    """The owner's own file, named in the one line that the owner reads."""
    job = Job(lab, "echo never", f"{SMALL},img={image(arguments=broken_images.PANICS)}")
    with settings(lab, {**HOOKS, "max_requeues": 0}, "node1"):
        ended = job.run()
    assert ended.exit_code == RunExit.SITE
    name = f"/home/alice/test.vm{ended.outcome.job_id.partition('.')[0]}"
    assert job.errors.endswith(f"; console in {name} on node1\n")
    assert job.errors.count("\n") == 1
    path = lab.root("node1") / name[1:]
    try:
        facts, text = path.stat(), path.read_text()
    finally:
        path.unlink(missing_ok=True)
    assert (facts.st_uid, facts.st_gid, stat.S_IMODE(facts.st_mode)) == (2001, 2001, 0o600)
    assert f"==> console of {job.guest(0)} <==\n" in text
    assert "Kernel panic - not syncing: VFS: Unable to mount root fs" in text
    assert all(line.isprintable() for line in text.splitlines())
    bystander.untouched()


def test_what_a_guest_said_last_is_in_the_jobs_history(
    lab: Lab, bystander: Bystander, image: Callable[..., str]
) -> None:
    """For root alone; shown by ``torque-vm job`` without what a terminal would act on."""
    job = Job(lab, "echo never", f"{SMALL},img={image(programs={'init': broken_images.POWERS_OFF})}")
    with settings(lab, HOOKS, "node1"):
        ended = job.run()
    sentence = checked(lab, ended, bystander, RunExit.SITE)
    assert errors(lab, ended) == {job.guest(0): "GuestDied"}
    how = sentence.removeprefix(f"{job.guest(0)} on node1, address: it is ").partition("; ")[0]
    assert how in {"gone: it shut down, crashed or was destroyed", "shutting down"}, (
        "whichever was seen first"
    )
    assert "; its console says: going down | " in sentence
    path = record(lab, ended) / f"console-{job.guest(0)}.log"
    facts = path.stat()
    assert (facts.st_uid, stat.S_IMODE(facts.st_mode)) == (0, 0o600)
    said = path.read_bytes()
    assert b"\x1b[31mgoing down\x1b[0m" in said
    page = command(lab, "job", ended.outcome.job_id).stdout
    assert f"/var/log/torque-vm/{ended.outcome.job_id}.1" in page
    assert f"{path.name} ends with:\n" in page
    assert "  going down\n" in page
    assert all(line.isprintable() for line in page.splitlines())
    bystander.untouched()


@pytest.mark.proves("timeout")
def test_a_guest_whose_sshd_never_comes_is_late_in_health(
    lab: Lab, bystander: Bystander, image: Callable[..., str]
) -> None:
    """It has an address, says that it is ready, and refuses connections."""
    name = image(programs={"usr/sbin/dropbear": broken_images.ENDS_AT_ONCE})
    for seconds in TIMES:
        job = Job(lab, "echo never", f"{SMALL},img={name}")
        with settings(lab, {**HOOKS, "timeout": seconds}, "node1"):
            ended = job.run()
        sentence = checked(lab, ended, bystander, RunExit.LATE)
        if "refuses connections" in sentence:
            break
    assert sentence.startswith(f"{job.guest(0)} on node1, health: not healthy after ")
    assert "port 22 refuses connections (its sshd has not started); its console says: " in sentence
    assert f"micro: {job.guest(0)} is ready after" in sentence
    assert (
        f"micro: {job.guest(0)} is ready" in (record(lab, ended) / f"console-{job.guest(0)}.log").read_text()
    )
    bystander.untouched()


def test_a_silent_dhcp_server_makes_guests_late_and_says_where_to_look(
    lab: Lab, bystander: Bystander
) -> None:
    """Which guests got no address, the bridge and the server to look at, and what their consoles say."""
    server = Daemon(lab, SWITCH, "dnsmasq")
    server.freeze()
    try:
        for seconds in TIMES:
            job = Job(lab, "echo never", nodes=2)
            began = time.monotonic()
            with settings(lab, {**HOOKS, "timeout": seconds}, "node1"):
                ended = job.run()
            took = time.monotonic() - began
            sentence = checked(lab, ended, bystander, RunExit.LATE)
            if "its console says: " in sentence:
                break
    finally:
        server.thaw()
    guests = f"{job.guest(0)[:-1]}[0-1]"
    assert took < seconds + HOOKS["teardown_margin"]
    assert sentence.startswith(f"{guests} on node[1-2], address: no address after ")
    assert f"look at the bridge {BRIDGE} and at the DHCP server behind it" in sentence
    assert set(errors(lab, ended).values()) == {"DeadlineExceeded"}
    for rank in range(2):
        assert (record(lab, ended) / f"console-{job.guest(rank)}.log").stat().st_size
    bystander.untouched()
