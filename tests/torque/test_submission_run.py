"""What runs: a job submitted by the wrapper sees what one of plain qsub sees.

The nodes have no hooks here, so the request is without effect and only the submission shows.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from submission_kit import FRONT, SCRIPT, SubmitHost, home, submit_host, without_number, write_script
from submission_lines import SHEBANG, Line, named
from torque_kit import job_attributes, output, user_run, wait_for_state
from torque_terminal import Terminal

__all__ = ["submit_host"]
pytestmark = pytest.mark.torque

PROBE = """
echo "$0" "$#" "$@"; pwd; umask; cat "$0"; ulimit -a
env -0 | grep -Ezv '^(PBS_JOBCOOKIE|HOSTNAME)=' | sort -z | tr '\\0' '\\n'
echo to stderr >&2
exit 37
"""
RUNS = (
    Line("VM JOB"),
    Line("VM JOB -F 'one \"two words\" three'"),
    Line("-F '$HOME *.sh' VM JOB"),
    Line("-v $'A=one\\ntwo',B='x y',C=it\\'s VM JOB"),
    Line("-V VM JOB", env={"EXPORTED": "two words\nand lines", "QUOTE": 'it\'s "x"'}),
    Line("-W umask=027 -d /home/alice/sub -j oe VM JOB"),
    Line("-w /home/alice/sub -k oe -N kept VM JOB"),
    Line("-S /bin/sh -l nodes=1:ppn=2 VM JOB", nodes="1:ppn=2:vm"),
    Line("-l mem=1gb,vmem=2gb -e err.txt -o out.txt VM JOB"),
    Line("VM JOB", directives=("-F 'in the script'", "-v D='x y'")),
)


def new_files(host: SubmitHost, before: set[Path], number: str) -> dict[str, tuple[int, str]]:
    """Files that have come into the user's home: mode and text by name, without the job's number; they go."""
    found = {}
    for path in sorted(files(host) - before):
        name = without_number(str(path.relative_to(home(host.lab, ""))), number)
        found[name] = path.stat().st_mode, without_number(path.read_text(), number)
        path.unlink()
    return found


def files(host: SubmitHost) -> set[Path]:
    return {path for path in home(host.lab, "").rglob("*") if path.is_file()}


@pytest.mark.parametrize("line", RUNS, ids=named)
def test_the_script_sees_the_same(submit_host: SubmitHost, line: Line) -> None:
    """``$0``, arguments, directory, umask, limits, environment, its own text; its output is where it was."""
    user_run(submit_host.lab, ["mkdir", "-p", "sub"])
    left = []
    for program, words in ((submit_host.real, False), (FRONT, True), (FRONT, False)):
        write_script(submit_host.lab, f"{line.script(vm=program == FRONT and not words)}{PROBE}")
        before = files(submit_host)
        job = submit_host.submitted(program, line.typed(job=SCRIPT, vm=words), env=line.env)
        done = wait_for_state(submit_host.lab, f"{job.number}.head")
        left.append((new_files(submit_host, before, job.number), done["exit_status"]))
    plain, *ours = left
    assert ours == [plain] * 2
    assert plain[1] == "37"
    assert any("PBS_JOBID=N.head" in text for _, text in plain[0].values())


def test_a_held_job_runs_once_it_is_released(submit_host: SubmitHost) -> None:
    """And after it the one that depends on it, which was submitted with blanks in its variable."""
    write_script(submit_host.lab, f"{SHEBANG}sleep 0.2; date +%s.%N\n")
    held = submit_host.submitted(FRONT, f"-h -vm ram=192M {SCRIPT}")
    assert (held.only["Hold_Types"], held.only["job_state"]) == ("u", "H")
    write_script(submit_host.lab, f'{SHEBANG}#PBS -vm ram=192M\necho "$WORDS"; date +%s.%N\n')
    words = f"-W depend=afterok:{held.number} -v WORDS='a  b' {SCRIPT}"
    later = submit_host.submitted(FRONT, words)
    user_run(submit_host.lab, ["qrls", held.number])
    done = [wait_for_state(submit_host.lab, f"{job.number}.head") for job in (later, held)]
    variable, after = output(submit_host.lab, done[0]).splitlines()
    assert variable == "a  b"
    assert float(after) > float(output(submit_host.lab, done[1]))


def test_every_member_of_an_array_runs_the_script(submit_host: SubmitHost) -> None:
    """From standard input, whose copy is there when the last member starts."""
    script = f'{SHEBANG}#PBS -vm ram=192M\necho "$PBS_ARRAYID $PBS_JOBNAME"\n'
    array = submit_host.submitted(FRONT, "-t 1,3-4%2 -N arr", stdin=script)
    members = [f"{array.number}[{index}].head" for index in (1, 3, 4)]
    done = [wait_for_state(submit_host.lab, member) for member in members]
    assert [output(submit_host.lab, one) for one in done] == [f"{n} arr-{n}\n" for n in (1, 3, 4)]


def test_without_filter_and_wrapper_the_job_runs_on_bare_metal(submit_host: SubmitHost) -> None:
    """To TORQUE, -vm is -v m: a variable that is not set. Nobody is told; that is what the filter is for."""
    write_script(submit_host.lab, "#!/bin/sh\n#PBS -vm ram=192M\nhostname\n")
    job = submit_host.submitted(submit_host.real, SCRIPT)
    assert "jobtype" not in job.only
    done = wait_for_state(submit_host.lab, f"{job.number}.head")
    assert output(submit_host.lab, done).strip() in submit_host.lab.node_names


class TestAtATerminal:
    def test_a_shell_on_a_node(self, submit_host: SubmitHost) -> None:
        """The terminal is qsub's own: what is typed reaches the job."""
        words = [FRONT, "-I", "-vm", "ram=192M", "-v", "WORDS=a  b", "-l", "nodes=2"]
        with Terminal(submit_host.lab, words) as terminal:
            ready = re.search(r"job (\S+) ready", terminal.expect(" ready"))
            assert ready
            terminal.send(
                'echo "on:$(hostname):$PBS_ENVIRONMENT:$WORDS:$PBS_NUM_NODES"; test -t 0 && echo yes:$?\n'
            )
            terminal.expect("yes:0")
            known = job_attributes(submit_host.lab, ready[1])
            terminal.send("exit\n")
            assert terminal.wait() == 0
        assert re.search(r"on:node[123]:PBS_INTERACTIVE:a  b:2\r", terminal.text)
        assert (known["jobtype"], known["Resource_List.nodes"]) == ("vm", "2:vm")

    def test_a_script_of_the_user(self, submit_host: SubmitHost) -> None:
        """``-I -x``: the node runs his own file, although its request must not count there again."""
        write_script(submit_host.lab, f'{SHEBANG}#PBS -vm ram=192M\n#PBS -v A=5\necho "$0:$A:$(tty)"\n')
        with Terminal(submit_host.lab, [FRONT, "-I", "-x", f"/home/alice/{SCRIPT}"]) as terminal:
            terminal.expect("/dev/pts/")
            assert terminal.wait() == 0
        assert f"/home/alice/{SCRIPT}:5:/dev/pts/" in terminal.text
