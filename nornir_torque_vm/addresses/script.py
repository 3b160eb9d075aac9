"""The site's own program for addresses: asked once for every guest, about the node that guest will run on.

It is run by root, so nobody else may have written it: that is judged, and the program started, by one
descriptor. Its answer is one line, ``ADDRESS[/PREFIX] [ROUTER]``.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import signal
import stat
import subprocess
from collections.abc import Iterator

from nornir_torque_vm.addresses.model import StaticAddress
from nornir_torque_vm.addresses.static import given
from nornir_torque_vm.config.fields import show
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.deadline import NOTICE, Deadline
from nornir_torque_vm.errors import DeadlineExceeded, NoAddress, SettingsError
from nornir_torque_vm.model import Guest, Plan
from nornir_torque_vm.trust import exposure

PATIENCE = 30.0
"""Seconds one answer may take."""
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
ANSWER = 4096
"""Characters of an answer, and of what a program complains about, that are looked at."""


def asked(plan: Plan, settings: Settings, deadline: Deadline) -> Plan:
    """Return the plan with the address of every guest that the site's program knows.

    Its arguments: the guest's node, guests of the job there, which of them this is (from 0), the job's id,
    the guest's MAC address. One guest after the other: a program may keep a file of what it gave away.

    :raises SettingsError: there is no such program, or others than root may write it.
    :raises NoAddress: it fails, or what it says is no address.
    :raises DeadlineExceeded: the time is up.
    """
    with program(settings.ip_script) as fd:
        return given(plan, {guest.name: _ask(fd, plan, guest, settings, deadline) for guest in plan.guests})


@contextlib.contextmanager
def program(path: str) -> Iterator[int]:
    """A descriptor of the program.

    :raises SettingsError: it cannot be had, or may have been written by others than root.
    """
    try:
        reason = exposure(path)
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError as error:
        raise SettingsError(f"ip_script {path} cannot be opened: {error.strerror}") from error
    try:
        facts = os.fstat(fd)
        if not stat.S_ISREG(facts.st_mode) or not facts.st_mode & stat.S_IXUSR:
            raise SettingsError(f"ip_script {path} is no executable file")
        if facts.st_uid != 0 or facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise SettingsError(
                f"ip_script {path} may be written by others than root",
                hint=f"chown root {path}; chmod go-w {path}",
            )
        if reason:  # another program of root's could be put in its place
            raise SettingsError(f"ip_script {path} can be exchanged by others than root: {reason}")
        yield fd
    finally:
        os.close(fd)


def _ask(fd: int, plan: Plan, guest: Guest, settings: Settings, deadline: Deadline) -> StaticAddress:
    here = len(plan.on(guest.node))
    words = [f"/proc/self/fd/{fd}", guest.node, str(here), str(guest.index), plan.job.id, guest.mac]
    code, said, complaint = _run(words, fd, guest, deadline)
    if code != 0:
        last = (complaint.strip().splitlines() or ["it said nothing"])[-1]
        how = f"signal {-code}" if code < 0 else f"code {code}"
        raise NoAddress(
            f"{settings.ip_script} ended with {how}: {show(last.strip())}", node=guest.node, guest=guest.name
        )
    try:
        return parse_answer(said, settings)
    except ValueError as error:
        raise NoAddress(
            f"{settings.ip_script} said {show(said.strip())}, {error}", node=guest.node, guest=guest.name
        ) from None


def parse_answer(text: str, settings: Settings) -> StaticAddress:
    """Read ``ADDRESS[/PREFIX] [ROUTER]``; what is missing stands in the settings.

    :raises ValueError: the rest of a sentence that says what is wrong.
    """
    match text.split():
        case [address]:
            router = settings.static_gateway
        case [address, router]:
            pass
        case _:
            raise ValueError("where one address is wanted")
    address, slash, prefix = address.partition("/")
    prefix = prefix if slash else settings.static_network.partition("/")[2]
    try:
        found = ipaddress.IPv4Interface(f"{ipaddress.IPv4Address(address)}/{prefix or 32}")
        router = str(ipaddress.IPv4Address(router)) if router else ""
    except ValueError:
        raise ValueError("which is no IPv4 address") from None
    if not prefix:
        raise ValueError("without a prefix such as /24, which static_network does not say either")
    network = found.network
    usable = prefix.isdecimal() and 8 <= int(prefix) <= 30 and _unicast(found.ip)
    if not usable or found.ip in {network.network_address, network.broadcast_address}:
        raise ValueError("which no guest can have")
    return StaticAddress(str(found.ip), network.prefixlen, router)


def _unicast(address: ipaddress.IPv4Address) -> bool:
    special = address.is_multicast or address.is_loopback or address.is_link_local or address.is_reserved
    return not special and not address.is_unspecified


def _run(words: list[str], fd: int, guest: Guest, deadline: Deadline) -> tuple[int, str, str]:
    """Run the program; return its exit code and what it said.

    :raises NoAddress: it cannot be started, or takes too long.
    :raises DeadlineExceeded: the time is up.
    """
    limit = Deadline.after(deadline.clamp(PATIENCE))
    try:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/",
            env=ENVIRONMENT, pass_fds=(fd,), start_new_session=True, text=True, errors="replace",
        )  # fmt: skip
    except OSError as error:
        raise NoAddress(
            f"ip_script cannot be run: {error.strerror}", node=guest.node, guest=guest.name
        ) from error
    while True:
        try:
            out, err = process.communicate(timeout=min(NOTICE, limit.remaining()))
        except subprocess.TimeoutExpired:
            if limit.remaining() > 0.0 and deadline.remaining() > 0.0:
                continue
            os.killpg(process.pid, signal.SIGKILL)  # nobody has waited for it: the number is its own
            process.kill()
            process.stdout.close() if process.stdout else None
            process.stderr.close() if process.stderr else None
            process.wait(1.0)
            if deadline.remaining() <= 0.0:
                raise DeadlineExceeded(
                    "the time was up while ip_script ran", node=guest.node, guest=guest.name
                ) from None
            raise NoAddress(
                f"ip_script took more than {PATIENCE:.0f} s", node=guest.node, guest=guest.name
            ) from None
        return process.returncode, out[:ANSWER], err[-ANSWER:]
