"""Completion of ``qsub`` and ``vsub``, asked of the real bash, zsh and fish."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from shells import BASH, ZSH, Fish, Shell, Terminal, program

from nornir_torque_vm.keys import KEYS
from nornir_torque_vm.wrapper.completion import LONG, completions, write
from nornir_torque_vm.wrapper.getopt import FLAGS, TAKES_VALUE
from nornir_torque_vm.wrapper.options import QSUB_OPTIONS

FILES = Path(__file__).parents[2] / "wrapper" / "completions"
IMAGES = {"debian-12.qcow2", "micro.qcow2"}
VSUB = f'#!/bin/sh\n[ "$*" != --list-images=names ] || printf "%s\\n" {" ".join(sorted(IMAGES))}\n'
"""Stands for the wrapper, of which completion asks one thing."""
SHELLS = ["bash", "zsh", "fish"]
ALL_KEYS = {key.name for key in KEYS}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a few files, and commands beside it."""
    top = tmp_path_factory.mktemp("completion")
    for name in ("bin/vsub", "bin/qsub"):
        (top / name).parent.mkdir(exist_ok=True)
        (top / name).write_text(VSUB)
        (top / name).chmod(0o755)
    (top / "work" / "folder").mkdir(parents=True)
    for name in ("job.sh", "metadata.yaml", "other file"):
        (top / "work" / name).touch()
    return top


def environment(place: Path) -> dict[str, str]:
    """Our commands first, and no settings of whoever runs the tests."""
    return {
        "PATH": f"{place / 'bin'}:{os.environ['PATH']}",
        "HOME": str(place),
        "ZDOTDIR": str(place),
        "LC_ALL": "C.UTF-8",
    }


def bash(place: Path, before: str = "") -> Terminal:
    """An interactive bash; ``before`` runs before our file is read."""
    start = place / "bashrc"
    start.write_text(f"{BASH}\n{before}\n. {FILES}/bash/qsub\n")
    command = [program("bash"), "--noprofile", "--rcfile", str(start), "-i"]
    return Terminal(command, place / "work", environment(place))


def zsh(place: Path) -> Terminal:
    """An interactive zsh with its completion system."""
    compinit = f"fpath=({FILES}/zsh $fpath); autoload -Uz compinit; compinit -u -D"
    (place / ".zshrc").write_text(f"{compinit}\n{ZSH}")
    return Terminal([program("zsh"), "-d", "-i"], place / "work", environment(place))


@pytest.fixture(scope="module", params=SHELLS)
def shell(request: pytest.FixtureRequest, place: Path) -> Iterator[Shell]:
    """Each of the shells."""
    if request.param == "fish":
        yield Fish(FILES / "fish", place / "work", environment(place))
        return
    terminal = bash(place) if request.param == "bash" else zsh(place)
    yield terminal
    terminal.close()


def test_what_is_committed_is_up_to_date() -> None:
    """Renew it with ``python -m nornir_torque_vm.wrapper.completion wrapper/completions``."""
    committed = {
        str(path.relative_to(FILES)): path.read_text()
        for path in FILES.glob("*/*")
        if "torque-vm" not in path.name  # made by hand: test_cli_completion
    }
    assert committed == completions()


def test_the_module_writes_them(tmp_path: Path) -> None:
    """Directories are made."""
    write(tmp_path / "new", completions())
    written = {str(path.relative_to(tmp_path / "new")): path.read_text() for path in tmp_path.glob("*/*/*")}
    assert written == completions()
    assert [name for name, text in written.items() if re.search("@[A-Z_]+@", text)] == []


def test_every_option_of_qsub_has_a_description() -> None:
    """The letters of the getopt table, each with a value or without."""
    assert {option.letter for option in QSUB_OPTIONS if option.value} == set(TAKES_VALUE) - {"-"}
    assert {option.letter for option in QSUB_OPTIONS if not option.value} == set(FLAGS)


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("vsub -vm vms", "vsub -vm vms_per_node="),
        ("qsub -l nodes=2:ppn=2 -vm ram=2G,hypervisor=q", "qsub -l nodes=2:ppn=2 -vm ram=2G,hypervisor=qemu"),
        ("qsub -vm fs_type=ra", "qsub -vm fs_type=ramdisk"),
        ("qsub -vm vcpus=2 -vm img=mi", "qsub -vm vcpus=2 -vm img=micro.qcow2"),
        ("vsub -vm img=./jo", "vsub -vm img=./job.sh"),
        ("qsub -vm ram=1G,metadata=meta", "qsub -vm ram=1G,metadata=metadata.yaml"),
        ("qsub -vm vcpu_pinning=tr", "qsub -vm vcpu_pinning=true"),
        ("qsub -vm vcpu_pinning=jo", "qsub -vm vcpu_pinning=job.sh"),
        ("qsub -vm he", "qsub -vm help"),
        ("qsub -j o", "qsub -j oe"),
        ("qsub -d fo", "qsub -d folder/"),
        ("vsub --dr", "vsub --dry-run"),
        ("qsub -lnodes=1 -vm ram=1G jo", "qsub -lnodes=1 -vm ram=1G job.sh"),
    ],
)
def test_the_only_possibility_is_put_in(shell: Shell, line: str, completed: str) -> None:
    """Keys with their equals sign, values, files of the user; a blank or comma after it is the shell's."""
    result, _ = shell.complete(line)
    assert result.rstrip(" ,") == completed


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("qsub -vm ", {f"{key}=" for key in ALL_KEYS} | {"help"}),
        ("vsub -vm img=a,vcpus=1,", {f"{key}=" for key in ALL_KEYS - {"img", "vcpus"}}),
        ("qsub -vm img=", IMAGES),
        ("qsub -vm ram=1G,distro=", set(KEYS["distro"].kind.choices)),
    ],
)
def test_several_possibilities_are_listed(shell: Shell, line: str, offered: set[str]) -> None:
    """All keys that are not given yet; all values where they can be listed.

    Bash shows them with what it takes for their beginning, zsh without the equals sign.
    """
    result, listed = shell.complete(line)
    assert result.startswith(line)
    assert {word.rpartition(",")[2].rstrip("=") for word in listed} == {word.rstrip("=") for word in offered}


def test_options_are_listed(shell: Shell) -> None:
    """Those of qsub, and ours."""
    _, listed = shell.complete("qsub -")
    assert {f"-{option.letter}" for option in QSUB_OPTIONS} | {"-vm"} <= listed
    assert {name for name, _ in LONG} <= listed


@pytest.mark.parametrize("line", ["qsub -vm ram=", "qsub -vm vcpus=1,arch=", "qsub -N "])
def test_what_cannot_be_known_is_not_guessed(shell: Shell, line: str) -> None:
    """No file names where a number or a name is due."""
    assert shell.complete(line) == (line, set())


def test_bash_knows_keys_in_any_case_and_inside_quotes(place: Path) -> None:
    """As the request itself is read; what was typed stays."""
    terminal = bash(place)
    try:
        assert terminal.complete("qsub -vm VCPUS=1,IMG=mi")[0] == "qsub -vm VCPUS=1,IMG=micro.qcow2"
        assert (
            terminal.complete('qsub -vm "vcpus=1,img=mi')[0].rstrip('" ')
            == 'qsub -vm "vcpus=1,img=micro.qcow2'
        )
        assert terminal.complete('qsub -vm "img=mi')[0].rstrip('" ') == 'qsub -vm "img=micro.qcow2'
        assert "vcpus=" not in terminal.complete("qsub -vm VCPUS=1,vc")[1]
        assert terminal.complete("qsub -vm metadata=oth")[0].rstrip() == r"qsub -vm metadata=other\ file"
    finally:
        terminal.close()


@pytest.mark.parametrize("breaks", [" \t\n", " \t\n=:@,"])
def test_bash_works_whatever_breaks_words(place: Path, breaks: str) -> None:
    """Some sites take the equals sign out of COMP_WORDBREAKS."""
    terminal = bash(place, f"COMP_WORDBREAKS={breaks!r}".replace("'", "$'", 1))
    try:
        assert terminal.complete("qsub -vm vcpus=1,img=mi")[0] == "qsub -vm vcpus=1,img=micro.qcow2"
    finally:
        terminal.close()


def test_bash_leaves_the_sites_own_completion_of_qsub_in_charge(place: Path) -> None:
    """It is asked for everything but ``-vm``, with its options; sourcing our file twice changes nothing."""
    site = '_site() { COMPREPLY=("site-$1-$2"); }; complete -o nospace -F _site qsub\n'
    terminal = bash(place, f"{site}. {FILES}/bash/vsub")
    try:
        assert terminal.complete("qsub some")[0] == "qsub site-qsub-some"
        assert terminal.complete("qsub -vm img=mi")[0] == "qsub -vm img=micro.qcow2"
        assert "--dry-run" in terminal.complete("qsub -")[1]
    finally:
        terminal.close()


def test_bash_does_not_replace_a_completion_it_cannot_ask(place: Path) -> None:
    """A list of words stays what qsub has; vsub is ours in any case."""
    terminal = bash(place, "complete -W 'first second' qsub")
    try:
        assert terminal.complete("qsub fi")[0].rstrip() == "qsub first"
        assert terminal.complete("vsub -vm img=mi")[0] == "vsub -vm img=micro.qcow2"
        assert terminal.complete("vsub -j o")[0].rstrip() == "vsub -j oe"
    finally:
        terminal.close()


def test_a_wrapper_that_fails_costs_the_names_only(place: Path) -> None:
    """No message in the middle of the line, and keys are still offered."""
    broken = place / "broken"
    broken.mkdir()
    (broken / "vsub").write_text("#!/bin/sh\necho torque-vm: no settings >&2\nexit 1\n")
    (broken / "vsub").chmod(0o755)
    terminal = bash(place, f"PATH={broken}:$PATH")
    try:
        assert terminal.complete("qsub -vm img=mi") == ("qsub -vm img=mi", set())
        assert terminal.complete("qsub -vm vms")[0] == "qsub -vm vms_per_node="
    finally:
        terminal.close()


def test_the_files_for_bash_pass_its_own_check(place: Path) -> None:
    """Also when bash is asked to be strict about unset variables, as scripts that source them may be."""
    code = f"set -eu; . {FILES}/bash/qsub; complete -p qsub vsub"
    done = subprocess.run([program("bash"), "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.count("_torque_vm_complete") == 2
    assert done.stderr == ""
