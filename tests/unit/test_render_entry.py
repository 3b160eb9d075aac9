"""The programs that run a task inside a guest, run here by real shells."""

from __future__ import annotations

import base64
import contextlib
import os
import pty
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from signal_kit import ignored

from nornir_torque_vm.render.entry import (
    NEVER_SEEN,
    Entry,
    File,
    connected_program,
    entry_program,
    job_environment,
    place,
    signal_command,
    status_command,
    upload_command,
    uploaded_command,
    vm_nodefile,
)

SHELLS = [["sh"], ["bash"], ["busybox", "sh"]]


@pytest.fixture(params=SHELLS, ids="-".join)
def shell(request: pytest.FixtureRequest) -> list[str]:
    words: list[str] = request.param
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed")
    return words


def make(tmp_path: Path, text: str, **changes: object) -> Entry:
    """A batch job's entry; its shell's input is the line that a MOM writes."""
    path = tmp_path / "spool" / "17.head.SC"
    given: dict[str, object] = {
        "place": str(tmp_path / "at"), "argv": ["/bin/bash"], "login": True,
        "stdin": f"{path} one 'two words'\n".encode(),
        "files": [
            File(str(path), text.encode(), 0o700),
            File(str(tmp_path / "aux" / "17.head"), b"j17-r0\n", 0o644),
        ],
        "environment": {"PATH": "/usr/bin:/bin"}, "cwd": str(tmp_path), "umask": 0o027,
    }  # fmt: skip
    return Entry(**{**given, **changes})  # type: ignore[arg-type]


def execute(shell: list[str], made: Entry) -> subprocess.CompletedProcess[bytes]:
    program = entry_program(made).encode(errors="surrogateescape")
    return subprocess.run(
        [*shell, "-s"], input=program, capture_output=True, timeout=20, check=False,
        env={"HOME": made.cwd, "PATH": "/usr/bin:/bin", "SSH_CLIENT": "1.2.3.4 5 22"},
    )  # fmt: skip


def read(path: Path) -> str:
    """A file that is about to appear."""
    end = time.monotonic() + 10
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < end, path
        time.sleep(0.01)
    return path.read_text()


def test_the_script_runs_with_its_arguments_directory_umask_and_empty_stdin(
    shell: list[str], tmp_path: Path
) -> None:
    """Same script, arguments, cwd and umask as on bare metal; the MOM's pipe has nothing after its line."""
    script = '#!/bin/sh\necho "$#:$1:$2"; pwd; umask; cat | wc -c; echo oops >&2\n'
    done = execute(shell, make(tmp_path, script))
    assert done.stdout.decode().splitlines() == ["2:one:two words", str(tmp_path), "0027", "0"]
    assert (done.stderr, done.returncode) == (b"oops\n", 0)


@pytest.mark.parametrize("status", [0, 1, 37, 125, 255])
def test_the_status_of_the_script_is_passed_on_and_kept(
    shell: list[str], tmp_path: Path, status: int
) -> None:
    """The 255 of ssh is ambiguous, so the guest remembers the number too."""
    done = execute(shell, make(tmp_path, f"#!/bin/sh\nexit {status}\n"))
    assert done.returncode == status
    kept = subprocess.run(
        [*shell, "-c", status_command(str(tmp_path / "at"))], capture_output=True, check=True
    )
    assert kept.stdout == f"{status}\n".encode()


def test_a_guest_that_has_started_anew_knows_no_task(tmp_path: Path) -> None:
    """Unlike one in which the task is still at work."""
    command = ["sh", "-c", status_command(str(tmp_path / "at"))]
    assert subprocess.run(command, capture_output=True, check=False).returncode == NEVER_SEEN
    (tmp_path / "at.pid").write_text("1\n")
    done = subprocess.run(command, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")


def test_no_signal_is_ignored_and_nothing_of_sshds_is_seen(shell: list[str], tmp_path: Path) -> None:
    """A shell's background processes ignore SIGINT for ever; and some scripts look for SSH_CLIENT."""
    script = "#!/bin/sh\ngrep SigIgn /proc/self/status; env | grep SSH_\n"
    lines = execute(shell, make(tmp_path, script)).stdout.decode().splitlines()
    assert (len(lines), ignored(lines[0])) == (1, set())


def test_a_shell_that_dies_of_a_signal_leaves_no_words_of_ours(shell: list[str], tmp_path: Path) -> None:
    """Some shells say "Killed" about their children: that is not the job's error output."""
    done = execute(shell, make(tmp_path, "", argv=["/bin/sh", "-c", "kill -KILL $$"], login=False))
    assert (done.returncode, done.stdout, done.stderr) == (137, b"", b"")


def test_what_the_job_left_in_its_session_or_at_its_output_ends_with_it(
    shell: list[str], tmp_path: Path
) -> None:
    """As a MOM ends a job's session; and ssh waits for everybody who holds the output."""
    script = "#!/bin/sh\nsleep 300 >/dev/null 2>&1 & setsid sleep 301 & echo $! >pids; echo done\n"
    began = time.monotonic()
    assert execute(shell, make(tmp_path, script)).stdout == b"done\n"
    assert time.monotonic() - began < 10
    left = subprocess.run(["pgrep", "-f", "^sleep 30[01]$"], capture_output=True, check=False).stdout
    assert left == b""


def test_an_end_by_a_signal_gives_the_rest_time_for_last_words(shell: list[str], tmp_path: Path) -> None:
    """The shell is gone at once, its script is still in a trap."""
    script = "#!/bin/sh\ntrap 'sleep 0.5; echo last words; exit' TERM; kill -TERM 0; sleep 5 & wait; wait\n"
    assert execute(shell, make(tmp_path, script)).stdout == b"last words\n"


@contextlib.contextmanager
def running(shell: list[str], made: Entry) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [*shell, "-c", entry_program(made)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_a_signal_reaches_every_process_of_the_session(shell: list[str], tmp_path: Path) -> None:
    """Those with process groups of their own too, as a MOM finds them; nobody else."""
    inner = (
        f"trap 'echo inner >>{tmp_path}/got; exit' USR1; echo up >{tmp_path}/up; while :; do sleep 0.1; done"
    )
    script = f'#!/bin/bash\nset -m; trap : USR1; sh -c "{inner}" & wait; wait\n'
    made = make(tmp_path, script)
    with running(shell, made):
        read(tmp_path / "up")
        command = signal_command(made.place, "USR1")
        subprocess.run([*shell, "-c", command], timeout=10, check=False, stderr=subprocess.DEVNULL)
        assert read(tmp_path / "got") == "inner\n"


def test_a_signal_that_comes_before_the_task_waits_for_it(shell: list[str], tmp_path: Path) -> None:
    """Nothing that a MOM sends may be lost on the way."""
    made = make(tmp_path, "", argv=["/bin/sh", "-c", "sleep 60"], login=False)
    early = subprocess.Popen([*shell, "-c", signal_command(made.place, "TERM")], stderr=subprocess.DEVNULL)
    time.sleep(0.3)
    with running(shell, made) as process:
        assert process.wait(10) == 143
    assert early.wait(10) == 0


def test_a_task_that_is_connected_reads_what_comes(shell: list[str], tmp_path: Path) -> None:
    """The program is uploaded first; its own input is the task's. Both in any user's login shell."""
    made = make(tmp_path, "", argv=["sh", "-c", "read word; echo got $word; exit 7"], login=False)
    words, pipe = [*shell, "-c", upload_command(made.place)], subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe) as upload:
        assert upload.stdin is not None
        assert upload.stdout is not None
        upload.stdin.write(connected_program(made).encode())
        upload.stdin.close()
        assert upload.stdout.readline() == b"ready\n"
        words = [*shell, "-c", uploaded_command(made.place)]
        done = subprocess.run(words, input=b"word\n", capture_output=True, timeout=10, check=False)
        assert (done.returncode, done.stdout) == (7, b"got word\n")
        assert upload.stdout.read() == b""
        assert upload.wait(10) == 0
    assert (tmp_path / "at.sh").stat().st_mode & 0o077 == 0
    assert (tmp_path / "at.status").read_text() == "7\n"


def test_a_terminals_interrupt_ends_the_command_and_not_what_waits_for_it(
    shell: list[str], tmp_path: Path
) -> None:
    """Ctrl-C goes to everybody in the foreground, our shell included; the status has to get out."""
    made = make(tmp_path, "", argv=["sh", "-c", "trap 'exit 9' INT; echo up; sleep 30 & wait"], login=False)
    (tmp_path / "at.sh").write_text(connected_program(made))
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp(shell[0], [*shell, "-c", uploaded_command(made.place)])  # noqa: S606 - no shell is wanted
    text = b""
    while b"up" not in text:
        text += os.read(terminal, 1000)
    os.write(terminal, b"\x03")
    with contextlib.suppress(OSError):
        while os.read(terminal, 1000):
            pass
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 9


def test_commands_have_nothing_that_csh_reads_otherwise() -> None:
    """They are for the user's own login shell, whatever it is."""
    at = place("17-3", "4711")
    for command in (upload_command(at), uploaded_command(at), signal_command(at, "TERM"), status_command(at)):
        assert not set(command) & set("!\n`")


def test_the_nodefile_is_at_the_usual_path(shell: list[str], tmp_path: Path) -> None:
    """$PBS_NODEFILE keeps its value; its content are the guests, for everybody to read."""
    path = tmp_path / "aux" / "17.head"
    made = make(
        tmp_path, "", argv=["sh", "-c", "cat $PBS_NODEFILE"], login=False, stdin=None,
        files=[File(str(path), vm_nodefile({"a": 2, "b": 1}).encode(), 0o644)],
        environment={"PATH": "/bin", "PBS_NODEFILE": str(path)},
    )  # fmt: skip
    assert execute(shell, made).stdout == b"a\na\nb\n"
    assert path.stat().st_mode & 0o777 == 0o644


@given(value=st.text(st.characters(exclude_characters="\0")))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_of_a_variable_arrives_unchanged(tmp_path: Path, value: str) -> None:
    """Values travel through quoting, never as pasted text; also bytes that are no text."""
    try:
        data = value.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return
    made = make(
        tmp_path, '#!/bin/sh\nprintf %s "$HOSTILE" | base64 -w0\n',
        environment={"PATH": "/usr/bin:/bin", "HOSTILE": value},
    )  # fmt: skip
    assert base64.b64decode(execute(["sh"], made).stdout) == data


@pytest.mark.parametrize("shell", SHELLS, ids="-".join)
@given(data=st.binary(max_size=400))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_of_the_script_arrive_unchanged(shell: list[str], tmp_path: Path, data: bytes) -> None:
    """A script may hold anything, what printf reads as instructions included."""
    path = tmp_path / "it's" / "x y.SC"
    script = b"#!/bin/sh\nexit 0\n" + data + b"\n%s\\c\\0101'\n"
    made = make(tmp_path, "", stdin=None, files=[File(str(path), script, 0o700)])
    assert execute(shell, made).returncode == 0
    assert path.read_bytes() == script
    assert path.stat().st_mode & 0o777 == 0o700


def test_bashs_functions_reach_the_job(tmp_path: Path) -> None:
    """``qsub -V`` brings them; no shell can set a variable of such a name, so ``env`` does."""
    made = make(
        tmp_path, "#!/bin/bash\ngreet\n",
        environment={"PATH": "/usr/bin:/bin", "BASH_FUNC_greet%%": "() { echo it\\'s me\n}"},
    )  # fmt: skip
    assert execute(["sh"], made).stdout == b"it's me\n"


@pytest.mark.parametrize(
    ("display", "said"),
    [
        ("localhost:11.0", b"localhost:11.0:/home/x\n"),
        ("", b"torque-vm: no X11 here: the guest's sshd does not allow it, or finds no xauth\n:/home/x\n"),
    ],
)
def test_a_forwarded_display_is_the_guests_own_or_missed_in_one_line(
    shell: list[str], tmp_path: Path, display: str, said: bytes
) -> None:
    """The display that the MOM made is on the node, and so is the file with its key."""
    program = connected_program(
        make(
            tmp_path, "", argv=["sh", "-c", 'echo "$DISPLAY:$XAUTHORITY"'], login=False, files=[], x11=True,
            environment={"PATH": "/usr/bin:/bin", "DISPLAY": "localhost:50.0", "XAUTHORITY": "/node"},
        )
    )  # fmt: skip
    file = tmp_path / "program"
    file.write_text(program)
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "XAUTHORITY": "/home/x",
        "DISPLAY": display,
    }
    done = subprocess.run(
        [*shell, str(file)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=20,
        check=True,
    )  # fmt: skip
    assert done.stdout == said


def test_the_jobs_counts_are_those_of_its_guests() -> None:
    """PBS_NP and friends describe the VM nodefile; what describes the node stays behind."""
    found = job_environment({"PATH": "/bin", "HOME": "/h", "TMPDIR": "/t", "PBS_NP": "9"}, {"a": 2, "b": 2})
    assert (found["PBS_NP"], found["PBS_NUM_NODES"], found["PBS_NUM_PPN"]) == ("4", "2", "2")
    assert found["PATH"].startswith("/bin:")
    assert not {"HOME", "TMPDIR"} & set(found)


def test_the_job_is_told_what_sort_of_guest_it_is_in() -> None:
    """Whatever the submitting shell had by that name."""
    assert job_environment({"DISTRO": "mine"}, {"a": 1})["DISTRO"] == "SLG"


def test_open_mpi_finds_the_nodefile_unless_the_user_knows_better() -> None:
    """Debian's knows nothing of TORQUE, and would start all ranks where it is."""
    guests = {"a": 1, "b": 1}
    names = {"OMPI_MCA_orte_default_hostfile", "PRTE_MCA_prte_default_hostfile"}
    found = job_environment({"PBS_NODEFILE": "/aux/17", "OMPI_MCA_orte_default_hostfile": "mine"}, guests)
    assert found["OMPI_MCA_orte_default_hostfile"] == "mine"
    assert found["PRTE_MCA_prte_default_hostfile"] == "/aux/17"
    assert not names & set(job_environment({}, guests))
