"""The job starter, with an ssh that plays what was seen of the real one."""

from __future__ import annotations

import base64
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jobs
import pytest

from nornir_torque_vm.handover import read_handover

JOB = "17[3].head"

SSH = """#!/bin/sh
for command; do :; done
printf '%s\\n' "$@" >>"$PLAY/argv"
for word; do
    case $word in *File=/proc/*)
        cat "${word#*=}" >>"$PLAY/${word%%=*}"
        stat -L -c %a "${word#*=}" >>"$PLAY/mode"
    esac
done
case $command in
"exec sh -s") cat >"$PLAY/stdin"; . "$PLAY/job" ;;
kill*) echo "$command" >>"$PLAY/signals"; . "$PLAY/signal" ;;
*/status) . "$PLAY/status" ;;
esac
"""
UNTIL_SIGNALLED = 'touch "$PLAY/ready"; while [ ! -e "$PLAY/signals" ]; do sleep 0.05; done; '


class Start:
    """A job that was handed over, and the starter for it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.run_dir = folder, folder / "run"
        (folder / "bin").mkdir()
        (folder / "bin/ssh").write_text(SSH)
        (folder / "bin/ssh").chmod(0o755)
        self.script = folder / "17-3.head.SC"
        self.script.write_bytes(b"#!/bin/sh\necho hello \xff\n")
        self.play()
        jobs.started(self.run_dir, jobs.job(JOB))

    def play(self, job: str = "exit 0", status: str = "exit 1", signalled: str = "exit 0") -> None:
        """Say what ssh does: for the job, when asked for the exit status, when passing a signal on."""
        for name, text in (("job", job), ("status", status), ("signal", signalled)):
            (self.folder / name).write_text(text + "\n")

    def argv(self, before: str = "pass") -> list[str]:
        module = "nornir_torque_vm.hooks"
        code = f"import sys; from {module} import job_starter; {before}; sys.exit(job_starter.main())"
        return [sys.executable, "-I", "-c", code, str(self.run_dir), "/bin/bash"]

    def environment(self, **changes: str) -> dict[str, str]:
        given = {
            "PATH": f"{self.folder}/bin:/bin:/usr/bin", "PLAY": str(self.folder), "PBS_JOBID": JOB,
            "PBS_NODEFILE": "/var/spool/torque/aux//17[3].head", "PBS_NP": "2", "HOME": "/home/alice",
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

    def begin(self, before: str = "pass") -> subprocess.Popen[bytes]:
        """Start it and wait until the job runs."""
        (self.folder / "line").write_text(f"{self.script}\n")
        with (self.folder / "line").open() as line, (self.folder / "stderr").open("w") as err:
            process = subprocess.Popen(
                self.argv(before), stdin=line, stderr=err, env=self.environment(), cwd=self.folder
            )
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
        start.script.read_bytes(),
        f"{start.script} 'two words'\n".encode(),
        b"j17-3-r0\n" * 3 + b"j17-3-r1\n" * 3,
    ]
    flat = text.replace("\n", "")  # where base64 is broken into lines is its own affair
    assert [data for data in wanted if base64.b64encode(data).decode() not in flat] == []
    assert "export PBS_NP=6\n" in text
    assert "export ODD='a '\"'\"'b'\"'\"''\n" in text
    assert "export HOME=" not in text
    assert f"cd {start.folder} " in text
    assert " /bin/bash &" in text


def test_ssh_trusts_the_pinned_host_key_alone_and_reads_its_key_from_memory(start: Start) -> None:
    """No file of the user's is read or written, and the key is in no argument list."""
    start.run()
    given = read_handover(start.run_dir, JOB)
    assert start.read("IdentityFile") == given.user_key
    assert start.read("UserKnownHostsFile") == given.known_hosts
    assert set(start.read("mode").split()) == {"600"}
    words = start.read("argv").splitlines()
    assert words[:3] == ["-F", "none", "-T"]
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
        f"torque-vm: job {JOB}, guest j17-3-r0: the connection to the first guest broke; {refused}\n"
    )


def test_a_guest_that_says_nothing_useful_is_no_status(start: Start) -> None:
    """The file is empty while the job runs."""
    start.play(job="exit 255", status="echo ''")
    done = start.run()
    assert (done.returncode, len(done.stderr.splitlines())) == (122, 1)
    assert "see its console in the history" in done.stderr


def test_a_marked_job_without_hand_over_is_refused(start: Start) -> None:
    """A VM job never runs on bare metal, whatever died."""
    (start.run_dir / "handover" / JOB).unlink()
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
        ({"line": ""}, "the MOM handed over no script; only the script of a batch job runs in guests"),
        ({"line": " \n"}, "the MOM handed over no script"),
        ({"line": "/nonexistent/17.SC\n"}, "the job could not be started in its guests: [Errno 2]"),
        ({"PATH": "/nonexistent"}, "the job could not be started in its guests: [Errno 2]"),
    ],
)
def test_what_cannot_be_started_is_one_line_and_our_own_code(
    start: Start, changes: dict[str, Any], sentence: str
) -> None:
    """A task of pbsdsh has no script (its input is /dev/null); the rest is a broken node."""
    done = start.run(**changes)
    assert done.returncode == 122
    (line,) = done.stderr.splitlines()
    assert sentence in line
    assert not (start.folder / "argv").exists()


def test_started_by_hand_it_says_who_should_start_it(start: Start) -> None:
    """There is no task."""
    done = start.run(argv=start.argv()[:-2])
    assert done.returncode == 122
    assert done.stderr == "torque-vm: the job starter was given no task; only a MOM starts this program\n"


def test_an_interactive_job_is_refused_and_not_waited_for(start: Start) -> None:
    """Its input is a terminal, where no script will ever appear."""
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            start.argv(), stdin=theirs, env=start.environment(), capture_output=True, text=True, check=False,
            timeout=30,
        )  # fmt: skip
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 122
    assert "only the script of a batch job" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_that_ends_jobs_reaches_the_guest_and_ends_the_starter(
    start: Start, number: signal.Signals
) -> None:
    """TORQUE tells a deleted job by the signal it died of."""
    start.play(job=UNTIL_SIGNALLED + "exit 143")
    process = start.begin()
    process.send_signal(number)
    assert process.wait(15) == -number
    assert start.read("stderr") == ""
    name = number.name.removeprefix("SIG")
    assert start.read("signals") == f"kill -s {name} -$(cat /tmp/torque-vm-17-3/pid)\n"


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_with_a_message_reaches_the_guest_and_the_job_goes_on(
    start: Start, number: signal.Signals
) -> None:
    """qsig; also when the guest's end of it fails."""
    start.play(job=UNTIL_SIGNALLED + "exit 5", signalled="exit 255")
    process = start.begin()
    process.send_signal(number)
    assert process.wait(15) == 5
    assert start.read("signals").startswith(f"kill -s {number.name.removeprefix('SIG')} ")


def test_a_signal_that_cannot_be_passed_on_in_time_is_forgotten(start: Start) -> None:
    """The MOM's SIGKILL comes anyway; the job itself must not fail because of it."""
    start.play(job=UNTIL_SIGNALLED + "sleep 0.5; exit 6", signalled="sleep 5")
    process = start.begin("job_starter.SIDE_CALL_SECONDS = 0.2")
    process.send_signal(signal.SIGUSR1)
    assert process.wait(15) == 6
    assert start.read("stderr") == ""
