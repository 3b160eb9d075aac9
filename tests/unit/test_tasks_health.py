"""Health: what a booting guest may do meanwhile, what is final, and what readiness means."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nornir.core.plugins.connections import ConnectionPluginRegister
from osv_server import ADDRESS, Osv, serving
from task_kit import FakeDomain, FakeLibvirt, Plugged, World, first_error, in_turn, make_plan, result_of

from nornir_torque_vm.connections.command import CommandResult
from nornir_torque_vm.connections.guest_ssh import SshHostKeyMismatch, SshNoBanner, SshRefused, SshUnreachable
from nornir_torque_vm.errors import DeadlineExceeded, GuestDied, NotHealthy
from nornir_torque_vm.model import Distro
from nornir_torque_vm.tasks import check_health
from nornir_torque_vm.tasks.check_health import RESULT_FILE, UNFINISHED, WAIT_FOR_RESULT, parse_result

FINISHED = CommandResult(0, json.dumps({"v1": {"datasource": "DataSourceNoCloud", "errors": []}}))
NOT_YET = CommandResult(UNFINISHED)


class Ssh:
    """A ``guest_ssh`` plugin whose logins and commands follow a script."""

    logins: Callable[[], Any] = staticmethod(in_turn(None))
    replies: Callable[[], Any] = staticmethod(in_turn(FINISHED))
    commands: list[str]
    opened: int

    def open(self, *_: object, **__: object) -> None:
        """Log in, or raise."""
        type(self).opened += 1
        type(self).logins()

    def close(self) -> None:
        """Hang up."""

    @property
    def connection(self) -> Ssh:
        """What tasks talk to."""
        return self

    def run(self, command: str, timeout: float | None = None) -> Any:
        """Run a command, or raise."""
        assert timeout is None or timeout > 0
        type(self).commands.append(command)
        return type(self).replies()


@pytest.fixture
def world(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tmp_path, make_plan(1, 1))
    monkeypatch.setitem(ConnectionPluginRegister.available, "guest_ssh", Ssh)
    monkeypatch.setattr(Ssh, "commands", [], raising=False)
    monkeypatch.setattr(Ssh, "opened", 0, raising=False)
    alive(made, FakeDomain())
    made.inventory.hosts["j17-r0"].hostname = "10.89.0.9"
    return made


def alive(world: World, domain: Any) -> None:
    world.inventory.hosts["j17-r0"].connections["libvirt"] = Plugged(FakeLibvirt(domain))


def script(monkeypatch: pytest.MonkeyPatch, logins: Any = None, replies: Any = FINISHED) -> None:
    for name, what in (("logins", logins), ("replies", replies)):
        values = what if isinstance(what, tuple) else (what,)
        monkeypatch.setattr(Ssh, name, staticmethod(in_turn(*values)))


def check(world: World, seconds: float = 5.0, **parameters: Any) -> Any:
    return world.run(check_health, "guest", seconds, **parameters)


def test_a_guest_is_healthy_when_cloud_init_has_finished_without_errors(world: World) -> None:
    """One login and one command are enough when it is ready."""
    found = result_of(check(world), "j17-r0")
    assert (found.attempts, found.datasource) == (1, "DataSourceNoCloud")
    assert (Ssh.opened, Ssh.commands) == (1, [WAIT_FOR_RESULT])


@pytest.mark.parametrize(
    "first",
    [
        SshRefused("refuses"),
        SshUnreachable("silent"),
        SshNoBanner("no hello"),
        SshHostKeyMismatch("another key"),
    ],
)
def test_what_a_booting_guest_does_is_waited_out(
    world: World, monkeypatch: pytest.MonkeyPatch, first: Exception
) -> None:
    """Refused ports, no banner, a host key that is not yet ours: try again soon."""
    script(monkeypatch, logins=(first, first, None))
    began = time.monotonic()
    assert result_of(check(world), "j17-r0").attempts == 3
    assert time.monotonic() - began < 1.0


def test_cloud_init_is_waited_for_over_the_same_login(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not finished is no reason to log in again."""
    script(monkeypatch, replies=(NOT_YET, NOT_YET, FINISHED))
    assert result_of(check(world), "j17-r0").attempts == 3
    assert Ssh.opened == 1


def test_a_lost_connection_is_made_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest may restart its network, or itself, on the way."""
    script(monkeypatch, replies=(SshUnreachable("lost"), CommandResult(-1), FINISHED))
    result_of(check(world), "j17-r0")
    assert Ssh.opened == 2


def test_errors_of_cloud_init_are_final_and_repeated(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """No later look would change them."""
    text = json.dumps(
        {"v1": {"datasource": "NoCloud", "errors": ["('users_groups', KeyError('x'))", "second"]}}
    )
    script(monkeypatch, replies=(CommandResult(0, text), CommandResult(1)))
    error = first_error(check(world), "j17-r0")
    assert isinstance(error, NotHealthy)
    assert not isinstance(error, DeadlineExceeded)
    assert "guest j17-r0: cloud-init failed: ('users_groups', KeyError('x')); second" in str(error)


def test_what_a_command_of_the_seed_refused_is_told_in_its_own_words(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of cloud-init would be the whole command."""
    failed = CommandResult(0, json.dumps({"v1": {"errors": ["('bootcmd', ProcessExecutionError(…))"]}}))
    script(monkeypatch, replies=(failed, CommandResult(0, "the number 2001 of alice is that of bob\n")))
    error = first_error(check(world), "j17-r0")
    assert isinstance(error, NotHealthy)
    assert str(error).endswith("guest j17-r0: the number 2001 of alice is that of bob")


def test_a_command_has_to_succeed_once_cloud_init_has_finished(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its failure is final and its words are repeated."""
    script(
        monkeypatch,
        replies=(FINISHED, CommandResult(0, "ok\n"), FINISHED, CommandResult(3, "", "no /scratch")),
    )
    assert result_of(check(world, command="test -d /scratch"), "j17-r0").output == "ok\n"
    error = first_error(check(world, command="test -d /scratch"), "j17-r0")
    assert isinstance(error, NotHealthy)
    assert "'test -d /scratch' failed: exit status 3: no /scratch" in str(error)
    assert Ssh.commands == [WAIT_FOR_RESULT, "test -d /scratch"] * 2


def test_a_late_guest_is_late_and_says_what_was_missing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last reason stands in the verdict, hint included."""
    script(
        monkeypatch,
        logins=SshRefused("10.89.0.9 port 22 refuses connections", hint="its sshd has not started"),
    )
    began = time.monotonic()
    error = first_error(check(world, seconds=0.6), "j17-r0")
    assert isinstance(error, DeadlineExceeded)
    assert time.monotonic() - began < 0.7
    assert "10.89.0.9 port 22 refuses connections (its sshd has not started)" in str(error)


def test_a_guest_that_dies_is_not_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A panic during boot looks like silence from outside."""
    script(monkeypatch, logins=SshUnreachable("silent"))
    alive(world, FakeDomain(states=[(1, 1), (6, 1)]))
    began = time.monotonic()
    error = first_error(check(world), "j17-r0")
    assert isinstance(error, GuestDied)
    assert time.monotonic() - began < 2.0


def test_a_guest_that_dies_while_a_login_hangs_is_not_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel that panicked accepts connections no more, and does not refuse them either."""

    def hangs(*_: object, **__: object) -> None:
        time.sleep(15)

    monkeypatch.setattr(Ssh, "open", hangs)
    alive(world, FakeDomain(states=[(1, 1), (6, 1)]))
    began = time.monotonic()
    error = first_error(check(world), "j17-r0")
    assert isinstance(error, GuestDied)
    assert time.monotonic() - began < 4.0


def test_a_guest_whose_address_is_unknown_is_looked_for_first(world: World) -> None:
    """So that the task works on what list_guests found."""
    host = world.inventory.hosts["j17-r0"]
    card = {"hwaddr": host["mac"], "addrs": [{"type": 0, "addr": "10.89.0.7", "prefix": 24}]}
    alive(world, FakeDomain({1: {"eth0": card}}))
    host.hostname = None
    results = check(world)
    assert [part.name for part in results["j17-r0"]] == ["check_health", "discover_address"]
    assert host.hostname == "10.89.0.7"


def test_a_probe_replaces_ssh(world: World) -> None:
    """For guests without ssh or cloud-init: asked with the host until it says yes."""
    seen: list[str] = []

    def probe(host: Any) -> bool:
        seen.append(host.name)
        return len(seen) == 3

    assert result_of(check(world, probe=probe), "j17-r0").attempts == 3
    assert (seen, Ssh.opened) == (["j17-r0"] * 3, 0)


def test_a_probe_that_raises_has_the_last_word(world: World) -> None:
    """It knows that the guest never will be ready."""

    def probe(_host: Any) -> bool:
        raise NotHealthy("wrong kernel")

    assert str(first_error(check(world, probe=probe), "j17-r0")) == "wrong kernel"


def run_in_guest(
    tmp_path: pathlib.Path, seconds: float = 0.0, text: str = "{}"
) -> subprocess.CompletedProcess[str]:
    """Run the waiting command as a guest's shell would, its file appearing after a while."""
    file = tmp_path / "result.json"
    program = WAIT_FOR_RESULT.replace(RESULT_FILE, str(file)).replace("sleep 0.1", "sleep 0.01")
    script = f"(sleep {seconds}; printf %s '{text}' >{file}) & {program}" if seconds >= 0 else program
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False, timeout=20)


def test_the_guests_shell_waits_for_the_file_and_prints_it(tmp_path: pathlib.Path) -> None:
    """In a POSIX shell, as the smallest guest has it."""
    done = run_in_guest(tmp_path, 0.05, FINISHED.stdout)
    assert (done.returncode, done.stdout) == (0, FINISHED.stdout)


def test_the_guests_shell_gives_up_by_itself(tmp_path: pathlib.Path) -> None:
    """Nothing may be left running in the guest when nobody listens any more."""
    assert run_in_guest(tmp_path, -1).returncode == UNFINISHED


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_a_strange_result_file_is_an_error_not_a_crash(text: str) -> None:
    """Whatever the guest's root wrote there."""
    datasource, errors = parse_result(text)
    assert datasource == ""
    assert len(errors) == 1


@given(st.lists(st.text()))
def test_errors_are_read_as_cloud_init_writes_them(errors: list[str]) -> None:
    """A list of strings under ``v1``."""
    assert parse_result(json.dumps({"v1": {"datasource": None, "errors": errors}})) == ("", errors)


def test_tasks_import_nothing_heavy() -> None:
    """libvirt, paramiko and netmiko are loaded by those who use them, when they do."""
    heavy = "{'libvirt', 'paramiko', 'netmiko', 'cryptography', 'pycdlib', 'rich'}"
    program = f"import sys, nornir_torque_vm.tasks; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_paramiko_can_be_loaded_while_guests_boot() -> None:
    """In the background, once."""
    program = (
        "import sys; from nornir_torque_vm.tasks.check_health import preload\n"
        "preload(); preload(); import threading\n"
        "mine = [thread for thread in threading.enumerate() if thread.name == 'import paramiko']\n"
        "assert len(mine) == 1; mine[0].join()\n"
        "assert 'paramiko' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_guest_of_osv_is_healthy_when_its_rest_interface_answers(world: World) -> None:
    """It has no ssh to log in to; until then its port is closed, or it says nothing."""
    osv = Osv()
    image = dataclasses.replace(make_plan(1, 1).image, distro=Distro.OSV)
    host = world.inventory.hosts["j17-r0"]
    host.data["plan"] = dataclasses.replace(make_plan(1, 1), image=image)
    host.hostname = ADDRESS
    with pytest.raises(DeadlineExceeded, match="port 8000 does not answer: Connection refused"):
        raise first_error(check(world, 0.6), "j17-r0")
    osv.busy = 2
    with serving(osv):
        found = result_of(check(world), "j17-r0")
    assert (found.attempts, found.datasource) == (3, "OSv v0.57.0")
    assert Ssh.opened == 0
