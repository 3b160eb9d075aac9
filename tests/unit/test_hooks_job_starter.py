"""The job starter, with an ssh that plays what was seen of the real one."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jobs
import pytest

from nornir_torque_vm.runstate.handover import Refusal, read_handover

JOB = "17[3].head"

SSH = """#!/bin/bash
for command; do :; done
printf '%s\\n' "$@" >>"$PLAY/argv"
for word; do
    case $word in
    *File=/proc/*)
        cat "${word#*=}" >>"$PLAY/${word%%=*}"
        stat -L -c %a "${word#*=}" >>"$PLAY/mode" ;;
    ControlPath=*)
        dirname "${word#*=}" >>"$PLAY/folder"
        stat -c %a "$(dirname "${word#*=}")" >>"$PLAY/folder"
    esac
done
case $command in
"exec sh -s") cat >"$PLAY/stdin"; . "$PLAY/job" ;;
*"umask 077; cat >"*) cat >"$PLAY/stdin"; . "$PLAY/upload" ;;
"exec sh /tmp/"*) . "$PLAY/job" ;;
*"kill -s"*) name=${command##*kill -s }; echo "${name%% *}" >>"$PLAY/signals"; . "$PLAY/signal" ;;
*".status 2>"*) . "$PLAY/status" ;;
esac
"""
UNTIL_SIGNALLED = 'touch "$PLAY/ready"; while [ ! -s "$PLAY/signals" ]; do sleep 0.05; done; '


class Start:
    """A job that was handed over, and the starter for it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.run_dir = folder, folder / "run"
        (folder / "bin").mkdir()
        # ssh gets few of the job's variables, so the stand-in is told where it plays in its own text.
        (folder / "bin/ssh").write_text(SSH.replace("\n", f"\nPLAY={folder}\n", 1))
        (folder / "bin/ssh").chmod(0o755)
        self.script = folder / "17-3.head.SC"
        self.script.write_bytes(b"#!/bin/sh\necho hello \xff\n")
        self.play()
        jobs.started(self.run_dir, jobs.job(JOB))

    def play(
        self,
        job: str = "exit 0",
        status: str = "exit 1",
        signalled: str = "exit 0",
        upload: str = "echo ready; sleep 0.3",
    ) -> None:
        """Say what ssh does: for the job, asked for the exit status, passing a signal on, uploading."""
        texts = {"job": job, "status": status, "signal": signalled, "upload": upload}
        for name, text in texts.items():
            (self.folder / name).write_text(text + "\n")

    def argv(self, *task: str) -> list[str]:
        module = "nornir_torque_vm.hooks.job_starter"
        return [sys.executable, "-I", "-m", module, str(self.run_dir), "11", *(task or ("/bin/bash",))]

    def environment(self, **changes: str) -> dict[str, str]:
        given = {
            "PATH": f"{self.folder}/bin:/bin:/usr/bin", "PLAY": str(self.folder), "PBS_JOBID": JOB,
            "PBS_NODEFILE": "/var/spool/torque/aux//17[3].head", "PBS_NP": "2", "HOME": "/home/alice",
            "SHELL": "/bin/bash", "PBS_ENVIRONMENT": "PBS_BATCH", "PBS_VNODENUM": "0",
        }  # fmt: skip
        return {**given, **changes}

    def run(
        self, line: str | None = None, argv: list[str] | None = None, **changes: str
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        given = f"{self.script} 'two words'\n" if line is None else line
        return subprocess.run(
            argv or self.argv(), input=given, cwd=self.folder, env=self.environment(**changes),
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    def begin(self) -> subprocess.Popen[bytes]:
        """Start it and wait until the job runs."""
        ours, theirs = os.pipe()
        os.write(theirs, f"{self.script}\n".encode())
        os.close(theirs)
        with (self.folder / "stderr").open("w") as err:
            process = subprocess.Popen(
                self.argv(), stdin=ours, stderr=err, env=self.environment(), cwd=self.folder
            )
        os.close(ours)
        end = time.monotonic() + 15
        while not (self.folder / "ready").exists():
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.02)
        return process

    def read(self, name: str) -> str:
        return (self.folder / name).read_text()


@pytest.fixture
def start(tmp_path: Path) -> Start:
    return Start(tmp_path)


def test_the_exit_status_is_the_jobs_own(start: Start) -> None:
    """Output goes where the MOM's descriptors lead: ssh inherits them."""
    start.play(job="echo out; echo err >&2; exit 42")
    done = start.run()
    assert (done.returncode, done.stdout, done.stderr) == (42, "out\n", "err\n")


def test_the_guest_gets_script_line_nodefile_and_environment(start: Start) -> None:
    """As ``render.entry`` words it; here it counts that the MOM's things are the ones it words."""
    start.run(ODD="a 'b'")
    text = start.read("stdin")
    wanted = [
        "#!/bin/sh\necho hello \\0377\n",
        f"{start.script} '\"'\"'two words'\"'\"'\n",
        "j17-3-r0\n" * 3 + "j17-3-r1\n" * 3,
        "export PBS_NP=6\n",
        "export ODD='a '\"'\"'b'\"'\"''\n",
        f"cd {start.folder} ",
        "exec setsid /bin/bash -l) ",
    ]
    assert [piece for piece in wanted if piece not in text] == []
    assert "export HOME=" not in text


def test_ssh_trusts_the_pinned_host_key_alone_and_reads_its_key_from_memory(start: Start) -> None:
    """No file of the user's is read or written; key and environment are in no argument list."""
    start.run(SECRET="a secret")
    given = read_handover(start.run_dir, JOB)
    assert start.read("IdentityFile") == given.user_key
    assert start.read("UserKnownHostsFile") == given.known_hosts
    assert set(start.read("mode").split()) == {"600"}
    words = start.read("argv").splitlines()
    assert words[:3] == ["-F", "none", "-T"]
    assert "a secret" not in start.read("argv")
    assert words[-2:] == [f"alice@{given.guests[0].address}", "exec sh -s"]
    assert {"StrictHostKeyChecking=yes", "GlobalKnownHostsFile=none", "BatchMode=yes"} <= set(words)
    assert given.user_key.strip() not in start.read("argv")


def test_a_job_that_ends_with_255_is_no_broken_connection(start: Start) -> None:
    """It is ssh's code for its own failure: the guest is asked, and knows."""
    start.play(job="exit 255", status="echo 255")
    done = start.run()
    assert (done.returncode, done.stderr) == (255, "")


def test_a_connection_that_breaks_after_the_job_ended_loses_no_status(start: Start) -> None:
    """Whatever became of ssh: here it was killed."""
    start.play(job="kill -9 $$", status="echo 7")
    assert start.run().returncode == 7


@pytest.mark.parametrize("broken", ["exit 255", "kill -9 $$"])
def test_a_broken_connection_is_a_site_failure_with_one_line(start: Start, broken: str) -> None:
    """The guest is gone: nobody knows how the job ended."""
    refused = "ssh: connect to host 10.0.0.1 port 22: Connection refused"
    start.play(job=broken, status=f"echo noise >&2; echo '{refused}' >&2; exit 255")
    done = start.run()
    assert done.returncode == 122
    assert done.stderr == (
        f"torque-vm: job {JOB}, guest j17-3-r0: the connection to the guest broke; {refused}\n"
    )


def test_a_guest_that_started_anew_is_told_from_one_that_is_lost(start: Start) -> None:
    """It answers, and knows nothing of the job."""
    start.play(job="exit 255", status="exit 4")
    done = start.run()
    assert done.returncode == 122
    assert done.stderr == (
        f"torque-vm: job {JOB}, guest j17-3-r0: it was started anew while the job ran in it; "
        "did the job, or the image, reboot it?\n"
    )


def test_a_guest_that_says_nothing_useful_is_no_status(start: Start) -> None:
    """The file is empty while the job runs."""
    start.play(job="exit 255", status="echo ''")
    done = start.run()
    assert (done.returncode, len(done.stderr.splitlines())) == (122, 1)
    assert "see its console in the history" in done.stderr


def test_a_marked_job_without_hand_over_is_refused(start: Start) -> None:
    """A VM job never runs on bare metal, whatever died."""
    (start.run_dir / "handover" / JOB / "given").unlink()
    done = start.run()
    assert done.returncode == 122
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"torque-vm: job {JOB}: its guests were not started, or are gone; ")
    assert not (start.folder / "argv").exists()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"PBS_JOBID": "../17.head"}, "not a job id"),
        ({"PBS_JOBID": ""}, "not a job id"),
        ({"line": ""}, "the MOM handed over no script; submit the job again"),
        ({"line": " \n"}, "the MOM handed over no script"),
        ({"line": "exec \n"}, "the MOM handed over no script"),
        ({"line": "/nonexistent/17.SC\n"}, "the job could not be started in its guests: [Errno 2]"),
        ({"PATH": "/nonexistent"}, "the job could not be started in its guests: [Errno 2]"),
        ({"argv": ["/bin/hostname"], "PBS_VNODENUM": ""}, "PBS_VNODENUM is '', so nobody knows which guest"),
        ({"argv": ["/bin/hostname"], "PBS_VNODENUM": "2"}, "no guest belongs to slot 2"),
    ],
)
def test_what_cannot_be_started_is_one_line_and_our_own_code(
    start: Start, changes: dict[str, Any], sentence: str
) -> None:
    """Nothing runs, neither here nor in a guest."""
    task = changes.pop("argv", None)
    done = start.run(**changes, argv=start.argv(*task) if task else None)
    assert done.returncode == 122
    (line,) = done.stderr.splitlines()
    assert sentence in line
    assert not (start.folder / "argv").exists()


def test_started_by_hand_it_says_who_should_start_it(start: Start) -> None:
    """There is no task."""
    done = start.run(argv=start.argv()[:-1])
    assert done.returncode == 122
    assert done.stderr == "torque-vm: the job starter was given no task; only a MOM starts this program\n"


def test_a_refusal_in_the_hand_over_is_what_the_user_reads(start: Start) -> None:
    """By the user's fault: 120, not the site's 122; late guests have a code of their own, 123."""
    for user, late, code in ((True, False, 120), (False, False, 122), (False, True, 123)):
        text = Refusal("no such image", user=user, late=late).to_json()
        path = start.run_dir / "handover" / JOB / "given"
        path.unlink()
        path.write_text(text)
        done = start.run()
        assert (done.returncode, done.stderr) == (code, "torque-vm: no such image\n")
    assert not (start.folder / "argv").exists()


@pytest.mark.parametrize("way", ["file", "argument", "exec"])
def test_torques_other_ways_to_give_a_script(start: Start, way: str) -> None:
    """As standard input, as argument, or with ``$exec_with_exec`` in the line: see TF 3."""
    if way == "file":
        with start.script.open() as script:
            argv, env = start.argv(), start.environment()
            subprocess.run(argv, stdin=script, env=env, cwd=start.folder, check=True, timeout=30)
    elif way == "argument":
        argv, env, nothing = (
            start.argv("/bin/bash", str(start.script)),
            start.environment(),
            subprocess.DEVNULL,
        )
        subprocess.run(argv, stdin=nothing, env=env, cwd=start.folder, check=True, timeout=30)
        assert f"/bin/bash -l {start.script})" in start.read("stdin")
    else:
        assert start.run(line=f"exec {start.script} one\n").returncode == 0
        assert f"exec {start.script} one\n" in start.read("stdin")
    assert "echo hello \\0377\n" in start.read("stdin")


@pytest.mark.parametrize(("slot", "guest"), [("0", 0), ("1", 1)])
def test_a_task_enters_the_guest_of_its_slot(start: Start, slot: str, guest: int) -> None:
    """Without a script, and with the nodefile only where the MOM has one."""
    start.play(job="exit 9")
    argv = start.argv("/bin/echo", "two words")
    environment = start.environment(PBS_VNODENUM=slot, PBS_NODEFILE="")
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, env=environment, check=False, timeout=30)
    assert done.returncode == 9
    given = read_handover(start.run_dir, JOB)
    assert f"alice@{given.guests[guest].address}" in start.read("argv").splitlines()
    assert " /bin/echo 'two words') " in start.read("stdin")
    assert "/aux/" not in start.read("stdin")


def test_a_task_that_somebody_writes_to_reads_it_in_the_guest(start: Start) -> None:
    """``TM_STDIN_PORT``: its standard input is a connection. The program goes before, over the same one."""
    start.play(job="cat; exit 3")
    argv = start.argv("/bin/cat")
    done = subprocess.run(
        argv, input=b"typed", env=start.environment(), capture_output=True, check=False, timeout=30
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (3, b"typed", b"")
    assert "/bin/cat\n" in start.read("stdin")
    folders = start.read("folder").split()
    assert folders[1] == "700"
    assert len(set(folders)) == 2
    assert not Path(folders[0]).exists()


@pytest.fixture
def terminal() -> Iterator[int]:
    ours, theirs = pty.openpty()
    yield theirs
    os.close(ours)
    os.close(theirs)


def test_an_interactive_job_has_its_terminal(start: Start, terminal: int) -> None:
    """Our ssh gets it as it is, in the foreground, for window size and Ctrl-C; the guest has one too."""
    start.play(job="test -t 0 && exit 5")
    environment = start.environment(PBS_ENVIRONMENT="PBS_INTERACTIVE")
    argv = start.argv("/bin/bash", "-c", "true")
    done = subprocess.run(argv, stdin=terminal, env=environment, check=False, timeout=30)
    assert done.returncode == 5
    assert start.read("argv").splitlines().count("-tt") == 1
    assert "\n/bin/bash -l -c true\n" in start.read("stdin")


@pytest.mark.parametrize(
    ("display", "forwarded"), [("localhost:50.0", True), ("localhost:10.0", False), ("", False)]
)
def test_x11_goes_on_into_the_guest_where_the_mom_forwards_it(
    start: Start, terminal: int, display: str, *, forwarded: bool
) -> None:
    """``qsub -X``. A display that came with ``-V`` leads nowhere here, and stays what it is in the guest."""
    start.play(job='env >"$PLAY/env"')
    environment = start.environment(PBS_ENVIRONMENT="PBS_INTERACTIVE", DISPLAY=display, XAUTHORITY="/x")
    subprocess.run(start.argv(), stdin=terminal, env=environment, check=True, timeout=30)
    assert start.read("argv").splitlines().count("-Y") == 2 * forwarded  # who shares a connection, and whose
    names = {line.partition("=")[0] for line in start.read("env").splitlines()}
    assert ({"DISPLAY", "HOME"} <= names, "XAUTHORITY" in names) == (forwarded, False)
    assert ("export DISPLAY=" in start.read("stdin")) is not forwarded
    assert ("export XAUTHORITY=/x\n" in start.read("stdin")) is not forwarded


def test_an_interactive_job_whose_guest_is_gone_is_told(start: Start, terminal: int) -> None:
    """And no directory stays behind."""
    start.play(upload="exit 255")
    environment = start.environment(PBS_ENVIRONMENT="PBS_INTERACTIVE")
    done = subprocess.run(
        start.argv(), stdin=terminal, env=environment, capture_output=True, check=False, timeout=30
    )  # fmt: skip
    assert done.returncode == 122
    assert b"the connection to the guest broke" in done.stderr
    assert not Path(start.read("folder").split()[0]).exists()


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1]
)
def test_a_signal_reaches_the_guest_and_ends_the_starter_as_it_ended_the_job(
    start: Start, number: signal.Signals
) -> None:
    """TORQUE tells a deleted job by the signal it died of."""
    start.play(job=UNTIL_SIGNALLED + f"exit {128 + number}")
    process = start.begin()
    process.send_signal(number)
    assert process.wait(15) == -number
    assert start.read("stderr") == ""
    assert start.read("signals") == f"{number.name.removeprefix('SIG')}\n"


def test_a_storm_of_signals_is_passed_on_once_per_kind(start: Start) -> None:
    """A MOM sends SIGTERM up to fifteen times within milliseconds; each would need a connection."""
    start.play(job=UNTIL_SIGNALLED + "sleep 1; exit 143", signalled="sleep 0.5")
    process = start.begin()
    for _ in range(15):
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
        time.sleep(0.005)
    assert process.wait(15) == -signal.SIGTERM
    assert sorted(start.read("signals").split()) == ["CONT", "TERM"]


@pytest.mark.parametrize("signalled", ["exit 0", "exit 255", "sleep 60"])
def test_a_job_that_goes_on_after_a_signal_has_its_own_end(start: Start, signalled: str) -> None:
    """qsig; also when the signal does not get through, at all or in time."""
    start.play(job=UNTIL_SIGNALLED + "exit 5", signalled=signalled)
    process = start.begin()
    process.send_signal(signal.SIGUSR2)
    assert process.wait(15) == 5
    assert start.read("signals") == "USR2\n"


def test_ssh_is_in_the_jobs_session_and_deaf_to_its_signals(start: Start) -> None:
    """A MOM that kills the job kills it too; what can be survived is for the job."""
    start.play(job='touch "$PLAY/ready"; ps -o sid= -p $$; kill -TERM $$ $PPID; sleep 0.3; exit 4')
    done = start.run()
    assert done.returncode == 4
    assert int(done.stdout) == os.getsid(0)


def test_an_ssh_with_handlers_of_its_own_is_deaf_too(start: Start, terminal: int) -> None:
    """One that shares a connection sets them for HUP, INT and TERM, even where they are ignored."""
    start.play(
        job="exec python3 -I -c 'import os, signal, sys, time\n"
        "for number in (1, 2, 15):\n    signal.signal(number, lambda *_: sys.exit(255))\n"
        "    os.kill(os.getpid(), number)\ntime.sleep(0.3); sys.exit(6)'"
    )
    environment = start.environment(PBS_ENVIRONMENT="PBS_INTERACTIVE")
    done = subprocess.run(start.argv(), stdin=terminal, env=environment, check=False, timeout=30)
    assert done.returncode == 6


def test_little_is_imported_before_ssh_starts(start: Start) -> None:
    """A handshake takes long, so the rest is imported while it goes on; every module costs each task."""
    code = (
        "import sys; before = set(sys.modules)\n"
        "from nornir_torque_vm.hooks import job_starter, wayin\n"
        "def start(*_, **__): print(*sorted(set(sys.modules) - before)); sys.exit(0)\n"
        "wayin.WayIn.start = start\n"
        f"sys.argv[1:] = [{str(start.run_dir)!r}, '11', '/bin/bash']\n"
        "job_starter.main()\n"
    )
    done = start.run(argv=[sys.executable, "-I", "-c", code])
    assert done.stderr == ""
    names = set(done.stdout.split())
    own = {name.removeprefix("nornir_torque_vm.") for name in names if name.startswith("nornir_torque_vm.")}
    assert own == {
        "errors", "hooks", "hooks.child", "hooks.job_starter", "hooks.momtask", "hooks.stdio", "hooks.wayin",
        "identity", "runstate", "runstate.handover",
    }  # fmt: skip
    assert {"json", "signal", "typing"} <= names
    assert not {"dataclasses", "inspect", "pathlib", "selectors", "socket", "subprocess"} & names
