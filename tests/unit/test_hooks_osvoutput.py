"""What guests of OSv print reaches the job's owner, as a file of the owner's; other guests leave nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hook_kit import JOB, Site

from nornir_torque_vm.runstate.history import TAIL


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory the job was submitted from."""
    made = tmp_path / "out"
    made.mkdir()
    monkeypatch.setenv("PBS_O_WORKDIR", str(made))
    return made


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A site whose images are OSv."""
    (tmp_path / "site").mkdir()
    made = Site(tmp_path / "site", distro_default="osv", allow_osv=True)
    yield made
    made.close()


def print_on(site: Site, node: str, said: bytes) -> None:
    """Let the guest on a node have printed that."""
    (overlay,) = Path(site.settings.volume_dir, node).glob("*.qcow2")
    folder = overlay.with_suffix("")
    folder.mkdir(exist_ok=True)
    (folder / f"{folder.name}-console.log").write_bytes(said)


def test_what_its_programs_printed_lies_beside_the_jobs_output(site: Site, out: Path) -> None:
    """Guest by guest, legible; and the guests are gone."""
    assert site.prologue().ok
    print_on(site, "node1", b"OSv v0.57.0\r\nresult: \x1b[1m42\x1b[0m\r\n")
    print_on(site, "node2", b"OSv v0.57.0\r\n")
    assert site.epilogue().ok
    assert (out / "job.sh.vm17").read_text() == (
        f"job {JOB}, attempt 1: what its guests of OSv printed\n\n==> console of j17-r0 <==\nOSv v0.57.0\n"
        "result: 42\n\n==> console of j17-r1 <==\nOSv v0.57.0\n"
    )
    assert site.left() == []


def test_a_guest_that_prints_a_lot_fills_no_disk(site: Site, out: Path) -> None:
    """Of each guest the end counts."""
    assert site.prologue().ok
    print_on(site, "node1", b"0123456\n" * (TAIL // 4) + b"end\n")
    assert site.epilogue().ok
    text = (out / "job.sh.vm17").read_text()
    assert TAIL <= len(text) < TAIL + 200
    assert text.endswith("\n0123456\nend\n")


def test_output_that_cannot_be_left_keeps_no_guest(
    site: Site, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line in syslog says why."""
    lines: list[str] = []
    monkeypatch.setattr("nornir_torque_vm.hooks.epilogue.log", lambda *words: lines.append(words[-1]))
    monkeypatch.setenv("PBS_O_WORKDIR", str(out / "gone"))
    assert site.prologue().ok
    print_on(site, "node1", b"42\n")
    assert site.epilogue().ok
    assert site.left() == []
    (line,) = lines
    assert f"{out}/gone/job.sh.vm17 cannot be written as" in line
    assert "the console of j17-r1 is not kept" in line


def test_other_guests_leave_nothing(tmp_path: Path, out: Path) -> None:
    """Their jobs have an output of their own."""
    (tmp_path / "site").mkdir()
    made = Site(tmp_path / "site")
    try:
        assert made.prologue().ok
        print_on(made, "node1", b"42\n")
        assert made.epilogue().ok
        assert list(out.iterdir()) == []
    finally:
        made.close()
