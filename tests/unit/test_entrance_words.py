"""Into a guest: what people type, what the server answers, what runs at the far end, and its console."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.entrance import remote
from nornir_torque_vm.entrance.console import CHUNK, following, last_lines, open_console
from nornir_torque_vm.entrance.target import Target, full_id, guest_of, parse_target
from nornir_torque_vm.entrance.whereabouts import asked_there
from nornir_torque_vm.errors import RequestError, StateError
from nornir_torque_vm.reap.qstat import NoAnswer, Whereabouts, parse_whereabouts
from nornir_torque_vm.runstate.handover import HandOver, HandOverGuest

TAG = "tvm-17-a1-0123abcd"
GUESTS = tuple(HandOverGuest(f"j17-r{rank}", rank, "node1", "10.0.0.1", 1) for rank in range(2))
HANDOVER = HandOver("17.head", TAG, "alice", GUESTS, "key", "hosts")


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("17", ("17", 0)),
        ("17.head:1", ("17.head", 1)),
        ("17[3]:12", ("17[3]", 12)),
        ("17[3].head.site", ("17[3].head.site", 0)),
    ],
)
def test_a_guest_is_a_job_and_a_rank(text: str, target: tuple[str, int]) -> None:
    """The first one if no rank is named."""
    assert parse_target(text) == target
    assert parse_target(str(Target(*target))) == target


@pytest.mark.parametrize(
    "text", ["", "a", "17:", "17:-1", "17:x", "17:1:2", "17[]", "17;id", "../17", "-17", "17 "]
)
def test_anything_else_is_refused_in_one_line(text: str) -> None:
    """It becomes part of paths and commands."""
    with pytest.raises(RequestError) as caught:
        parse_target(text)
    assert "\n" not in str(caught.value)


def test_a_short_id_is_the_one_job_of_that_number() -> None:
    """A whole id is itself, even where a short one would be two."""
    known = ["17.head", "170.head", "18.head", "18.other", "17[1].head"]
    assert full_id("17", known) == "17.head"
    assert full_id("17[1]", known) == "17[1].head"
    assert full_id("18.other", known) == "18.other"
    assert full_id("19", known) == ""
    with pytest.raises(RequestError) as caught:
        full_id("18", known)
    assert str(caught.value) == "18 can be 18.head or 18.other; write the whole id"


def test_a_rank_the_job_has_not_got() -> None:
    """The ranks there are stand in the sentence."""
    assert guest_of(HANDOVER, 1) == GUESTS[1]
    with pytest.raises(RequestError) as caught:
        guest_of(HANDOVER, 2)
    assert str(caught.value) == "job 17.head: there is no guest of rank 2; its ranks are 0 to 1"


def answer(job_id: str, rest: str = "") -> str:
    return f"<Data><Job><Job_Id>{job_id}</Job_Id><job_state>R</job_state>{rest}</Job></Data>"


def test_the_server_tells_the_whole_id_and_the_nodes() -> None:
    """For a short id and a whole one."""
    text = answer("17.head", "<exec_host>node1/0-3+node2/0</exec_host>")
    told = Whereabouts("17.head", "R", "node1/0-3+node2/0")
    assert parse_whereabouts("17", text) == parse_whereabouts("17.head", text) == told
    assert parse_whereabouts("17", answer("17.head")) == Whereabouts("17.head", "R", "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        answer("170.head"),
        answer("17.head").replace("<Data>", "<!DOCTYPE x><Data>"),
        "<Job_Id>17.head</Job_Id>",
    ],
)
def test_another_answer_is_none(text: str) -> None:
    """About another job, or none at all."""
    with pytest.raises(NoAnswer):
        parse_whereabouts("17", text)


def test_words_arrive_at_the_first_node_as_they_were() -> None:
    """Whatever is in them."""
    words = ["a  b", "$HOME", "it's", ";", "-t"]
    text = asked_there("ssh", ["-t"], Target("17[1].head", 1), words)
    assert shlex.split(text.partition("exec ")[2]) == ["torque-vm", "ssh", "-t", "17[1].head:1", *words]


def here(text: str, options: Sequence[str]) -> Sequence[str]:
    """A way that leads nowhere else: the far end's shell is one of this machine."""
    return ["/bin/sh", "-c", text]


def run(command: str) -> int:
    return remote.run(here, command, terminal=False, where="here", env={"PATH": os.environ["PATH"]})


@pytest.mark.parametrize("code", [0, 1, 130, 254, 255])
def test_the_exit_code_is_the_commands(code: int) -> None:
    """Also the one that ssh has for itself."""
    assert run(f"exit {code}") == code


def test_a_connection_that_breaks_is_no_exit_code() -> None:
    """The far end had no word on a 255."""

    def broken(text: str, options: Sequence[str]) -> Sequence[str]:
        return ["/bin/sh", "-c", "exit 255"]

    with pytest.raises(StateError) as caught:
        remote.run(broken, "true", terminal=False, where="node1", env={})
    assert str(caught.value) == "the connection to node1 broke or could not be made; ssh said why"


def test_a_command_has_the_usual_umask_and_leaves_no_note(tmp_path: Path) -> None:
    """The notes of the near end are its own."""
    before = {path.name for path in Path("/tmp").glob("torque-vm-*")}
    assert (
        run(f"umask >{tmp_path}/umask; trap >{tmp_path}/traps; read -r pid rest </proc/self/stat; exit 255")
        == 255
    )
    shell = subprocess.run(["/bin/sh", "-c", "umask"], capture_output=True, text=True, check=True).stdout
    assert (tmp_path / "umask").read_text() == shell
    assert (tmp_path / "traps").read_text() == ""
    assert {path.name for path in Path("/tmp").glob("torque-vm-*")} <= before


@pytest.mark.parametrize("which", ["pid", "255"])
def test_a_link_in_place_of_a_note_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    """Everybody on the far end can read the name of the note in the list of processes."""
    name = f"{os.getpid():x}{which}"
    monkeypatch.setattr("secrets.token_hex", lambda _: name)
    link, kept = Path(f"/tmp/torque-vm-{name}.{which}"), tmp_path / "kept"
    for target in (tmp_path / "missing", kept):
        kept.write_text("kept")
        link.symlink_to(target)
        try:
            with contextlib.suppress(StateError):
                assert run(f"touch {tmp_path}/ran; exit 255") != 0
        finally:
            link.unlink(missing_ok=True)
    assert not (tmp_path / "missing").exists()
    assert kept.read_text() == "kept"
    assert (tmp_path / "ran").exists() == (which == "255"), "whose signals would go elsewhere"


@pytest.fixture
def console(tmp_path: Path) -> Path:
    """Of the guest of rank 1."""
    folder = tmp_path / "tvm-17-a1-r1-0123abcd"
    folder.mkdir()
    return folder / f"{folder.name}-console.log"


def opened(console: Path) -> int:
    return open_console(Settings(volume_dir=str(console.parents[1])), HANDOVER, 1)


def test_the_last_lines_of_a_console_are_legible(console: Path) -> None:
    """However long it is, and whatever is in it."""
    console.write_bytes(b"x" * 2 * CHUNK + b"\nfirst\r\n\x1b[31mred\x1b[0m\nlast")
    fd = opened(console)
    assert last_lines(fd, 2) == ["red", "last"]
    assert last_lines(fd, 3) == ["first", "red", "last"]
    assert last_lines(fd, 0) == []


def test_a_console_is_followed_to_its_end(console: Path) -> None:
    """Whole lines as they come, and what is left when the guest is gone."""
    console.write_bytes(b"old\n")
    fd, rounds = opened(console), 0
    last_lines(fd, 1)

    def there() -> bool:
        nonlocal rounds
        rounds += 1
        with console.open("ab") as file:
            file.write([b"on", b"e\r\ntw", b"o", b""][min(rounds, 4) - 1])
        return rounds < 4

    assert list(following(fd, there)) == ["one", "two"]


@pytest.mark.parametrize("there", ["nothing", "link", "directory"])
def test_a_console_that_is_none_is_said_so(console: Path, there: str) -> None:
    """No link is followed."""
    if there == "link":
        console.symlink_to("/etc/passwd")
    elif there == "directory":
        console.mkdir()
    with pytest.raises(StateError) as caught:
        opened(console)
    assert str(caught.value).startswith(f"job 17.head: {console} ")
    assert "\n" not in str(caught.value)
