"""The wrapper and the submit filter on one submission: whoever comes second finds nothing left to do."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import lines_guests
import pytest
from desk_kit import FILE, INTERACTIVE, PIPE, REDIRECT, Desk
from filter_kit import FilterHost
from hypothesis import given, settings
from line_kit import COPIES, SCRIPTS, Line
from qsub_kit import Recorded
from qsub_model import scan
from submission_examples import Submission, sound_submissions
from submission_judge import read
from words_kit import EXAMPLES

NO_SCRIPT = b"\n\n"
"""What the filter gets for a session without a script."""

CELLS = [
    pytest.param(line, way, id=f"{line.typed[:60]} [{way}]")
    for line in lines_guests.LINES
    for way in line.ways
    if line.asked is not None
]
INLINE = [
    pytest.param(line, id=line.typed)
    for line in lines_guests.LINES
    if line.script in COPIES and not {"-vm", "-l"} & set(line.words(FILE)) and FILE in line.ways
]
"""The script alone asks, and the command line says nothing of nodes."""


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A user with all the scripts."""
    made = Desk(tmp_path_factory.mktemp("desk"))
    for name, text in SCRIPTS.items():
        made.script(text, name)
    return made


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> FilterHost:
    """The filter as TORQUE calls it."""
    return FilterHost(tmp_path_factory.mktemp("host"))


def script_of(got: Recorded, line: Line, way: str) -> bytes:
    """What qsub gives to the filter, once it has got ``got``."""
    if way in {REDIRECT, PIPE}:
        return got.stdin.encode()
    if line.has_copy:
        return got.copies[next(iter(got.copies))].encode()
    return NO_SCRIPT if way == INTERACTIVE else SCRIPTS[line.script or "job.sh"].encode()


@pytest.mark.parametrize(("line", "way"), CELLS)
def test_the_filter_leaves_what_the_wrapper_made(desk: Desk, line: Line, way: str) -> None:
    """Byte for byte, and without a word."""
    script = SCRIPTS[line.script or "job.sh"].encode()
    got = desk.submit(line.words(way), script, way, process=False).qsub
    given = script_of(got, line, way)
    assert desk.filter(got.words, given) == (0, given, "")


@pytest.mark.parametrize(("line", "way"), CELLS[::8])
def test_so_it_does_when_torque_calls_it(desk: Desk, host: FilterHost, line: Line, way: str) -> None:
    """By a shell, with each word between quotes and only that."""
    script = SCRIPTS[line.script or "job.sh"].encode()
    got = desk.submit(line.words(way), script, way, process=False).qsub
    given = script_of(got, line, way)
    done = host.interactive(*got.words) if given == NO_SCRIPT else host.submit(given, *got.words)
    assert (done.code, done.script, done.err) == (0, given, "")


@settings(max_examples=EXAMPLES)
@given(sound_submissions)
def test_the_filter_leaves_whatever_the_wrapper_made(desk: Desk, example: Submission) -> None:
    """Random words and scripts, with a request or without."""
    desk.script(example.script)
    got = desk.submit(example.words, example.script, REDIRECT, process=False).qsub
    words = [word.encode("latin-1") for word in got.words]
    seen = scan(words)
    script = NO_SCRIPT if seen.interactive else got.stdin.encode("latin-1")
    if seen.place is not None:
        copy = got.copies.get(got.words[seen.place])
        script = example.script if copy is None else copy.encode("latin-1")
    assert desk.filter([os.fsdecode(word) for word in words], script) == (0, script, "")


@pytest.mark.parametrize("line", INLINE)
def test_the_filter_alone_makes_the_same_job(desk: Desk, line: Line) -> None:
    """Plain qsub with the filter, or the wrapper: the same options, the same resources."""
    words = line.words(FILE)
    script = SCRIPTS[line.script].encode()
    code, filtered, said = desk.filter(words, script)
    done = desk.submit(words, b"", FILE, process=False)
    assert (code, said) == (0, done.err)
    got = done.qsub
    files = {line.script: SCRIPTS[line.script], **got.copies}
    by_wrapper = options(got.words, files)
    by_filter = options(words, dict.fromkeys([line.script, f"./{line.script}"], filtered.decode()))
    if line.has_copy and "N" not in by_filter:
        assert by_wrapper.pop("N") == line.script
    assert by_filter == by_wrapper


def options(words: Sequence[str], files: Mapping[str, str]) -> dict[str, str]:
    """The options that count, each resource of ``-l`` for itself; no ``-C``, which has had its effect."""
    content = {name.encode(): text.encode() for name, text in files.items()}
    counted: dict[str, str] = {}
    for letter, value in read([word.encode() for word in words], content, b"", asking=False).options:
        text = os.fsdecode(value or b"")
        if letter == "l":
            counted |= {f"-l {resource.partition('=')[0]}": resource for resource in text.split(",")}
        elif letter != "C":
            counted[letter] = text
    return counted
