"""The header of a script: the fronts never overlook a request that qsub's own rules would find."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest
from front_kit import SHELLS
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from nornir_torque_vm.errors import RequestError
from nornir_torque_vm.sitekit import front_text
from nornir_torque_vm.wrapper.directives import read_header

PIECE = st.sampled_from(
    ["#PBS", "#PBS ", "-vm", "-v", "m", "-", " ram=1G", "\\", "\\\n", "\\\r\n", "\n", "\r\n", "\r", " ",
     "\t", "\v", "\f", "#", "#!", "#!/bin/sh", ":", "echo", "-N x", "'", '"', "\x85", "é", "x" * 32_760,
     " " * 32_767, ":" * 32_766]
)  # fmt: skip
SCRIPT = st.lists(PIECE, max_size=14).map("".join) | st.lists(
    st.tuples(st.sampled_from(["#PBS ", "# ", ": ", "", " \t", "  #PBS"]), st.lists(PIECE, max_size=4)).map(
        lambda line: line[0] + "".join(line[1])
    ),
    max_size=6,
).map("\n".join)


def judged(folder: Path, shell: str, scripts: list[bytes]) -> list[bool]:
    """Whether the front's own function says "maybe" to each of the scripts."""
    text = front_text("qsub")
    start = text.index("torque_vm_maybe() {")
    function = text[start : text.index("\n}\n", start) + 3]
    loop = 'for script; do if torque_vm_maybe <"$script"; then echo yes; else echo no; fi; done'
    paths = [folder / str(number) for number in range(len(scripts))]
    for path, script in zip(paths, scripts, strict=True):
        path.write_bytes(script)
    command = shlex.split((SHELLS[shell] or "#!/bin/bash -p")[2:])
    answers = subprocess.run(
        [*command, "-c", function + loop, "sh", *paths], check=True, capture_output=True, text=True
    )
    assert answers.stderr == ""
    return [answer == "yes" for answer in answers.stdout.split()]


def exactly(script: bytes) -> bool:
    """Whether there is a request in the header, by the exact rules."""
    try:
        return read_header(script, from_stdin=True).has_request
    except RequestError:
        return True


@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(scripts=st.lists(SCRIPT, min_size=1, max_size=20))
@example(
    scripts=["#PBS -N a \\\n-vm a=1", "#PBS -N a \\\r\n-vm a=1\n", "#PBS -N a\\\\\n\necho\n#PBS -vm a\n"]
)
@example(scripts=[" " * 32_767 + ":x\n#PBS -vm a=1\n", ":" * 32_767 + "#PBS -N a\\\necho\n#PBS -vm a=1\n"])
def test_no_request_is_overlooked(tmp_path: Path, shell: str, scripts: list[str]) -> None:
    """Continued lines, carriage returns, lines longer than qsub's buffer: "maybe" at least."""
    encoded = [script.encode("latin-1") for script in scripts]
    for script, maybe in zip(encoded, judged(tmp_path, shell, encoded), strict=True):
        assert maybe or not exactly(script)


@pytest.mark.parametrize("shell", SHELLS)
def test_ordinary_scripts_are_plain(tmp_path: Path, shell: str) -> None:
    """Also those that only mention ``-vm`` behind the header, or end without a newline."""
    scripts = [
        b"",
        b"\n",
        b"#PBS -N x",
        b"#!/bin/sh\n#PBS -v m,a=-v\necho '#PBS -vm x=1'\n",
        b"echo\n#PBS -vm x=1\n",
        b"\t# \xe4\xf6\xfc \xc3\xa9\n:\n  \nqsub -vm x=1 next.sh\n",
        b"#PBS -l nodes=1\r\n\r\necho\r\n#PBS -vm x=1\r\n",
        b"#PBS -W depend=afterok:1 \\\n -N x\necho\n",
        b"# comment\n" * 3000,
    ]
    assert judged(tmp_path, shell, scripts) == [False] * len(scripts)
