"""Jobs without guests on a TORQUE whose MOMs start everything with our job starter: they do not notice."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import pytest
from torque_kit import (
    configure_mom,
    output,
    qsub,
    restore_mom,
    run_job,
    user_file,
    wait_for_state,
)
from torque_terminal import Terminal

from nornir_torque_vm.config.textfile import write_text
from nornir_torque_vm.hooks.startercheck import why_not
from nornir_torque_vm.lab import Lab
from nornir_torque_vm.lab.files import SPOOL, USER
from nornir_torque_vm.sitekit import starter_text

pytestmark = pytest.mark.torque

LOOK = """\
#!/bin/bash
echo "zero=${0/*.SC/script} args=$*"; shopt login_shell; pwd; umask; ulimit -a; ulimit -Ha
grep -E '^(Sig(Blk|Ign|Cgt|Pnd)|Groups|Uid|NoNewPrivs|Seccomp|CapEff|Cpus_allowed_list):' /proc/self/status
for pid in $$ $PPID; do
    read -r _ name _ _ group session tty _ _ _ <"/proc/$pid/stat"
    echo "stat $name $((pid == group)) $((group == session)) $tty"
    tr '\\0' '\\n' <"/proc/$pid/cmdline" 2>/dev/null
done
for fd in /proc/$PPID/fd/*; do echo "${fd##*/} $(readlink "$fd")"; done
test -t 0 || od -c | head -3
env -0 | sort -z | tr '\\0' '\\n'
sleep 0.5  # else an interactive job's last words may be lost with its terminal
"""
VARIES = (
    (r"\b\d+(\[\d*\])?\.head", "JOB"),
    (r"(pipe|socket):\[\d+\]", r"\1"),
    (r"(PBS_JOBCOOKIE|PBS_JOBNAME|SSH_\w+|PBS_VNODENUM|PBS_TASKNUM)=.*", r"\1"),
    (r"pts/\d+|tty=\d+", "TTY"),
    (r"34\d{3}$", "TTYNUMBER"),
    (r"look-\w+", "LOOK"),
)
"""What differs between two jobs anyway."""


def seen(text: str) -> list[str]:
    """What a job found, without what differs between two jobs."""
    for pattern, word in VARIES:
        text = re.sub(pattern, word, text, flags=re.MULTILINE)
    return text.replace("\r", "").splitlines()


@contextlib.contextmanager
def starter(lab: Lab) -> Iterator[None]:
    """The MOMs use our job starter for a while; its Python does not exist."""
    before = {}
    path = f"{SPOOL}/mom_priv/job_starter"
    try:
        for node in lab.node_names:
            file = lab.root(node) / path[1:]
            write_text(file, starter_text(python="/gone/python"), 0o555)
            assert why_not(file) is None
            before[node] = configure_mom(lab, node, f"$job_starter {path}")
        yield
    finally:
        for node, text in before.items():
            restore_mom(lab, node, text)


def batch(lab: Lab, *words: str) -> tuple[str, str, str]:
    job = qsub(lab, ["-l", "nodes=node1:ppn=2", "-N", "look", *words], script=LOOK)
    done = wait_for_state(lab, job)
    return output(lab, done), output(lab, done, "Error"), done["exit_status"]


def interactive(lab: Lab, *words: str) -> str:
    """What an interactive job's shell, or the command given with ``-x``, finds."""
    look = user_file(lab, "look.sh", LOOK)
    with Terminal(lab, ["qsub", "-I", "-l", "nodes=node1", *words]) as terminal:
        job = re.search(r"job (\S+) ready", terminal.expect(" ready"))
        assert job
        if not words:
            terminal.expect("$ ")  # what is typed before the prompt is echoed once more
            terminal.send(
                f"stty -echo; echo $0 $-; shopt login_shell; bash {look} </dev/null; echo the''end\n"
            )
            terminal.expect("theend")
            terminal.send("exit\n")
        terminal.wait()
        text = terminal.text
    wait_for_state(lab, job[1])
    return text[text.index(" ready") : text.index("_=/usr/bin/env")]


def compare(without: str, given: str) -> None:
    assert seen(given) == seen(without)


class TestNobodyNotices:
    def test_a_batch_job(self, torque_lab: Lab) -> None:
        """Environment, shell, limits, descriptors, signals, session, both streams, exit status."""
        with starter(torque_lab):
            given = batch(torque_lab, "-F", "one 'two words'", "-v", "ODD=a b,LC_ALL=xx_YY.UTF-8")
        without = batch(torque_lab, "-F", "one 'two words'", "-v", "ODD=a b,LC_ALL=xx_YY.UTF-8")
        compare(without[0], given[0])
        compare(without[1], given[1])
        assert given[2] == without[2] == "0"
        assert "-bash" in without[0].split(), without[0]

    def test_a_batch_job_with_limits(self, torque_lab: Lab) -> None:
        """``-l pmem`` and friends set limits on the starter too."""
        with starter(torque_lab):
            given = batch(torque_lab, "-l", "pmem=64mb,pvmem=256mb,file=1gb")
        compare(batch(torque_lab, "-l", "pmem=64mb,pvmem=256mb,file=1gb")[0], given[0])

    def test_a_job_with_another_shell_and_directory(self, torque_lab: Lab) -> None:
        """``-S`` and ``-d``."""
        words = ("-S", "/bin/sh", "-d", "/tmp", "-W", "umask=022", "-o", USER.home, "-e", USER.home)
        with starter(torque_lab):
            given = batch(torque_lab, *words)
        compare(batch(torque_lab, *words)[0], given[0])

    def test_an_interactive_job(self, torque_lab: Lab) -> None:
        """A login shell at a terminal."""
        with starter(torque_lab):
            given = interactive(torque_lab)
        without = interactive(torque_lab)
        compare(without, given)
        assert "-bash" in given

    def test_an_interactive_command(self, torque_lab: Lab) -> None:
        """``qsub -I -x``."""
        look = user_file(torque_lab, "look.sh", LOOK)
        with starter(torque_lab):
            given = interactive(torque_lab, "-x", look)
        compare(interactive(torque_lab, "-x", look), given)

    def test_tasks_on_all_nodes(self, torque_lab: Lab) -> None:
        """``pbsdsh`` on the mother superior and on sisters."""
        look = user_file(torque_lab, "look.sh", LOOK)

        def tasks(number: int) -> str:
            script = f"pbsdsh -n {number} {look} two words\n"
            done = run_job(torque_lab, ["-l", "nodes=node1:ppn=2+node2:ppn=2"], script)
            return output(torque_lab, done) + output(torque_lab, done, "Error")

        with starter(torque_lab):
            given = [tasks(number) for number in (1, 2)]
        for text, with_starter in zip([tasks(number) for number in (1, 2)], given, strict=True):
            compare(text, with_starter)
            assert "two words" in text

    @pytest.mark.parametrize("code", [0, 37, 255])
    def test_the_exit_status(self, torque_lab: Lab, code: int) -> None:
        """The starter is not there any more when the job ends."""
        with starter(torque_lab):
            assert run_job(torque_lab, ["-l", "nodes=node1"], f"exit {code}\n")["exit_status"] == str(code)

    def test_a_command_that_does_not_exist(self, torque_lab: Lab) -> None:
        """Said in TORQUE's words."""

        def task() -> tuple[str, str, str]:
            done = run_job(torque_lab, ["-l", "nodes=node1:ppn=2"], "pbsdsh -n 1 /no/such; echo $?\n")
            return output(torque_lab, done), output(torque_lab, done, "Error"), done["exit_status"]

        with starter(torque_lab):
            given = task()
        assert given == task()
