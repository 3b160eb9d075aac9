"""The doctor's judgements: which facts are in order, and what is the cure for those that are not."""

from __future__ import annotations

import dataclasses
import os
import stat
import sys
from pathlib import Path

import pytest

from nornir_torque_vm.config.check import Finding, Level
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.doctor import cluster, guests, system, torque
from nornir_torque_vm.doctor.cluster import Skew
from nornir_torque_vm.doctor.model import Line, Mark
from nornir_torque_vm.doctor.probe import Proof
from nornir_torque_vm.doctor.system import MIB, Space
from nornir_torque_vm.sitekit import hook_text

SETTINGS = Settings()


def said(line: Line | None) -> str:
    """A line in one string; every line that is not ok has a cure."""
    assert line is not None
    assert line.mark is Mark.OK or line.cure
    return f"{line.mark} {line.subject}: {line.text}; {line.cure}"


class TestKvm:
    def test_emulation_needs_none(self) -> None:
        """The site said so."""
        assert guests.judge_kvm("qemu", device=False, proof=None).mark is Mark.OK

    def test_a_missing_device_fails(self) -> None:
        """With what to switch on, and what to do where there is nothing to switch on."""
        line = said(guests.judge_kvm("kvm", device=False, proof=None))
        assert line.startswith("fail kvm: there is no /dev/kvm; switch virtualization on in the firmware")
        assert 'hypervisor_default = "qemu"' in line

    def test_a_device_is_no_proof(self) -> None:
        """Only a guest that ran is; one that was not tried is no failure."""
        broken = guests.judge_kvm("kvm", device=True, proof=Proof(ran=False, reason="a guest did not start"))
        assert said(broken).startswith("fail kvm: /dev/kvm is there and does not work: a guest did not start")
        assert guests.judge_kvm("kvm", device=True, proof=Proof(ran=True, seconds=0.2)).mark is Mark.OK
        assert "not tried" in guests.judge_kvm("kvm", device=True, proof=None).text


class TestNetworkFilter:
    def test_it_is_there(self) -> None:
        """And so is all that libvirt needs for it."""
        assert guests.judge_filter("strict", missing="", tools=()).mark is Mark.OK

    def test_none_is_a_warning(self) -> None:
        """Guests work, and can pass for each other."""
        line = said(guests.judge_filter("", missing="", tools=("ebtables",)))
        assert line.startswith("warn network filter: none: a guest can send under the address of any other")

    def test_what_is_missing_keeps_guests_from_starting(self) -> None:
        """The filter, or a program."""
        line = said(guests.judge_filter("strict", missing="there is no network filter strict", tools=()))
        assert line.startswith(
            "fail network filter: there is no network filter strict; install libvirt-daemon"
        )
        line = said(guests.judge_filter("strict", missing="", tools=("ebtables", "iptables")))
        assert line.startswith("fail network filter: libvirt needs ebtables and iptables for strict, else no")


class TestLibvirt:
    @pytest.mark.parametrize(
        ("libvirt", "emulator", "mark"),
        [(9_000_000, 7_002_022, Mark.OK), (10_000_000, 9_000_000, Mark.OK), (6_000_000, 7_002_022, Mark.WARN),
         (9_000_000, 4_002_001, Mark.WARN), (9_000_000, 2, Mark.OK)],
    )  # fmt: skip
    def test_versions(self, libvirt: int, emulator: int, mark: Mark) -> None:
        """Older ones than those of the tests may do; libvirt's test driver counts its own from 2."""
        assert guests.judge_versions({"libvirt": libvirt, "the emulator": emulator}).mark is mark

    def test_its_own_limits_are_enough(self) -> None:
        """Comments and settings of other names say nothing."""
        found = guests.read_limits('#max_workers = 1\nmin_workers = 1\nhost_uuid = "x"\n')
        assert found == guests.LIMITS
        (line,) = guests.judge_limits(found, SETTINGS, "/etc/libvirt/libvirtd.conf")
        assert line.mark is Mark.OK

    @pytest.mark.parametrize(
        "name", ["max_clients", "max_workers", "max_client_requests", "max_anonymous_clients"]
    )
    def test_a_limit_below_what_a_job_asks_for(self, name: str) -> None:
        """Named with the line to write."""
        found = guests.read_limits(f" {name}=3")
        (line,) = guests.judge_limits(found, SETTINGS, "/etc/libvirt/libvirtd.conf")
        assert said(line).startswith(f"warn libvirtd: {name} is 3, and a job of many guests asks for ")
        assert f"set {name} = {guests.LIMITS[name]} in /etc/libvirt/libvirtd.conf and restart it" in line.cure

    def test_more_connections_need_more(self) -> None:
        """The settings decide."""
        many = dataclasses.replace(SETTINGS, max_connections_per_node=64)
        marks = [line.mark for line in guests.judge_limits(guests.LIMITS, many, "x")]
        assert marks == [Mark.WARN]


BRIDGE = {"stp_state": 0, "forward_delay": 0}


class TestBridge:
    def test_one_that_lets_guests_talk_at_once(self) -> None:
        assert guests.judge_bridge("br0", there=True, facts=BRIDGE, up=True).mark is Mark.OK

    @pytest.mark.parametrize(
        ("there", "up", "facts", "expected"),
        [
            (False, False, {}, "fail bridge br0: there is no such interface; make it"),
            (True, True, {"stp_state": -1}, "fail bridge br0: it is no bridge; name a bridge"),
            (True, False, {}, "fail bridge br0: it is down; ip link set br0 up"),
            (True, True, {"forward_delay": 1500}, "warn bridge br0: a new guest has no network for 15 s"),
            (True, True, {"forward_delay": 500, "stp_state": 1}, "warn bridge br0: a new guest has no"),
        ],
    )  # fmt: skip
    def test_one_that_does_not(self, there: bool, up: bool, facts: dict[str, int], expected: str) -> None:
        """With STP a port listens and then learns, each for the delay; without it, it learns."""
        line = guests.judge_bridge("br0", there=there, facts=BRIDGE | facts, up=up)
        assert said(line).startswith(expected)


class TestTorque:
    @pytest.mark.parametrize(
        ("alarm", "expected"),
        [(300.0, "ok"), (120.0, "fail"), (600.0, "warn"), (None, "fail")],
    )
    def test_the_moms_limit(self, alarm: float | None, expected: str) -> None:
        """A shorter one kills hooks that count on more; a longer one is wasted."""
        assert said(torque.judge_alarm(alarm, SETTINGS, "/mom/config")).startswith(
            f"{expected} prologalarm: "
        )

    def test_a_short_one_says_what_to_write(self) -> None:
        assert "write $prologalarm 300 into /mom/config and send pbs_mom a SIGHUP" in said(
            torque.judge_alarm(120.0, SETTINGS, "/mom/config")
        )

    @staticmethod
    def hook(mode: int, uid: int = 0, kind: int = stat.S_IFREG) -> os.stat_result:
        return os.stat_result((kind | mode, 1, 1, 1, uid, 0, 10, 0, 0, 0))

    @pytest.mark.parametrize(
        ("status", "expected"),
        [
            (None, "fail hook prologue.vm: /m/prologue.vm is missing; torque-vm install node"),
            (hook(0o500, uid=1), "fail hook prologue.vm: it belongs to uid 1"),
            (hook(0o777), "fail hook prologue.vm: it has mode 0777, for which pbs_mom requeues jobs"),
            (hook(0o520), "fail hook prologue.vm: it has mode 0520"),
            (hook(0o400), "fail hook prologue.vm: it has mode 0400"),
            (hook(0o500, kind=stat.S_IFDIR), "fail hook prologue.vm"),
        ],
    )  # fmt: skip
    def test_a_hook_that_a_mom_refuses(self, status: os.stat_result | None, expected: str) -> None:
        """By TORQUE's own rules."""
        line = torque.judge_hook(Path("/m/prologue.vm"), status, "", "/run/torque-vm")
        assert said(line).startswith(expected)

    def test_a_hook_of_this_version(self) -> None:
        """And one that is not; the interpreter in it has to be there."""
        path, status = Path("/m/prologue.vm"), self.hook(0o500)
        text = hook_text("prologue.vm", python=sys.executable, run_dir="/run/torque-vm")
        assert torque.judge_hook(path, status, text, "/run/torque-vm") is None
        assert said(torque.judge_hook(path, status, f"{text}#", "/run/torque-vm")).startswith("warn hook")
        assert said(torque.judge_hook(path, status, text, "/run/other")).startswith("warn hook")
        gone = hook_text("prologue.vm", python="/nonexistent/python", run_dir="/run/torque-vm")
        assert "/nonexistent/python, cannot be executed" in said(
            torque.judge_hook(path, status, gone, "/run/torque-vm")
        )

    @pytest.mark.parametrize(
        ("target", "ours", "executable", "expected"),
        [
            ("", False, False, "fail submit filter: /t names none"),
            ("/site", False, True, "fail submit filter: /t names /site, which is not ours"),
            ("/o", True, False, "fail submit filter: /o cannot be executed"),
            ("/o", True, True, "ok submit filter"),
        ],
    )
    def test_the_filter_of_a_submit_host(
        self, target: str, ours: bool, executable: bool, expected: str
    ) -> None:
        """Without it a VM job of a script's directives runs on bare metal."""
        assert said(torque.judge_filter("/t", target, ours=ours, executable=executable)).startswith(expected)


class TestSystem:
    @pytest.mark.parametrize(
        ("free", "inodes", "expected"),
        [
            (10_000 * MIB, None, "ok"),
            (10_000 * MIB, 99, "fail volume_dir: /v has room for 99 more files"),
            (1000 * MIB, 10_000, "warn volume_dir: /v has 1000M free"),
            (100 * MIB, 10_000, "fail volume_dir: /v has 100M free; make room"),
            (5, 10_000, "fail volume_dir: /v has less than 1M free"),
        ],
    )
    def test_room(self, free: int, inodes: int | None, expected: str) -> None:
        """Bytes and files; a file system without a number of files has no limit."""
        line = system.judge_space("volume_dir", "/v", Space(free, inodes), *system.ROOM["volume_dir"])
        assert said(line).startswith(expected)

    @pytest.mark.parametrize(
        ("addresses", "mark"),
        [((), Mark.FAIL), (("127.0.1.1", "::1"), Mark.WARN), (("127.0.1.1", "10.0.0.1"), Mark.OK)],
    )
    def test_the_own_name(self, addresses: tuple[str, ...], mark: Mark) -> None:
        """A loopback address leads other nodes to themselves."""
        line = system.judge_own_name("n1", addresses)
        assert line.mark is mark
        said(line)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [("", 10), ("#MaxStartups 3\n", 10), ("maxstartups 4:3:6\nMaxStartups 9", 4), ('MaxStartups="7"', 7)],
    )  # fmt: skip
    def test_what_sshd_takes_at_once(self, text: str, expected: int) -> None:
        """The first statement counts, in any case of letters."""
        assert system.max_startups(text) == expected

    def test_logins_that_sshd_would_drop(self) -> None:
        """Five connections and a shell are what a job's first node opens."""
        assert system.judge_startups(6, SETTINGS, "/c").mark is Mark.OK
        assert "MaxStartups drops logins beyond 5 at once" in said(system.judge_startups(5, SETTINGS, "/c"))

    @pytest.mark.parametrize(
        ("active", "enabled", "mark"),
        [
            ("active", "enabled", Mark.OK),
            ("inactive", "enabled", Mark.WARN),
            ("active", "disabled", Mark.WARN),
        ],
    )
    def test_the_reapers_timer(self, active: str, enabled: str, mark: Mark) -> None:
        """Now, and after the next boot."""
        line = system.judge_timer({"is-active": active, "is-enabled": enabled})
        assert line.mark is mark
        said(line)


class TestCluster:
    @pytest.mark.parametrize(
        ("seconds", "uncertainty", "mark"),
        [
            (0.2, 0.1, Mark.OK), (1.5, 0.7, Mark.OK), (-2.0, 0.1, Mark.WARN), (2.0, 0.1, Mark.WARN),
            (-70.0, 0.1, Mark.FAIL), (5.0, 10.0, Mark.OK),
        ],
    )  # fmt: skip
    def test_clocks(self, seconds: float, uncertainty: float, mark: Mark) -> None:
        """What the way there may have taken is no difference."""
        line = cluster.judge_skew(Skew(seconds, uncertainty))
        assert line.mark is mark
        said(line)

    def test_a_node_that_lacks_the_package_is_said(self) -> None:
        """Whatever it printed instead."""
        for text in ("", "{}", '{"hosts": []}', '{"hosts": [{"lines": [{"mark": "odd"}]}]}', "[1]"):
            (line,) = cluster.read_answer(text, "exit status 127: not found")
            assert "torque-vm doctor could not be run there: exit status 127: not found" in said(line)

    def test_lines_travel_as_json(self) -> None:
        """As they were."""
        import json

        from nornir_torque_vm.doctor.here import Examination

        lines = (Line(Mark.WARN, "a", "b", "c"), Line(Mark.LATE, "d", "e"))
        text = json.dumps(cluster.to_plain([Examination("n1", lines)]))
        assert tuple(cluster.read_answer(text, "")) == lines


@pytest.mark.parametrize(
    ("level", "mark"),
    [(Level.OK, Mark.OK), (Level.NOTE, Mark.OK), (Level.WARN, Mark.WARN), (Level.ERROR, Mark.FAIL)],
)
def test_findings_of_the_configuration_are_lines(level: Level, mark: Mark) -> None:
    """One judgement of a setting, two commands that tell it."""
    assert Line.of(Finding(level, "a", "b", "c")) == Line(mark, "a", "b", "c")
