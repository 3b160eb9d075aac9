"""Judges a submission: whether what came to the recorder is what qsub would have got, and if not, why not."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Mapping

from qsub_kit import Outcome, Recorded
from qsub_model import (
    TABLE,
    Header,
    Meaning,
    NoValue,
    Option,
    Scan,
    Undefined,
    getopt,
    read_header,
    scan,
    without_requests,
)

from nornir_torque_vm.errors import RequestError
from nornir_torque_vm.request import find_in_resources, parse_request

BAD_REQUEST, TYPED, TASKS = "-vm ", "cannot be combined with -vm, whose jobs", "cannot be raised to"
MUST = {BAD_REQUEST, TYPED, TASKS}
"""Reasons, by words of the sentence, for which a job must be refused."""
GUESTS, PLAIN, REFUSED, MARKED = "guests", "plain", "refused", "left to qsub"
"""What comes of a submission."""


@dataclasses.dataclass(frozen=True)
class Job:
    """What qsub makes of a submission; ``texts`` are the requests that were taken out before.

    ``header`` is None where qsub refuses the script that the words lead to without a look at directives.
    """

    words: list[bytes]
    seen: Scan
    header: Header | None
    options: list[Option]
    operands: list[bytes]
    objections: int
    texts: list[bytes]
    header_texts: list[bytes]

    @property
    def script_name(self) -> bytes:
        """The word that names the script, empty for standard input."""
        return b"" if self.seen.place is None else self.words[self.seen.place]


def read(words: list[bytes], files: Mapping[bytes, bytes], stdin: bytes, *, asking: bool) -> Job:
    """Read a submission as qsub does.

    :param asking: whether there may be requests, to be taken out before.
    """
    plain, texts = without_requests(words) if asking else (words, [])
    seen = scan(plain)
    name = b"" if seen.place is None else plain[seen.place]
    header: Header | None = Header([])
    if name:
        header = read_header(files[name], seen.prefix, from_file=True) if name in files else None
    elif not seen.interactive:
        header = read_header(stdin, seen.prefix, from_file=False)
    if header and header.end.startswith("no text"):
        header = None
    parts, header_texts = list[Meaning](), list[bytes]()
    for one in header.directives if header else []:
        left, found = without_requests(one.words, one.written) if asking else (one.words, [])
        header_texts += found
        parts.append(getopt(left))
    parts.append(getopt(plain))
    options = [option for part in parts for option in part.options]
    objections = sum(part.objections for part in parts)
    return Job(plain, seen, header, options, parts[-1].operands, objections, texts, header_texts)


def check(words: list[bytes], files: Mapping[bytes, bytes], stdin: bytes, done: Outcome) -> str:
    """Compare what came to the recorder with what qsub would have made of the words; say what came."""
    try:
        plain = read(words, files, stdin, asking=True)
    except NoValue:
        return refused(done, "-vm has no value")
    except Undefined:
        if done.recorded is None:
            return refused(done, "ends in a backslash")
        return untouched(done.qsub, words, stdin)
    if not plain.texts + plain.header_texts:
        return untouched(done.qsub, words, stdin)
    if plain.header is None:
        return refused(done, *mistakes(plain)) if mistakes(plain) else marked(done.qsub, plain)
    if plain.header.end:
        return refused(done, "script line", *mistakes(plain))
    if done.recorded is None:
        return refused(done, *reasons(plain))
    assert not reasons(plain) or not set(reasons(plain)) & MUST
    got = done.qsub
    copies = {copy.encode(): text.encode("latin-1") for copy, text in got.copies.items()}
    real = read(recorded_words(got), {**files, **copies}, got.stdin.encode("latin-1"), asking=False)
    resources = same_job(plain, real, copies)
    same_script(plain, files, stdin, copies, got)
    expected = parse_request([os.fsdecode(text) for text in (*plain.header_texts, *plain.texts)])
    assert find_in_resources(resources) == expected
    return GUESTS


def recorded_words(got: Recorded) -> list[bytes]:
    """The words that came, as bytes."""
    return [word.encode("latin-1") for word in got.words]


def refused(done: Outcome, *whys: str) -> str:
    """Make sure nothing was submitted, and one of the reasons given in one line."""
    assert (done.recorded, done.code, done.out) == (None, 2, "")
    assert done.err.count("\n") == 1
    assert done.err.startswith("torque-vm: ")
    assert any(why in done.err for why in whys), (whys, done.err)
    return REFUSED


def untouched(got: Recorded, words: list[bytes], stdin: bytes) -> str:
    """Make sure that words and standard input are what they were."""
    assert recorded_words(got) == words
    assert (got.stdin, got.copies, got.offset or 0) == (stdin.decode("latin-1"), {}, 0)
    return PLAIN


def marked(got: Recorded, plain: Job) -> str:
    """Make sure that qsub, which refuses the script, gets a marked job, should it ever not refuse it."""
    words = recorded_words(got)
    at = next(place for place in range(len(words)) if words[place : place + 2] == [b"-T", b"vm"])
    assert words[:at] + words[at + 2 :] == plain.words
    if not plain.objections:
        assert ("T", b"vm") in getopt(words).options
    return MARKED


def mistakes(plain: Job) -> list[str]:
    """What is wrong with the requests, in words that occur in the message."""
    whys = []
    for text in plain.header_texts + plain.texts:
        try:
            parse_request([os.fsdecode(text)])
        except RequestError as error:
            whys += [BAD_REQUEST, error.what]
    return whys


def reasons(plain: Job) -> list[str]:
    """Why a submission may be refused, in words that occur in the message."""
    whys = mistakes(plain)
    letters = {letter for letter, _value in plain.options}
    whys += [TYPED] if "T" in letters else []
    whys += [TASKS] if "L" in letters else []
    values = [value or b"" for letter, value in plain.options if letter == "l"]
    whys += ["-l other="] if any(b"other=" in value for value in values) else []
    whys += ["-l procs="] if any(b"procs=" in value for value in values) else []
    if plain.header_texts and "x" in letters and plain.objections:
        whys += ["qsub has no option", "has no value"]
    whys += ["qsub reads this command line in two ways"] if any(map(has_two_readings, plain.words)) else []
    return whys


def has_two_readings(word: bytes) -> bool:
    """Whether qsub's search for the script may see something else in a word than its getopt."""
    joined = len(word) > 2 and (word[:2] == b"-C" or word[1:2] + b":" not in TABLE)
    return word in {b"-", b"--"} or (word[:1] == b"-" and joined)


def same_job(plain: Job, real: Job, copies: Mapping[bytes, bytes]) -> str:
    """Make sure that qsub takes all words and directives as it would have; return ours, the last ``-l``."""
    at = next(
        place
        for place, (option, following) in enumerate(itertools.pairwise(real.options))
        if option == ("T", b"vm") and following[0] == "l" and (following[1] or b"").startswith(b"other=vm1")
    )
    others, behind = real.options[:at], real.options[at + 2 :]
    if copies and not any(letter == "N" for letter, _value in plain.options):
        assert behind.pop(0) == ("N", b"job.sh")
    assert {letter for letter, _value in behind} <= {"C"} or plain.objections
    assert without_prefixes([*others, *behind]) == without_prefixes(plain.options)
    assert real.objections == plain.objections
    assert plain.script_name or real.seen.interactive == plain.seen.interactive
    own_name = dict.fromkeys(copies, plain.script_name)
    assert [own_name.get(word, word) for word in real.operands] == plain.operands
    assert real.header is not None
    assert not real.header.end
    for one in real.header.directives:
        assert without_requests(one.words, one.written)[1] == []
    return os.fsdecode(real.options[at + 1][1] or b"")


def without_prefixes(options: list[Option]) -> list[Option]:
    """All options but -C, which has been dealt with when they count."""
    return [option for option in options if option[0] != "C"]


def same_script(
    plain: Job, files: Mapping[bytes, bytes], stdin: bytes, copies: Mapping[bytes, bytes], got: Recorded
) -> None:
    """Make sure that qsub reads the same script, line by line, where no request was."""
    name = plain.script_name
    runs_where_it_is = any(letter == "x" for letter, _value in plain.options)
    assert bool(copies) == bool(name and plain.header_texts and not runs_where_it_is)
    if name and not copies:
        assert name in recorded_words(got)
        if plain.header_texts:
            seen = scan(recorded_words(got))
            assert seen.prefix.startswith(b"#NO-DIRECTIVES")
            assert seen.prefix not in files[name]
        return
    before = files[name] if name else stdin
    (after,) = copies.values() if copies else [got.stdin.encode("latin-1")]
    assert plain.header is not None
    touched = set[int]()
    for one in plain.header.directives:
        if without_requests(one.words, one.written)[1]:
            first = before.count(b"\n", 0, one.start)
            touched |= {*range(first, first + before.count(b"\n", one.start, one.stop - 1) + 1)}
    lines = list(zip(before.split(b"\n"), after.split(b"\n"), strict=True))
    assert all(old == new for number, (old, new) in enumerate(lines) if number not in touched)
