"""Completion of ``torque-vm``, asked of the real bash, zsh and fish, and of what they ask."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from render_kit import plan_of
from shells import BASH, ZSH, Fish, Shell, Terminal, program

from nornir_torque_vm.cli import app
from nornir_torque_vm.cli.app import COMPLETE
from nornir_torque_vm.cli.completing import FUNCTIONS, Completion
from nornir_torque_vm.config.settings import SETTINGS
from nornir_torque_vm.keys import KEYS
from nornir_torque_vm.plan import plan_to_json

Asked = Callable[[str], list[tuple[str, str, str]]]
FILES = Path(__file__).parents[2] / "wrapper" / "completions"
COMMAND = f'#!/bin/sh\nexec {sys.executable} -m nornir_torque_vm.cli "$@"\n'
SERVERS = ("qstat", "qmgr", "pbsnodes", "momctl", "ssh", "virsh")
"""What must not be run for a Tab."""
PRESENT = ["1048.head", "17[3].head", "17[12].head", "9.head"]
"""Jobs with guests here."""


def executable(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site of jobs, images and nodes; our command, and traps for those it must not call."""
    top = tmp_path_factory.mktemp("completion")
    executable(top / "bin/torque-vm", COMMAND)
    for name in SERVERS:
        executable(top / "bin" / name, f"#!/bin/sh\necho {name} >>{top}/called\n")
    (top / "work" / "folder").mkdir(parents=True)
    for name in ("disk.img", "job.sh", "site.toml"):
        (top / "work" / name).touch()
    for job in PRESENT:
        folder = top / "run" / ("handover" if job == "9.head" else "markers")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / job).touch()
    (top / "run/markers/no job").touch()
    (top / "run/handover/10.head+given").touch()  # for a hand-over that is being made
    for record in ("9.head.1", "47.head.1", "47.head.2", "nodes", "1.head.unfinished"):
        (top / "history" / record).mkdir(parents=True)
    held = [{"at": 1.0, "job_id": "9.head", "phase": "start", "what": "no\tbridge, it seems"}]
    (top / "history/nodes/node07.json").write_text(json.dumps({"version": 1, "faults": held}))
    (top / "pool").mkdir()
    for name in ("debian-12.qcow2", "micro.qcow2", "readme.txt"):
        (top / "pool" / name).touch()
    (top / "pool/catalogue.json").write_text(json.dumps({"micro.qcow2": {"description": "small, fast"}}))
    (top / "torque/server_priv").mkdir(parents=True)
    (top / "torque/server_priv/nodes").write_text("# ours\nalpha np=4 vm\nnode02.cluster np=8\n\n-x np=1\n")
    (top / "nodefile").write_text("node02.cluster\nbeta\nbeta\n")
    lab = top / "cache/lab/trial"
    lab.mkdir(parents=True)
    (lab.parent / "trial.lock").touch()
    (top / "settings.toml").write_text(
        f'image_pool = "{top}/pool"\nrun_dir = "{top}/run"\nhistory_dir = "{top}/history"\n'
        f'torque_home = "{top}/torque"\n'
    )
    return top


def environment(place: Path) -> dict[str, str]:
    """The site's settings, our commands first, and nothing else of whoever runs the tests."""
    return {
        "PATH": f"{place / 'bin'}:{os.environ['PATH']}",
        "HOME": str(place),
        "ZDOTDIR": str(place),
        "LC_ALL": "C.UTF-8",
        "PBS_NODEFILE": str(place / "nodefile"),
        "TORQUE_VM_CACHE": str(place / "cache"),
        "TORQUE_VM_SETTINGS": str(place / "settings.toml"),
    }


def bash(place: Path, read: str = f". {FILES}/bash/torque-vm") -> Terminal:
    """An interactive bash; ``read`` has it know our function."""
    start = place / "bashrc"
    start.write_text(f"{BASH}\n{read}\n")
    command = [program("bash"), "--noprofile", "--rcfile", str(start), "-i"]
    return Terminal(command, place / "work", environment(place))


def zsh(place: Path, read: str = f"fpath=({FILES}/zsh $fpath)", after: str = "") -> Terminal:
    """An interactive zsh with its completion system."""
    compinit = f"{read}; autoload -Uz compinit; compinit -u -D; {after}"
    (place / ".zshrc").write_text(f"{compinit}\n{ZSH}")
    return Terminal([program("zsh"), "-d", "-i"], place / "work", environment(place))


@pytest.fixture(scope="module", params=sorted(FUNCTIONS))
def shell(request: pytest.FixtureRequest, place: Path) -> Iterator[Shell]:
    """Each of the shells; none of them has called a server in the end."""
    if request.param == "fish":
        yield Fish(FILES / "fish", place / "work", environment(place))
    else:
        terminal = bash(place) if request.param == "bash" else zsh(place)
        yield terminal
        terminal.close()
    assert not (place / "called").exists()


@pytest.fixture
def asked(place: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Says what the command answers to a shell: kind, word and description."""
    for name in ("PBS_NODEFILE", "TORQUE_VM_CACHE", "TORQUE_VM_SETTINGS"):
        monkeypatch.setenv(name, environment(place)[name])

    def ask(line: str) -> list[tuple[str, str, str]]:
        monkeypatch.setenv("COMP_LINE", line)
        answer = Completion(app.torque_vm, {}, "torque-vm", COMPLETE).complete()
        found = [tuple(offer.split("\t")) for offer in answer.splitlines()]
        return [(kind, word, about) for kind, word, about in found]

    return ask


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("torque-vm la", "torque-vm lab"),
        ("torque-vm lab up --nod", "torque-vm lab up --nodes"),
        ("torque-vm image show m", "torque-vm image show micro.qcow2"),
        ("torque-vm image add --format=r", "torque-vm image add --format=raw"),
        ("torque-vm image add di", "torque-vm image add disk.img"),
        ("torque-vm install node --prefix fo", "torque-vm install node --prefix folder"),
        ("torque-vm guests alpha --settings=sit", "torque-vm guests alpha --settings=site.toml"),
        ("torque-vm ssh -t 10", "torque-vm ssh -t 1048.head"),
        ("torque-vm destroy --job=10", "torque-vm destroy --job=1048.head"),
        ("torque-vm boot -vm ram=1G,vms", "torque-vm boot -vm ram=1G,vms_per_node="),
        ("torque-vm selftest -vm ram=1G,img=m", "torque-vm selftest -vm ram=1G,img=micro.qcow2"),
    ],
)
def test_the_only_possibility_is_put_in(shell: Shell, line: str, completed: str) -> None:
    """Commands, options and their values, names, files; a blank or slash after it is the shell's."""
    assert shell.complete(line)[0].rstrip(" /") == completed


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("torque-vm ", set(app.COMMANDS)),
        ("torque-vm job ", {"9.head", "47.head"}),
        ("torque-vm config show ", {field.name for field in SETTINGS}),
    ],
)
def test_several_possibilities_are_listed(shell: Shell, line: str, offered: set[str]) -> None:
    """Nothing else is among them, no file of the directory either."""
    result, listed = shell.complete(line)
    assert result.startswith(line)
    assert listed == offered


@pytest.mark.parametrize("line", ["torque-vm jobs --user ", "torque-vm image show --settings missing m"])
def test_what_cannot_be_known_is_not_guessed(shell: Shell, line: str) -> None:
    """No file names where a person is due, and no sentence in the middle of the line."""
    assert shell.complete(line) == (line, set())


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("image ", ["add", "build", "convert", "list", "remove", "show", "verify"]),
        ("image remove ", ["debian-12.qcow2", "micro.qcow2"]),
        ("image verify debian-12.qcow2 ", ["micro.qcow2"]),
        ("job 47.head.", ["47.head.1", "47.head.2"]),
        ("console ", ["1048.head", "17[12].head", "17[3].head", "9.head"]),
        ("log -n 5 --cloud-init ", ["1048.head", "47.head", "17[12].head", "17[3].head", "9.head"]),
        ("config show vcpus_d", ["vcpus_default"]),
        ("doctor ", ["alpha", "node02.cluster", "beta"]),
        ("health alpha ", ["node02.cluster", "beta"]),
        ("selftest --node n", ["node02.cluster"]),
        ("install server be", ["beta"]),
        ("nodes --clear ", ["node07"]),
        ("lab status --name ", ["trial"]),
        ("lab shell --name trial ", ["node1", "node2"]),
        ("lab shell --name other ", []),
        ("run --lab ", ["trial"]),
        ("boot -vm hypervisor=q", ["hypervisor=qemu"]),
        ("boot -vm nonsense=", []),
        ("gusts x", []),
        ("--trace", ["--traceback"]),
    ],
)
def test_what_is_offered(asked: Asked, line: str, offered: list[str]) -> None:
    """Names that this host knows, the newest jobs first by their numbers, and no name twice."""
    assert [word for _, word, _ in asked(f"torque-vm {line}")] == offered


def test_bash_keeps_what_stands_before_a_colon(place: Path) -> None:
    """It takes 17.head:1 for three words."""
    terminal = bash(place)
    try:
        assert terminal.complete("torque-vm ssh 9.head:") == ("torque-vm ssh 9.head:", set())
        assert terminal.complete("torque-vm ssh 9.head:1 di") == ("torque-vm ssh 9.head:1 di", set())
        assert terminal.complete("cd /; X=1 torque-vm ssh 9")[0].rstrip() == "cd /; X=1 torque-vm ssh 9.head"
        assert terminal.complete(f"{place}/bin/torque-vm ssh 9")[0].rstrip().endswith("ssh 9.head")
        assert terminal.complete('torque-vm config show "vcpus_d')[0].rstrip('" ').endswith("vcpus_default")
    finally:
        terminal.close()


@pytest.mark.parametrize("breaks", [" \t\n", " \t\n=:@,"])
def test_bash_works_whatever_breaks_words(place: Path, breaks: str) -> None:
    """Some sites take the equals sign out of COMP_WORDBREAKS."""
    before = f"COMP_WORDBREAKS={breaks!r}".replace("'", "$'", 1)
    terminal = bash(place, f"{before}\n. {FILES}/bash/torque-vm")
    try:
        line = "torque-vm selftest -vm ram=1G,img=m"
        assert terminal.complete(line)[0] == f"{line}icro.qcow2"
    finally:
        terminal.close()


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_the_command_prints_the_functions(name: str, place: Path) -> None:
    """That of the site kit, so that the lines of docs/administration.md do the same; it has no errors."""
    env = {**environment(place), "_TORQUE_VM_COMPLETE": f"{name}_source"}
    done = subprocess.run(["torque-vm"], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.rstrip("\n") == (FILES / name / FUNCTIONS[name]).read_text().rstrip("\n")
    read = subprocess.run(
        [program(name), "-n"], input=done.stdout, capture_output=True, text=True, check=True
    )
    assert read.stderr == ""


def test_shells_can_be_told_for_one_session(place: Path) -> None:
    """By the lines of docs/administration.md, without the files."""
    first = bash(place, 'eval "$(_TORQUE_VM_COMPLETE=bash_source torque-vm)"')
    second = zsh(place, "true", 'eval "$(_TORQUE_VM_COMPLETE=zsh_source torque-vm)"')
    try:
        for terminal in (first, second):
            assert terminal.complete("torque-vm lab u")[0].rstrip() == "torque-vm lab up"
    finally:
        first.close()
        second.close()


def test_the_file_for_bash_passes_its_own_check(place: Path) -> None:
    """Also when bash is asked to be strict about unset variables, as scripts that source it may be."""
    code = f"set -eu; . {FILES}/bash/torque-vm; complete -p torque-vm"
    done = subprocess.run([program("bash"), "-c", code], capture_output=True, text=True, check=True)
    assert "_torque_vm_command" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("broken", ["#!/bin/sh\necho sorry >&2\nexit 1\n", "#!/no/such/python\n"])
def test_a_command_that_fails_says_nothing(place: Path, broken: str) -> None:
    """A Tab is no place for a message, and bash has some of its own."""
    executable(place / "broken" / "torque-vm", broken)
    terminal = bash(place, f"PATH={place}/broken:$PATH\n. {FILES}/bash/torque-vm")
    try:
        assert terminal.complete("torque-vm job 9") == ("torque-vm job 9", set())
    finally:
        terminal.close()


@pytest.mark.parametrize(
    ("name", "text"),
    [("missing.toml", None), ("bad.toml", "image_pool = 7\n"), ("pool.toml", 'image_pool = "/x"\n')],
)
def test_settings_and_pools_that_cannot_be_read_offer_nothing(
    asked: Asked, tmp_path: Path, name: str, text: str | None
) -> None:
    """Nor do they raise anything."""
    if text is not None:
        (tmp_path / name).write_text(text)
    assert asked(f"torque-vm image show --settings {tmp_path}/{name} ") == []
    assert asked(f"torque-vm boot --settings {tmp_path}/{name} -vm img=") == []


@pytest.mark.parametrize("command", ["job ", "log ", "ssh ", "nodes --clear ", "reap --job "])
def test_what_cannot_be_listed_offers_nothing(asked: Asked, tmp_path: Path, command: str) -> None:
    """The run directory and the history are root's; here they are files."""
    (tmp_path / "file").touch()
    site = tmp_path / "settings.toml"
    site.write_text(f'run_dir = "{tmp_path}/file"\nhistory_dir = "{tmp_path}/file"\n')
    name, _, rest = command.partition(" ")
    assert asked(f"torque-vm {name} --settings {site} {rest}") == []


def test_guests_without_a_batch_job_are_known_by_their_plan(asked: Asked, tmp_path: Path) -> None:
    """As ``boot`` makes them; state that cannot be read is passed over."""
    plan = plan_of()
    for tag, text in (("tvm-1-a1-00000000", plan_to_json(plan)), ("tvm-2-a1-00000000", "{")):
        (tmp_path / "jobs" / tag).mkdir(parents=True)
        (tmp_path / "jobs" / tag / "plan.json").write_text(text)
    (tmp_path / "settings.toml").write_text(f'run_dir = "{tmp_path}"\n')
    assert asked(f"torque-vm destroy --settings {tmp_path}/settings.toml --job ") == [
        ("plain", plan.job.id, "")
    ]


def test_descriptions_are_one_line_for_each_word(asked: Asked) -> None:
    """Whole, commas too; of images what the catalogue says, of nodes the last fault."""
    assert asked("torque-vm image show m") == [("plain", "micro.qcow2", "small, fast")]
    assert asked("torque-vm nodes --clear n") == [("plain", "node07", "no bridge, it seems")]
    assert asked("torque-vm config show max_vms") == [
        ("plain", "max_vms_per_node", SETTINGS["max_vms_per_node"].help)
    ]
    assert ("plain", "boot", app.COMMANDS["boot"][1]) in asked("torque-vm ")


def test_keys_of_a_request_are_offered_once(asked: Asked) -> None:
    """Words that something has to follow are of a kind of their own."""
    offered = asked("torque-vm boot -vm VCPUS=1,ram=1G,")
    assert {kind for kind, _, _ in offered} == {"part"}
    assert {word for _, word, _ in offered} == {
        f"VCPUS=1,ram=1G,{key.name}=" for key in KEYS if key.name not in {"vcpus", "ram"}
    }


def test_the_list_of_commands_is_offered_without_importing_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is what is asked for most."""
    monkeypatch.setattr("importlib.import_module", lambda name: pytest.fail(f"{name} was imported"))
    context = click.Context(app.torque_vm)
    assert [one.value for one in app.torque_vm.shell_complete(context, "lo")] == ["log"]
    assert "--traceback" in {one.value for one in app.torque_vm.shell_complete(context, "--")}


def test_a_file_server_that_hangs_is_not_waited_for(place: Path) -> None:
    """The system ends the process, since one that hangs there hears of nothing else."""
    pipe = place / "pipe"
    os.mkfifo(pipe)
    code = "from nornir_torque_vm.cli import completing, main; completing.SECONDS = 1; main()"
    env = {
        **environment(place), "PBS_NODEFILE": str(pipe), "_TORQUE_VM_COMPLETE": "zsh_complete",
        "COMP_LINE": "torque-vm guests ",
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGALRM, b"", b"")


def parameters(
    command: click.Command, path: str = ""
) -> Iterator[tuple[str, click.Context, click.Parameter]]:
    """All parameters of all commands."""
    context = click.Context(command, info_name=path.rpartition(" ")[2])
    for parameter in command.get_params(context):
        yield f"{path} {parameter.opts[0]}", context, parameter
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from parameters(below, f"{path} {name}")


NAMED = {
    "nodes": "nodes", "job_id": "jobs", "guest": "jobs", "settings_path": "file", "nodefile": "file",
    "inventory_path": "file", "path": "file", "script": "file", "file": "file", "output": "file",
    "prefix": "dir", "torque_home": "dir", "etc": "dir", "units": "dir", "modulefiles": "dir",
    "directory": "dir", "lab_name": "labs", "requests": "request",
}  # fmt: skip
"""Name of a parameter → what it is the name of, whichever command has it."""


def test_no_parameter_that_names_something_is_forgotten() -> None:
    """A new command that takes a file, a directory, a node or a job offers them too."""
    seen = set()
    for where, context, parameter in parameters(app.torque_vm):
        metavar, wanted = parameter.metavar or "", NAMED.get(parameter.name or "")
        wanted = {"FILE": "file", "[FILE]": "file", "DIR": "dir", "NODE": "nodes"}.get(metavar, wanted)
        if where == " lab up --nodes" or where == " run --nodes":
            continue  # a number
        if wanted in {"file", "dir"}:
            assert [one.type for one in parameter.shell_complete(context, "x")] == [wanted], where
        elif wanted is not None:
            assert parameter._custom_shell_complete is not None, where
        seen.add(wanted)
    assert seen >= set(NAMED.values())
