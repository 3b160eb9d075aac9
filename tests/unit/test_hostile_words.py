"""Words of guests, programs and users in our sentences: a terminal acts on nothing in them."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nornir_torque_vm.cli.show import show_report
from nornir_torque_vm.connections.command import CommandResult
from nornir_torque_vm.errors import GuestError, StateError, TorqueVMError, one_line
from nornir_torque_vm.hooks.frame import sentence_of
from nornir_torque_vm.hooks.stdio import say
from nornir_torque_vm.osv.calls import text_of
from nornir_torque_vm.report import Failure, HostReport, Report, Status

EVIL = "\x1b]0;root\x07 \x9b2J it\rfailed\n\u202egnp.exe \udcff"
SHOWN = "\\x1b]0;root\\x07 \\x9b2J it failed \\u202egnp.exe \\udcff"


@given(st.text())
@example(EVIL)
def test_any_text_becomes_one_line_that_can_be_shown(text: str) -> None:
    """And legible text stays what it is."""
    shown = one_line(text)
    assert shown.isprintable()
    assert one_line(shown) == shown
    if text.isprintable():
        assert shown == " ".join(text.split())


def test_what_a_guest_complains_about_is_legible_in_errors() -> None:
    """A shell's last words in a guest, for instance."""
    said = CommandResult(1, "", f"first\n{EVIL}").summary()
    for error in (GuestError(f"it failed: {said}", guest="j17-r0"), StateError("x", hint=said)):
        assert str(error).isprintable()
        assert Failure.of(error).what.isprintable()
        assert Failure.of(error).message.isprintable()
    assert Failure.of(RuntimeError(EVIL)).what == f"RuntimeError: {SHOWN}"
    assert str(TorqueVMError(EVIL)) == SHOWN


def test_administrators_see_it_written_out(capsys: pytest.CaptureFixture[str]) -> None:
    """What commands say of hosts that failed."""
    failed = HostReport("j17-r0", "node1", "check", Status.FAILED, failure=Failure.of(GuestError(EVIL)))
    show_report(Report((failed,)), json_wanted=False, titles=(), rows=())
    assert capsys.readouterr().err == f"torque-vm: j17-r0 on node1: {SHOWN}\n"


def test_what_is_said_is_one_legible_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Of errors that nobody foresaw, too: in a job's error file, at a terminal."""
    say(sentence_of(RuntimeError(EVIL)))
    assert capsys.readouterr().err == f"torque-vm: unexpected RuntimeError: {SHOWN}\n"
    say(EVIL)
    assert capsys.readouterr().err == f"torque-vm: {SHOWN}\n"


def test_an_answer_that_is_nested_without_end_is_text() -> None:
    """Of a guest of OSv."""
    answer = b"[" * 60_000
    assert text_of(answer) == answer.decode()
    assert text_of(json.dumps("0").encode()) == "0"
