"""OSv's REST interface as values: requests that nothing can break out of, answers, scripts, seeds."""

from __future__ import annotations

import dataclasses
import json
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
import yaml  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st
from render_kit import ALICE, IMAGE, keys_for, plan_of

from nornir_torque_vm.addresses.model import StaticAddress
from nornir_torque_vm.addresses.static import given as with_addresses
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import RequestError
from nornir_torque_vm.images import image_for
from nornir_torque_vm.model import Distro, Plan, UserDir, UserFiles
from nornir_torque_vm.osv import calls
from nornir_torque_vm.render.cloudinit.seed import seed_files
from nornir_torque_vm.request import Request
from nornir_torque_vm.userfiles import files_for

OSV = dataclasses.replace(IMAGE, name="osv.qcow2", distro=Distro.OSV)


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_no_value_ends_early_or_becomes_another_parameter(command: str, value: str) -> None:
    """Blanks, ampersands, line ends, percent signs: what was asked is what arrives."""
    for call, expected in (
        (calls.run(command), {"command": command, "new_program": "true"}),
        (calls.set_variable("PBS_O_WORKDIR", value), {"val": value}),
        (calls.write_file(calls.NODEFILE, value), {"op": "WRITE", "overwrite": "true", "content": value}),
    ):
        assert call.target.isascii()
        assert not set(call.target) & set(" \r\n+")
        parts = urlsplit(call.target)
        assert unquote(parts.path) == call.path
        assert dict(parse_qsl(parts.query, keep_blank_values=True)) == expected


def test_the_requests_are_those_of_the_listings() -> None:
    """Method and path of each."""
    assert [call[:2] for call in (
        calls.VERSION, calls.set_variable("PBS_NP", "2"), calls.write_file("/pbs_nodefile", ""),
        calls.run("/a.so"), calls.finished(210), calls.SHUT_DOWN,
    )] == [
        ("GET", "/os/version"), ("POST", "/env/PBS_NP"), ("PUT", "/file/pbs_nodefile"),
        ("PUT", "/app/"), ("GET", "/app/finished"), ("POST", "/os/shutdown"),
    ]  # fmt: skip
    assert calls.finished(210).target == "/app/finished?tid=210"


@pytest.mark.parametrize(("answer", "threads"), [(b'"210"', (210,)), (b"210 211", (210, 211))])
def test_threads_are_read_from_json_and_bare_text(answer: bytes, threads: tuple[int, ...]) -> None:
    """One for each program of the command line."""
    assert calls.threads_of(answer) == threads


def test_only_one_means_finished() -> None:
    """An empty answer, or any other, is no end of a job."""
    assert calls.is_finished(b'"1"')
    assert calls.is_finished(b"1")
    assert not calls.is_finished(b'"0"')
    for answer in (b"", b'""', b"-1", b"[1]", b"true", b"\xff"):
        with pytest.raises(ValueError, match="where 0 or 1 is wanted"):
            calls.is_finished(answer)
    for answer in (b"", b'"x"', b'"-3"', b"{}"):
        with pytest.raises(ValueError, match="where thread numbers are wanted"):
            calls.threads_of(answer)


def test_a_script_is_its_command_lines() -> None:
    """Without the shell's first line, directives, comments and empty lines."""
    script = b'#!/bin/sh\n#PBS -l nodes=2\n\n/usr/a.so --x=1 "two; words" &  /b.so\r\n  # no\n /c.so -n 3\n'
    assert calls.commands_of(script) == ('/usr/a.so --x=1 "two; words" &  /b.so', "/c.so -n 3")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"/a.so; /b.so", "; is a shell's"),
        (b"/a.so && /b.so", "&& is a shell's"),
        (b"/a.so | /b.so", "| is a shell's"),
        (b"/a.so > out", "> is a shell's"),
        (b"/a.so $HOME", "$ is a shell's"),
        (b"/a.so 'x'", "' is a shell's"),
        (b'/a.so "x', "\" is a shell's"),
        (b"/a.so `x`", "` is a shell's"),
        (b"/a.so \x1b[1m", "it is too long, or no plain text"),
        (b"/" + b"a" * 4000, "it is too long, or no plain text"),
    ],
)
def test_a_line_that_needs_a_shell_is_refused_by_its_number(line: bytes, why: str) -> None:
    """Before anything of the script has run."""
    with pytest.raises(RequestError) as caught:
        calls.commands_of(b"#!/bin/sh\n/ok.so\n" + line)
    assert str(caught.value) == (
        f"line 3 of the script cannot be run by OSv: {why}; write one OSv command a line: a program with its "
        "arguments, others after &"
    )


def test_a_script_without_a_command_is_refused() -> None:
    """A job that ran nothing would seem to be a success."""
    for script in (b"", b"#!/bin/sh\n# nothing\n\n"):
        with pytest.raises(RequestError, match="no command"):
            calls.commands_of(script)


def test_the_environment_is_torques_without_its_secret() -> None:
    """The job's own numbers, as in all guests, and DISTRO."""
    given = {
        "PBS_JOBID": "17.head", "PBS_JOBCOOKIE": "secret", "PBS_O_WORKDIR": "/home/a b", "PBS_ODD": "a\nb",
        "PATH": "/bin", "PBS_NODEFILE": "/var/x", "PBS_NP": "9",
    }  # fmt: skip
    assert calls.environment_of(given, {"10.0.0.1": 3, "10.0.0.2": 3}) == {
        "PBS_JOBID": "17.head", "PBS_O_WORKDIR": "/home/a b", "PBS_NODEFILE": "/pbs_nodefile", "PBS_NP": "6",
        "PBS_NUM_NODES": "2", "PBS_NUM_PPN": "3", "DISTRO": "OSV",
    }  # fmt: skip


def told(plan: Plan) -> Any:
    """What the first guest's seed says; JSON and YAML readers have to agree."""
    files = seed_files(plan, plan.guests[0], keys_for(), "10.89.0.11", Settings(name_server=("10.89.0.1",)))
    assert set(files) == {"meta-data", "user-data"}
    found = json.loads(files["user-data"])
    assert yaml.safe_load(files["user-data"]) == found
    return found


def test_a_seed_for_osv_has_osvs_own_keys_and_no_secret() -> None:
    """Its cloud-init stops at a key it does not know."""
    plan = plan_of(image=OSV)
    assert told(plan) == {"hostname": "j17-3-r0"}
    dirs = (UserDir("/home/alice", "filer:/home/alice"),)
    assert told(dataclasses.replace(plan, user_files=UserFiles.NFS, user_dirs=dirs)) == {
        "hostname": "j17-3-r0",
        "mounts": [["filer:/home/alice", "/home/alice", "nfs", "uid=2001,gid=2002", "0", "0"]],
    }


def test_a_planned_address_goes_before_the_name_that_would_ask_for_one() -> None:
    """Version 1 of the network's description, the only one it reads."""
    plan = plan_of(image=OSV)
    address = StaticAddress("10.89.0.82", 20, "10.89.0.1")
    subnet = {
        "type": "static", "address": "10.89.0.82", "netmask": "255.255.240.0", "gateway": "10.89.0.1",
        "dns_nameservers": ["10.89.0.1"],
    }  # fmt: skip
    assert told(with_addresses(plan, dict.fromkeys(("j17-3-r0", "j17-3-r1"), address))) == {
        "network": {
            "version": 1,
            "config": [{"type": "physical", "mac_address": "02:00:00:00:00:00", "subnets": [subnet]}],
        }
    }


def test_guests_of_osv_get_files_by_nfs_only() -> None:
    """A device they cannot mount would be an open door for nothing."""
    for kind in (UserFiles.NINE_P, UserFiles.VIRTIOFS):
        assert files_for(Settings(user_files=kind), ALICE, OSV) == (UserFiles.NONE, ())
    site = Settings(user_files=UserFiles.NFS, nfs_sources=("filer:/home=/home",))
    assert files_for(site, ALICE, OSV)[0] is UserFiles.NFS


@pytest.mark.proves("allow_osv")
def test_osv_needs_the_sites_word(tmp_path: Any) -> None:
    """Everybody on the guests' network can tell such a guest what to run."""
    from qcow2_bytes import image_bytes

    (tmp_path / "osv.qcow2").write_bytes(image_bytes())
    with pytest.raises(RequestError, match=r"^this site runs no guests of OSv; choose another image"):
        image_for(Request(img="osv.qcow2"), Settings(image_pool=str(tmp_path)))
    allowed = Settings(image_pool=str(tmp_path), allow_osv=True)
    assert image_for(Request(img="osv.qcow2"), allowed).distro is Distro.OSV
