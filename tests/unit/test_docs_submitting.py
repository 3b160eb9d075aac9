"""The users' page is true: its table of keys is current, its commands are read, its errors come out."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path

import pytest
from qcow2_bytes import image_bytes

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import StateError, TorqueVMError
from nornir_torque_vm.keys import KEYS
from nornir_torque_vm.pinning.pinfile import EMULATOR, parse_pins
from nornir_torque_vm.wrapper import inputs, keytable
from nornir_torque_vm.wrapper.poolimages import look_at_image
from nornir_torque_vm.wrapper.qsub import OWN_WORDS
from nornir_torque_vm.wrapper.resolve import gather, resolve
from nornir_torque_vm.wrapper.submission import Call, Submission, compose, find_requests

PAGE = Path(__file__).parents[2] / "docs" / "submitting.md"
TEXT = PAGE.read_text()
POOL, HOME = "/srv/torque-vm/images", "/home/alice"
"""Directories that the page's messages name."""


def fences(info: str) -> list[str]:
    """The bodies of the code blocks marked with ``info``."""
    return re.findall(rf"^```{info}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """Every ``qsub`` line that is shown as typed, from ``qsub`` on."""
    lines = [line.partition("  #")[0].strip() for body in fences("sh") for line in body.splitlines()]
    return [line[line.index("qsub") :] for line in lines if "qsub" in line]


def errors() -> list[tuple[str, str]]:
    """The rows of the table of errors."""
    _, _, rest = TEXT.partition("<!-- errors -->\n")
    table = rest.partition("\n\n")[0]
    return re.findall(r"^\| `(qsub [^`]*)` \| (.*) \|$", table, re.MULTILINE)


def submitted(line: str, script: bytes, pool: Path) -> Submission:
    """What the wrapper makes of a line, on a site with one image and all other settings at their default."""
    words = tuple(word for word in shlex.split(line)[1:] if word not in OWN_WORDS)
    named = [word for word in words if word.endswith(".sh")]
    call = Call(words, script, *((named[-1], "file") if named else ("", "none")))
    found = find_requests(call)
    asked = inputs.read_user_files(gather(found.texts), HOME)
    settings = Settings(image_pool=str(pool), img_default="debian.qcow2")
    return compose(found, resolve(asked, settings, look_at_image(asked, settings)), settings)


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """A pool with one image."""
    (tmp_path / "debian.qcow2").write_bytes(image_bytes())
    return tmp_path


def test_the_table_of_keys_is_current() -> None:
    """Renew it with ``python -m nornir_torque_vm.wrapper.keytable docs/submitting.md``."""
    assert keytable.renewed(TEXT) == TEXT
    assert [key.name for key in KEYS] == re.findall(r"^\| `(\w+)` \|", keytable.table(), re.MULTILINE)


def test_the_module_renews_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what stands between the markers."""
    page = tmp_path / "page.md"
    page.write_text(f"before\n{keytable.BEGIN}old\n{keytable.END}after\n")
    monkeypatch.setattr("sys.argv", ["keytable", str(page)])
    with pytest.warns(RuntimeWarning, match="sys.modules"):
        runpy.run_module("nornir_torque_vm.wrapper.keytable", run_name="__main__")
    assert page.read_text() == f"before\n{keytable.BEGIN}{keytable.table()}{keytable.END}after\n"


def test_a_page_without_a_place_is_an_error() -> None:
    """Nothing is appended somewhere."""
    with pytest.raises(StateError, match="has no lines"):
        keytable.renewed("a page\n")


@pytest.mark.parametrize("line", commands())
def test_the_commands_that_are_shown_are_accepted(line: str, pool: Path) -> None:
    """Each is a job with guests, or only asks for something."""
    if "--list-images" in line:
        assert line == "qsub --list-images"
        return
    words = submitted(line, b"echo\n", pool).words
    assert words[words.index("-T") + 1] == "vm"
    assert "-vm" not in words


def test_the_script_that_is_shown_asks_for_guests(pool: Path) -> None:
    """From its header alone; the sentence about ``-l`` is what such a job is told."""
    (script,) = fences("sh script")
    submission = submitted("qsub spectra.sh", script.encode(), pool)
    assert (submission.request.vms_per_node, submission.request.vcpus) == (2, 4)
    assert submission.raised.nodes == 2


def test_the_line_about_raised_resources_is_what_is_printed(pool: Path) -> None:
    """Two guests of two processors need four on each node."""
    (shown,) = fences("text")
    raised = submitted("qsub -l nodes=2 -vm vms_per_node=2,vcpus=2 job.sh", b"", pool).raised
    assert shown == f"torque-vm: {raised.sentence}\n"


def test_the_mapping_that_is_shown_is_one() -> None:
    """As submit hosts and nodes read it."""
    (shown,) = fences("pinning")
    assert parse_pins(shown.encode()) == {
        (0, 0): (0,), (0, 1): (1, 3), (0, EMULATOR): (2,), (1, 0): (4, 5, 6, 7),
    }  # fmt: skip


@pytest.mark.parametrize(("line", "sentence"), errors())
def test_the_errors_that_are_shown_come_out(line: str, sentence: str, pool: Path) -> None:
    """Word by word; the one about a script is the wrapper's, which found no such file."""
    if sentence.startswith("the script "):
        call = Call(tuple(shlex.split(line)[1:]))
        words = find_requests(call).plain.words
        assert sentence == f"the script {words[0]} cannot be read"
        return
    with pytest.raises(TorqueVMError) as caught:
        submitted(line, b"", pool)
    assert str(caught.value).replace(str(pool), POOL) == sentence


def test_there_are_commands_and_errors_to_look_at() -> None:
    """The extraction cannot quietly find nothing."""
    assert len(commands()) >= 7
    assert len(errors()) >= 8
