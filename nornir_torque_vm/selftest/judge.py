"""What the self-test's job says of itself, and what to make of it: the script, its output, the verdict."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from nornir_torque_vm.errors import Cancelled, DeadlineExceeded, TorqueVMError, one_line
from nornir_torque_vm.exitcodes import RunExit
from nornir_torque_vm.identity import guest_name
from nornir_torque_vm.selftest.answers import Seen

_MARK = "selftest"
SCRIPT = f"""#!/bin/sh
echo "{_MARK} host $(uname -n)"
system=$(. /etc/os-release 2>/dev/null && echo "$PRETTY_NAME")
echo "{_MARK} system ${{system:-$(uname -srm)}}"
while read -r name; do echo "{_MARK} guest $name"; done <"$PBS_NODEFILE"
echo "{_MARK} end here"
"""
"""A line for each thing, after a word of its own: a shell's start-up files may print what they like."""
RUNNING = {"R", "E"}
"""States of a job that was started: running, ending."""
LONGEST = 120
"""Characters of a word of the job's that are shown."""


class JobFailed(TorqueVMError):
    """The job was not what a job in guests has to be."""


@dataclasses.dataclass(frozen=True, slots=True)
class Said:
    """What the job wrote: the host it ran on, its system, the names in its nodefile; whether that is all."""

    host: str = ""
    system: str = ""
    nodefile: tuple[str, ...] = ()
    whole: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """All that is known of one node's job.

    :param seen: the server's last word; None when it never answered.
    :param out: what the job wrote, None when that did not come back; ``err`` is its last error line.
    :param left: what is still on the node.
    :param silence: why the server was not understood when it was asked last.
    :param gone: whether it is over by now, by itself or deleted.
    :param cancelled: whether somebody ended the self-test.
    """

    node: str
    job_id: str
    seen: Seen | None = None
    out: str | None = None
    err: str = ""
    left: Sequence[str] = ()
    silence: str = ""
    gone: bool = True
    cancelled: bool = False

    @property
    def over(self) -> bool:
        """Whether it came to its end by itself, in time."""
        return self.seen is not None and self.seen.over


def read_output(text: str) -> Said:
    """Read what :data:`SCRIPT` prints; what is missing is empty."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(rf"^{_MARK} (host|system|guest|end) (.+)$", text, re.MULTILINE):
        found.setdefault(name, []).append(one_line(value)[:LONGEST])
    host, system = (found.get(name, [""])[-1] for name in ("host", "system"))
    return Said(host, system, tuple(found.get("guest", ())), "end" in found)


def judge(outcome: Outcome) -> TorqueVMError | None:
    """Say what is wrong with a job, and what to do; None when it is as it has to be."""
    wrong = _wrong(outcome)
    if not outcome.left:
        return wrong
    there = f"left on the node: {', '.join(outcome.left)}"
    if wrong is None:
        return JobFailed(there, hint=f"torque-vm reap --job {outcome.job_id} there removes it")
    wrong.what = f"{wrong.what}; {there}"
    return wrong


def _wrong(outcome: Outcome) -> TorqueVMError | None:
    """What is wrong with it, apart from what is left."""
    seen, node = outcome.seen, outcome.node
    tells = f"torque-vm job {outcome.job_id} on {node} tells why"
    if seen is None or not seen.over:
        return _late(outcome, tells)
    if not seen.state:
        return JobFailed(
            "the server forgot the job before it told its exit status",
            hint="set keep_completed: torque-vm install server prints the line",
        )
    if seen.exit_status is None:
        return JobFailed("it was deleted before it ran", hint="try again, unless somebody meant it")
    if seen.exit_status in set(RunExit) - {RunExit.OK} and outcome.err:
        return JobFailed(outcome.err, hint=tells)
    if seen.exit_status != 0:
        said = f" ({outcome.err})" if outcome.err else ""
        return JobFailed(f"its exit status is {seen.exit_status}{said}", hint=tells)
    if outcome.out is None:
        return JobFailed(
            "its output did not come back",
            hint=f"look at undelivered in TORQUE's home on {node}, at $usecp, and at scp from there to here",
        )
    return _elsewhere(outcome, read_output(outcome.out))


def _late(outcome: Outcome, tells: str) -> TorqueVMError:
    """How far it was when the time was up, or the self-test was ended."""
    seen = outcome.seen
    kind: type[DeadlineExceeded] = Cancelled if outcome.cancelled else DeadlineExceeded
    if outcome.cancelled:
        what, hint = "the self-test was interrupted", ""
    elif seen is None or outcome.silence:
        why = outcome.silence or "there was no time to ask it"
        what, hint = f"the server does not tell how far it is: {why}", "look at pbs_server"
    elif seen.state in RUNNING:
        what, hint = "it was started and has not ended in time", tells
    elif seen.starts:
        times = "once" if seen.starts == 1 else f"{seen.starts} times"
        what, hint = f"it was started {times} and sent back to the queue", tells
    else:
        said = f" ({one_line(seen.comment)[:LONGEST]})" if seen.comment else ""
        what = f"it was never started, its state is {seen.state}{said}"
        hint = f"look at pbsnodes {outcome.node} and at the scheduler, or give more time with --timeout"
    if not outcome.gone:
        return _error(kind, f"{what}; it cannot be deleted", f"qdel {outcome.job_id} when the server answers")
    return _error(kind, f"{what}; it was deleted", hint)


def _error(kind: type[DeadlineExceeded], what: str, hint: str) -> TorqueVMError:
    error = kind(what)
    error.hint = hint
    return error


def _elsewhere(outcome: Outcome, said: Said) -> TorqueVMError | None:
    """Whether it ran anywhere else than in its guests."""
    if said.host.partition(".")[0] == outcome.node.partition(".")[0]:
        return JobFailed(
            "it ran on the node itself, not in a guest",
            hint=f"torque-vm doctor {outcome.node} looks at its hooks and job starter",
        )
    if said.host != guest_name(outcome.job_id, 0):
        return JobFailed(
            f"it ran on {said.host or 'a host that its output does not name'}, which is not its first guest",
            hint=f"torque-vm doctor {outcome.node} looks at its job starter",
        )
    guests = list(dict.fromkeys(said.nodefile))
    strangers = [name for rank, name in enumerate(guests) if name != guest_name(outcome.job_id, rank)]
    if strangers or not guests:
        names = strangers[0] if strangers else "nothing"
        return JobFailed(f"PBS_NODEFILE names {names} where its guests should be", hint="report this")
    return None if said.whole else JobFailed("its output is cut off", hint="is the user's home full?")
