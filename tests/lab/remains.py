"""What there is of one job on any host of a lab: after its end, nothing."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.identity import job_slug, mac_address
from nornir_torque_vm.lab import HEAD, Lab
from nornir_torque_vm.lab.layout import SWITCH

FOLDERS = ("run/torque-vm", "var/lib/torque-vm", "tmp", "dev/shm")
"""Where anything of ours puts files; histories are meant to stay."""
ENDING_SECONDS = 60.0
"""How long after a job's end the last of its processes may be at work, a safety net for example."""
MOST_GUESTS = 32
"""More than any job here has."""


def domains(lab: Lab, job_id: str) -> dict[str, list[str]]:
    """Node → domains of a job there; nodes without any are left out."""
    start = f"tvm-{job_slug(job_id)}-a"
    found = {}
    for node in lab.node_names:
        names = lab.run(node, ["virsh", "-c", "qemu:///system", "list", "--all", "--name"]).stdout.split()
        if ours := [name for name in names if name.startswith(start)]:
            found[node] = ours
    return found


def leases(lab: Lab) -> dict[str, str]:
    """MAC address → address, as the lab's DHCP server has it in its file; none where it has no file."""
    try:
        rows = [line.split() for line in lab.lease_file.read_text().splitlines()]
    except FileNotFoundError:
        return {}
    return {words[1]: words[2] for words in rows if len(words) > 2}


def leases_of(lab: Lab, job_id: str) -> dict[str, str]:
    """Those of a job's guests: MAC address → address.

    The addresses are those of the guests that a job can have, so that no record of it is needed.
    """
    server = job_id.partition(".")[2]
    macs = [mac_address(server, job_id, rank) for rank in range(MOST_GUESTS)]
    held = leases(lab)
    return {mac: held[mac] for mac in macs if mac in held}


def left_of(lab: Lab, job_id: str) -> list[str]:
    """Everything of a job on any host: domains, files, run state, processes, leases; in words."""
    found = [f"{node}: domain {name}" for node, names in domains(lab, job_id).items() for name in names]
    found += [f"{SWITCH}: lease {mac} {address}" for mac, address in leases_of(lab, job_id).items()]
    of_job = re.compile(rf"(?<![\w.-]){re.escape(job_id)}(?![\w-])|(?<!\w)tvm-{job_slug(job_id)}-a\d+-")
    for host in (*([HEAD] if lab.torque else []), *lab.node_names):
        root = lab.root(host)
        for folder in FOLDERS:
            files = (str(path.relative_to(root)) for path in (root / folder).rglob("*"))
            found += [f"{host}: file {path}" for path in files if of_job.search(path)]
        for pid, words in processes(root):
            if f"PBS_JOBID={job_id}" in words or any(of_job.search(word) for word in words):
                found.append(f"{host}: process {pid}: {' '.join(words[:6])}")
    return found


def processes(root: Path) -> Iterator[tuple[str, list[str]]]:
    """Process ids inside a host, with arguments and environment of each."""
    for path in (root / "proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended
            text = (path / "cmdline").read_bytes() + (path / "environ").read_bytes()
            yield path.name, text.decode(errors="replace").split("\0")


def assert_nothing_left(lab: Lab, job_id: str, seconds: float = ENDING_SECONDS) -> None:
    """Make sure that there is no run state of a job on any host, at the latest after some seconds."""
    for _ in Deadline.after(seconds).backoff(0.5):
        left = left_of(lab, job_id)
        if not left:
            return
    assert left == [], f"of {job_id}"
