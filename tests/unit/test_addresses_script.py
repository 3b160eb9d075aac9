"""The site's program for addresses: who may have written it, what it is told, what it may say."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path

import pytest
from render_kit import plan_of

from nornir_torque_vm.addresses.model import StaticAddress
from nornir_torque_vm.addresses.script import asked, parse_answer
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import DeadlineExceeded, NoAddress, SettingsError

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="the program has to be root's")


def site(folder: Path, text: str, mode: int = 0o755, **changes: object) -> Settings:
    """Settings with such a program."""
    program = folder / "address"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(mode)
    values = {"static_ip_mapping": True, "ip_script": str(program), **changes}
    return Settings(**values)  # type: ignore[arg-type]


def soon() -> Deadline:
    """Time enough for a shell."""
    return Deadline.after(60)


@as_root
def test_it_is_asked_once_for_every_guest_about_the_guests_own_node(tmp_path: Path) -> None:
    """Not about the node we are on: node, guests there, which of them, job, MAC address, and nothing else."""
    settings = site(tmp_path, f'echo "$# $*" >> {tmp_path}/asked; echo 10.89.0.$((30 + $3))/24 10.89.0.1')
    plan = plan_of()
    other = dataclasses.replace(plan.guests[1], node="node2", index=0)
    plan = dataclasses.replace(plan, guests=(plan.guests[0], other))
    found = asked(plan, settings, soon())
    assert (tmp_path / "asked").read_text().splitlines() == [
        "5 node1 1 0 17[3].head 02:00:00:00:00:00",
        "5 node2 1 0 17[3].head 02:00:00:00:00:01",
    ]
    assert found.guests[0].static == StaticAddress("10.89.0.30", 24, "10.89.0.1")


@as_root
def test_it_gets_nothing_of_roots_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fixed PATH, no input, and the directory /."""
    monkeypatch.setenv("LD_PRELOAD_OF_OTHERS", "x")
    asked(plan_of(1), site(tmp_path, f"(env; pwd; cat) > {tmp_path}/seen; echo 10.0.0.9/24"), soon())
    seen = set((tmp_path / "seen").read_text().splitlines()) - {"_=/usr/bin/env", "SHLVL=0", "OLDPWD=/"}
    assert seen == {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "PWD=/", "/"}


@as_root
@pytest.mark.parametrize(
    ("mode", "why"),
    [
        (0o775, "may be written by others than root; chown root {0}; chmod go-w {0}"),
        (0o757, "may be written by others than root; chown root {0}; chmod go-w {0}"),
        (0o644, "is no executable file"),
    ],
)
def test_a_program_that_others_could_have_written_is_not_run(tmp_path: Path, mode: int, why: str) -> None:
    """Root would run it for them."""
    settings = site(tmp_path, f"touch {tmp_path}/ran", mode)
    with pytest.raises(SettingsError) as caught:
        asked(plan_of(), settings, soon())
    assert str(caught.value) == f"ip_script {settings.ip_script} {why.format(settings.ip_script)}"
    assert not (tmp_path / "ran").exists()


@as_root
def test_a_program_in_a_directory_of_others_is_not_run(tmp_path: Path) -> None:
    """Another one of root's in its place would be given our words, and its own would be believed."""
    settings = site(tmp_path, f"touch {tmp_path}/ran; echo 10.0.0.9/24")
    tmp_path.chmod(0o777)
    with pytest.raises(SettingsError) as caught:
        asked(plan_of(), settings, soon())
    assert str(caught.value) == (
        f"ip_script {settings.ip_script} can be exchanged by others than root: "
        f"{tmp_path} can be written by others (mode 0777)"
    )
    assert not (tmp_path / "ran").exists()


@as_root
def test_a_program_of_another_account_is_not_run(tmp_path: Path) -> None:
    """Whatever its mode; nor a directory, a pipe, or what is not there."""
    settings = site(tmp_path, "echo 10.0.0.9/24")
    os.chown(settings.ip_script, 65534, 0)
    for path, why in (
        (settings.ip_script, "may be written by others than root"),
        (str(tmp_path), "is no executable file"),
        (str(tmp_path / "none"), "cannot be opened: No such file or directory"),
    ):
        with pytest.raises(SettingsError, match=why):
            asked(plan_of(), dataclasses.replace(settings, ip_script=path), soon())
    os.mkfifo(tmp_path / "pipe", 0o755)
    with pytest.raises(SettingsError, match="is no executable file"):
        asked(plan_of(), dataclasses.replace(settings, ip_script=str(tmp_path / "pipe")), soon())


@as_root
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("echo first >&2; echo no range for $1 >&2; exit 3", "ended with code 3: 'no range for node1'"),
        ("kill -9 $$", "ended with signal 9: 'it said nothing'"),
        ("echo 02:00:00:00:00:01", "said '02:00:00:00:00:01', which is no IPv4 address"),
        ("true", "said '', where one address is wanted"),
        (
            "echo 10.0.0.9",
            "said '10.0.0.9', without a prefix such as /24, which static_network does not say either",
        ),
    ],
)
def test_a_program_that_fails_is_the_sites_error_with_its_last_words(
    tmp_path: Path, text: str, said: str
) -> None:
    """Guest, node, program and what it complained about, on one line."""
    settings = site(tmp_path, text)
    with pytest.raises(NoAddress) as caught:
        asked(plan_of(), settings, soon())
    assert str(caught.value) == f"node node1, guest j17-3-r0: {settings.ip_script} {said}"


@as_root
def test_a_program_that_does_not_end_is_killed_with_what_it_started(tmp_path: Path) -> None:
    """By the deadline of the start; nothing of it stays."""
    settings = site(tmp_path, f"sleep 1000 & echo $! > {tmp_path}/pid; wait")
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded, match="the time was up while ip_script ran"):
        asked(plan_of(), settings, Deadline.after(1.0))
    assert time.monotonic() - began < 30
    child = Path("/proc", (tmp_path / "pid").read_text().strip(), "stat")
    end = time.monotonic() + 30
    while child.exists() and child.read_text().split()[2] != "Z" and time.monotonic() < end:
        time.sleep(0.05)
    assert not child.exists() or child.read_text().split()[2] == "Z"


def test_what_an_answer_may_look_like() -> None:
    """The settings say what it leaves out."""
    bare = Settings()
    given = Settings(static_network="10.89.0.0/22", static_gateway="10.89.3.254")
    assert parse_answer("10.0.0.9/24\n", bare) == StaticAddress("10.0.0.9", 24)
    assert parse_answer("10.89.0.9", given) == StaticAddress("10.89.0.9", 22, "10.89.3.254")
    assert parse_answer(" 10.0.0.9/24  10.0.0.1 ", given) == StaticAddress("10.0.0.9", 24, "10.0.0.1")


@pytest.mark.parametrize(
    "text",
    [
        "", "10.0.0.9/24 10.0.0.1 x", "10.0.0.0/24", "10.0.0.255/24", "127.0.0.5/24", "224.0.0.5/24",
        "0.0.0.9/0", "169.254.1.1/24", "10.0.0.9/33", "10.0.0.9/x", "10.0.0.9/255.255.255.0", "fe80::1/64",
        "10.0.0.9/24 router",
        "10.0.0.9/24;reboot", "01.2.3.4/24",
    ],
)  # fmt: skip
def test_what_no_guest_can_have_is_refused(text: str) -> None:
    """Networks themselves, addresses with another meaning, anything else."""
    with pytest.raises(ValueError, match=r"^(which|where)"):
        parse_answer(text, Settings())
