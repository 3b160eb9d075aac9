"""What the tests of qsub's words and of directives share: how many examples, and words to build them of."""

from __future__ import annotations

import os

from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("TORQUE_VM_EXAMPLES", "300"))
"""Examples of each property; a long run sets the variable to 10000 and more."""

WORDS = (
    "-vm", "img=a.qcow2,ram=2G", "-vm=3", "-vmx", "-v", "-l", "nodes=2", "-z", "-zl", "-zlx", "-", "--",
    "--dry-run", "-C", "-CX", "-I", "-Ix", "-zI", "-N", "-Nx", "job.sh", "", "-:", "-E", "-Ez", "-Q", "-zQ",
    "-Ql", "-W", "-x", "-z-", "a b", "-\udcff", "'\"\\",
)  # fmt: skip
"""Words with which qsub does something of its own, and some others."""

words = st.lists(st.sampled_from(WORDS) | st.text("-vmlzCIN=x", max_size=4), max_size=9)
