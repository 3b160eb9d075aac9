"""What the wrapper may import: every module is time that each submission pays."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from qsub_kit import MODULE, SubmitHost

from nornir_torque_vm.config.compiled import compile_settings

ROOT = Path(__file__).parents[2]

OURS = {
    "addresses", "addresses.model", "baseimages", "baseimages.check",
    "catalogue", "choose", "config", "config.addresses", "config.cloudinit", "config.compiled",
    "config.components", "config.devices",
    "config.fields", "config.filekinds", "config.guests", "config.hooks", "config.kinds", "config.listkinds",
    "config.machine", "config.monitoring", "config.settings", "config.submit",
    "errors", "hooks", "hooks.stdio", "images", "keys", "model", "nodefile", "qcow2", "request", "sizes",
    "wrapper", "wrapper.argv", "wrapper.directives", "wrapper.getopt", "wrapper.inputs", "wrapper.nodespec",
    "wrapper.poolimages", "wrapper.qsub", "wrapper.qsubsize", "wrapper.resolve", "wrapper.resourcelist",
    "wrapper.resources", "wrapper.runtime", "wrapper.submission",
}  # fmt: skip
STANDARD = {
    "__future__", "collections", "contextlib", "copyreg", "dataclasses", "enum", "errno", "functools",
    "importlib", "itertools", "json", "os", "re", "signal", "stat", "struct", "types", "warnings",
}  # fmt: skip
"""What our modules import themselves."""
BEHIND = {
    "_ast", "_collections", "_collections_abc", "_functools", "_json", "_opcode", "_opcode_metadata",
    "_operator", "_sre", "_stat", "_struct", "_weakrefset", "abc", "ast", "copy", "dis", "genericpath",
    "inspect", "keyword", "linecache", "opcode", "operator", "posixpath", "reprlib", "token", "tokenize",
    "weakref",
}  # fmt: skip
"""What Python 3.11 to 3.13 import for those: mostly for dataclasses, through inspect."""


def imported(host: SubmitHost, *words: str) -> set[str]:
    """Names of all modules a call imports that the interpreter alone does not."""
    code = (
        f"import sys; before = set(sys.modules); sys.path.insert(0, {str(ROOT)!r})\n"
        f"sys.argv[1:] = {[str(host.front), str(host.etc), *words]!r}\n"
        f"from {MODULE} import main\n"
        "from nornir_torque_vm.wrapper import runtime\n"
        "def become(path, words): print(*sorted(set(sys.modules) - before)); sys.exit(0)\n"
        "runtime.become = become\n"
        "sys.exit(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-I", "-S", "-c", code], cwd=host.work, check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    return set(done.stdout.split())


@pytest.fixture
def host(tmp_path: Path) -> SubmitHost:
    """A submit host with compiled settings, a plain script and one that asks for guests."""
    made = SubmitHost(tmp_path)
    compile_settings(str(made.etc))
    made.script()
    made.script("#PBS -vm ram=1G\n", name="inline.sh")
    return made


@pytest.mark.parametrize("words", [["-vm", "vcpus=2", "-l", "nodes=2,mem=1gb", "job.sh"], ["inline.sh"]])
def test_a_job_with_guests_imports_a_fixed_set(host: SubmitHost, words: list[str]) -> None:
    """In the whole process; another module has to be worth its milliseconds."""
    names = imported(host, *words)
    own = {name.removeprefix("nornir_torque_vm.") for name in names if name.startswith("nornir_torque_vm.")}
    assert own == OURS
    others = {name.partition(".")[0] for name in names} - {"nornir_torque_vm"}
    assert others <= STANDARD | BEHIND


def test_what_only_some_calls_need_comes_late(host: SubmitHost) -> None:
    """Images for jobs with guests, digests for files of the user, similar names for slips."""
    assert "nornir_torque_vm.images" not in imported(host, "job.sh")
    (host.work / "f").write_text("")
    assert "hashlib" in imported(host, "-vm", "metadata=f", "job.sh")
    (host.etc / "compiled/settings.json").unlink()
    assert "tomllib" in imported(host, "-vm", "vcpus=2", "job.sh")
