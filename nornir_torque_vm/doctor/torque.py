"""Checks of what TORQUE is told here: the MOM's limit, the job starter, the hooks, the submit filter."""

from __future__ import annotations

import fnmatch
import os
import re
import shlex
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from nornir_torque_vm.config.compiled import DIRECTORY, read_compiled
from nornir_torque_vm.config.settings import KILL_MARGIN, Settings
from nornir_torque_vm.deadline import current
from nornir_torque_vm.doctor.model import Here, Line, fail, failed, ok, text_of, warn
from nornir_torque_vm.errors import TorqueVMError
from nornir_torque_vm.faults import weight
from nornir_torque_vm.hooks.momconfig import job_starter, node_check, require_starter
from nornir_torque_vm.hooks.startercheck import why_not
from nornir_torque_vm.hostcheck import FILTER_MARK, mom_alarm
from nornir_torque_vm.install import mom, torquecfg
from nornir_torque_vm.install import server as servers
from nornir_torque_vm.install.host import manifest_of
from nornir_torque_vm.install.submit_host import ROLE as SUBMIT_HOST
from nornir_torque_vm.pbsnodes import Pbsnodes
from nornir_torque_vm.runstate.faultrecord import FaultRecords, out_here
from nornir_torque_vm.sitekit import HOOKS, hook_text

INSTALL = "torque-vm install node"


def prologalarm(here: Here) -> Iterator[Line]:
    """The MOM's own limit for hooks against ours."""
    path = f"{here.settings.torque_home}/mom_priv/config"
    yield judge_alarm(mom_alarm(text_of(Path(path)) or ""), here.settings, path)


def judge_alarm(alarm: float | None, settings: Settings, path: str) -> Line:
    """Judge the MOM's ``$prologalarm`` in seconds; None when it is no number."""
    ours, subject = settings.prologalarm, "prologalarm"
    if alarm is None:
        return fail(subject, f"$prologalarm in {path} is no number of seconds", "correct it")
    if alarm < ours:
        text = f"the MOM kills hooks {KILL_MARGIN:g} s before {alarm:g} s, and ours count on {ours:g} s"
        cure = f"write $prologalarm {ours:g} into {path} and send pbs_mom a SIGHUP"
        return fail(subject, text, f"{cure}, or set prologalarm = {alarm:g}")
    if alarm > ours:
        text = f"the MOM gives hooks {alarm:g} s, and ours use {ours:g} s of them"
        return warn(subject, text, f"write the same into both: set prologalarm = {alarm:g}")
    return ok(subject, f"{alarm:g} s here and there; guests have {settings.prologue_seconds():g} s")


def starter(here: Here) -> Iterator[Line]:
    """Whether the MOM starts jobs by our job starter, and plain ones as without."""
    subject, home = "job starter", here.settings.torque_home
    try:
        require_starter(home)
    except TorqueVMError as error:
        cure = f"{INSTALL} --reload puts it in place; without it no VM job starts here"
        yield fail(subject, error.what, cure)
        return
    path = job_starter(text_of(Path(home, "mom_priv/config")) or "")
    reason = why_not(Path(path))
    if reason:
        yield fail(subject, reason, f"{INSTALL} puts it right")
    elif mom.running(home) is None:
        yield warn(subject, f"{path} is in place, and no pbs_mom runs", "start pbs_mom")
    else:
        yield ok(subject, f"{path} starts jobs, and leaves plain ones alone")


def hooks(here: Here) -> Iterator[Line]:
    """Whether each hook is there as a MOM wants it, and is this version's."""
    folder, bad = Path(here.settings.torque_home, "mom_priv"), False
    for name in HOOKS:
        path = folder / name
        try:
            status: os.stat_result | None = path.stat()
        except OSError:
            status = None
        line = judge_hook(path, status, text_of(path) or "", here.settings.run_dir)
        if line is not None:
            bad = True
            yield line
    if not bad:
        yield ok("hooks", f"{len(HOOKS)} in {folder}, root's own, of this version")


def judge_hook(path: Path, status: os.stat_result | None, text: str, run_dir: str) -> Line | None:
    """Judge one hook; None when it is right.

    A MOM takes root's own, for root (one that runs as the job's owner: for everybody) to read and execute,
    that nobody else may write; for one that is not so it requeues the job for ever (TF 1.2).
    """
    subject = f"hook {path.name}"
    if status is None:
        return fail(subject, f"{path} is missing", f"{INSTALL} puts it in place")
    mode, needed = stat.S_IMODE(status.st_mode), HOOKS[path.name] & 0o505
    if status.st_uid != 0:
        cure = f"chown root {path}"
        return fail(subject, f"it belongs to uid {status.st_uid}: pbs_mom requeues jobs for ever", cure)
    if mode & needed != needed or mode & 0o022 or not stat.S_ISREG(status.st_mode):
        cure = f"chmod {HOOKS[path.name]:04o} {path}"
        return fail(subject, f"it has mode {mode:04o}, for which pbs_mom requeues jobs for ever", cure)
    python = _python(text)
    if text != hook_text(path.name, python=python or "", run_dir=run_dir):
        text = "it is not as this version and the settings have it"
        return warn(subject, text, f"{INSTALL} renews it, unless it was edited")
    if python and not os.access(python, os.X_OK):
        return fail(
            subject, f"the interpreter in it, {python}, cannot be executed", f"{INSTALL} names the right"
        )
    return None


def _python(text: str) -> str:
    """The interpreter that a hook names; empty if it needs none."""
    found = re.search(r"^PYTHON=(.+)$", text, re.MULTILINE)
    words = shlex.split(found[1]) if found else []
    return words[0] if words else ""


def faults(here: Here) -> Iterator[Line]:
    """Whether jobs failed on nodes lately, as seen from here, and whether this one took itself out."""
    subject, own = "faults", out_here(here.settings.run_dir)
    if own:
        cure = f"mend it, then: torque-vm nodes --clear {here.hostname}"
        yield fail(subject, f"this node took itself out: {own}", cure)
    counting = FaultRecords(here.settings.history_dir).counting(here.settings.offline_within)
    held = {node: weight(found) for node, found in counting.items()}
    if held:
        text = ", ".join(f"{node} ({count})" for node, count in sorted(held.items()))
        limit = here.settings.offline_after
        until = f"; at {limit} a node is taken out" if limit else ""
        yield warn(subject, f"starts failed on {text}{until}", "torque-vm nodes says why")
    if not held and not own:
        yield ok(subject, "nothing is held against any node here")


def operator(here: Here) -> Iterator[Line]:
    """Whether this node can take out a faulty one; nothing where it shall not, or has no TORQUE commands."""
    settings = here.settings
    if not settings.offline_after or not Pbsnodes.find(settings.real_qsub_on_nodes, current.get()).program:
        return
    subject, granted = "operator", servers.ask_server().operators
    right = next((name for name in granted if may(name, here.hostname)), "")
    if right:
        yield ok(subject, f"the server lets this node take faulty ones out ({right})")
    elif node_check(settings.torque_home):
        yield ok(subject, "this node can take out itself, by its node check, and no other one")
    else:
        text = "the server does not let root of this node take faulty ones out: they stay in use"
        yield warn(subject, text, f"torque-vm install server {here.hostname} --apply, on the server")


def may(granted: str, hostname: str) -> bool:
    """Whether a name in the server's list of operators is root of a host: ``root@node1``, ``*@*.cluster``."""
    user, _, host = granted.partition("@")
    short = hostname.partition(".")[0]
    return user in {"root", "*"} and any(fnmatch.fnmatchcase(name, host) for name in (hostname, short))


def submit_filter(here: Here) -> Iterator[Line]:
    """On a submit host: whether TORQUE calls our filter."""
    path = f"{here.settings.torque_home}/{torquecfg.NAME}"
    text = text_of(Path(path))
    named = torquecfg.read_filter((text or "").encode(errors="replace"))
    try:
        installed = any(SUBMIT_HOST in entry.roles for entry in manifest_of(here.prefix).files.values())
    except TorqueVMError as error:
        yield failed("submit filter", error)
        return
    target = named.path.decode(errors="replace") if named else ""
    ours = bool(target) and FILTER_MARK in (text_of(Path(target)) or "").encode(errors="replace")
    if installed or ours:
        yield judge_filter(
            path, target, ours=ours, executable=os.access(target, os.X_OK) if target else False
        )


def judge_filter(path: str, target: str, *, ours: bool, executable: bool) -> Line:
    """Judge the submit filter that TORQUE calls.

    :param path: of ``torque.cfg``; ``target``: what it names, or "".
    """
    subject, cure = "submit filter", "torque-vm install submit-host puts it right"
    if not target:
        return fail(subject, f"{path} names none: a job with #PBS -vm runs on bare metal", cure)
    if not ours:
        text = f"{path} names {target}, which is not ours: a job with #PBS -vm runs on bare metal"
        return fail(subject, text, cure)
    if not executable:
        return fail(subject, f"{target} cannot be executed: qsub refuses every job", f"chmod 755 {target}")
    return ok(subject, f"{path} names ours")


def compiled_settings(here: Here) -> Iterable[Line]:
    """On a submit host: whether what the wrapper reads is made from the settings of today."""
    if not Path(here.etc, DIRECTORY).is_dir():
        return
    if read_compiled(here.etc) is None:
        text = f"what is in {here.etc}/{DIRECTORY} is older than the settings, or of another version"
        yield warn("compiled settings", text, "torque-vm install submit-host makes it anew")
    else:
        yield ok("compiled settings", "up to date")
