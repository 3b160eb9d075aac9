"""What the tests of qsub's words and of directives share: how many examples, and words to build them of."""

from __future__ import annotations

import os

from hypothesis import reject
from hypothesis import strategies as st

from nornir_torque_vm.errors import RequestError
from nornir_torque_vm.wrapper.directives import Header, read_header

EXAMPLES = int(os.environ.get("TORQUE_VM_EXAMPLES", "300"))
"""Examples of each property; a long run sets the variable to 10000 and more."""

WORDS = (
    "-vm", "img=a.qcow2,ram=2G", "-vm=3", "-vmx", "-v", "-l", "nodes=2", "-z", "-zl", "-zlx", "-", "--",
    "--dry-run", "-C", "-CX", "-I", "-Ix", "-zI", "-N", "-Nx", "job.sh", "", "-:", "-E", "-Ez", "-Q", "-zQ",
    "-Ql", "-W", "-x", "-z-", "a b", "-\udcff", "'\"\\",
)  # fmt: skip
"""Words with which qsub does something of its own, and some others."""

words = st.lists(st.sampled_from(WORDS) | st.text("-vmlzCIN=x", max_size=4), max_size=9)

_HEADS = st.sampled_from(
    [b"#PBS"] * 6 + [b"  #PBS", b"#PBS-z", b"#", b"##PBS", b"# say", b":", b"", b"#X", b"echo"]
)
_PIECES = st.sampled_from([
    b" -vm a=1", b" -vm 'a=1 b=2'", b' -vm a="1"', b' "-vm" a=1', b"-vm", b' -v"m"', b"a=1", b",b=2",
    b" -N x", b" -l nodes=2", b" -z", b" -zl x", b" -I", b" -Q", b" -CX", b" -- ", b" - ", b" # say", b" '",
    b" 'q\"'", b"\\ ", b"\\\\", b"\\", b"\\\n", b"\\\n ", b"\\\nPBS", b"\t", b"\r", b"\0", b"\xff",
])  # fmt: skip
_ENDS = st.sampled_from([b"\n"] * 6 + [b"\r\n", b"\\\n", b"\\\\\n\n", b"\n\n", b""])
_LINES = st.builds(
    lambda head, body, end: head + b"".join(body) + end, _HEADS, st.lists(_PIECES, max_size=6), _ENDS
)

scripts = st.lists(_LINES, max_size=5).map(b"".join)
prefixes = st.sampled_from(["#PBS"] * 4 + ["#", "##", "#X", "X", ""])


def header_of(script: bytes, prefix: str = "#PBS") -> Header:
    """Read a header as from standard input; with a ``-vm`` without a value it is no example."""
    try:
        return read_header(script, prefix, from_stdin=True)
    except RequestError:
        reject()


def options(header: Header) -> list[tuple[str, str | None]]:
    """Return letters and values of all options."""
    return [(option.letter, option.value) for option in header.options]
