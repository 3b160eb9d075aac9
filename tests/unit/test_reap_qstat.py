"""What TORQUE's qstat answers, recorded on 6.1.3 and worse, and what the reaper makes of it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.reap.judge import Said, Server
from nornir_torque_vm.reap.qstat import NoAnswer, Qstat, parse_job, parse_server

RECORDED = json.loads((Path(__file__).parent.parent / "data/qstat/torque-6.1.3.json").read_text())
COMPLETED = RECORDED["completed"]["out"]


def said(name: str) -> Said:
    """What a recorded answer about a job means."""
    entry = RECORDED[name]
    return parse_job(entry["argv"][-1].partition("@")[0], entry["code"], entry["out"], entry["err"]).said


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("completed", Said.COMPLETED),
        ("member", Said.COMPLETED),
        ("running", Said.EXISTS),
        ("held", Said.EXISTS),
        ("unauthorized", Said.EXISTS),
        ("unauthorized_completed", Said.EXISTS),
        ("alias_known", Said.EXISTS),
        ("unknown", Said.UNKNOWN_ID),
        ("unknown_bare", Said.UNKNOWN_ID),
        ("no_such_member", Said.UNKNOWN_ID),
        ("foreign", Said.UNKNOWN_ID),
        ("down", Said.NOTHING),
        ("no_host", Said.NOTHING),
    ],
)
def test_recorded_answers_are_understood(name: str, meaning: Said) -> None:
    """A foreign job is "unknown" too: that is why the id's server is compared."""
    assert said(name) is meaning


@pytest.mark.parametrize(
    ("name", "server"),
    [
        ("server", Server("head", "Active", 10)),
        ("server_alias", Server("head", "Active", 10, alias="site")),
        ("server_bare", Server("head", "Active", 11, shows_name=False)),
    ],
)
def test_a_server_tells_who_it_is(name: str, server: Server) -> None:
    """Its name, its next number, and the form of its ids."""
    assert parse_server(RECORDED[name]["out"]) == server


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Server: head\n",
        "Server: head\n    server_state = Active\n",
        "Server: head\n    next_job_number = 7\n",
        "Server: head\n    server_state = Active\n    next_job_number = many\n",
        "Server: head\nServer: other\n    server_state = Active\n    next_job_number = 7\n",
    ],
)
def test_half_a_server_is_none(text: str) -> None:
    """Nothing is concluded from what was cut off."""
    assert parse_server(text) is None


@pytest.mark.parametrize(
    ("code", "err"),
    [
        (0, "qstat: Unknown Job Id Error 17.head"),
        (1, "qstat: Unknown Job Id Error 17.head"),
        (153, ""),
        (153, "qstat: Unknown Job Id Error 18.head"),
        (153, "qstat: Unknown Job Id Error 17.head\nqstat: cannot connect to server head"),
        (153, "qstat: End of File 17.head"),
        (159, "something else"),
        (-9, "qstat: Unknown Job Id Error 17.head"),
    ],
)
def test_only_code_and_sentence_together_are_a_proof(code: int, err: str) -> None:
    """One without the other is an answer that nobody has seen yet."""
    assert parse_job("17.head", code, "", err).said is Said.NOTHING


@pytest.mark.parametrize(
    "out",
    [
        "",
        "job 6.head is over",
        COMPLETED[: len(COMPLETED) // 2],
        COMPLETED.replace("6.head", "60.head"),
        COMPLETED.replace("<job_state>C</job_state>", ""),
        COMPLETED.replace("<job_state>C</job_state>", "<job_state/>"),
        COMPLETED.replace("<job_state>C</job_state>", "<job_state>C</job_state><job_state>R</job_state>"),
        COMPLETED.replace("</Job>", "</Job><Job><Job_Id>7.head</Job_Id></Job>"),
        COMPLETED.replace("<Data>", "<!DOCTYPE d [<!ENTITY e 'C'>]><Data>"),
        COMPLETED.replace("<Data>", '<!DOCTYPE Data SYSTEM "file:///etc/passwd"><Data>'),
        COMPLETED.replace(">C<", ">&e;<").replace("<Data>", "<!DOCTYPE d [<!ENTITY e 'C'>]><Data>"),
        COMPLETED.replace("STDIN", "x" * (1 << 21)).replace("x;", "x" * (1 << 21)),
        COMPLETED.replace("alice", "\x01"),
    ],
)
def test_an_answer_that_is_not_as_expected_says_nothing(out: str) -> None:
    """Cut off, about another job, with two states, with entities, endless."""
    assert out != COMPLETED
    assert parse_job("6.head", 0, out, "").said is Said.NOTHING


def test_a_jobs_name_cannot_play_a_state() -> None:
    """The name is the user's text, escaped by the server; a state inside another element does not count."""
    nested = COMPLETED.replace("<job_state>C</job_state>", "<Job_Name><job_state>C</job_state></Job_Name>")
    assert parse_job("6.head", 0, nested, "").said is Said.NOTHING


@given(st.text(), st.text(), st.integers(-15, 255))
def test_noise_is_never_a_proof(out: str, err: str, code: int) -> None:
    """Nor does it break anything."""
    assert parse_job("17.head", code, out, err).said is Said.NOTHING
    assert parse_server(out) is None


@given(st.integers(0, len(COMPLETED) - 2))
def test_no_beginning_of_an_answer_is_a_proof(length: int) -> None:
    """A pipe that breaks."""
    assert parse_job("6.head", 0, COMPLETED[:length].rstrip("\n"), "").said is not Said.COMPLETED


class TestProgram:
    """The program itself: absent, failing, hanging."""

    @staticmethod
    def fake(folder: Path, text: str, seconds: float = 20.0) -> Qstat:
        program = folder / "qstat"
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
        return Qstat(str(program), Deadline.after(seconds))

    def test_it_is_looked_for_beside_the_real_qsub_first(self, tmp_path: Path) -> None:
        """The settings name that one."""
        self.fake(tmp_path, "true")
        found = Qstat.find(f"{tmp_path}/qsub", Deadline.after(1))
        assert found.program == f"{tmp_path}/qstat"

    def test_without_one_there_is_no_answer(self) -> None:
        """And no exception from the system."""
        absent = Qstat("", Deadline.after(5))
        with pytest.raises(NoAnswer, match="no qstat"):
            absent.server()
        assert absent.job("17.head").said is Said.NOTHING
        assert Qstat("/nowhere/qstat", Deadline.after(5)).job("17.head").said is Said.NOTHING

    def test_a_server_that_does_not_answer_says_its_last_line(self, tmp_path: Path) -> None:
        """What qstat complains of is the reason people see."""
        with pytest.raises(NoAnswer, match="Connection refused"):
            self.fake(tmp_path, "echo 'cannot connect: Connection refused' >&2; exit 111").server()

    def test_one_that_hangs_is_asked_once(self, tmp_path: Path) -> None:
        """However many jobs there are; the deadline bounds it."""
        hanging = self.fake(tmp_path, f"echo x >>{tmp_path}/asked; exec sleep 60", seconds=0.5)
        began = time.monotonic()
        with pytest.raises(NoAnswer, match="does not answer within"):
            hanging.server()
        assert hanging.job("17.head").said is Said.NOTHING
        assert time.monotonic() - began < 5
        assert (tmp_path / "asked").read_text() == "x\n"

    def test_the_callers_environment_does_not_choose_the_server(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """``PBS_DEFAULT`` would."""
        monkeypatch.setenv("PBS_DEFAULT", "elsewhere")
        probe = self.fake(tmp_path, 'echo "[$PBS_DEFAULT]" >&2; exit 1')
        assert probe.job("17.head").detail == "[]"
