"""What the real qsub gets from the front: all that a process inherits, and a script on standard input."""

from __future__ import annotations

import os
import pty
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest
from front_kit import ASKING, PLAIN, TWO_SHELLS, SubmitHost, prepared


@pytest.fixture(params=TWO_SHELLS)
def host(request: pytest.FixtureRequest, tmp_path: Path) -> SubmitHost:
    """A submit host whose fronts run in each of two shells."""
    return prepared(tmp_path, request.param)


def test_the_real_qsub_inherits_everything(host: SubmitHost) -> None:
    """Environment, directory, umask, signals, descriptors: as if nobody had stood between.

    Not every shell lets signals through: that, too, is why the kit's own first line names bash.
    """
    start = (
        "exec 3</etc/hostname 9>/dev/null 12</etc/hosts; umask 027; export PWD=$1; shift;"
        'exec env --ignore-signal=HUP,INT,PIPE,CHLD --block-signal=USR1,TERM "$@"'
    )
    link = host.folder / "link"
    link.symlink_to(host.folder / "work")
    environment = {
        "PATH": os.environ["PATH"], "SHLVL": "3", "_": "/usr/bin/qsub", "OLDPWD": "/etc", "HOME": "/nowhere",
        "PYTHON": "mine", "ETC": "mine", "IFS": " \t\n", "OPTIND": "1", "LC_ALL": "C", "TMPDIR": "/tmp",
        "word": "mine", "line": "mine", "SECRET": "a\nb=c", "ENV": "/nowhere", "BASH_ENV": "/nowhere",
    }  # fmt: skip
    seen = []
    for program in (host.qsub, host.bin / "qsub"):
        prefix = ["bash", "--posix", "-c", start, "bash", str(link)]
        host.run("plain.sh", "-V", env=environment, prefix=prefix, program=program)
        seen.append(host.recorded())
    direct, through = seen
    assert direct is not None
    assert through is not None
    changed = dict(through.environment.items() ^ direct.environment.items())
    assert changed.keys() <= (set() if host.shell == "" else {b"SHLVL"})
    assert through.cwd == direct.cwd
    facts = ("Umask", "Uid", "Gid", "SigIgn", "SigBlk")
    for fact in facts if host.shell == "" else facts[:3]:
        assert through.status[fact] == direct.status[fact]
    inherited = (3, 9, 12)
    assert [through.descriptors[fd] for fd in inherited] == [direct.descriptors[fd] for fd in inherited]
    assert through.descriptors.keys() == direct.descriptors.keys()
    assert through.environment[b"PWD"] == bytes(link)


def test_exported_functions_and_odd_names_stay(tmp_path: Path) -> None:
    """``qsub -V`` takes them into the job, ``module`` above all; some shells would drop them."""
    host = prepared(tmp_path)
    environment = {
        b"PATH": os.environb[b"PATH"],
        b"BASH_FUNC_module%%": b"() {  eval `modulecmd bash $*`\n}",
        b"odd-name": b"x",
        b"latin": b"\xe9\xff\x01\x7f",
    }
    host.run("plain.sh", env=environment)
    seen = host.recorded()
    assert seen is not None
    assert environment.items() <= seen.environment.items()
    assert seen.environment.keys() - environment.keys() <= {b"PWD", b"SHLVL", b"_", b"OLDPWD"}


def test_closed_descriptors_stay_closed(host: SubmitHost) -> None:
    """No file that the front opens takes their place."""
    closing = ["sh", "-c", 'exec "$@" <&- 2>&-', "sh"]
    host.run("plain.sh", prefix=closing)
    seen = host.recorded()
    assert seen is not None
    assert not {0, 2} & seen.descriptors.keys()


@pytest.mark.parametrize("script", [b"", b"echo\n", PLAIN.encode(), b"echo\n" + bytes(range(256)) * 999])
def test_a_piped_script_is_replayed(host: SubmitHost, script: bytes) -> None:
    """Same bytes, from the beginning, out of a file of ours that has no name and leaves nothing."""
    folder = host.folder / "tmp"
    folder.mkdir()
    host.run("-N", "piped", stdin=script, env={**os.environ, "TMPDIR": str(folder)})
    seen = host.recorded()
    assert seen is not None
    assert (seen.stdin, seen.offset) == (script, 0)
    assert seen.descriptors[0].startswith(f"{folder}/torque-vm.")
    assert seen.descriptors[0].endswith(" (deleted)")
    assert 3 not in seen.descriptors
    assert list(folder.iterdir()) == []


def test_nobody_else_can_read_a_piped_script(host: SubmitHost) -> None:
    """Whatever the umask, which is the user's own again when qsub runs."""
    host.qsub.write_text(
        host.qsub.read_text().replace("cat >seen", "stat -Lc %a /proc/self/fd/0 >mode; cat >seen")
    )
    host.run(stdin=PLAIN.encode(), prefix=["sh", "-c", 'umask 0; exec "$@"', "sh"])
    seen = host.recorded()
    assert seen is not None
    assert (host.real / "mode").read_text() == "600\n"
    assert seen.status["Umask"] == "0000"


def test_a_piped_request_is_asked_about(host: SubmitHost) -> None:
    """Python gets the whole script, and so it does where no file can be made."""
    host.run(stdin=ASKING.encode())
    asked = host.asked()
    assert asked is not None
    assert asked.stdin == ASKING.encode()
    result = host.run(stdin=PLAIN.encode(), env={**os.environ, "TMPDIR": "/nowhere"})
    asked = host.asked()
    assert asked is not None
    assert asked.stdin == PLAIN.encode()
    assert result.stderr == b""


def test_a_script_that_cannot_be_kept_is_not_submitted(host: SubmitHost) -> None:
    """A part of it would be another job."""
    limited = ["sh", "-c", 'ulimit -f 1; trap "" XFSZ; exec "$@"', "sh"]
    result = host.run(stdin=b"echo\n" * 10_000, prefix=limited)
    assert host.recorded() is None
    assert host.asked() is None
    assert result.returncode == 1
    assert result.stderr.count(b"\n") == 1
    assert b"no room in" in result.stderr


def test_a_script_from_a_socket_is_replayed(host: SubmitHost) -> None:
    """As sshd gives it: ``ssh head qsub < job.sh``."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(PLAIN.encode())
        ours.shutdown(socket.SHUT_WR)
        host.run(stdin=theirs.fileno())
    seen = host.recorded()
    assert seen is not None
    assert seen.stdin == PLAIN.encode()


def test_a_redirected_file_stays_where_it_is(host: SubmitHost) -> None:
    """It is the very same descriptor, its offset untouched."""
    with (host.folder / "work/plain.sh").open("rb") as file:
        host.run("-N", "redirected", stdin=file)
    seen = host.recorded()
    assert seen is not None
    assert (seen.stdin, seen.offset) == (PLAIN.encode(), 0)
    assert seen.descriptors[0] == str(host.folder / "work/plain.sh")


@pytest.mark.parametrize(("name", "offset"), [("asking.sh", 0), ("plain.sh", 10)])
def test_what_is_not_surely_plain_is_asked_about(host: SubmitHost, name: str, offset: int) -> None:
    """A request; and a file of which qsub would read the rest only."""
    with (host.folder / "work" / name).open("rb", buffering=0) as file:
        file.seek(offset)
        host.run(stdin=file)
        asked = host.asked()
        content = (host.folder / "work" / name).read_bytes()
    assert asked is not None
    assert asked.stdin == content[offset:]


def test_a_terminal_or_device_is_asked_about(host: SubmitHost) -> None:
    """Only Python reads what a person types; ``/dev/null`` is rare enough."""
    host.run(stdin=subprocess.DEVNULL)
    assert host.asked() is not None
    ours, terminal = pty.openpty()
    try:
        os.write(ours, b"\x04")
        host.run(stdin=terminal)
    finally:
        os.close(ours)
        os.close(terminal)
    assert host.asked() is not None


def test_an_ordinary_user_can_do_all_that() -> None:
    """These tests often run as root, who is never refused anything."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        host = prepared(folder)
        folder.chmod(0o755)
        for place in (folder, host.real, host.folder / "work"):
            place.chmod(0o777)
        nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
        for given, words in ((b"", ("plain.sh",)), (PLAIN.encode(), ("-V",))):
            result = host.run(*words, stdin=given, prefix=nobody)
            seen = host.recorded()
            assert (result.returncode, result.stderr) == (42, b"")
            assert seen is not None
            assert seen.stdin == given
        host.run(stdin=ASKING.encode(), prefix=nobody)
        asked = host.asked()
        assert asked is not None
        assert asked.stdin == ASKING.encode()
