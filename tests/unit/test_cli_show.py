"""Tables for people, JSON for programs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from nornir_torque_vm.cli.show import as_json, show_report, table
from nornir_torque_vm.model import Node
from nornir_torque_vm.report import Failure, HostReport, Report, Status

REPORT = Report(
    (
        HostReport("r0", "n1", "address", data={"address": "10.0.0.1"}),
        HostReport("r1", "n2", "address", Status.FAILED, failure=Failure("NoAddress", "nobody knows", "it")),
    )
)


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    """Two blanks apart, none at the end of a line."""
    assert (
        table(["A", "LONG"], [["wide cell", 1], ["x", None]])
        == "A          LONG\nwide cell  1\nx          None"
    )
    assert table(["A", "B"], []) == "A  B"


def test_json_takes_dataclasses_and_what_has_no_json_word() -> None:
    """Also inside of each other."""
    text = as_json({"node": Node("n1", 2), "path": Path("/x"), "plain": [1, None]})
    node = {**dataclasses.asdict(Node("n1", 2)), "indexes": []}
    assert json.loads(text) == {"node": node, "path": "/x", "plain": [1, None]}


def test_good_hosts_are_a_table_and_bad_ones_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    """So that a pipe gets the table alone."""
    show_report(REPORT, json_wanted=False, titles=["GUEST"], rows=iter([["r0"]]))
    assert capsys.readouterr() == ("GUEST\nr0\n", "torque-vm: r1 on n2, address: nobody knows\n")


def test_a_table_without_rows_is_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """A headline alone says nothing."""
    show_report(Report(), json_wanted=False, titles=["GUEST"], rows=[])
    assert capsys.readouterr() == ("", "")


def test_json_has_hosts_good_and_bad_with_their_data(capsys: pytest.CaptureFixture[str]) -> None:
    """One document, nothing on stderr."""
    show_report(REPORT, json_wanted=True, titles=["GUEST"], rows=[])
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert err == ""
    assert found["ok"] is False
    assert [(host["host"], host["data"]) for host in found["hosts"]] == [
        ("r0", {"address": "10.0.0.1"}), ("r1", {}),
    ]  # fmt: skip
    assert found["hosts"][1]["error"]["type"] == "NoAddress"
