"""The program that runs a job inside its first guest, run here by real shells."""

from __future__ import annotations

import base64
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nornir_torque_vm.render import entry
from nornir_torque_vm.render.entry import Entry, entry_program, job_environment, vm_nodefile

SHELLS = [["sh"], ["bash"], ["busybox", "sh"]]


@pytest.fixture(params=SHELLS, ids="-".join)
def shell(request: pytest.FixtureRequest) -> list[str]:
    words: list[str] = request.param
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed")
    return words


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry, "folder", lambda slug: str(tmp_path / f"run-{slug}"))


def make(tmp_path: Path, text: str, **changes: object) -> Entry:
    path = tmp_path / "spool" / "17.head.SC"
    given: dict[str, object] = {
        "job_slug": "17", "shell": "/bin/bash", "line": f"{path} one 'two words'\n", "script_path": str(path),
        "script": text.encode(), "nodefile_path": str(tmp_path / "aux" / "17.head"), "nodefile": "j17-r0\n",
        "environment": {"PATH": "/usr/bin:/bin"}, "cwd": str(tmp_path), "umask": 0o027,
    }  # fmt: skip
    return Entry(**{**given, **changes})  # type: ignore[arg-type]


def execute(shell: list[str], made: Entry) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*shell, "-s"], input=entry_program(made), capture_output=True, text=True, timeout=20, check=False,
        env={"HOME": made.cwd, "PATH": "/usr/bin:/bin"},
    )  # fmt: skip


def test_the_script_runs_with_its_arguments_directory_umask_and_empty_stdin(
    shell: list[str], tmp_path: Path
) -> None:
    """Same script, arguments, cwd and umask as on bare metal; the MOM's pipe has nothing after its line."""
    script = '#!/bin/sh\necho "$#:$1:$2"; pwd; umask; cat | wc -c; echo oops >&2\n'
    done = execute(shell, make(tmp_path, script))
    assert done.stdout.splitlines() == ["2:one:two words", str(tmp_path), "0027", "0"]
    assert "oops" in done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize("status", [0, 1, 37, 125, 255])
def test_the_status_of_the_script_is_passed_on_and_kept(
    shell: list[str], tmp_path: Path, status: int
) -> None:
    """The 255 of ssh is ambiguous, so the guest remembers the number too."""
    done = execute(shell, make(tmp_path, f"#!/bin/sh\nexit {status}\n"))
    assert done.returncode == status
    assert (tmp_path / "run-17" / "status").read_text() == f"{status}\n"


def test_the_job_has_its_own_process_group_so_that_signals_reach_all_of_it(
    shell: list[str], tmp_path: Path
) -> None:
    """The file names the group's leader while the job runs."""
    script = f"#!/bin/sh\nread -r pid <{tmp_path}/run-17/pid; ps -o pgid= -p $$ | tr -d ' '; echo $pid\n"
    first, second = execute(shell, make(tmp_path, script)).stdout.split()
    assert first == second


def test_the_nodefile_is_at_the_usual_path(shell: list[str], tmp_path: Path) -> None:
    """$PBS_NODEFILE keeps its value; its content are the guests."""
    made = make(tmp_path, '#!/bin/sh\ncat "$PBS_NODEFILE"\n', nodefile=vm_nodefile({"a": 2, "b": 1}))
    made = make(
        tmp_path, "#!/bin/sh\ncat $PBS_NODEFILE\n", nodefile=made.nodefile,
        environment={"PATH": "/bin", "PBS_NODEFILE": made.nodefile_path},
    )  # fmt: skip
    assert execute(shell, made).stdout == "a\na\nb\n"


@given(value=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_of_a_variable_arrives_unchanged(tmp_path: Path, value: str) -> None:
    """Values travel through quoting, never as pasted text."""
    script = '#!/bin/sh\nprintf %s "$HOSTILE" | base64 -w0\n'
    done = execute(["sh"], make(tmp_path, script, environment={"PATH": "/usr/bin:/bin", "HOSTILE": value}))
    assert base64.b64decode(done.stdout).decode() == value


@given(data=st.binary(max_size=400))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_of_the_script_arrive_unchanged(tmp_path: Path, data: bytes) -> None:
    """A script may hold anything, the end mark of our own text included."""
    script = b"#!/bin/sh\nexit 0\n" + data + b"\nEND_OF_FILE\n"
    made = make(tmp_path, "", script=script)
    assert execute(["sh"], made).returncode == 0
    assert Path(made.script_path).read_bytes() == script


def test_names_no_shell_can_hold_are_left_out(tmp_path: Path) -> None:
    """An exported bash function must not become a syntax error or code."""
    made = make(tmp_path, "", environment={"BASH_FUNC_ls%%": "() { id; }", "OK": "1"})
    assert "BASH_FUNC" not in entry_program(made)
    assert "export OK=1" in entry_program(made)


def test_the_jobs_counts_are_those_of_its_guests() -> None:
    """PBS_NP and friends describe the VM nodefile; what describes the node stays behind."""
    found = job_environment({"PATH": "/bin", "HOME": "/h", "TMPDIR": "/t", "PBS_NP": "9"}, {"a": 2, "b": 2})
    assert (found["PBS_NP"], found["PBS_NUM_NODES"], found["PBS_NUM_PPN"]) == ("4", "2", "2")
    assert found["PATH"].startswith("/bin:")
    assert not {"HOME", "TMPDIR"} & set(found)
