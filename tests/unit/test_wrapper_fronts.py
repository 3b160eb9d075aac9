"""The front of qsub: what surely asks for no VM reaches the real qsub as it came, without Python."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from front_kit import PLAIN, TWO_SHELLS, SubmitHost, executable, prepared
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nornir_torque_vm.errors import RequestError
from nornir_torque_vm.wrapper.getopt import read_words

HOSTNAME = Path("/proc/sys/kernel/hostname").read_text().strip()


@pytest.fixture(params=TWO_SHELLS)
def host(request: pytest.FixtureRequest, tmp_path: Path) -> SubmitHost:
    """A submit host whose fronts run in each of two shells."""
    return prepared(tmp_path, request.param)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> SubmitHost:
    """One for all examples of a property, with the kit's own first line."""
    return prepared(tmp_path_factory.mktemp("kept"))


@pytest.mark.parametrize(
    "words",
    [
        ("plain.sh",),
        ("-l", "nodes=2:ppn=4", "-N", "name", "plain.sh"),
        ("-lnodes=2", "-j", "oe", "-V", "./plain.sh"),
        ("-vmyvar=3", "plain.sh"),
        ("-v", "m", "plain.sh"),
        ("-v", "A=b c,D='e'", "my job.sh"),
        ("-N", "asking.sh", "plain.sh"),
        ("-W", "x=VM;img=a b", "-F", 'one "two three" $(four) *', "plain.sh"),
        ("plain.sh", "-t", "1-10%2"),
        ("-z", "plain.sh", "asking.sh"),
        ("-l", "nodes=1\nline two", "", "plain.sh"),
        ("-", "asking.sh"),
        ("--", "asking.sh"),
        ("-l", "-", "plain.sh"),
        ("no such script",),
        ("/dev/null",),
        (".",),
        ("-I", "-l", "nodes=1"),
        ("-I", "-x", "plain.sh"),
        ("-IX",),
        ("--version",),
        ("-l", "nodes=1", "--about"),
        ("--help", "plain.sh"),
        ("-Z", "plain.sh"),
        ("-N",),
    ],
)
def test_a_plain_call_is_the_real_qsubs(host: SubmitHost, words: tuple[str, ...]) -> None:
    """With the same words and input, nothing said, and its own exit code."""
    result = host.run(*words, stdin=b"#PBS -N input\n")
    seen = host.recorded()
    assert host.asked() is None
    assert seen is not None
    assert seen.words == tuple(word.encode() for word in words)
    assert seen.stdin == b"#PBS -N input\n"
    assert (result.returncode, result.stdout, result.stderr) == (42, b"", b"")


@pytest.mark.parametrize(
    "words",
    [
        ("-vm", "ram=1G", "plain.sh"),
        ("plain.sh", "-vm", "ram=1G"),
        ("-vm", "help"),
        ("-vm",),
        ("asking.sh",),
        ("-l", "nodes=1", "asking.sh", "plain.sh"),
        ("-I", "asking.sh"),
        ("-", "plain.sh", "asking.sh"),
        ("-zN", "asking.sh"),
        ("-C", "#X", "plain.sh"),
        ("-C#X", "plain.sh"),
        ("--dry-run", "plain.sh"),
        ("plain.sh", "--explain"),
        ("--list-images",),
        ("--list-images=names",),
    ],
)
def test_what_may_ask_for_guests_goes_to_python(host: SubmitHost, words: tuple[str, ...]) -> None:
    """With the front's path, the settings' directory, the same words and the same input."""
    result = host.run(*words, stdin=b"#PBS -N input\n")
    seen = host.asked()
    assert host.recorded() is None
    assert seen is not None
    front, etc, *rest = seen.words[seen.words.index(b"nornir_torque_vm.wrapper.qsub") + 1 :]
    assert (front, etc) == (bytes(host.bin / "qsub"), bytes(host.etc))
    assert tuple(rest) == tuple(word.encode() for word in words)
    assert seen.stdin == b"#PBS -N input\n"
    assert (result.returncode, result.stderr) == (43, b"")


def test_vsub_is_the_same_under_another_name(host: SubmitHost) -> None:
    """Only ``--help`` is its own, where TORQUE's qsub shows its usage."""
    vsub = host.bin / "vsub"
    host.run("plain.sh", program=vsub)
    assert host.recorded() is not None
    host.run("--help", "plain.sh", program=vsub)
    asked = host.asked()
    assert asked is not None
    assert bytes(vsub) in asked.words


def test_without_python_only_plain_calls_work(host: SubmitHost) -> None:
    """What a broken installation does: it says so, and nothing else breaks."""
    host.python.unlink()
    assert host.run("plain.sh").returncode == 42
    result = host.run("asking.sh")
    assert result.returncode == 127
    assert str(host.python).encode() in result.stderr


@pytest.mark.parametrize("name", ["DISABLE_MIKELANGELO_HPC_STACK", "DISABLE_MIKELANGELO_HPCSTACK"])
@pytest.mark.parametrize(
    ("value", "recorded"),
    [("true", True), ("Yes", True), ("ON", True), ("enabled", True), ("false", False), ("", False),
     ("No", False), ("off", False), ("disabled", False), ("1", False), ("0", False), ("maybe", False)],
)  # fmt: skip
def test_the_environment_switches_the_wrapper_off(
    kept: SubmitHost, name: str, value: str, *, recorded: bool
) -> None:
    """Then ``-vm`` is the real qsub's to refuse. What is neither yes nor no is Python's to refuse."""
    kept.run("-vm", "ram=1G", "plain.sh", env={**os.environ, name: value})
    assert (kept.recorded() is not None) == recorded
    kept.run("plain.sh", env={**os.environ, name: value})
    assert (kept.asked() is not None) == (value in {"0", "1", "maybe"})


def test_the_site_switches_the_wrapper_off(host: SubmitHost) -> None:
    """Whatever a user's environment says."""
    host.set(disable_mikelangelo_hpc_stack=True)
    host.run("-vm", "ram=1G", "plain.sh", env={**os.environ, "DISABLE_MIKELANGELO_HPC_STACK": "no"})
    assert host.recorded() is not None


@pytest.mark.proves("server_hostname", "real_qsub_on_server", "real_qsub_on_nodes")
@pytest.mark.parametrize("server", ["", HOSTNAME.upper(), f"{HOSTNAME}.cluster.example", f"x{HOSTNAME}"])
def test_the_host_decides_which_qsub_is_the_real_one(host: SubmitHost, server: str) -> None:
    """The server has its own; short or full name, in any case."""
    other = executable(host.folder / "server-qsub", "#!/bin/sh\nexit 44\n")
    host.set(server_hostname=server, real_qsub_on_server=str(other))
    here = server.lower().partition(".")[0] == HOSTNAME.lower().partition(".")[0]
    assert host.run("plain.sh").returncode == (44 if here else 42)


@pytest.mark.parametrize("how", ["missing", "changed", "older", "no settings", "no permission"])
def test_settings_that_are_not_compiled_are_python_s(tmp_path: Path, how: str) -> None:
    """Slower, and always right."""
    host = prepared(tmp_path)
    compiled, source = host.etc / "compiled/qsub.sh", host.etc / "settings.toml"
    now = source.stat().st_mtime_ns
    if how == "missing":
        compiled.unlink()
    elif how == "no permission" and os.geteuid() == 0:
        compiled.rename(compiled.with_suffix(".gone"))  # nothing is forbidden to root
    elif how == "no permission":
        compiled.chmod(0)
    elif how == "no settings":
        source.unlink()
    else:
        moment = now + 1_000_000 if how == "changed" else now - 60_000_000_000
        os.utime(source, ns=(moment, moment))
    host.run("plain.sh")
    assert host.recorded() is None
    assert host.asked() is not None


def test_the_wrapper_never_calls_itself(host: SubmitHost) -> None:
    """By any path; nor through its other name, which would find itself again."""
    link = host.folder / "link"
    link.symlink_to(host.bin / "qsub")
    for path in (host.bin / "qsub", link, host.bin / "vsub"):
        host.set(real_qsub_on_nodes=str(path))
        result = host.run("plain.sh")
        assert result.returncode == 1
        assert result.stderr.count(b"\n") == 1
        assert b"is this wrapper itself: see real_qsub_on_server" in result.stderr


@pytest.mark.parametrize(("mode", "code"), [(None, 127), (0o644, 126), (0, 126)])
def test_a_missing_qsub_is_named(host: SubmitHost, mode: int | None, code: int) -> None:
    """With the codes a shell uses, one line, and where to look."""
    if mode is None:
        host.qsub.unlink()
    else:
        host.qsub.chmod(mode)
    result = host.run("plain.sh")
    assert result.returncode == code
    assert result.stderr.count(b"\n") == 1
    assert str(host.qsub).encode() in result.stderr
    assert b"real_qsub_on_nodes" in result.stderr


WORD = st.binary(max_size=12).map(lambda word: word.replace(b"\0", b"")) | st.sampled_from(
    [b"-vm", b"-v", b"-vmx", b"--", b"-", b"-I", b"-l", b"-N", b"-V", b"-F", b"plain.sh", b"asking.sh", b"",
     b"\n", b"'", b'"', b"*", b"$(id)", b"\xff\xfe", b"\x01\x7f\x81\x88", b"a b"]
)  # fmt: skip


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(WORD, max_size=6))
def test_words_arrive_as_they_came(kept: SubmitHost, words: list[bytes]) -> None:
    """At the real qsub or at Python; at the real qsub only if Python sees no request in them either."""
    kept.run(*words, stdin=PLAIN.encode())
    seen, asked = kept.recorded(), kept.asked()
    assert (seen is None) != (asked is None)
    if asked is not None:
        assert list(asked.words[-len(words) :] if words else []) == words
    if seen is not None:
        assert list(seen.words) == words
        assert seen.stdin == PLAIN.encode()
        assert not has_request([os.fsdecode(word) for word in words])


def has_request(words: list[str]) -> bool:
    """Whether the exact rules find a request in the words."""
    try:
        return bool(read_words(words).requests)
    except RequestError:
        return True
