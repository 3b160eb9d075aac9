"""Task: wait until a guest answers as it should."""

from __future__ import annotations

import contextvars
import dataclasses
import json
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from nornir.core.inventory import Host
from nornir.core.task import Result, Task

from nornir_torque_vm.connections.command import CommandResult
from nornir_torque_vm.connections.guest_ssh import (
    SshAuthFailed,
    SshHostKeyMismatch,
    SshNoBanner,
    SshRefused,
    SshUnreachable,
)
from nornir_torque_vm.deadline import current
from nornir_torque_vm.errors import DeadlineExceeded, NotHealthy
from nornir_torque_vm.model import Distro, Plan
from nornir_torque_vm.osv.calls import VERSION, text_of
from nornir_torque_vm.osv.client import Declined, NoAnswer, Rest
from nornir_torque_vm.tasks.common import GUEST_SSH, connection, rounds, where
from nornir_torque_vm.tasks.discover_address import discover_address
from nornir_torque_vm.tasks.watch import Watch
from nornir_torque_vm.threads import Call

T = TypeVar("T")

CONNECTION_NAME = GUEST_SSH

RESULT_FILE = "/run/cloud-init/result.json"
"""What cloud-init writes when its last stage is over, whatever came of it."""
UNFINISHED = 75
"""Exit status of :data:`WAIT_FOR_RESULT` when the file is still missing (``EX_TEMPFAIL``)."""
WAIT_FOR_RESULT = (
    f"i=0; while [ ! -s {RESULT_FILE} ]; do i=$((i+1)); [ $i -le 20 ] || exit {UNFINISHED}; sleep 0.1; done; "
    f"cat {RESULT_FILE}"
)
"""Waits inside the guest, where the waiting costs one login and ends the moment the file is there; gives
up by itself after about 2 s, so that nothing is left behind when we lose patience."""
REFUSED_FILE = "/run/torque-vm/refused"
"""Where a command of the seed says in one sentence what is wrong; cloud-init's own words are its call."""
WAIT_SECONDS = 10.0
"""How long that may take in a slow guest, before we look whether the guest is still alive."""
REST_SECONDS = 5.0
"""How long a guest of OSv may take for an answer."""
MIND_EVERY = 1.0
"""Seconds between two looks at whether the guest still lives while a login or cloud-init is waited for."""

_NOT_YET = (
    SshUnreachable, SshRefused, SshNoBanner, SshAuthFailed, SshHostKeyMismatch, NoAnswer, Declined,
)  # fmt: skip
"""What a booting guest does; a foreign host key too may be there until cloud-init has put ours in place."""

Probe = Callable[[Host], bool]
"""Looks at a guest in its own way: True when it is ready, False when not yet; raises when it never
will be."""


@dataclasses.dataclass(frozen=True, slots=True)
class Health:
    """How a guest became ready: ``seconds`` from the first look, and how many looks it took."""

    seconds: float
    attempts: int
    datasource: str = ""
    """Where cloud-init found its seed, in its own words."""
    output: str = ""
    """What the command printed."""


def preload() -> None:
    """Import paramiko in the background: 0.2 s that a booting guest gives us for nothing."""
    if not _preloading.is_set():
        _preloading.set()
        threading.Thread(target=_import_paramiko, daemon=True, name="import paramiko").start()


_preloading = threading.Event()


def _import_paramiko() -> None:
    import paramiko  # noqa: F401 - the import is the purpose


def check_health(task: Task, command: str = "", probe: Probe | None = None) -> Result:
    """Log in to the guest, its host key pinned, and wait until cloud-init has finished without errors.

    A guest of OSv, which has neither, is healthy when its REST interface answers.
    A guest whose address is not known yet is looked for first, by :func:`discover_address`.

    Arguments:
        command: shell command that must then succeed in the guest as well; none by default
        probe: replaces ssh and cloud-init, for guests that have neither: called with the host
            again and again until it returns True

    Returns:
        Result object with the following attributes set:
          * result (:class:`Health`): how long it took

    Raises:
        GuestDied: the guest crashed, panicked, shut down or is gone
        NornirSubTaskError: its address was not found; the subtask's own error is in its result
        NotHealthy: cloud-init reports errors, or the command failed
        DeadlineExceeded: the time is up; the message says what was missing
    """
    host, began = task.host, time.monotonic()
    if probe is None and not host.hostname:
        task.run(discover_address)
    watch, missing = Watch(task), "nobody looked"
    for attempt in rounds(task):
        try:
            datasource = _minding(watch, lambda: _look(task, probe))
            if datasource is not None:
                output = _run(task, command) if command else ""
                health = Health(time.monotonic() - began, attempt + 1, datasource, output)
                return Result(host=host, result=health)
            missing = "cloud-init has not finished" if probe is None else "its probe says not yet"
        except _NOT_YET as exc:
            missing = f"{exc.what} ({exc.hint})" if exc.hint else exc.what
            _hang_up(host)
        watch.check()
    waited = f"not healthy after {time.monotonic() - began:.1f} s"
    raise DeadlineExceeded("; ".join(filter(None, (f"{waited}: {missing}", watch.said()))), **where(task))


def _minding(watch: Watch, look: Callable[[], T]) -> T:
    """Call ``look`` and watch the guest meanwhile: a login to one that has just died takes 15 s.

    :raises GuestDied: it will never be ready; the thread that still waits for it ends by itself.
    """
    context = contextvars.copy_context()
    call = Call(lambda: context.run(look), name="look at a guest").start()
    while True:
        try:
            return call.wait(MIND_EVERY)
        except TimeoutError:  # or the call's own, when its deadline has passed
            if call.over:
                return call.wait(0.0)
        watch.check()


def _look(task: Task, probe: Probe | None) -> str | None:
    """What :func:`_cloud_init` says, or what stands for it."""
    if probe is not None:
        return _probed(probe, task.host)
    return _rest(task) if _is_osv(task.host) else _cloud_init(task)


def _is_osv(host: Host) -> bool:
    plan = host.get("plan")
    return isinstance(plan, Plan) and plan.image.distro is Distro.OSV


def _rest(task: Task) -> str:
    """Ask a guest of OSv for its version: it has no ssh, and answers when it can run commands.

    :raises NoAnswer: it does not yet.
    """
    answer = Rest(str(task.host.hostname)).ask(VERSION, current.get().clamp(REST_SECONDS))
    return f"OSv {text_of(answer)[:80]}"


def _probed(probe: Probe, host: Host) -> str | None:
    """What :func:`_cloud_init` would say: there is no datasource, and None means not yet."""
    return "" if probe(host) else None


def _cloud_init(task: Task) -> str | None:
    """Cloud-init's datasource once it has finished; None when it has not.

    :raises NotHealthy: it reports errors, or nothing that can be read.
    """
    result = connection(task, GUEST_SSH).run(WAIT_FOR_RESULT, timeout=WAIT_SECONDS)
    if result.rc == UNFINISHED or result.rc < 0:  # below 0: the guest went away while it waited
        return None
    if not result.ok:
        raise NotHealthy(f"cannot read {RESULT_FILE}: {result.summary()}", **where(task))
    datasource, errors = parse_result(result.stdout)
    if errors:
        said = connection(task, GUEST_SSH).run(f"cat {REFUSED_FILE} 2>/dev/null").stdout.strip()
        why = said.splitlines()[0] if said else f"cloud-init failed: {'; '.join(errors)}"
        raise NotHealthy(why, **where(task))
    return datasource


def parse_result(text: str) -> tuple[str, list[str]]:
    """Read cloud-init's ``result.json``: datasource and errors; what cannot be read is an error too."""
    try:
        found: Any = json.loads(text)["v1"]
        errors = [str(error) for error in found.get("errors") or ()]
        return str(found.get("datasource") or ""), errors
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", [f"{RESULT_FILE} is not what it should be: {' '.join(text.split())[:80]!r}"]


def _run(task: Task, command: str) -> str:
    result: CommandResult = connection(task, GUEST_SSH).run(command)
    if not result.ok:
        raise NotHealthy(f"{command!r:.80} failed: {result.summary()}", **where(task))
    return result.stdout


def _hang_up(host: Host) -> None:
    if GUEST_SSH in host.connections:
        host.close_connection(GUEST_SSH)
