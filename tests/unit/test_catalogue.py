"""The image catalogue: what it may say, and one line for everything else."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_torque_vm.catalogue import Entry, read_catalogue
from nornir_torque_vm.errors import Blame, ImageError
from nornir_torque_vm.model import Distro


def write(pool: Path, text: str) -> str:
    (pool / "catalogue.json").write_text(text, encoding="utf-8")
    return str(pool)


def test_a_pool_without_a_catalogue_has_no_entries(tmp_path: Path) -> None:
    """It is optional, and so is the pool on a submit host."""
    assert read_catalogue(str(tmp_path)) == {}
    assert read_catalogue(str(tmp_path / "none")) == {}


def test_every_field_may_be_left_away(tmp_path: Path) -> None:
    """What is not said is not known."""
    pool = write(
        tmp_path,
        f"""{{"a.qcow2": {{"distro": "CentOS", "arch": "x86_64",
        "description": "for ünit tests", "sha256": "{"0" * 64}"}}, "b": {{}},
        "c": {{"format": "raw"}}}}""",
    )
    assert read_catalogue(pool) == {
        "a.qcow2": Entry(Distro.REDHAT, "x86_64", "for ünit tests", "0" * 64),
        "b": Entry(format="qcow2"),
        "c": Entry(format="raw"),
    }


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[]", "it is not JSON of the form"),
        ("{", "it is not JSON of the form"),
        ('{"a": 1}', "it is not JSON of the form"),
        ('{"../a": {}}', "image name is '../a' but must be the name of a file"),
        ('{"a": {"distribution": "osv"}}', "unknown entry 'distribution'; did you mean"),
        ('{"a": {"distro": "windows"}}', "entry distro is 'windows' but must be debian, ubuntu"),
        ('{"a": {"description": "two\\nlines"}}', "but must be one line of text"),
        ('{"a": {"sha256": "0"}}', "but must be 64 hexadecimal digits"),
        ("[" * 100_000, "it is not JSON of the form"),
        (" " * (1 << 20) + "{}", "it has more than 1048576 bytes"),
    ],
)
def test_a_bad_catalogue_is_one_line_and_the_sites_fault(tmp_path: Path, text: str, part: str) -> None:
    """With the file's name in it."""
    pool = write(tmp_path, text)
    with pytest.raises(ImageError) as caught:
        read_catalogue(pool)
    assert caught.value.blame is Blame.SITE
    assert str(caught.value).startswith(f"the image catalogue {pool}/catalogue.json cannot be used: ")
    assert part.partition(";")[0] in str(caught.value)


def test_a_catalogue_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    """Here it is a directory."""
    (tmp_path / "catalogue.json").mkdir()
    with pytest.raises(ImageError, match="Is a directory; correct it"):
        read_catalogue(str(tmp_path))


@given(content=st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    """With our own error only."""
    pool = tmp_path_factory.getbasetemp() / "catalogue"
    pool.mkdir(exist_ok=True)
    (pool / "catalogue.json").write_bytes(content)
    with contextlib.suppress(ImageError):
        read_catalogue(str(pool))
