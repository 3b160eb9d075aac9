"""The wrapper as a process, with a recorder as the real qsub: who gets what, and how it ends."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import subprocess
import termios
import time
from pathlib import Path

import pytest
from qsub_kit import Recorded, SubmitHost, ours
from signal_kit import ignored

from nornir_torque_vm.model import Distro
from nornir_torque_vm.request import Request

HELLO = b"#!/bin/sh\n#PBS -l walltime=1:00\necho hello\n"
INLINE = "#!/bin/sh\n#PBS -N named\n#PBS -vm ram=192M,vcpus=2\n#PBS -l nodes=2\necho -vm\n"


@pytest.fixture
def host(tmp_path: Path) -> SubmitHost:
    """A submit host with a plain script in the user's directory."""
    made = SubmitHost(tmp_path)
    made.script(HELLO)
    return made


@pytest.mark.parametrize(
    "words",
    [
        ["job.sh"],
        ["-lnodes=2:ppn=4", "-N", "-vm", "job.sh"],
        ["-v", "A=b c,B='x'", "-F", "a *\n$(id)", "job.sh"],
        ["-vmyvar=3", "job.sh"],
        ["-N", "x", "--", "-vm", "ram=1G"],
        ["", b"\xff\xfe", "job.sh"],
        ["-I"],
        ["--help"],
        ["-Z", "missing.sh"],
        ["-vm", "x", "--version"],
    ],
)
def test_a_call_without_a_request_reaches_qsub_as_it_came(host: SubmitHost, words: list[str | bytes]) -> None:
    """Byte for byte; only a word -vm in an option's place is a request."""
    done = host.run(*words)
    assert (done.code, done.out, done.err) == (0, "17.head\n", "")
    assert done.qsub.words == [os.fsencode(word).decode("latin-1") for word in words]
    assert done.qsub.argv[0] == str(host.qsub)


def test_a_script_in_a_pipe_is_replayed(host: SubmitHost) -> None:
    """It has to be read for directives, all of it, whatever its bytes are."""
    text = HELLO + bytes(range(256)) * 2000
    assert host.run("-q", "batch", stdin=text).qsub.stdin == text.decode("latin-1")
    assert host.run(stdin=b"").qsub.stdin == ""


def test_a_script_in_a_file_keeps_its_offset(host: SubmitHost) -> None:
    """The real qsub reads from where the caller had stopped."""
    with (host.work / "job.sh").open("rb") as file:
        os.lseek(file.fileno(), 10, os.SEEK_SET)
        qsub = host.run(stdin=file.fileno()).qsub
    assert (qsub.offset, qsub.stdin) == (10, HELLO[10:].decode())


def test_what_lies_before_the_offset_is_not_of_the_script(host: SubmitHost) -> None:
    """Neither its requests nor its text."""
    host.script("#PBS -vm ram=1G\n" + INLINE)
    with (host.work / "job.sh").open("rb") as file:
        os.lseek(file.fileno(), len("#PBS -vm ram=1G\n"), os.SEEK_SET)
        done = host.run(stdin=file.fileno())
    assert done.qsub.stdin == INLINE.replace("#PBS -vm", "##PBS -vm")
    assert done.qsub.request == Request(ram=192 << 20, vcpus=2)


@pytest.mark.parametrize("locale", [{}, {"LC_CTYPE": "C"}, {"LANG": "C"}, {"LC_ALL": "POSIX"}])
def test_the_environment_stays(host: SubmitHost, locale: dict[str, str]) -> None:
    """Python sets LC_CTYPE for itself where there is no locale; qsub -V would carry it into the job."""
    environment = {"PATH": os.environ["PATH"], "A": "b\nc", **locale}
    for words in (["job.sh"], ["-vm", "vcpus=1", "job.sh"]):
        qsub = host.run(*words, environment=environment).qsub
        assert sorted(qsub.environment) == sorted(f"{name}={value}" for name, value in environment.items())


def test_qsub_takes_the_place_of_the_wrapper(host: SubmitHost) -> None:
    """Same process, its exit code: what a shell or a terminal sees is qsub."""
    host.make_recorder(code=37)
    for words in (["job.sh"], ["-vm", "vcpus=1", "job.sh"]):
        with subprocess.Popen(
            host.argv(*words), cwd=host.work, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:  # fmt: skip
            assert process.wait(60) == 37
        assert f'"pid": {process.pid}' in host.record.read_text()


def test_no_signal_is_ignored_in_qsub(host: SubmitHost) -> None:
    """Python ignores some for itself, which would last through exec."""
    host.qsub.write_text("#!/bin/sh\nexec grep SigIgn /proc/self/status\n")
    for words in (["job.sh"], ["-vm", "vcpus=1", "job.sh"]):
        assert ignored(host.run(*words).out) == set()


def test_what_the_caller_ignores_stays_ignored(host: SubmitHost) -> None:
    """As nohup has it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert host.run("-vm", "vcpus=1", "job.sh").qsub.ignored & 1 << signal.SIGHUP - 1
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("name", ["DISABLE_MIKELANGELO_HPC_STACK", "DISABLE_MIKELANGELO_HPCSTACK"])
def test_the_environment_switches_it_off(host: SubmitHost, name: str) -> None:
    """Every call is then qsub's, -vm and our own options too."""
    for words in (["-vm", "foo", "job.sh"], ["--dry-run", "job.sh"], ["-vm"]):
        assert host.run(*words, environment={name: "Yes"}).qsub.words == words
    assert host.run("-vm", "vcpus=1", "job.sh", environment={name: "false"}).qsub.words[0] == "-T"
    assert host.run("-vm", "vcpus=1", "job.sh", environment={name: ""}).qsub.words[0] == "-T"


def test_a_bad_switch_concerns_jobs_with_guests_only(host: SubmitHost) -> None:
    """Whether it means on or off, a plain job is qsub's."""
    assert host.run("job.sh", DISABLE_MIKELANGELO_HPC_STACK="1").qsub.words == ["job.sh"]
    done = host.run("-vm", "vcpus=1", "job.sh", DISABLE_MIKELANGELO_HPC_STACK="1")
    assert done.recorded is None
    assert done.code == 2
    assert "DISABLE_MIKELANGELO_HPC_STACK is '1' but must be true or false" in done.err


@pytest.mark.parametrize("more", [[], ["--dry-run"], ["--explain"]])
def test_guests_of_osv_are_refused_before_they_wait_in_a_queue(host: SubmitHost, more: list[str]) -> None:
    """Where the site allows none; one sentence."""
    (host.pool / "osv.qcow2").write_bytes((host.pool / "debian.qcow2").read_bytes())
    words = [*more, "-vm", "img=osv.qcow2", "job.sh"]
    done = host.run(*words)
    assert (done.code, done.out, done.recorded) == (2, "", None)
    assert done.err == "torque-vm: this site runs no guests of OSv; choose another image, or ask the site\n"
    host.set(allow_osv=True)
    assert host.run(*words).code == 0


@pytest.mark.proves("disable_mikelangelo_hpc_stack")
def test_the_setting_switches_it_off(host: SubmitHost) -> None:
    """And nobody's environment switches it on again."""
    host.set(disable_mikelangelo_hpc_stack=True)
    words = ["-vm", "vcpus=1", "job.sh"]
    assert host.run(*words, DISABLE_MIKELANGELO_HPC_STACK="no").qsub.words == words


def test_broken_settings_do_not_touch_plain_jobs(host: SubmitHost) -> None:
    """Which qsub is the real one cannot be known then, so the next one on the path is taken."""
    (host.folder / "bin").mkdir()
    host.qsub.rename(host.folder / "bin/qsub")
    path = f"{host.folder}:{host.folder / 'bin'}:/usr/bin"
    (host.etc / "settings.toml").write_text("image_pol = '/x'\n")
    host.front.chmod(0o755)
    assert host.run("job.sh", environment={"PATH": path}).qsub.words == ["job.sh"]
    done = host.run("-vm", "vcpus=1", "job.sh", environment={"PATH": path})
    assert (done.code, done.recorded) == (1, None)
    assert done.err == (
        f"torque-vm: {host.etc}/settings.toml: unknown setting 'image_pol'; did you mean image_pool?\n"
    )


@pytest.mark.parametrize("kind", ["itself", "link", "copy", "unmarked"])
def test_it_never_calls_itself(host: SubmitHost, kind: str) -> None:
    """Whatever name the front has in the settings: an error, no endless loop."""
    other = host.folder / "other"
    if kind == "link":
        other.symlink_to(host.front)
    elif kind == "copy":
        other.write_text(f"#!/bin/bash -p\nexec python -I -m nornir_torque_vm.wrapper.qsub # {kind}\n")
    elif kind == "unmarked":
        host.front.write_text("#!/bin/sh\n")
        os.link(host.front, other)
    path = host.front if kind == "itself" else other
    host.set(real_qsub_on_nodes=str(path))
    for words in (["job.sh"], ["-vm", "vcpus=1", "job.sh"]):
        done = host.run(*words)
        assert (done.code, done.recorded) == (1, None)
        assert done.err.startswith(f"torque-vm: real_qsub_on_nodes ({path}) is the wrapper itself")


def test_the_server_has_its_own_qsub(host: SubmitHost) -> None:
    """Its host name counts in its short and in its full form."""
    here = os.uname().nodename
    for name in (here, here.partition(".")[0].upper()):
        host.set(server_hostname=name, real_qsub_on_nodes="/missing/qsub")
        assert host.run("job.sh").qsub.words == ["job.sh"]
    host.set(server_hostname="elsewhere", real_qsub_on_server="/missing/qsub")
    assert host.run("job.sh").qsub.words == ["job.sh"]


def test_a_missing_qsub_is_one_line(host: SubmitHost) -> None:
    """The site has to say where it is."""
    host.set(real_qsub_on_nodes="/missing/qsub")
    done = host.run("job.sh")
    assert done.code == 1
    assert done.err == (
        "torque-vm: the real qsub /missing/qsub cannot be executed: No such file or directory; "
        "look at real_qsub_on_server and real_qsub_on_nodes in the settings\n"
    )


def test_a_request_on_the_command_line_marks_the_job(host: SubmitHost) -> None:
    """The user's words stay; the job's type and the request come behind the last option."""
    done = host.run("-l", "nodes=2", "-vm", "vms_per_node=2,ram=192M", "-N", "a b", "job.sh")
    assert done.qsub.words == [
        "-l", "nodes=2", "-N", "a b", "-T", "vm", "-l", "other=vm1:ram=192M:vms_per_node=2,nodes=2:ppn=2:vm",
        "job.sh",
    ]  # fmt: skip
    assert done.err == (
        "torque-vm: asked for nodes=2:ppn=2:vm instead of nodes=2: 2 guests of 1 processor on each node\n"
    )
    assert (done.code, done.out) == (0, "17.head\n")


def test_a_request_in_the_script_is_taken_out_of_the_copy(host: SubmitHost) -> None:
    """The copy has as many lines, lies in memory, and the job's name is that of the script."""
    host.script(INLINE.replace("#PBS -N named\n", "\n"))
    done = host.run("job.sh")
    (copy,) = done.qsub.copies
    assert done.qsub.words == [
        "-T", "vm", "-l", "other=vm1:ram=192M:vcpus=2,nodes=2:ppn=2:vm", "-N", "job.sh", copy
    ]  # fmt: skip
    expected = INLINE.replace("#PBS -N named\n", "\n").replace("#PBS -vm", "##PBS -vm")
    assert done.qsub.copies[copy] == expected


def test_a_name_in_the_script_or_before_it_stays(host: SubmitHost) -> None:
    """Ours would win over them."""
    host.script(INLINE)
    assert "-N" not in host.run("./job.sh").qsub.words
    host.script(INLINE.replace("#PBS -N named\n", ""))
    assert host.run("-Nmine", "./job.sh").qsub.words.count("-N") == 0
    assert host.run(f"{host.work}/job.sh").qsub.words[-3:-1] == ["-N", "job.sh"]


def test_the_command_line_wins_key_by_key(host: SubmitHost) -> None:
    """And later requests win over earlier ones."""
    host.script("#PBS -vm ram=1G,vcpus=4,distro=debian\n#PBS -vm ram=2G\n:\n")
    done = host.run("-vm", "vcpus=3", "-vm", "VCPUS=2", "job.sh")
    assert done.qsub.request == Request(ram=2 << 30, vcpus=2, distro=Distro.DEBIAN)


def test_a_script_on_standard_input_is_neutralised_there(host: SubmitHost) -> None:
    """In a pipe and in a file; its name stays qsub's own, STDIN."""
    neutral = INLINE.replace("#PBS -vm", "##PBS -vm")
    host.script(INLINE)
    with (host.work / "job.sh").open("rb") as file:
        for qsub in (host.run(stdin=INLINE.encode()).qsub, host.run(stdin=file.fileno()).qsub):
            assert (qsub.words[:2], len(qsub.words)) == (["-T", "vm"], 4)
            assert qsub.stdin == neutral
    qsub = host.run("-vm", "vcpus=2", stdin=HELLO).qsub
    assert (qsub.stdin, len(qsub.words)) == (HELLO.decode(), 4)


def test_an_interactive_job_reads_no_script_from_the_terminal(host: SubmitHost) -> None:
    """The real qsub gets the terminal as it is."""
    leader, terminal = pty.openpty()
    try:
        done = host.run("-I", "-vm", "vcpus=2", stdin=terminal)
    finally:
        os.close(leader)
        os.close(terminal)
    assert done.qsub.words == ["-I", "-T", "vm", "-l", "other=vm1:vcpus=2,nodes=1:ppn=2:vm"]
    assert done.qsub.stdin == "a terminal"


def test_a_script_that_runs_where_it_is_keeps_its_path(host: SubmitHost) -> None:
    """The path of -I -x goes into the job: its other options move to the command line, in front."""
    host.script(INLINE)
    assert host.run("-I", "-x", "-N", "mine", "job.sh").qsub.words == [
        "-N", "named", "-l", "nodes=2", "-I", "-x", "-N", "mine",
        "-T", "vm", "-l", "other=vm1:ram=192M:vcpus=2,nodes=2:ppn=2:vm", "-C", "#NO-DIRECTIVES", "job.sh",
    ]  # fmt: skip


def test_nothing_is_written(host: SubmitHost) -> None:
    """Neither for a job that is submitted nor for one that is refused."""
    before = host.files()
    for words in (["job.sh"], ["-vm", "vcpus=2", "job.sh"], ["-vm", "vcpus=x", "job.sh"]):
        host.run(*words)
    host.script(INLINE)
    host.run("job.sh")
    assert host.files() == before


@pytest.mark.parametrize("script", ["missing.sh", ".", "dos.sh"])
def test_what_qsub_refuses_is_left_to_qsub(host: SubmitHost, script: str) -> None:
    """It says why; should it ever not, the job is marked and does not run without guests."""
    host.script("#!/bin/sh\r\n#PBS -N x\r\n", name="dos.sh")
    assert host.run("-vm", "vcpus=1", "-z", script).qsub.words == ["-z", "-T", "vm", script]
    assert host.run("-z", script).qsub.words == ["-z", script]


@pytest.mark.proves("disabled_hosts_list")
def test_no_job_with_guests_from_a_switched_off_host(host: SubmitHost) -> None:
    """Plain jobs are submitted as ever."""
    host.set(disabled_hosts_list=".*")
    assert host.run("job.sh").qsub.words == ["job.sh"]
    done = host.run("-vm", "vcpus=2", "job.sh")
    assert (done.code, done.recorded) == (2, None)
    assert "disabled_hosts_list" in done.err


def test_it_can_be_stopped_while_it_waits_for_the_script(host: SubmitHost) -> None:
    """Ctrl-C ends it as it would end qsub, without a word."""
    reader, writer = os.pipe()
    os.write(writer, b"#!/bin/sh\n")
    with subprocess.Popen(host.argv(), stdin=reader, stderr=subprocess.PIPE, cwd=host.work) as process:
        while fcntl.ioctl(reader, termios.FIONREAD, bytes(4)) != bytes(4):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert process.stderr.read() == b""
    os.close(reader)
    os.close(writer)
    assert process.returncode == -signal.SIGINT
    assert not host.record.exists()


def test_resources_are_asked_for_once(host: SubmitHost) -> None:
    """What the user asked for is enough here: only request and property are added."""
    done = host.run("-l", "nodes=1:ppn=4:vm", "-vm", "vcpus=2", "job.sh")
    assert ours(done.qsub.words) == "other=vm1:vcpus=2"
    assert done.err == ""


def test_a_closed_descriptor_is_not_taken_for_the_script(host: SubmitHost) -> None:
    """It would be qsub's standard input or output then."""
    host.script(INLINE)
    for number in (0, 1, 2):
        command = ["/bin/sh", "-c", f'exec "$@" {number}<&-', "sh", *host.argv("job.sh")]
        subprocess.run(command, cwd=host.work, capture_output=True, check=False)
        (copy,) = Recorded(**json.loads(host.record.read_text())).copies
        assert int(copy.rpartition("/")[2]) > 2
        host.record.unlink()
