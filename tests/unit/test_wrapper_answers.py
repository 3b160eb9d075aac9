"""Calls of the wrapper that ask for something instead of submitting a job."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from qsub_kit import SubmitHost

from nornir_torque_vm.wrapper.qsub import main


@pytest.fixture
def host(tmp_path: Path) -> SubmitHost:
    """A submit host with a script that asks for guests."""
    made = SubmitHost(tmp_path)
    made.script("#PBS -vm ram=1G\n:\n")
    return made


@pytest.mark.parametrize("words", [["-vm", "help"], ["-z", "-vm", " HELP ", "job.sh"]])
def test_the_keys_are_explained(host: SubmitHost, words: list[str]) -> None:
    """With the defaults of the site, whatever else is asked for."""
    done = host.run(*words)
    assert (done.code, done.err, done.recorded) == (0, "", None)
    assert done.out.startswith("usage: qsub -vm KEY=VALUE")
    assert "setting img_default" in done.out


def test_vsub_explains_itself(host: SubmitHost) -> None:
    """Called qsub, the help is that of the real one."""
    vsub = host.folder / "vsub"
    done = host.run("--help", front=vsub)
    assert (done.code, done.recorded) == (0, None)
    assert done.out.startswith("usage: vsub -vm KEY=VALUE")
    assert host.run("--help").qsub.words == ["--help"]
    assert host.run("-N", "--help", "job.sh", front=vsub).qsub.words[:2] == ["-N", "--help"]


@pytest.mark.parametrize("words", [["--list-images"], ["--list-images", "-l"], ["-l", "--list-images"]])
def test_images_are_listed(host: SubmitHost, words: list[str]) -> None:
    """After ``-l`` it is a value, which is qsub's to judge."""
    done = host.run(*words)
    if words[0] == "-l":
        assert done.qsub.words == words
        return
    assert (done.code, done.out) == (0, "debian.qcow2  1G  debian  x86_64  (default)\n")
    assert host.run("--list-images=names").out == "debian.qcow2\n"


def test_a_list_and_a_job_are_two_calls(host: SubmitHost) -> None:
    """Nothing is submitted in passing."""
    done = host.run("--list-images", "job.sh")
    assert (done.code, done.recorded) == (2, None)
    assert done.err == "torque-vm: --list-images stands alone; write qsub --list-images\n"


@pytest.mark.parametrize("word", ["--dry-run", "--explain"])
def test_a_dry_run_submits_nothing(host: SubmitHost, word: str) -> None:
    """It shows what would be, and fails where the job would."""
    done = host.run(word, "-vm", "vcpus=2", "job.sh")
    assert (done.code, done.err, done.recorded) == (0, "", None)
    assert f"{host.qsub} -T vm -l other=vm1:ram=1G:vcpus=2,nodes=1:ppn=2:vm -N job.sh job.sh" in done.out
    assert "script line 1" in done.out
    done = host.run(word, "-vm", "vcpus=x", "job.sh")
    assert (done.code, done.out, done.recorded) == (2, "", None)


def test_a_dry_run_of_a_plain_job(host: SubmitHost) -> None:
    """Says that there is nothing to explain."""
    host.script("echo\n")
    done = host.run("--dry-run", "-N", "a b", "job.sh")
    assert done.out == f"no VM request: {host.qsub} -N 'a b' job.sh\n"


@pytest.mark.parametrize("script", [None, "a\r\n"])
def test_a_dry_run_of_a_script_qsub_refuses(host: SubmitHost, script: str | None) -> None:
    """Is refused too, since qsub is not asked."""
    (host.work / "job.sh").unlink()
    if script:
        host.script(script)
    done = host.run("--dry-run", "-vm", "vcpus=1", "job.sh")
    assert (done.code, done.recorded) == (2, None)
    assert "qsub refuses a script" in done.err if script else "job.sh cannot be read" in done.err


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["-vm"], 2, "-vm has no value; write -vm key=value,key=value without blanks"),
        (["-vm", "foo=1", "job.sh"], 2, "unknown -vm key 'foo'; known are img"),
        (["-vm", "ram=1", "job.sh"], 2, "-vm key ram is '1' but must have a unit"),
        (["-vm", "vms_per_node=99", "job.sh"], 2, "vms_per_node is 99, and the site allows 8"),
        (["-vm", "img=other.qcow2", "job.sh"], 2, "image 'other.qcow2' does not exist in the image pool"),
        (["-vm", "metadata=x", "job.sh"], 2, "metadata names 'x', which cannot be opened: No such file"),
        (["-vm", "vcpus=1", "-Tx", "job.sh"], 2, "-T x cannot be combined with -vm"),
        (["-l", "nodes=0", "job.sh"], 2, "nodes='0' asks for 0 nodes"),
    ],
)
def test_what_is_wrong_is_one_line(host: SubmitHost, words: list[str], code: int, sentence: str) -> None:
    """Nothing is submitted."""
    done = host.run(*words)
    assert (done.code, done.out, done.recorded) == (code, "", None)
    (line,) = done.err.splitlines()
    assert line.startswith(f"torque-vm: {sentence}")


def test_a_default_image_that_is_gone_is_the_sites_fault(host: SubmitHost) -> None:
    """Exit code 1 tells it from what the user can mend."""
    host.set(img_default="gone.qcow2")
    done = host.run("job.sh")
    assert (done.code, done.recorded) == (1, None)
    assert host.run("-vm", "img=debian.qcow2", "job.sh").code == 0


def test_a_catalogue_that_cannot_be_read_is_the_sites_fault(host: SubmitHost) -> None:
    """It says more of an image than its header, so it is not passed over."""
    (host.pool / "catalogue.json").mkdir()
    done = host.run("job.sh")
    assert (done.code, done.recorded) == (1, None)
    assert done.err.startswith(f"torque-vm: the image catalogue {host.pool}/catalogue.json cannot be used")


def test_a_bug_is_one_line_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A user can send it to the site; a page of Python he would not read."""
    monkeypatch.setattr("sys.argv", ["qsub"])
    assert main() == 1
    assert capsys.readouterr().err == (
        "torque-vm: unexpected IndexError: list index out of range; nothing was submitted\n"
    )


@pytest.mark.parametrize(
    ("target", "why"), [(">&-", "is closed"), (">/dev/full", "cannot be written: No space")]
)
def test_an_answer_that_cannot_be_written_is_no_success(host: SubmitHost, target: str, why: str) -> None:
    """A program that asks for names must not take none for an answer."""
    command = ["/bin/sh", "-c", f'exec "$@" {target}', "sh", *host.argv("--list-images")]
    done = subprocess.run(command, cwd=host.work, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"torque-vm: standard output {why}")
    assert done.stderr.count("\n") == 1


def test_a_reader_that_has_enough_ends_it(host: SubmitHost) -> None:
    """As it ends any program."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as broken:
        done = subprocess.run(host.argv("-vm", "help"), stdout=broken, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b"")
