"""The manual page: all keys, proper roff, and what is committed is what the table gives."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nornir_torque_vm.keys import KEYS
from nornir_torque_vm.wrapper.manpage import manual
from nornir_torque_vm.wrapper.options import OWN_OPTIONS
from nornir_torque_vm.wrapper.roff import WIDTH, escape, heading, inline, item, page, paragraph, section
from nornir_torque_vm.wrapper.roff import example as shown

MAN = Path(__file__).parents[2] / "wrapper" / "man"
UNDATED = 'missing date, using "": TH'
"""The one remark mandoc may make: a page made from a table is as old as the program's version."""


def tool(name: str) -> str:
    """The path of a program; without it the test is skipped (in continuous integration: fails)."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def ascii_of(source: str) -> str:
    """The page as groff prints it on a terminal, without overstrikes and escape sequences."""
    command = [tool("groff"), "-man", "-Tascii", "-ww", "-P-cbou", "-rLL=200n"]
    done = subprocess.run(command, input=source, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout


def test_what_is_committed_is_up_to_date() -> None:
    """Renew it with ``python -m nornir_torque_vm.wrapper.manpage > wrapper/man/man1/vsub.1``."""
    assert (MAN / "man1" / "vsub.1").read_text() == manual()


def test_the_pages_other_name_refers_to_it() -> None:
    """``man qsub-vm``."""
    assert (MAN / "man1" / "qsub-vm.1").read_text() == ".so man1/vsub.1\n"


def test_the_module_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    """That is how it is renewed."""
    with pytest.warns(RuntimeWarning, match="sys.modules"):
        runpy.run_module("nornir_torque_vm.wrapper.manpage", run_name="__main__")
    assert capsys.readouterr().out == manual()


def test_it_has_the_usual_sections_in_the_usual_order() -> None:
    """People look for the same words in every manual page (man-pages(7))."""
    titles = re.findall(r"^\.SH (.*)$", manual(), re.MULTILINE)
    assert titles == [
        "NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", r"THE \-vm OPTION", "IN THE SCRIPT",
        "WHAT CHANGES IN THE JOB", "ENVIRONMENT", "FILES", "EXIT STATUS", "EXAMPLES", "SEE ALSO",
    ]  # fmt: skip


def test_every_key_is_explained() -> None:
    """What it means, what it takes, and which setting holds its default."""
    text = " ".join(ascii_of(manual()).split())
    for key in KEYS:
        assert f"{key.name}=value {key.help}. Value: {key.kind.words}." in text
        if key.default_from:
            assert f"Default: the setting {key.default_from}." in text


def test_every_own_option_is_explained() -> None:
    """The same words as in ``vsub --help``."""
    text = " ".join(ascii_of(manual()).split())
    for name, about in OWN_OPTIONS:
        assert f"{name} {about[0].upper()}{about[1:]}." in text


def test_groff_has_nothing_to_say() -> None:
    """With all its warnings on."""
    command = [tool("groff"), "-man", "-ww", "-Tutf8", "-z"]
    done = subprocess.run([*command, MAN / "man1" / "vsub.1"], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_mandoc_has_nothing_to_say() -> None:
    """The other formatter in use, with the remarks on style too."""
    command = [tool("mandoc"), "-T", "lint", "-W", "all", str(MAN / "man1" / "vsub.1")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert [line for line in done.stdout.splitlines() if not line.endswith(UNDATED)] == []
    assert done.stderr == ""


def test_the_other_name_shows_the_same_page() -> None:
    """``man qsub-vm``, for those who know only that name; ``man qsub`` stays TORQUE's."""
    command = [tool("groff"), "-s", "-I", str(MAN), "-man", "-ww", "-Tascii"]
    texts = [
        subprocess.run([*command, MAN / "man1" / name], capture_output=True, text=True, check=True).stdout
        for name in ("vsub.1", "qsub-vm.1")
    ]
    assert "VSUB(1)" in texts[0]
    assert texts[0] == texts[1]
    assert not (MAN / "man1" / "qsub.1").exists()


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40))
@example(".SH")
@example("'br")
@example(r"\fB\n(.s-'\"^~`")
def test_what_is_escaped_is_printed_as_it_was(text: str) -> None:
    """Backslashes, quotes, dashes, and dots that begin a line: none of them is roff's."""
    printed = ascii_of(page([heading("X", "1"), section("A"), shown([text])]))
    assert text in [line.strip() for line in printed.splitlines()]


def test_lines_of_text_stay_short_and_are_no_requests() -> None:
    """Wherever a paragraph is broken."""
    source = paragraph(".SH is not a request and 'br is none either " * 9)
    lines = source.splitlines()
    assert lines[0] == ".PP"
    assert all(len(line) <= WIDTH + 2 for line in lines)
    assert [line for line in lines[1:] if line.startswith((".", "'"))] == []


def test_marks_become_fonts() -> None:
    """Literal words bold, placeholders italic; nothing else is interpreted."""
    assert inline("`-l` *n* is 2*3, 4*5") == r"\fB\-l\fR \fIn\fR is 2*3, 4*5"
    assert item("`a`", "b") == ".TP\n\\fBa\\fR\nb\n"
    assert escape("é\\-") == r"\[u00E9]\e\-"


def test_a_heading_begins_its_own_paragraph() -> None:
    """Only the first one after it: mandoc calls the request useless there."""
    assert page([section("A"), paragraph("b"), paragraph("c")]) == ".SH A\nb\n.PP\nc\n"
