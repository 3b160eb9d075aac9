"""What people type, in every way to submit it: what the real qsub gets, or the one sentence they get."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import lines_guests
import lines_plain
import lines_refused
import pytest
from desk_kit import FILE, INTERACTIVE, PIPE, REDIRECT, Desk
from line_kit import COPIES, SCRIPTS, Line
from qsub_kit import Outcome

from nornir_torque_vm.request import Request

LINES = (*lines_plain.LINES, *lines_guests.LINES, *lines_refused.LINES)
CELLS = [pytest.param(line, way, id=f"{line.typed[:60]} [{way}]") for line in LINES for way in line.ways]
PROCESSES = [
    pytest.param(line, line.ways[number % len(line.ways)], id=line.typed[:60])
    for number, line in enumerate(LINES[::2])
]
"""Every second line once, the ways in turn."""


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A user with all the scripts; he may leave them as they are, and so must we."""
    made = Desk(tmp_path_factory.mktemp("desk"))
    for name, text in SCRIPTS.items():
        made.script(text, name)
    before = content(made)
    yield made
    assert content(made) == before


def content(desk: Desk) -> dict[Path, bytes]:
    """All files there are, but for the recorder's."""
    paths = (Path(name) for name in desk.files())
    return {path: path.read_bytes() if path.is_file() else b"" for path in paths}


def test_the_table_is_large_enough() -> None:
    """Sixty real lines at least, of each kind a good part, and no line twice."""
    assert len({line.typed for line in LINES}) == len(LINES) >= 60
    assert min(len(kind.LINES) for kind in (lines_plain, lines_guests, lines_refused)) >= 40
    assert {way for line in LINES for way in line.ways} == {FILE, REDIRECT, PIPE, INTERACTIVE}


@pytest.mark.parametrize(("line", "way"), CELLS)
def test_what_comes_of_a_line(desk: Desk, line: Line, way: str) -> None:
    """Words, script, request and sentence, with the wrapper in this process."""
    check(desk, line, way, process=False)


@pytest.mark.parametrize(("line", "way"), PROCESSES)
def test_the_same_from_the_front_on(desk: Desk, line: Line, way: str) -> None:
    """The installed front, Python, and the recorder as processes of their own."""
    check(desk, line, way, process=True)


def check(desk: Desk, line: Line, way: str, *, process: bool) -> None:
    """Submit a line and compare what comes of it with what the table says."""
    before = desk.files()
    script = SCRIPTS[line.script or "job.sh"]
    done = desk.submit(line.words(way), script.encode(), way, process=process)
    assert done.err == (f"torque-vm: {placed(line.says, desk)}\n" if line.says else "")
    assert done.code == line.code
    assert desk.files() == before
    if line.code:
        assert (done.out, done.recorded) == ("", None)
    else:
        check_what_qsub_got(desk, line, way, done)


def check_what_qsub_got(desk: Desk, line: Line, way: str, done: Outcome) -> None:
    """Compare what came to the recorder with what the table says."""
    got = done.qsub
    copy = next(iter(got.copies), "no copy")
    assert got.words == [placed(word, desk) for word in line.expected(way, copy)]
    script = SCRIPTS[line.script or "job.sh"]
    if line.asked is not None:
        script = COPIES.get(line.script, script)
    if way in {REDIRECT, PIPE}:
        assert (got.stdin, got.copies) == (script, {})
        assert got.offset == 0 or way == PIPE
    else:
        assert got.copies == ({copy: script} if line.has_copy else {})
        assert got.stdin == ("a terminal" if way == INTERACTIVE else "")
    if line.qsub:
        assert got.request == (None if line.asked is None else asked(line, desk))


def asked(line: Line, desk: Desk) -> Request:
    """The request of a line."""
    keys = dict(line.asked or {})
    if (file := keys.get("vm_prologue")) is not None:
        keys["vm_prologue"] = type(file)(placed(file.path, desk), placed(file.digest, desk))
    return Request(**keys)


def placed(text: str, desk: Desk) -> str:
    """A text of the table with the names that this desk has."""
    digest = hashlib.sha256(SCRIPTS["first.sh"].encode()).hexdigest()
    paths = {"{work}": desk.work, "{pool}": desk.pool, "{above}": desk.folder.parent}
    for name, path in paths.items():
        text = text.replace(name, str(path))
    return text.replace("{digest}", digest)
