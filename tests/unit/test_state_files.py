"""The files of the run state: exact when they are ours, one sentence when they are not."""

from __future__ import annotations

import json
import os
from pathlib import Path

import jobs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobs import saved

from nornir_torque_vm.errors import InventoryError, StateError
from nornir_torque_vm.model import JobKeys
from nornir_torque_vm.runstate import jobstate as state_module
from nornir_torque_vm.runstate.jobstate import JobState

JOB = "17[3].head"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")


@given(st.from_type(JobKeys))
def test_keys_survive_exactly(keys: JobKeys) -> None:
    """Whatever they are; also through the version of their form."""
    text = state_module._keys_to_json(keys)
    assert state_module._keys_from_json(text) == keys
    assert json.loads(text)["version"] == 1


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("plan.json", "{", r"the plan cannot be read \(JSONDecodeError\)"),
        ("plan.json", "\udcff", r"the plan cannot be read \(JSONDecodeError\)"),
        ("keys.json", "{", r"the job's keys cannot be read \(JSONDecodeError\)"),
        ("keys.json", "[]", r"the job's keys cannot be read \(TypeError\)"),
        ("keys.json", '{"version": 1}', r"the job's keys cannot be read \(KeyError\)"),
        ("keys.json", '{"version": 2}', r"the keys have form 2, this program reads 1"),
        ("addresses.json", "{", r"job 17\[3\].head: the guests' addresses cannot be read"),
        ("addresses.json", "[]", r"job 17\[3\].head: the guests' addresses cannot be read"),
    ],
)
def test_a_damaged_file_is_told_in_one_sentence(
    tmp_path: Path, name: str, content: str, sentence: str
) -> None:
    """Never a traceback, never a wrong value."""
    state = saved(tmp_path)
    file = tmp_path / "jobs" / state.tag / name
    file.write_text(content, errors="surrogateescape")
    load = {"plan.json": state.plan, "keys.json": state.keys, "addresses.json": state.addresses}[name]
    with pytest.raises(StateError, match=rf"^{sentence}"):
        load()


@pytest.mark.parametrize("job_id", ["", "../17", "17/18", "x"])
def test_only_job_ids_have_a_state(tmp_path: Path, job_id: str) -> None:
    """The id becomes part of file names."""
    with pytest.raises(InventoryError):
        JobState(tmp_path, jobs.job(job_id))
    with pytest.raises(InventoryError):
        JobState.forget(tmp_path, job_id)
    saved(tmp_path)
    with pytest.raises(InventoryError):
        JobState.find(tmp_path, job_id)


@as_root
def test_a_run_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    """Before a key is written into it, and before anything is believed that lies there."""
    (tmp_path / "run").mkdir()
    os.chown(tmp_path / "run", 2001, 2001)
    with pytest.raises(StateError, match=r"belongs to uid 2001, not to uid 0"):
        saved(tmp_path / "run")
    with pytest.raises(StateError, match=r"belongs to uid 2001, not to uid 0"):
        JobState.find(tmp_path / "run", JOB)
    assert list((tmp_path / "run").iterdir()) == []
