"""``pbsdsh`` in guests, run by real shells; ssh is a script that does here what a guest's sshd would do."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from nornir_torque_vm.render.roster import pbsdsh

SSH = """#!/bin/sh
for word; do guest=$command command=$word; done
echo "$guest: $command" >>{home}/ssh.log
case " $GONE " in *" $guest "*) echo "ssh: connect to $guest: No route to host" >&2; exit 255 ;; esac
env --default-signal=HUP,INT,TERM -i HOME={home} PATH="$PATH" GUEST="$guest" \\
    setsid sh -c "echo a greeting; $command"
status=$?
[ $status -lt 128 ] || status=255
exit $status
"""
NODEFILE = "j17-r0\nj17-r0\nj17-r1\nj17-r1\nj17-r1\nj17-r2\n"


class Guests:
    """Three guests of a job, all in one directory."""

    def __init__(self, folder: Path, shell: str) -> None:
        self.home = folder / "a home"
        (self.home / "bin").mkdir(parents=True)
        (self.home / "bin/sh").symlink_to(shell)
        self.program = self.put("pbsdsh", pbsdsh())
        ssh = self.put("ssh", SSH.format(home=str(self.home).replace(" ", r"\ ")))
        ssh.chmod(0o755)
        self.nodefile = self.home / "nodefile"
        self.nodefile.write_text(NODEFILE)

    def put(self, name: str, text: str) -> Path:
        path = self.home / "bin" / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def env(self, **more: str) -> dict[str, str]:
        own = {
            "HOME": str(self.home), "PATH": f"{self.home}/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "PBS_ENVIRONMENT": "PBS_BATCH", "PBS_NODEFILE": str(self.nodefile), "PBS_VNODENUM": "0",
            "TMPDIR": str(self.home), **more,
        }  # fmt: skip
        return {name: value for name, value in own.items() if value != "unset"}

    def start(self, *words: str, **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.home / "bin/sh", self.program, *words], env=self.env(**env), cwd="/", text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, umask=0o027,
            start_new_session=True,
        )  # fmt: skip

    def run(self, *words: str, **env: str) -> tuple[int, list[str], list[str]]:
        """Exit code, lines of both streams; nothing is left in the directory for temporary files."""
        process = self.start(*words, **env)
        out, err = process.communicate(timeout=60)
        assert list(self.home.glob("pbsdsh.*")) == []
        return process.returncode, out.splitlines(), err.splitlines()

    @property
    def calls(self) -> list[str]:
        """The guests ssh was called for, in order."""
        log = self.home / "ssh.log"
        return [line.partition(":")[0] for line in log.read_text().splitlines()] if log.exists() else []


@pytest.fixture(params=["dash", "bash", "busybox"])
def guests(request: pytest.FixtureRequest, tmp_path: Path) -> Guests:
    shell = shutil.which(request.param)
    if shell is None:
        pytest.skip(f"{request.param} is not installed")
    return Guests(tmp_path, shell)


SHOW = ("sh", "-c", 'echo "$PBS_VNODENUM $PBS_NODENUM $GUEST"')
"""GUEST is in a guest's environment before anything comes from pbsdsh."""
ALL = ["0 0 j17-r0", "1 0 j17-r0", "2 1 j17-r1", "3 1 j17-r1", "4 1 j17-r1", "5 2 j17-r2"]


def test_it_runs_once_for_each_line_of_the_nodefile(guests: Guests) -> None:
    """With the slot of the job and the guest's rank, over one connection for each guest."""
    code, out, err = guests.run(*SHOW)
    assert (code, sorted(out), err) == (0, ALL, [])
    assert sorted(guests.calls) == ["j17-r0", "j17-r1", "j17-r2"]


@pytest.mark.parametrize(
    ("words", "chosen"),
    [
        (["-c", "3"], [0, 1, 2]),
        (["-c6"], [0, 1, 2, 3, 4, 5]),
        (["-n", "0"], [0]),
        (["-n", "4"], [4]),
        (["-u"], [0, 2, 5]),
        (["-u", "-n", "1"], [2]),
        (["-u", "-c", "2"], [0, 2]),
        (["-h", "j17-r1"], [2]),
        (["-h", "j17-r1/2"], [4]),
        (["-h", "j17-r2", "-u"], [5]),
        (["-o", "-E", "-n", "5"], [5]),
    ],
)
def test_the_options_say_where(guests: Guests, words: Sequence[str], chosen: Sequence[int]) -> None:
    code, out, err = guests.run(*words, *SHOW)
    assert (code, sorted(out), err) == (0, [ALL[slot] for slot in chosen], [])


def test_in_turn_means_one_after_the_other_in_the_nodefiles_order(guests: Guests) -> None:
    task = 'echo "begin $PBS_VNODENUM"; sleep 0.1; echo "end $PBS_VNODENUM"'
    code, out, err = guests.run("-s", "sh", "-c", task)
    assert (code, out, err) == (
        0, [f"{what} {slot}" for slot in range(6) for what in ("begin", "end")], [],
    )  # fmt: skip


def test_all_tasks_run_at_the_same_time_however_many_guests_there_are(guests: Guests) -> None:
    """Tasks may wait for each other: only as many connections are made at once as is good."""
    count = 40
    guests.nodefile.write_text("".join(f"j17-r{rank}\n" for rank in range(count)))
    last = f'"{guests.home}/here.{count - 1}"'
    task = f'cd "$HOME"; : >here.$PBS_NODENUM; until [ -e {last} ]; do sleep 0.1; done; echo met'
    code, out, err = guests.run("sh", "-c", task)
    assert (code, out, err) == (0, ["met"] * count, [])


def test_a_failed_task_is_told_and_does_not_change_the_exit_code(guests: Guests) -> None:
    """As TORQUE's: its exit code is about starting tasks."""
    code, out, err = guests.run("sh", "-c", "exit $PBS_VNODENUM")
    assert (code, out) == (0, [])
    assert sorted(err) == [f"pbsdsh(): task {slot} exit status {slot}" for slot in range(1, 6)]
    code, _, err = guests.run("-u", "-n", "2", "/no/such")
    assert code == 0
    assert err[-1] == "pbsdsh(): task 2 exit status 127"
    assert "/no/such" in err[0]


def test_verbosely_every_start_and_end_is_told(guests: Guests) -> None:
    code, out, err = guests.run("-v", "-c", "2", "true")
    assert (code, out) == (0, [])
    told = [
        f"pbsdsh(): {what}"
        for slot in (0, 1)
        for what in (f"spawned task {slot}", f"task {slot} exit status 0")
    ]
    assert sorted(err) == sorted(told)


def test_a_task_that_dies_of_a_signal_is_told_by_number_only(guests: Guests) -> None:
    """Not in words of the shell as well."""
    code, _, err = guests.run("-n", "0", "sh", "-c", "kill -KILL $$")
    assert (code, err) == (0, ["pbsdsh(): task 0 exit status 137"])


def test_a_task_gets_arguments_environment_umask_and_directory(guests: Guests) -> None:
    """The directory is the home, or that of ``qsub -d``, as TORQUE's tasks have it."""
    odd = "two  words; $HOME `id` \\ \"q\" 'x'\nline"
    task = 'printf "%s|%s|%s|%s|%s" "$1" "$ODD" "$PWD" "$(umask)" "$#"; cat'
    code, out, err = guests.run("-n", "5", "sh", "-c", task, "sh", odd, "", ODD=odd)
    assert (code, err) == (0, [])
    assert "\n".join(out) == f"{odd}|{odd}|{guests.home}|0027|2"
    code, out, _ = guests.run("-n", "0", "pwd", PBS_O_INITDIR="/usr/bin")
    assert out == ["/usr/bin"]
    code, out, _ = guests.run("-n", "0", "pwd", PBS_O_INITDIR="/no/such")
    assert out == [str(guests.home)]


def test_variables_of_our_own_do_not_reach_tasks_and_the_users_do(guests: Guests) -> None:
    """A user may have exported names that the program uses itself."""
    names = ("tasks", "count", "work", "node", "environment", "command", "me", "rest", "serial")
    shown = " ".join(f"${name}" for name in names)
    code, out, err = guests.run("-n", "2", "sh", "-c", f"echo {shown}", **{name: name for name in names})
    assert (code, out, err) == (0, [" ".join(names)], [])
    code, out, err = guests.run("-n", "2", "env")
    ours = {line.partition("=")[0] for line in out} - guests.env().keys()
    assert ours <= {"GUEST", "PBS_NODENUM", "PBS_TASKNUM", "PWD", "OLDPWD", "SHLVL", "_"}, ours


def test_variables_may_be_set(guests: Guests) -> None:
    words = ("-e", "A=it's,B,C=", "-e", "D=1 2", "-n", "0", "sh", "-c", 'echo "$A|$B|${C-no}|$D|${E-no}"')
    assert guests.run(*words, B="mine", C="gone") == (0, ["it's|mine||1 2|no"], [])


def test_a_shells_builtin_is_no_program(guests: Guests) -> None:
    """TORQUE starts programs; ``exit`` must not end what counts the tasks."""
    code, _, err = guests.run("-c", "2", "break")
    assert code == 0
    assert all(f"pbsdsh(): task {slot} exit status 127" in "".join(err) for slot in (0, 1)), err


@pytest.mark.parametrize(
    ("words", "env", "sentence"),
    [
        ([], {}, "pbsdsh(): must specify a program"),
        (["-x", "true"], {}, ""),
        (["-c", "0", "true"], {}, ""),
        (["-c", "1", "-n", "1", "true"], {}, ""),
        (["-n", "-1", "true"], {}, "pbsdsh(): -n wants a number, not '-1'"),
        (["-c", "two", "true"], {}, "pbsdsh(): -c wants a number, not 'two'"),
        (["-e", "A-B=1", "true"], {}, "pbsdsh(): -e wants names of variables, not 'A-B'"),
        (["-n", "6", "true"], {}, "pbsdsh(): only 6 nodes available"),
        (["-c", "7", "true"], {}, "pbsdsh(): only 6 nodes available"),
        (["-u", "-n", "3", "true"], {}, "pbsdsh(): only 3 nodes available"),
        (["-h", "node1", "true"], {}, "pbsdsh(): node1 not found"),
        (["-h", "j17-r2/1", "true"], {}, "pbsdsh(): j17-r2/1 not found"),
        (["true"], {"PBS_ENVIRONMENT": "unset"}, "pbsdsh(): not executing under PBS"),
        (["true"], {"PBS_NODEFILE": "/a"}, "pbsdsh(): the nodefile '/a' is in the job's first guest only"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said_and_nothing_is_started(
    guests: Guests, words: Sequence[str], env: dict[str, str], sentence: str
) -> None:
    code, out, err = guests.run(*words, **env)
    assert (code, out, guests.calls) == (1, [], [])
    assert any(line == sentence for line in err) if sentence else any("Usage: pbsdsh" in line for line in err)


def test_a_guest_that_cannot_be_reached_is_named_and_the_others_run(guests: Guests) -> None:
    code, out, err = guests.run("-u", *SHOW, GONE="j17-r1")
    assert (code, sorted(out)) == (1, ["0 0 j17-r0", "5 2 j17-r2"])
    assert err[-1] == "pbsdsh(): guest j17-r1 could not be reached"
    assert "No route to host" in err[0]


def test_a_guest_that_is_lost_is_named(guests: Guests) -> None:
    """Nobody knows how its tasks ended."""
    code, _, err = guests.run(
        "-u", "sh", "-c", '[ $PBS_NODENUM != 1 ] || kill -KILL -$(ps -o sid= $$ | tr -d " ")'
    )
    assert code == 2
    assert err[-1] == "pbsdsh(): the connection to j17-r1 broke; how its tasks ended is not known"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("whole", [True, False])
def test_a_signal_ends_the_tasks_in_their_guests(guests: Guests, number: signal.Signals, whole: bool) -> None:
    """Also when it came to every process of the job, several times, as it does from a MOM."""
    name = "HUP" if number == signal.SIGHUP else "TERM"
    task = f'trap "echo told $PBS_VNODENUM; exit" {name}; echo up; while :; do sleep 0.1; done'
    process = guests.start("-u", "sh", "-c", task)
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(3)] == ["up\n"] * 3
    for _ in range(3 if whole else 1):
        (os.killpg if whole else os.kill)(process.pid, number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert sorted(out.splitlines()) == ["told 0", "told 2", "told 5"]
    said = [
        line
        for line in err.splitlines()
        if re.fullmatch(r"pbsdsh\(\): killing the tasks in \S+ with SIG\w+", line)
    ]
    assert sorted(line.split()[5] for line in said) == ["j17-r0", "j17-r1", "j17-r2"]
    assert list(guests.home.glob("pbsdsh.*")) == []
