"""Random submissions: words over qsub's whole table of options, and scripts of all kinds of lines."""

from __future__ import annotations

import dataclasses

from hypothesis import strategies as st
from qsub_model import TABLE

LETTERS = [chr(letter) for letter in TABLE if chr(letter) not in ":-TLCN"]
"""Options without those that have something to do with guests or with how the script is read."""
TAKES_VALUE = {letter for letter in LETTERS if f"{letter}:".encode() in TABLE}
FLAGS = ["z", "V", "h", "X", "f", "n", "E", "x"]

REQUESTS = ["vcpus=2", "ram=1G", "RAM=192M,vms_per_node=2", "", "img=osv.qcow2", "hypervisor=qemu", "vcpus=3"]
VALUES = [
    "a b", "", "'x'", 'say "hi"', "*.[ch] ?", "one\ntwo", "\udcff\udcfe", "é", "$(id)`id`", "a\\b", "-", "--",
    "-vm", "-l", "#PBS -vm vcpus=9", "x=1,y=2", "job.sh", "a\tb", "~", "depend=afterok:1.head", "1-10%2",
]  # fmt: skip
RESOURCES = [
    "nodes=2:ppn=2", "nodes=1,walltime=1:00:00", "mem=1gb", "nodes=a+2:b", "walltime=10", "nodes = 1",
    'feature="a,b"', "software=[a,b],mem=2gb", "", "x",
]  # fmt: skip
NAMES = [["-N", "x"], ["-N", "a b"], ["-N", "-vm"], ["-Nx"], ["-N-vm"]]
OPERANDS = [["job.sh"], ["job.sh"], ["./job.sh"], ["missing.sh"], ["."], ["arg"], [""]]
ODD = [
    ["--"], ["-"], ["-vm"], ["-vm=3"], ["-vmyvar=3"], ["-v", "m"], ["-zvm"], ["-C", "#X"], ["-C#X"],
    ["-C", ""], ["-C"], ["-CX", "#X"], ["-zC", "#X"], ["-I"], ["-Ix"], ["-zI"], ["-x"], ["-T", "big"],
    ["-Tbig"], ["-L", "tasks=1"], ["-Q"], ["-:"], ["-zl"], ["-é"], ["--posix"], ["-vm", "rma=1"],
    ["-vm", "-N"], ["-vm", "--"], ["-l", "other=x"], ["-lprocs=4"], ["\n"], ["\udcff"], ["-\udcff"],
]  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Submission:
    """What a user does: words, the content of ``job.sh`` and of standard input, how the latter comes."""

    words: list[str]
    script: bytes
    pipe: bool = False
    posixly_correct: bool = False


def _option(letter: str, value: str, joined: bool) -> list[str]:
    if letter not in TAKES_VALUE:
        return [f"-{letter}"]
    return [f"-{letter}{value}"] if joined and value else [f"-{letter}", value]


def _joined(units: list[list[str]]) -> list[str]:
    return [word for one in units for word in one]


option = st.builds(_option, st.sampled_from(LETTERS), st.sampled_from(VALUES), st.booleans())
resource = st.builds(_option, st.just("l"), st.sampled_from(RESOURCES), st.booleans())
request = st.sampled_from(REQUESTS).map(lambda text: ["-vm", text])
flags = st.lists(st.sampled_from(FLAGS), min_size=1, max_size=3).map(lambda some: ["-" + "".join(some)])
cluster = st.builds(lambda some, last: [some[0] + last[0][1:], *last[1:]], flags, option)

sound = st.one_of(option, option, resource, request, request, flags, st.sampled_from(NAMES))
"""What nobody objects to."""
anything = st.one_of(sound, sound, cluster, st.sampled_from(ODD))
words = st.lists(st.one_of(anything, anything, anything, st.sampled_from(OPERANDS)), max_size=6).map(_joined)


def _sound_words(
    prefix: list[str], units: list[list[str]], script: list[str], asking: list[str], place: int
) -> list[str]:
    mixed = [*units, script]
    mixed.insert(place % (len(mixed) + 1), asking)
    return prefix + _joined(mixed)


sound_words = st.builds(
    _sound_words,
    st.sampled_from([[], [], [], ["-C", "#X"], ["-I"]]),
    st.lists(sound, max_size=4),
    st.sampled_from([["job.sh"], ["job.sh"], ["./job.sh"], []]),
    st.one_of(request, request, st.just([])),
    st.integers(0, 5),
)

BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-=.,:+_/#*")
STYLES = ["bare", "bare", "bare", '"', "'", "pieces", "split"]
GAPS = [" ", " ", " ", "  ", "\t", " \\\n", " \\\n  "]
REMARKS = ["", "", "", "", " # remark -z", " --", "  "]


def _written(word: str, style: str, at: int) -> str:
    """A word as one may write it in a directive: bare, in quotes, in pieces, over two lines."""
    at %= len(word) + 1
    bare = set(word) <= BARE
    if style in {'"', "'"} and style not in word:
        return f"{style}{word}{style}"
    if style == "pieces" and not set(word) & set("'\"\\\n"):
        return f"\"{word[:at]}\"'{word[at:]}'"
    if style == "split" and word and bare:
        return f"{word[:at]}\\\n{word[at:]}"
    return word if word and bare else "".join(c if c in BARE else f"\\{c}" for c in word) or "''"


@st.composite
def directive(draw: st.DrawFn, prefix: str, unit: st.SearchStrategy[list[str]]) -> str:
    """A line with the prefix and words behind it; long ones go on in the next line."""
    text = draw(st.sampled_from(["", "", "  ", "\t"])) + prefix
    text += draw(st.sampled_from([" ", " ", " ", "\t", "", " \\\n "]))
    for word in _joined(draw(st.lists(unit, max_size=3))):
        text += _written(word.replace("\n", " "), draw(st.sampled_from(STYLES)), draw(st.integers(0, 9)))
        text += draw(st.sampled_from(GAPS))
    return text.rstrip(" \t\n\\") + draw(st.sampled_from(REMARKS))


OTHERS = [
    "#!/bin/bash", "#!/bin/sh -vm", "", "   ", ":", ": -vm x", "# remark", "##PBS -vm ram=1G",
    "#pbs -vm ram=1G", "# PBS -vm ram=1G", "PBS -vm x", "  # -vm \\", "#X", "#PBS",
]  # fmt: skip
ODD_OTHERS = [
    '#PBS -N "a', "echo -vm", "\\", "é", "a\0b", "\0echo", " \0 #", "#PBS -N a\0b", "#PBS -vm", "#PBS 'a",
    "#PBS -T x",
]  # fmt: skip
ENDINGS = ["\n"] * 12 + ["\r\n", "\n\n", "\\\n", "", " \\ \n"]
BODIES = ["", "echo hello\n#PBS -vm ram=3G\n", "cat <<E\n#PBS -vm\nE\n", "exit"]
ASCII = b"#" * 60 + b"\n"
"""What qsub looks at to see whether a file is text."""
ODD_BODIES = [*BODIES, "\x7fELF\0\udcff\n"]


def _script(lines: list[tuple[str, str]], body: str, dos: bool, padding: int) -> bytes:
    text = "".join(one + end for one, end in lines) + body
    if dos:
        text = text.replace("\n", "\r\n")
    if padding:
        text = text.replace(" ", " " * padding, 1)
    return text.encode("utf-8", "surrogateescape")


def _lines(unit: st.SearchStrategy[list[str]], others: list[str]) -> st.SearchStrategy[str]:
    ours = directive("#PBS", unit)
    return st.one_of(ours, ours, ours, directive("#X", unit), st.sampled_from(others))


scripts = st.builds(
    _script,
    st.lists(st.tuples(_lines(anything, OTHERS + ODD_OTHERS), st.sampled_from(ENDINGS)), max_size=5),
    st.sampled_from(ODD_BODIES),
    st.sampled_from([False] * 9 + [True]),
    st.sampled_from([0] * 30 + [32740, 32750, 32760]),
)
sound_scripts = st.builds(
    _script,
    st.lists(st.tuples(_lines(sound, OTHERS), st.just("\n")), max_size=5),
    st.sampled_from(BODIES),
    st.just(False),
    st.just(0),
)
submissions = st.builds(Submission, words, scripts, st.booleans(), st.sampled_from([False] * 5 + [True]))
"""Of every kind."""
sound_submissions = st.builds(
    lambda words, script, pipe: Submission(words, ASCII + script, pipe),
    sound_words,
    sound_scripts,
    st.booleans(),
)
"""Those that nobody has a reason to refuse."""
