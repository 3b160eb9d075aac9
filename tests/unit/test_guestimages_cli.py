"""``torque-vm image`` without building anything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from nornir_torque_vm.cli import image
from nornir_torque_vm.errors import ImageBuildError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with a micro image, and a builder that only says what it was asked."""
    monkeypatch.setenv("TORQUE_VM_CACHE", str(tmp_path / "cache"))
    pool = tmp_path / "cache/images/pool"
    pool.mkdir(parents=True)
    (pool / "micro.qcow2").write_bytes(b"m" * 2_000_000)
    (pool / "debian.qcow2").write_bytes(b"d")

    def build(name: str, where: Path, *, progress: object, force: bool) -> Path:
        if callable(progress):
            progress(f"{name} force={force}")
        return where / "images/pool" / f"{name}.qcow2"

    monkeypatch.setattr(image, "build", build)
    return tmp_path / "cache"


def test_paths_go_to_stdout_and_steps_to_stderr(cache: Path) -> None:
    """``image=$(torque-vm image build micro)`` works."""
    said = CliRunner().invoke(image.image, ["build", "micro", "--force"])
    assert said.stdout == f"{cache}/images/pool/micro.qcow2\n"
    assert said.stderr == "micro force=True\n"
    assert CliRunner().invoke(image.image, ["build", "micro", "--quiet"]).stderr == ""


@pytest.mark.parametrize("target", ["pool", "pool/own.qcow2"])
def test_a_copy_goes_to_a_file_or_into_a_directory(tmp_path: Path, target: str) -> None:
    """Whole, read-only, and with nothing left beside it."""
    (tmp_path / "pool").mkdir()
    said = CliRunner().invoke(image.image, ["build", "micro", "--output", str(tmp_path / target)])
    (copied,) = (tmp_path / "pool").iterdir()
    assert said.stdout == f"{copied}\n"
    assert copied.read_bytes() == b"m" * 2_000_000
    assert copied.stat().st_mode & 0o7777 == 0o444


def test_a_copy_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    """The reason is the system's own."""
    said = CliRunner().invoke(image.image, ["build", "micro", "--output", str(tmp_path / "no/where")])
    assert isinstance(said.exception, ImageBuildError)
    assert str(said.exception).endswith("/no/where: No such file or directory")


@pytest.mark.parametrize(
    "arguments", [["build"], ["build", "mikro"], ["build", "micro", "debian", "--output", "one.qcow2"]]
)
def test_wrong_usage_is_exit_code_two(arguments: list[str]) -> None:
    """Click's own code, as everywhere in this command."""
    assert CliRunner().invoke(image.image, arguments).exit_code == 2


def test_the_list_says_what_is_built(cache: Path) -> None:
    """For people and for programs, with the same words."""
    (cache / "images/pool/debian.qcow2").unlink()
    said = CliRunner().invoke(image.image, ["build", "--list"]).stdout.splitlines()
    assert [line.split()[:2] for line in said[1:]] == [
        ["micro", "2.0"], ["micro-files", "not"], ["debian", "not"],
    ]  # fmt: skip
    rows = json.loads(CliRunner().invoke(image.image, ["build", "--list-json"]).stdout)
    assert rows[0] == {
        "name": "micro",
        "path": f"{cache}/images/pool/micro.qcow2",
        "built": True,
        "size": 2_000_000,
    }
    assert [row["built"] for row in rows] == [True, False, False]
