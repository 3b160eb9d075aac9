"""The front of the submit filter: a script that surely asks for no VM goes through, byte by byte."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
from front_kit import ASKING, PLAIN, SHELLS, SubmitHost, executable, prepared
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from nornir_torque_vm.errors import RequestError
from nornir_torque_vm.wrapper.directives import read_header

TRAP = """\
#!/bin/sh
cat /proc/$$/cmdline >"${0%/*}/asked.cmdline"
: >"${0%/*}/asked.environ"
tee "${0%/*}/asked.stdin"
exit 43
"""


@pytest.fixture(params=SHELLS)
def host(request: pytest.FixtureRequest, tmp_path: Path) -> SubmitHost:
    """A submit host whose fronts run in each of the shells."""
    return with_trap(prepared(tmp_path, request.param))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> SubmitHost:
    """One for all examples of a property."""
    return with_trap(prepared(tmp_path_factory.mktemp("kept")))


def with_trap(host: SubmitHost) -> SubmitHost:
    """Let Python's place be taken by a program that writes what it reads, and fails."""
    executable(host.python, TRAP)
    return host


def filtered(host: SubmitHost, script: bytes, *words: str) -> tuple[bytes, bool]:
    """What comes out, and whether Python was asked: then with its exit code, otherwise with 0."""
    result = host.run(*words, stdin=script, program=host.bin / "submit-filter")
    asked = host.asked()
    assert result.returncode == (43 if asked else 0)
    assert result.stderr == b""
    if asked is not None:
        front, etc, *rest = asked.words[asked.words.index(b"nornir_torque_vm.wrapper.submit_filter") + 1 :]
        assert (front, etc) == (bytes(host.bin / "submit-filter"), bytes(host.etc))
        assert rest == [os.fsencode(word) for word in words]
    return result.stdout, asked is not None


@pytest.mark.parametrize(
    "script",
    [
        b"",
        b"\n\n",
        b"#PBS -N x",
        b"#PBS -N x\n",
        PLAIN.encode(),
        b"#PBS -N 'a\\b'  \n \t \n# %s \\n \xff\x81\n\necho -n\n#PBS -vm late\n" + bytes(range(256)) * 999,
        b"#PBS -W x=1 \\\n  -N x\n: ${a}\n\techo\\\nlast",
        b"-n\n",
        b"-e \\c",
    ],
)
def test_a_plain_script_goes_through(host: SubmitHost, script: bytes) -> None:
    """Python is not asked."""
    assert filtered(host, script, "-l", "nodes=1", "job.sh") == (script, False)


@pytest.mark.parametrize(
    "script",
    [ASKING.encode(), b"#PBS -vm", b"\n# -vm\necho\n", b"#PBS -N x \\\n -vm ram=1G\n" + b"x" * 200_000],
)
def test_what_may_ask_for_guests_goes_to_python(host: SubmitHost, script: bytes) -> None:
    """All of it, and Python's exit code is the filter's."""
    assert filtered(host, script, "-N", "a b", "job.sh") == (script, True)


@pytest.mark.parametrize("word", ["-C", "-C#X"])
def test_another_prefix_is_python_s(host: SubmitHost, word: str) -> None:
    """It decides what a directive is."""
    assert filtered(host, PLAIN.encode(), word, "#X", "job.sh") == (PLAIN.encode(), True)


def test_a_filter_of_the_site_is_python_s(host: SubmitHost) -> None:
    """For every script: it has to run first."""
    host.set(site_submit_filter="/opt/site/filter")
    assert filtered(host, PLAIN.encode()) == (PLAIN.encode(), True)


@pytest.mark.parametrize("how", ["never compiled", "changed"])
def test_settings_that_are_not_compiled_are_python_s(host: SubmitHost, how: str) -> None:
    """The site may have set a filter of its own."""
    if how == "changed":
        moment = time.time() + 2.0  # some shells know whole seconds only
        os.utime(host.etc / "settings.toml", (moment, moment))
    else:
        shutil.rmtree(host.etc / "compiled")
    assert filtered(host, PLAIN.encode()) == (PLAIN.encode(), True)


def test_a_header_without_end_is_python_s(host: SubmitHost) -> None:
    """A shell would take its time."""
    script = b"# comment\n" * 7000
    assert filtered(host, script) == (script, True)


def test_what_cannot_be_written_fails_the_filter(host: SubmitHost) -> None:
    """Otherwise qsub would submit a part of the script, or an empty job."""
    for script in (b"echo\n" * 10_000, b"#PBS -N x\n" * 500):
        full = ["sh", "-c", 'exec "$@" >/dev/full', "sh"]
        assert host.run(stdin=script, prefix=full, program=host.bin / "submit-filter").returncode != 0


LINE = st.sampled_from(
    [b"#PBS -N x", b"#PBS -vm a=1", b"#PBS \\", b"# \\", b"", b"  ", b"\t#", b":", b"echo", b"-vm a=1",
     b"#PBS -v m", b"#PBS -N x \\\r", b"\r", b"\xff\x81\x88", b"\\"]
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(LINE | st.binary(max_size=20).map(lambda line: line.replace(b"\0", b"")), max_size=8))
@example(lines=[b"#PBS -N x \\\r", b"-vm a=1"])
def test_every_script_comes_out_as_it_went_in(kept: SubmitHost, lines: list[bytes]) -> None:
    """By way of Python if there is a request in it."""
    script = b"\n".join(lines)
    out, asked = filtered(kept, script, "job.sh")
    assert out == script
    try:
        assert asked or not read_header(script, from_stdin=True).has_request
    except RequestError:
        assert asked
