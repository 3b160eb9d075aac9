"""Random submissions: the real qsub gets what it would have got, but for what asks for guests."""

from __future__ import annotations

import os
import re

import front_kit
import pytest
from desk_kit import PIPE, REDIRECT, Desk
from hypothesis import assume, event, example, given, settings
from qsub_model import NoValue, Undefined, posixly
from submission_examples import Submission, sound_submissions, submissions
from submission_judge import GUESTS, PLAIN, check, read
from words_kit import EXAMPLES


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A user's desk."""
    return Desk(tmp_path_factory.mktemp("desk"))


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> front_kit.SubmitHost:
    """A front between two recorders, one as qsub and one as Python."""
    return front_kit.SubmitHost(tmp_path_factory.mktemp("host"))


@settings(max_examples=EXAMPLES)
@given(submissions)
@example(Submission(["-vm", "vcpus=2", "-za", "-"], b""))  # ours would hide behind the last word
@example(Submission(["job.sh"], b'#PBS -v"m" -vm vcpus=2 "-vm" ram=1G\n'))  # the first one is qsub's own
@example(Submission(["job.sh", "-vm", "vcpus=2"], b"#PBS -vm ram=1G\n", posixly_correct=True))
def test_qsub_gets_what_it_would_have_got(desk: Desk, example: Submission) -> None:
    """Or nobody gets anything, for one of the reasons there are."""
    event(submitted(desk, example))


@settings(max_examples=EXAMPLES)
@given(sound_submissions)
def test_nothing_sound_is_refused(desk: Desk, example: Submission) -> None:
    """What nobody has a reason to refuse becomes a job, with guests if it asks for any."""
    result = submitted(desk, example)
    event(result)
    assert result in {GUESTS, PLAIN}


def submitted(desk: Desk, example: Submission) -> str:
    """Submit an example, and compare; say what came of it."""
    desk.script(example.script)
    before = desk.files()
    with posixly(example.posixly_correct):
        way = PIPE if example.pipe else REDIRECT
        done = desk.submit(example.words, example.script, way, process=False)
        assert desk.files() == before
        return check(*parts(example), done)


def parts(example: Submission) -> tuple[list[bytes], dict[bytes, bytes], bytes]:
    """The words, files by name, and standard input of an example."""
    files = {b"job.sh": example.script, b"./job.sh": example.script}
    return [os.fsencode(word) for word in example.words], files, example.script


@settings(max_examples=max(1, EXAMPLES // 5))
@given(submissions)
def test_the_front_lets_no_request_through(host: front_kit.SubmitHost, example: Submission) -> None:
    """What it does not hand over asks for nothing, and goes on as it came.

    Where a line begins with NUL it may be wrong: a shell does not see one, and qsub sees a blank line.
    """
    assume(not re.search(rb"(?m)^\s*\0", example.script))
    host.script(example.script)
    words, files, stdin = parts(example)
    with posixly(example.posixly_correct), front_kit.piped(stdin) as pipe:
        host.run(*words, stdin=pipe)
        seen = host.recorded()
        event("handed over" if seen is None else "plain")
        if seen is not None:
            assert (list(seen.words), seen.stdin) == (words, stdin)
            assert not asks(words, files, stdin)


def asks(words: list[bytes], files: dict[bytes, bytes], stdin: bytes) -> bool:
    """Whether there is a request, or nobody knows."""
    try:
        job = read(words, files, stdin, asking=True)
    except (NoValue, Undefined):
        return True
    return bool(job.texts or job.header_texts)
