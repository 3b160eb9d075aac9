"""The documentation is true: scripts run, tables agree with the code, links and commands exist."""

from __future__ import annotations

import enum
import itertools
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from nornir_torque_vm.cli.app import COMMANDS, torque_vm
from nornir_torque_vm.exitcodes import CliExit, HookExit, ImageExit, RunExit

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
FENCE = re.compile(r"^```(?P<info>[^\n]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
SETTINGS = 'local_uri = "test:///default"\nnode_uri = "test:///default"\n'
"""What the documented scripts find as ``settings.toml``: libvirt's own test driver, a node each."""


def fences(info: str) -> Iterator[tuple[Path, str]]:
    """All code blocks of the documentation that are marked with ``info``, with their page."""
    for page in PAGES:
        for match in FENCE.finditer(page.read_text()):
            if match["info"].strip() == info:
                yield page, match["body"]


def command_lines() -> Iterator[str]:
    """Every line that is shown as typed into a shell, without its comment."""
    for _page, body in fences("sh"):
        for line in body.replace("\\\n", " ").splitlines():
            if command := line.partition("  #")[0].strip():
                yield command


def section(page: Path, marker: str) -> list[list[str]]:
    """The cells of the table that follows ``<!-- marker -->``, without its two head lines."""
    _, found, rest = page.read_text().partition(f"<!-- {marker} -->\n")
    assert found, f"{page.name} has no {marker!r}"
    lines = itertools.takewhile(lambda line: line.startswith("|"), rest.splitlines())
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines][2:]


SCRIPTS = [pytest.param(body, id=f"{page.name}-{n}") for n, (page, body) in enumerate(fences("python run"))]


def test_there_are_scripts_to_run() -> None:
    """The extraction below cannot quietly find nothing."""
    assert {str(p.id).partition(".md")[0] for p in SCRIPTS} >= {"README", "nornir"}


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_run(script: str, tmp_path: Path) -> None:
    """A block marked ``python run`` is a whole script; here its nodes are libvirt's test driver."""
    (tmp_path / "settings.toml").write_text(SETTINGS)
    (tmp_path / "nodefile").write_text("node1\nnode1\nnode2\n")
    (tmp_path / "script.py").write_text(script)
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    output = ESCAPES.sub("", done.stdout)
    assert "node1" in output
    assert "Traceback" not in output + done.stderr
    assert not (tmp_path / "nornir.log").exists(), "the script writes a log file nobody asked for"


def test_the_demo_job_is_the_one_that_is_shown() -> None:
    """README shows the script that ``make demo`` submits."""
    ((_page, shown),) = fences("sh demo")
    assert shown == (ROOT / "wrapper" / "demo-job.sh").read_text().expandtabs(4)


@pytest.mark.parametrize("codes", [HookExit, CliExit, ImageExit, RunExit])
def test_exit_code_tables_are_complete(codes: type[enum.IntEnum]) -> None:
    """Each exit code has its row in docs/concepts.md, and no other code has one."""
    rows = section(ROOT / "docs" / "concepts.md", f"exit codes: {codes.__name__}")
    assert [int(row[0]) for row in rows] == sorted(code.value for code in codes)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """A relative link names a file of this repository."""
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_documented_make_targets_exist() -> None:
    """``make X`` in the documentation is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {name for page in PAGES for name in re.findall(r"`make ([a-z-]+)", page.read_text())}
    assert {"demo", "test"} <= named
    assert named <= targets


def parse(group: click.Group, words: list[str]) -> None:
    """Resolve subcommands and parse options as the command line would, without running anything."""
    name, command, rest = group.resolve_command(click.Context(group), words)
    assert command is not None, name
    if isinstance(command, click.Group):
        parse(command, rest)
    else:
        command.make_parser(click.Context(command)).parse_args(rest)


TYPED = [line for line in command_lines() if shlex.split(line)[0] == "torque-vm"]


@pytest.mark.parametrize("line", TYPED)
def test_documented_command_lines_parse(line: str) -> None:
    """Each ``torque-vm …`` line that is shown has existing subcommands and options."""
    parse(torque_vm, shlex.split(line)[1:])


def test_every_command_is_documented() -> None:
    """The administration page shows each subcommand at least once."""
    text = (ROOT / "docs" / "administration.md").read_text()
    assert [name for name in COMMANDS if f"torque-vm {name}" not in text] == []


@pytest.mark.parametrize("runbook", sorted((ROOT / "tasks").glob("*.py")), ids=lambda path: path.name)
def test_runbooks_explain_themselves(runbook: Path) -> None:
    """``python tasks/X.py --help`` works anywhere and says what the runbook does."""
    done = subprocess.run(
        [sys.executable, str(runbook), "--help"], capture_output=True, text=True, timeout=60, check=True
    )
    assert "usage:" in done.stdout
