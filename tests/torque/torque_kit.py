"""Jobs on the lab's TORQUE: submitting them as its user, watching them, and changing what the site sets."""

from __future__ import annotations

import contextlib
import os
import subprocess
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import driving

from nornir_torque_vm.config.textfile import write_text
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.lab import HEAD, Lab
from nornir_torque_vm.lab.files import SPOOL, USER
from nornir_torque_vm.lab.spec import EXITED

JOB_SECONDS = 30.0
"""How long a job without guests may take from its submission to its end."""


def as_user(argv: Sequence[str], *, cwd: str = USER.home, env: Mapping[str, str] | None = None) -> list[str]:
    """Return the words that run ``argv`` as the lab's user, from root inside a host; dies with its parent."""
    variables = {
        "HOME": USER.home,
        "USER": USER.name,
        "LOGNAME": USER.name,
        "SHELL": USER.shell,
        **(env or {}),
    }
    return [
        "/usr/bin/env", "-C", cwd, *(f"{name}={value}" for name, value in variables.items()),
        "/usr/bin/setpriv", "--reuid", str(USER.uid), "--regid", str(USER.gid), "--init-groups",
        "--pdeathsig", "KILL", *argv,
    ]  # fmt: skip


def user_run(
    lab: Lab,
    argv: Sequence[str],
    *,
    host: str = HEAD,
    stdin: str | None = None,
    cwd: str = USER.home,
    env: Mapping[str, str] | None = None,
    seconds: float = JOB_SECONDS,
    check: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Run a program as the lab's user, on the head unless told otherwise.

    :raises LabError: it failed and ``check`` is set, or took too long.
    """
    return lab.run(host, as_user(argv, cwd=cwd, env=env), input=stdin, seconds=seconds, check=check)


def user_file(lab: Lab, name: str, text: str, mode: int = 0o700) -> str:
    """Write a file of the user's into the common home; return its path."""
    path = lab.root(HEAD) / USER.home[1:] / name
    write_text(path, text, mode)
    os.chown(path, USER.uid, USER.gid)
    return f"{USER.home}/{name}"


def qsub(
    lab: Lab,
    argv: Sequence[str] = (),
    *,
    stdin: str | None = None,
    script: str | None = None,
    host: str = HEAD,
    env: Mapping[str, str] | None = None,
    program: str = "qsub",
) -> str:
    """Submit a job as the lab's user and return its id.

    :param program: what submits it, called like qsub.
    :param stdin: text of the job's script when it comes on standard input.
    :param script: text of the job's script when it is a file; the file stays in the user's home.
    :raises LabError: qsub refused; quotes its last line.
    """
    words = [program, *argv]
    if script is not None:
        words.append(user_file(lab, f"job-{uuid.uuid4().hex[:8]}.sh", script))
    return user_run(lab, words, host=host, stdin=stdin, env=env).stdout.strip()


def jobs(lab: Lab, *selection: str) -> dict[str, dict[str, str]]:
    """Return job id → attributes of the jobs selected, members of arrays one by one; all without a selection.

    An attribute with parts has several entries, as ``qstat -f`` prints them: ``Resource_List.nodes``.
    A job the server has forgotten is not there.
    """
    done = lab.run(HEAD, ["qstat", "-f", "-x", "-t", *selection], check=False)
    if not done.stdout.strip():
        return {}
    rows = (dict(flat(job)) for job in ET.fromstring(done.stdout))  # noqa: S314 -- our own server's
    return {row.pop("Job_Id"): row for row in rows}


def flat(job: ET.Element) -> Iterator[tuple[str, str]]:
    """Yield a job's attributes, those with parts as ``name.part``."""
    for attribute in job:
        if len(attribute):
            yield from ((f"{attribute.tag}.{part.tag}", part.text or "") for part in attribute)
        else:
            yield attribute.tag, attribute.text or ""


def job_attributes(lab: Lab, job_id: str) -> dict[str, str]:
    """Return the attributes of one job, see :func:`jobs`.

    :raises KeyError: the server knows no such job.
    """
    return jobs(lab, job_id)[job_id]


def wait_for_state(lab: Lab, job_id: str, states: str = "C", seconds: float = JOB_SECONDS) -> dict[str, str]:
    """Wait until a job is in one of the states (letters, e.g. ``"RC"``) and return its attributes.

    :raises TimeoutError: it never was; says in which it is.
    """
    attributes: dict[str, str] = {}
    for _ in Deadline.after(seconds).backoff(0.2):
        attributes = job_attributes(lab, job_id)
        if attributes["job_state"] in states:
            return attributes
    raise TimeoutError(f"{job_id} is in state {attributes.get('job_state')} after {seconds} s: {attributes}")


def run_job(lab: Lab, argv: Sequence[str], script: str, seconds: float = JOB_SECONDS) -> dict[str, str]:
    """Submit a script on standard input, wait until the job is over, return its attributes."""
    return wait_for_state(lab, qsub(lab, argv, stdin=script), seconds=seconds)


def output(lab: Lab, attributes: Mapping[str, str], stream: str = "Output") -> str:
    """Return what a finished job wrote; ``stream`` is ``Output`` or ``Error``."""
    host, _, path = attributes[f"{stream}_Path"].partition(":")
    return (lab.root(host) / path.lstrip("/")).read_text(encoding="utf-8")


def delete(lab: Lab, job_id: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Delete a job as its owner."""
    return user_run(lab, ["qdel", *options, job_id], check=False)


def real_qsub(lab: Lab) -> str:
    """Return the path of TORQUE's own qsub in the lab's hosts."""
    return lab.run(HEAD, ["sh", "-c", "command -v qsub"]).stdout.strip()


def set_submit_filter(lab: Lab, path: str | None, host: str = HEAD) -> None:
    """Make ``path`` the submit filter of a submit host; None: no filter, as the lab has it."""
    config = lab.root(host) / SPOOL[1:] / "torque.cfg"
    if path is None:
        config.unlink(missing_ok=True)
    else:
        write_text(config, f"SUBMITFILTER {path}\n", 0o644)


def site_file(lab: Lab, host: str, name: str, text: str, mode: int = 0o644) -> Path:
    """Write a file into a host's own /etc/torque-vm; return its path from here, to be unlinked."""
    path = lab.root(host) / "etc/torque-vm" / name
    write_text(path, text, mode)
    return path


@contextlib.contextmanager
def settings(lab: Lab, changes: Mapping[str, object], *hosts: str) -> Iterator[None]:
    """Change settings of the hosts (none: the head and all nodes) for a while, by name."""
    with driving.settings(lab, changes, *(hosts or (HEAD, *lab.node_names))):
        yield


def mom_pid(lab: Lab, node: str) -> int:
    """Return the process id of a node's MOM, as seen inside the node."""
    return int((lab.root(node) / SPOOL[1:] / "mom_priv/mom.lock").read_text().strip("\n\0"))


def signal_mom(lab: Lab, node: str, name: str) -> None:
    """Send a signal (``HUP``, ``KILL`` …) to a node's MOM, and to none of its children."""
    lab.run(node, ["kill", "-s", name, str(mom_pid(lab, node))])


def start_mom(lab: Lab, node: str, *options: str) -> None:
    """Start a MOM again after its end, as a site would; the lab takes the node for healthy again.

    One that was killed may take a moment to go, and has the lock so long.
    """
    before = lab.root(node) / "proc" / str(mom_pid(lab, node))
    eventually(lambda: not before.exists())
    lab.run(node, ["pbs_mom", *options])
    (lab.root(node) / EXITED[1:] / "pbs_mom").unlink(missing_ok=True)


def configure_mom(lab: Lab, node: str, *lines: str) -> str:
    """Append lines to a MOM's config and make it read them; return the old text for :func:`restore_mom`."""
    config = lab.root(node) / SPOOL[1:] / "mom_priv/config"
    before = config.read_text()
    restore_mom(lab, node, before + "".join(f"{line}\n" for line in lines))
    return before


def restore_mom(lab: Lab, node: str, text: str) -> None:
    """Replace a MOM's config and make it read it."""
    write_text(lab.root(node) / SPOOL[1:] / "mom_priv/config", text, 0o644)
    signal_mom(lab, node, "HUP")


def mom_file(lab: Lab, node: str, name: str, text: str, mode: int = 0o500) -> Path:
    """Write a hook, or another file, into a node's mom_priv; return its path from here, to be unlinked."""
    path = lab.root(node) / SPOOL[1:] / "mom_priv" / name
    write_text(path, text, mode)
    return path


def node_state(lab: Lab, node: str) -> str:
    """Return a node's state in the server's words."""
    return next(found.torque for found in lab.status() if found.name == node)


def eventually(true: Callable[[], object], seconds: float = JOB_SECONDS) -> None:
    """Look with growing pauses until the condition holds.

    :raises TimeoutError: it never did.
    """
    for _ in Deadline.after(seconds).backoff(0.5):
        if true():
            return
    raise TimeoutError(f"not within {seconds} s")
