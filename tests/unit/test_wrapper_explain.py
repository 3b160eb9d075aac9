"""``--dry-run``: the command, where each value comes from, what was raised, the time, a sample."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qcow2_bytes import image_bytes

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import RequestError
from nornir_torque_vm.keys import KEYS
from nornir_torque_vm.model import FileRef
from nornir_torque_vm.wrapper import explain as module
from nornir_torque_vm.wrapper.explain import explain
from nornir_torque_vm.wrapper.resolve import ImageFacts, gather, resolve
from nornir_torque_vm.wrapper.submission import Call, Found, Submission, compose, find_requests

QSUB = "/usr/local/bin/qsub"
SCRIPT = b"#!/bin/sh\n#PBS -l nodes=2 -vm ram=1G\n#PBS -vm \\\n  vcpus=2\necho\n"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A site with one image."""
    (tmp_path / "debian.qcow2").write_bytes(image_bytes())
    return Settings(image_pool=str(tmp_path), img_default="debian.qcow2", server_hostname="head.site")


def composed(call: Call, settings: Settings) -> tuple[Found, Submission]:
    """What the wrapper makes of a call, with files of the user taken for read."""
    found = find_requests(call)
    asked = gather(found.texts)
    for key, (value, origin) in asked.items():
        if isinstance(value, FileRef):
            asked[key] = FileRef(f"/home/alice/{value.path}", "ab" * 32), origin
    image = ImageFacts(asked.get("img", (settings.img_default, ""))[0])
    return found, compose(found, resolve(asked, settings, image), settings)


def shown(words: str, settings: Settings, script: bytes | None = b"echo\n", *, source: str = "file") -> str:
    """The explanation of a call; ``words`` as one types them."""
    name = "job.sh" if source == "file" else ""
    call = Call(tuple(shlex.split(words)), script, name, source)
    return explain(*composed(call, settings), settings, QSUB)


def section(text: str, title: str) -> list[str]:
    """The lines of one section, without their indent."""
    _, found, rest = f"\n{text}".partition(f"\n{title}\n")
    assert found, f"{title!r} is not in {text!r}"
    lines = re.split(r"^(?=\S)", rest, maxsplit=1, flags=re.MULTILINE)[0].splitlines()
    return [line.removeprefix("  ") for line in lines]


def rows(text: str) -> dict[str, tuple[str, str]]:
    """The table of the request: key → value and origin."""
    _, *lines = (re.split(r" {2,}", line) for line in section(text, "Request") if line)
    return {line[0]: (line[1], line[2]) for line in lines}


def test_the_command_can_be_typed(settings: Settings) -> None:
    """The words of the real qsub, quoted for a shell; the user's own keep their places."""
    first, *others = section(shown("-N 'a b' -v 'X=$(id)' -vm vcpus=2 job.sh", settings), "Command")
    assert shlex.split(first) == [
        QSUB, "-N", "a b", "-v", "X=$(id)", "-T", "vm", "-l", "other=vm1:vcpus=2,nodes=1:ppn=2:vm", "job.sh",
    ]  # fmt: skip
    assert others == [""]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), max_size=4))
def test_whatever_the_words_are_they_come_back(words: list[str]) -> None:
    """Quotes, blanks, newlines, globs."""
    given_words = [word for value in words for word in ("-A", value)]
    call = Call((*given_words, "-vm", "vcpus=1", "job.sh"), b"", "job.sh", "file")
    found, submission = composed(call, Settings(img_default="x"))
    text = explain(found, submission, Settings(), QSUB)
    assert shlex.split(text.partition("\nRequest\n")[0])[1:] == [QSUB, *submission.words]


def test_a_copy_of_the_script_is_described(settings: Settings) -> None:
    """It has no name one could type; what differs from the script is shown, terminals kept from harm."""
    text = shown("job.sh", settings, SCRIPT)
    command = section(text, "Command")
    assert command[0].endswith(" job.sh")
    assert command[1].startswith("where job.sh stands for a copy of that script")
    assert section(text, "Script")[1:] == [
        "line 2: #PBS -l nodes=2", "line 3: ##PBS -vm \\", "line 4:   #vcpus=2", "",
    ]  # fmt: skip


def test_a_script_on_standard_input_is_described(settings: Settings) -> None:
    """As it is, or as a copy."""
    assert "with a copy of the script on standard input" in shown("", settings, SCRIPT, source="stdin")
    plain = shown("-vm vcpus=1", settings, b"echo\n", source="stdin")
    assert "with the script on standard input" in plain
    assert "\nScript\n" not in plain


def test_an_interactive_command_keeps_its_place(settings: Settings) -> None:
    """``-I -x``: the script's directives move to the command line."""
    text = shown("-I -x job.sh", settings, SCRIPT)
    assert section(text, "Script")[0].startswith("its directives are on the command line above")
    assert "stands for a copy" not in text


def test_control_characters_of_a_script_are_written_out() -> None:
    """Whatever a changed line holds; one that was emptied says so."""
    assert module._printable(b"a\x1b[2J\xff\tb\r") == "a\\x1b[2J\\xff b\\x0d"
    assert module._printable(b"") == "(empty)"


def test_every_key_has_its_value_and_origin(settings: Settings) -> None:
    """Command line, script, setting, file name, what the site switched off, and what nobody asked for."""
    table = rows(shown("-vm vms_per_node=2,vm_prologue=pro.sh,iocm=yes job.sh", settings, SCRIPT))
    assert list(table) == [key.name for key in KEYS]
    assert table["vms_per_node"] == ("2", "command line")
    assert table["ram"] == ("1G", "script line 2")
    assert table["img"] == ("debian.qcow2", "setting img_default")
    assert table["distro"] == ("debian", "file name")
    assert table["vrdma"] == ("false", "switched off by the site")
    assert table["metadata"] == ("-", "not asked for")
    assert table["disk"] == ("-", "setting disk_default")


def test_a_file_is_shown_with_its_digest(settings: Settings) -> None:
    """Which text of it the job takes along."""
    table = rows(shown("-vm vm_prologue=pro.sh job.sh", settings))
    assert table["vm_prologue"] == (f"/home/alice/pro.sh (SHA-256 {'ab' * 6}…)", "command line")


def test_what_was_raised_is_repeated(settings: Settings) -> None:
    """The same sentence a submission prints; and that nothing was."""
    text = shown("-l nodes=2 -vm vcpus=4 job.sh", settings)
    (raised, _) = section(text, "Raised")
    assert raised.startswith("asked for nodes=2:ppn=4:vm instead of nodes=2")
    assert section(shown("-l nodes=1:ppn=8 -vm vcpus=4 job.sh", settings), "Raised")[0].startswith("nothing")


def test_warnings_are_repeated_and_no_section_is_empty(settings: Settings) -> None:
    """A component the site has switched off is ignored with a warning."""
    assert "vrdma" in section(shown("-vm vrdma=yes job.sh", settings), "Warnings")[0]
    assert "\nWarnings\n" not in shown("-vm vcpus=1 job.sh", settings)


def test_the_time_is_what_the_deadline_is_made_of(settings: Settings) -> None:
    """All four numbers, and what the guests get of them."""
    custom = Settings(
        image_pool=settings.image_pool, img_default="debian.qcow2", timeout=100, prologalarm=180,
        teardown_margin=20,
    )  # fmt: skip
    budget, limit, _ = section(shown("-vm vcpus=1 job.sh", custom), "Time")
    assert "the guests have 100 s" in budget
    assert "timeout: 100 s" in budget
    assert "at most 150 s would fit" in limit
    assert all(number in limit for number in ("10 s before", "180 s", "20 s more"))


def test_the_sample_is_what_the_renderers_give(settings: Settings) -> None:
    """Domain XML and the three files of the seed, whole and well-formed, for a job of our own."""
    lines = section(shown("-vm vcpus=3,ram=1G,hypervisor=qemu job.sh", settings), "Sample")
    parts = re.split(r"^--- (.*)$", "\n".join(lines), flags=re.MULTILINE)
    texts = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert "placeholders" in parts[0]
    assert "0.head.site" in parts[0]
    domain = ET.fromstring(texts["domain XML"])  # noqa: S314 - our own
    assert (domain.get("type"), domain.findtext("vcpu")) == ("qemu", "3")
    assert f"{settings.image_pool}/debian.qcow2" in texts["domain XML"]
    comment, _, user_data = texts["user-data"].strip().partition("\n")
    assert comment == "#cloud-config"
    assert json.loads(user_data)["hostname"] == json.loads(texts["meta-data"])["local-hostname"] == "j0-r0"
    assert json.loads(texts["network-config"])["version"] == 2


def test_the_sample_holds_no_real_key(settings: Settings) -> None:
    """Nobody is to take them for the job's."""
    text = "\n".join(section(shown("-vm vcpus=1 job.sh", settings), "Sample"))
    assert "PRIVATE-HOST-KEY-OF-THE-JOB" in text
    assert "BEGIN OPENSSH PRIVATE KEY" not in text


def test_a_users_own_image_is_the_one_in_the_sample(settings: Settings) -> None:
    """By its path; it is no file of the pool."""
    own = Settings(image_pool=settings.image_pool, allow_user_images=True, user_image_bridge="br-user")
    text = "\n".join(section(shown("-vm img=/home/alice/mine.qcow2 job.sh", own), "Sample"))
    assert '<source file="/home/alice/mine.qcow2">' in text
    assert '<source bridge="br-user"/>' in text


def test_a_sample_that_cannot_be_rendered_says_why(settings: Settings) -> None:
    """The rest is shown all the same."""
    text = shown("-vm arch=s390x job.sh", settings)
    assert section(text, "Sample") == [line for line in section(text, "Sample") if "s390x" in line]
    assert section(text, "Sample")[0].startswith("cannot be shown: ")


def test_without_the_nodes_libraries_the_sample_is_one_line(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A submit host need not have them; the line says what is missing and how to get it."""
    loaded = ("nornir_torque_vm.wrapper.rendered", "nornir_torque_vm.render", "jinja2")
    for name in [name for name in sys.modules if name.startswith(loaded)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    (line,) = section(shown("-vm vcpus=1 job.sh", settings), "Sample")
    assert "no Python package jinja2" in line
    assert "nornir-torque-vm[node]" in line


def test_explaining_needs_the_standard_library_only() -> None:
    """What the sample needs is imported only when it is rendered."""
    code = (
        "import sys; import nornir_torque_vm.wrapper.explain;"
        "print(*sorted({name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"jinja2", "nornir", "click", "libvirt", "paramiko", "markupsafe"}


def test_an_error_of_the_request_is_not_explained_away(settings: Settings) -> None:
    """What would be refused is refused before there is anything to explain."""
    with pytest.raises(RequestError, match="vms_per_node is 9"):
        shown("-vm vms_per_node=9 job.sh", settings)
