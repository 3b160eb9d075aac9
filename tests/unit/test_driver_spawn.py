"""Hooks and jobs are started as a pbs_mom starts them, and ended when it would end them."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import stat
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from driver_kit import Nodes, nodes
from nornir_kit import eventually

from nornir_torque_vm.driver import mom as mom_module
from nornir_torque_vm.driver import slots, spawn
from nornir_torque_vm.driver.mom import Ended, Mom, Order
from nornir_torque_vm.errors import LabError

__all__ = ["nodes"]

SHOW = """
exec 3>"$(dirname "$0")/seen"
state=; for fd in 0 1 2; do [ -e /proc/$$/fd/$fd ] && state="$state open" || state="$state closed"; done
session=$(ps -o sid= -p $$ | tr -d ' ')
printf '%s\\n' "$state" "$(readlink /proc/$$/fd/0)" "$(pwd)" "$(umask)" "$session" "$0" "$@" >&3
"""


def mom(nodes: Nodes, nodenum: int = 0, **changes: Any) -> Mom:
    job = nodes.job(**changes)
    return Mom(nodes, job.hosts[nodenum], nodenum, job)


def seen(nodes: Nodes) -> list[str]:
    return (nodes.home / "mom_priv/seen").read_text().splitlines()


def test_a_prologue_starts_as_recorded(nodes: Nodes) -> None:
    """argv, directory, umask, a session of its own, nothing to read, output into the job's spool files."""
    path = nodes.hook("prologue.vm", SHOW + "echo out; echo err >&2; exit 3")
    ended = mom(nodes).hook("prologue", 300)
    assert ended is not None
    assert ended.outcome == 3
    assert seen(nodes) == [
        " open open open", "/dev/null", f"{nodes.home}/mom_priv", "0077", str(ended.session),
        str(path), *slots.arguments("prologue", nodes.job()),
    ]  # fmt: skip
    assert (nodes.spool("OU"), nodes.spool("ER")) == ("out\n", "err\n")
    assert nodes.notes.read_text() == "fchown\nfchown\n", "root stays root; the spool files are the user's"
    assert stat.S_IMODE((nodes.home / "spool/17.head.OU").stat().st_mode) == 0o600


def test_a_sisters_epilogue_has_its_output_closed(nodes: Nodes) -> None:
    """TF 1.5: descriptors 1 and 2 do not exist."""
    nodes.hook("epilogue.parallel.vm", SHOW)
    assert mom(nodes, 1).hook("epilogue.parallel", 300) is not None
    assert seen(nodes)[:4] == [" open closed closed", "/dev/null", f"{nodes.home}/mom_priv", "0022"]


def test_a_hook_gets_the_recorded_environment_and_nothing_of_ours(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even what would help."""
    monkeypatch.setenv("SECRET", "ours")
    nodes.hook("prologue.vm", "tr '\\0' '\\n' </proc/$$/environ")
    mom(nodes).hook("prologue", 300)
    found = dict(line.split("=", 1) for line in nodes.spool("OU").splitlines())
    assert found == slots.environment("prologue", nodes.job())


def test_what_comes_later_is_appended(nodes: Nodes) -> None:
    """The epilogue's words stand after the job's, in the same file."""
    nodes.hook("prologue.vm", "echo before")
    nodes.hook("epilogue.vm", "echo after")
    mom(nodes).hook("prologue", 300)
    mom(nodes).hook("epilogue", 300)
    assert nodes.spool("OU") == "before\nafter\n"


def test_a_hook_that_cannot_be_executed_ends_with_255(
    nodes: Nodes, capfd: pytest.CaptureFixture[str]
) -> None:
    """TF 1.2: execv fails in the MOM's child, which leads to a requeue; here the reason is said as well."""
    path = nodes.hook("prologue.vm", "exit 0")
    path.write_text("#!/nonexistent\n")
    assert mom(nodes).hook("prologue", 300) == Ended(255, 0)
    assert f"{path}: [Errno 2] No such file" in capfd.readouterr().err


@pytest.mark.parametrize("change", [{"user_home": "/nonexistent"}, {"user": "nobody-here"}])
def test_a_job_that_cannot_be_set_up_ends_with_255(
    nodes: Nodes, change: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    """No home directory, no such account on the node: one line, no traceback."""
    ended = mom(nodes, **change).start_job(None, 60)
    assert ended.outcome == 255
    assert "Traceback" not in capfd.readouterr().err


def test_the_job_belongs_to_its_user(nodes: Nodes) -> None:
    """Groups first, then gid, then uid: the other way round it could not."""
    script = Path(nodes.job().script)
    script.write_text('#!/bin/sh\npwd; umask; echo "$0 $# $1"\n')
    script.chmod(0o700)
    mom(nodes, arguments="'two words'").start_job(None, 60)
    assert nodes.notes.read_text().split() == ["fchown", "fchown", "initgroups", "setgid", "setuid"]
    assert nodes.spool("OU") == f"{nodes.user_home}\n0077\n{script} 1 two words\n"


def test_a_bare_job_gets_a_login_shell_and_a_starter_gets_the_shell(nodes: Nodes) -> None:
    """TF 3, 3.1: argv[0] is ``-sh`` alone; with a starter its argument is the shell's path."""
    starter = nodes.hook("starter", 'echo "$0 $@"; cat')
    mom(nodes, arguments="one").start_job(str(starter), 60)
    assert nodes.spool("OU") == f"{starter} /bin/sh\n{nodes.job().script} one\n"
    Path(nodes.job().script).write_text("#!/bin/sh\ntr '\\0' '\\n' </proc/$PPID/cmdline\n")
    Path(nodes.job().script).chmod(0o700)
    mom(nodes).start_job(None, 60)
    assert nodes.spool("OU").splitlines()[-1] == "-sh"


def test_a_starter_that_reads_nothing_ends_as_it_likes(nodes: Nodes) -> None:
    """It may refuse the job at once; here with more on its input than a pipe holds."""
    starter = nodes.hook("starter", "exit 122")
    ended = mom(nodes, arguments="x" * 300_000).start_job(str(starter), 60)
    assert ended.outcome == 122


def test_arguments_that_are_no_text_arrive_as_they_were(nodes: Nodes) -> None:
    """File names are bytes."""
    starter = nodes.hook("starter", "od -An -tx1 | tr -d ' \\n'")
    mom(nodes, arguments=b"\xff".decode(errors="surrogateescape")).start_job(str(starter), 60)
    assert nodes.spool("OU").endswith("20ff0a")


def time_is_up(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Let the first limit pass at the moment when a program has written that file."""
    real, waits = mom_module._wait, []

    def wait(process: subprocess.Popen[str], limit: float) -> str:
        waits.append(limit)
        if len(waits) > 1:
            return real(process, limit)
        assert eventually(lambda: path.exists() and path.read_text() != "", 20)
        raise subprocess.TimeoutExpired("", limit)

    monkeypatch.setattr(mom_module, "_wait", wait)


def test_a_hook_that_takes_too_long_is_killed_with_all_it_started(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TF 1.7: SIGKILL to its session, without a warning."""
    time_is_up(monkeypatch, nodes.folder / "child")
    nodes.hook("prologue.vm", f"trap '' TERM; sleep 600 & echo $! >{nodes.folder}/child; sleep 600")
    ended = mom(nodes).hook("prologue", 300)
    assert ended is not None
    assert ended.outcome == slots.ALARM
    assert eventually(lambda: _gone(int((nodes.folder / "child").read_text())))
    assert _gone(ended.session)


def test_the_margin_of_the_alarm_is_ten_seconds(nodes: Nodes) -> None:
    """300 means 290."""
    limits: list[float] = []

    class Impatient(Mom):
        def _run(self, order: Order, limit: float, **_: Any) -> Ended:
            limits.append(limit)
            return Ended(0)

    nodes.hook("prologue.vm", "")
    for alarm in (300, 11, 10, 5):
        Impatient(nodes, "n1", 0, nodes.job()).hook("prologue", alarm)
    assert limits == [290, 1, 10, 5]


def test_a_job_over_its_walltime_is_asked_first_and_then_killed(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM, and SIGKILL some seconds later for what does not listen."""
    monkeypatch.setattr(mom_module, "STOP_GRACE", 1.0)
    time_is_up(monkeypatch, nodes.folder / "ready")
    text = f"trap 'echo asked' TERM; echo ready >{nodes.folder}/ready; while :; do sleep 0.1; done"
    ended = mom(nodes).start_job(str(nodes.hook("starter", text)), 3600)
    assert ended.outcome == slots.ALARM
    assert nodes.spool("OU") == "asked\n"
    assert _gone(ended.session)


def test_a_node_that_starts_nothing_is_a_lab_error(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way into it is broken."""
    nodes.hook("prologue.vm", "")
    monkeypatch.setattr(Nodes, "enter", lambda *_: ["false"])
    with pytest.raises(LabError, match=r"node n1: .*/prologue\.vm could not be started"):
        mom(nodes).hook("prologue", 300)


def test_a_node_that_does_not_even_kill_is_given_up(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for it, and nothing of it stays here."""
    monkeypatch.setattr(mom_module, "STOP_GRACE", 0.2)
    monkeypatch.setattr(Nodes, "enter", lambda *_: ["sh", "-c", "exec sleep 600"])
    started: list[subprocess.Popen[str]] = []
    real = Mom._spawn

    def spawning(self: Mom, order: Order) -> subprocess.Popen[str]:
        started.append(real(self, order))
        return started[0]

    monkeypatch.setattr(Mom, "_spawn", spawning)
    nodes.hook("prologue.vm", "")
    assert mom(nodes).hook("prologue", 0.3) == Ended(slots.ALARM, 0)
    assert started[0].returncode == -signal.SIGKILL


def test_deleting_a_job_signals_the_job(nodes: Nodes) -> None:
    """The status is the signal's: negative, as subprocess has it."""
    starter = nodes.hook("starter", "echo ready; exec sleep 600")
    ended = during(mom(nodes), lambda m: m.start_job(str(starter), 60), nodes)
    assert ended.outcome == -signal.SIGTERM


def test_deleting_a_job_lets_its_prologue_end_in_its_own_order(nodes: Nodes) -> None:
    """It is the prologue that knows what has to be removed."""
    nodes.hook("prologue.vm", "trap 'echo removed; exit 2' TERM; echo ready; while :; do sleep 0.1; done")
    ended = during(mom(nodes), lambda m: m.hook("prologue", 60), nodes)
    assert ended.outcome == 2
    assert nodes.spool("OU") == "ready\nremoved\n"


def test_deleting_a_job_does_not_disturb_its_epilogue(nodes: Nodes) -> None:
    """It is removing everything already."""
    nodes.hook("epilogue.vm", "echo ready; sleep 0.3; echo removed")
    ended = during(mom(nodes), lambda m: m.hook("epilogue", 60), nodes)
    assert ended.outcome == 0
    assert nodes.spool("OU") == "ready\nremoved\n"


def test_a_job_that_was_deleted_before_it_began_is_ended_at_once(nodes: Nodes) -> None:
    """Deleting and starting may cross each other."""
    starter = nodes.hook("starter", "exec sleep 600")
    chief = mom(nodes)
    chief.delete()
    assert chief.start_job(str(starter), 60).outcome == -signal.SIGTERM


def during(chief: Mom, run: Any, nodes: Nodes) -> Ended:
    """Run something and delete the job as soon as it says that it is ready."""
    ended: list[Ended] = []
    thread = threading.Thread(target=lambda: ended.append(run(chief)))
    thread.start()
    assert eventually(lambda: nodes.spool("OU") == "ready\n", 20)
    chief.delete()
    thread.join(15)
    return ended[0]


def test_ctrl_c_at_the_terminal_reaches_nothing_in_the_nodes(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes to the whole process group; what it means for the job is decided here."""
    nodes.hook("prologue.vm", "echo $PPID")
    mom(nodes).hook("prologue", 300)
    groups: list[bool] = []
    real = subprocess.Popen

    def popen(*args: Any, **options: Any) -> Any:
        process = real(*args, **options)
        groups.append(os.getpgid(process.pid) == os.getpgid(0))
        return process

    monkeypatch.setattr(subprocess, "Popen", popen)
    mom(nodes).hook("prologue", 300)
    assert groups == [False]


def test_when_the_driver_dies_so_does_what_it_started(nodes: Nodes) -> None:
    """The end of standard input means SIGKILL; nobody would be there to end it later."""
    order = dataclasses.asdict(mom(nodes)._order("prologue", "/bin/sleep", nodes.job(), ""))
    order["argv"] = ["sleep", "600"]
    done = subprocess.run(
        [*nodes.enter("n1"), str(spawn.__file__)], input=json.dumps(order) + "\n", stdout=subprocess.PIPE,
        text=True, check=True, timeout=15,
    )  # fmt: skip
    report = json.loads(done.stdout)
    assert report["code"] == -signal.SIGKILL
    assert _gone(report["session"])


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True
