"""Checks of the host itself: names, room on its disks, ssh, the timer."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.connections.virconnect import MAX_OPENING
from nornir_torque_vm.deadline import current
from nornir_torque_vm.doctor.model import Here, Line, fail, ok, text_of, warn
from nornir_torque_vm.hostcheck import check_host
from nornir_torque_vm.install.node import METRICS_TIMER, TIMER
from nornir_torque_vm.sizes import format_size
from nornir_torque_vm.trust import exposure

MIB = 1 << 20
ROOM = {
    "volume_dir": (256 * MIB, 4096 * MIB),
    "run_dir": (1 * MIB, 16 * MIB),
    "history_dir": (1 * MIB, 64 * MIB),
}
"""Setting → free bytes below which no job can start, and below which one of many guests may not."""
MAX_STARTUPS = 10
"""Logins at once that sshd takes before it drops some, if its configuration says nothing."""


def settings_here(here: Here) -> Iterator[Line]:
    """What the settings name: the pool and its owner, the default image, qsub, templates."""
    for finding in check_host(here.settings, here.hostname):
        if finding.subject != "prologalarm":  # judged by itself
            yield Line.of(finding)


@dataclasses.dataclass(frozen=True, slots=True)
class Space:
    """A file system, as root sees it: free bytes, and free inodes or None where it has no such number."""

    free: int
    inodes: int | None


def space(here: Here) -> Iterator[Line]:
    """Whether there is room for guests and for what is kept, and nobody else's hand in it."""
    for name, (least, good) in ROOM.items():
        path: str = getattr(here.settings, name)
        there = next(parent for parent in (Path(path), *Path(path).parents) if parent.exists())
        status = os.statvfs(there)
        inodes = status.f_favail if status.f_files else None
        reason = exposure(str(there)) if str(there) == path else ""
        if reason:
            yield fail(
                name, f"{reason}, who could exchange what is in it", f"chown root {path}; chmod go-w {path}"
            )
        yield judge_space(name, path, Space(status.f_bavail * status.f_frsize, inodes), least, good)


def judge_space(name: str, path: str, found: Space, least: int, good: int) -> Line:
    """Judge the room of one directory."""
    if found.inodes is not None and found.inodes < 100:
        return fail(name, f"{path} has room for {found.inodes} more files", "remove files on its file system")
    text = f"{path} has {format_size(found.free // MIB * MIB) if found.free >= MIB else 'less than 1M'} free"
    if found.free < least:
        return fail(name, text, f"make room: no job starts with less than {format_size(least)}")
    if found.free < good:
        return warn(name, text, f"make room: {format_size(good)} are wanted")
    return ok(name, text)


def names(here: Here) -> Iterator[Line]:
    """Whether this host knows itself and the other nodes by name."""
    own = _addresses(here.hostname)
    yield judge_own_name(here.hostname, own)
    for name in here.others:
        if not _addresses(name):
            yield fail(f"name {name}", "it has no address here", f"put {name} into /etc/hosts or DNS")
    known = [name for name in here.others if _addresses(name)]
    if known:
        yield ok(
            "names", f"{', '.join(known)} {'has an address' if len(known) == 1 else 'have addresses'} here"
        )


def judge_own_name(hostname: str, addresses: Iterable[str]) -> Line:
    """Judge what this host's own name resolves to."""
    found = sorted(addresses)
    cure = f"put its address and {hostname} into /etc/hosts or DNS"
    if not found:
        return fail("own name", f"{hostname} has no address", cure)
    if all(address.startswith("127.") or address == "::1" for address in found):
        return warn("own name", f"{hostname} is {', '.join(found)}, which no other node can reach", cure)
    return ok("own name", f"{hostname} is {', '.join(found)}")


def _addresses(name: str) -> set[str]:
    try:
        return {str(entry[4][0]) for entry in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)}
    except OSError:
        return set()


def sshd(here: Here) -> Iterator[Line]:
    """Whether sshd takes as many logins at once as the nodes' connections need, if they come by ssh."""
    if "ssh" in urlsplit(here.settings.node_uri).scheme or here.settings.node_shell_key:
        config = here.system("/etc/ssh/sshd_config")
        if config.exists():
            more = sorted(config.parent.glob("sshd_config.d/*.conf"))
            texts = [text_of(path) or "" for path in (*more, config)]
            yield judge_startups(max_startups("\n".join(texts)), here.settings, str(config))


def max_startups(text: str) -> int:
    """Return how many logins at once sshd takes without dropping any; its first statement counts."""
    found = re.search(r"^[ \t]*MaxStartups[ \t=]+\"?([0-9]+)", text, re.MULTILINE | re.IGNORECASE)
    return int(found[1]) if found else MAX_STARTUPS


def judge_startups(startups: int, settings: Settings, path: str) -> Line:
    """Judge sshd's limit by what one job's first node opens at once."""
    needed = min(settings.max_connections_per_node, MAX_OPENING) + 1
    if startups < needed:
        text = f"MaxStartups drops logins beyond {startups} at once, and a job of many guests opens {needed}"
        return warn("sshd", text, f"write MaxStartups {4 * needed}:30:100 into {path} and reload sshd")
    return ok("sshd", f"{startups} logins at once, a job opens {needed}")


def timer(here: Here) -> Iterator[Line]:
    """Whether systemd starts the reaper."""
    yield from _timer(here, "reaper", TIMER, "torque-vm reap every few minutes")


def metrics(here: Here) -> Iterator[Line]:
    """Whether the figures for Prometheus are written, if the site wants them, and to where."""
    if not here.settings.exports_metrics:
        return
    directory = here.settings.textfile_dir
    if not here.system(directory).is_dir():
        cure = "install the node_exporter there, or correct textfile_dir"
        yield warn("metrics", f"there is no {directory}, so nobody sees the guests' figures", cure)
    yield from _timer(here, "metrics", METRICS_TIMER, "torque-vm metrics twice a minute")


def _timer(here: Here, subject: str, name: str, command: str) -> Iterator[Line]:
    systemctl = shutil.which("systemctl")
    if not here.system("/run/systemd/system").is_dir() or systemctl is None:
        yield ok(subject, f"no systemd here; something else has to run {command}")
        return
    facts = {}
    for verb in ("is-active", "is-enabled"):
        done = subprocess.run(
            [systemctl, verb, name], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            timeout=max(0.1, current.get().clamp(10.0)),
        )  # fmt: skip
        facts[verb] = done.stdout.strip() or "unknown"
    yield judge_timer(facts, subject, name)


def judge_timer(facts: Mapping[str, str], subject: str = "reaper", name: str = TIMER) -> Line:
    """Judge systemd's answers to ``is-active`` and ``is-enabled``."""
    if facts["is-active"] != "active" or facts["is-enabled"] not in {"enabled", "enabled-runtime"}:
        text = f"{name} is {facts['is-active']} and {facts['is-enabled']}"
        return warn(subject, text, f"systemctl enable --now {name}")
    return ok(subject, f"{name} is active")
