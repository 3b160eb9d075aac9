"""The hooks of sisters: they mark and forget a job, leave a safety net, and never keep their MOM."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from mom_kit import SHELLS, MomPriv

PROLOGUE, EPILOGUE = "prologue.parallel", "epilogue.parallel"


@pytest.fixture(params=SHELLS, ids=" ".join)
def mom(tmp_path: Path, request: pytest.FixtureRequest) -> MomPriv:
    return MomPriv(tmp_path, request.param)


@pytest.mark.parametrize("closed", [False, True])
def test_the_prologue_marks_the_job_and_withdraws_an_old_hand_over(mom: MomPriv, closed: bool) -> None:
    """The job starter, which runs as the user, may see that there is a marker."""
    mom.hand_over()
    assert mom.run(mom.ours(PROLOGUE), PROLOGUE, closed=closed, umask=0o077) == 0
    assert mom.marker.read_bytes() == b""
    assert mom.marker.stat().st_mode & 0o777 == 0o644
    assert mom.marker.parent.stat().st_mode & 0o777 == 0o755
    assert list(mom.handover.parent.iterdir()) == []


@pytest.mark.parametrize("slot", [PROLOGUE, EPILOGUE, "prologue"])
def test_a_hand_over_of_an_earlier_version_is_withdrawn(mom: MomPriv, slot: str) -> None:
    """It was a file, where a directory is now."""
    mom.handover.parent.mkdir(parents=True)
    mom.handover.write_text("old")
    mom.run(mom.ours(slot), slot)
    assert list(mom.handover.parent.iterdir()) == []


@pytest.mark.parametrize("slot", [PROLOGUE, "prologue"])
def test_the_owner_sees_the_marker_whoever_made_the_directories(mom: MomPriv, slot: str) -> None:
    """A hook that was killed may have left them closed to everybody; the job starter runs as the owner."""
    folders = [mom.run_dir, mom.run_dir / "markers", mom.run_dir / "handover"]
    for folder in folders:
        folder.mkdir(mode=0o700)
    mom.run(mom.ours(slot), slot, umask=0o077)
    assert mom.marker.exists()
    assert [folder.stat().st_mode & 0o777 for folder in folders] == [0o711] * 3


def test_the_prologue_marks_before_the_site_acts(mom: MomPriv) -> None:
    """A site's hook may take its time, or be killed."""
    mom.write(PROLOGUE, f"#!/bin/sh\nls '{mom.marker.parent}' >'{mom.log}'\n", 0o500)
    mom.run(mom.ours(PROLOGUE), PROLOGUE)
    assert mom.order == [mom.marker.name]


@pytest.mark.parametrize("text", ['image_cache = "/c"\n', 'IMAGE_CACHE="/c"', '#image_cache = ""\n', None])
def test_the_prologue_leaves_the_copying_of_images_behind_where_that_is_wanted(
    mom: MomPriv, text: str | None
) -> None:
    """The MOM waits for the hook; a copy takes minutes. Other sites do not even start a Python for it."""
    (mom.run_dir.parent / "stay").touch()
    settings = mom.run_dir.parent / "settings.toml"
    if text is not None:
        settings.write_text(text)
    hook = mom.ours(PROLOGUE)
    line = "SETTINGS=/etc/torque-vm/settings.toml"
    assert line in hook.read_text()
    hook.chmod(0o700)
    hook.write_text(hook.read_text().replace(line, f"SETTINGS='{settings}'"))
    start = time.monotonic()
    assert (mom.run(hook, PROLOGUE), mom.said) == (0, "")
    assert time.monotonic() - start < 1.0
    assert mom.marker.exists()
    if text is not None and not text.startswith("#"):
        os.kill(net(mom), signal.SIGKILL)
        assert mom.order == ["ours nornir_torque_vm.hooks.imagecache"]
    else:
        assert mom.order == []


@pytest.mark.parametrize("obstacle", ["run dir", "run dir/markers"])
def test_a_marker_that_cannot_be_made_keeps_the_node_up(mom: MomPriv, obstacle: str) -> None:
    """Any exit code but 0 takes it down for all jobs. The system's log says why."""
    path = mom.run_dir.parent / obstacle
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("in the way")
    assert (mom.run(mom.ours(PROLOGUE), PROLOGUE), mom.said) == (0, "")


@pytest.mark.parametrize("closed", [False, True])
def test_the_epilogue_forgets_the_job_and_is_not_kept_by_its_net(mom: MomPriv, closed: bool) -> None:
    """The MOM waits for the hook; the net takes minutes, and nobody has to wait for it either."""
    (mom.run_dir.parent / "stay").touch()
    mom.marker.parent.mkdir(parents=True)
    mom.marker.touch()
    mom.hand_over()
    start = time.monotonic()
    done = mom.run(mom.ours(EPILOGUE), EPILOGUE, closed=closed)
    assert time.monotonic() - start < 1.0
    assert (done, mom.said) == (0, "")
    assert not mom.marker.exists()
    assert list(mom.handover.parent.iterdir()) == []
    pid = net(mom)
    try:
        files = {str(Path(f"/proc/{pid}/fd/{fd}").readlink()) for fd in (0, 1, 2)}
        assert files == {"/dev/null"}
        assert parent(pid) != os.getpid()
    finally:
        os.kill(pid, signal.SIGKILL)


def net(mom: MomPriv) -> int:
    """The process that stayed."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        for path in Path("/proc").glob("[0-9]*"):
            try:
                words = (path / "cmdline").read_bytes().split(b"\0")
                if words[0] == b"sleep" and (path / "cwd").readlink() == mom.folder:
                    return int(path.name)
            except OSError:
                continue
        time.sleep(0.02)
    raise AssertionError("no net")


def parent(pid: int) -> int:
    text = Path(f"/proc/{pid}/stat").read_text()
    return int(text.rpartition(")")[2].split()[1])


def test_an_installation_that_is_gone_keeps_the_node_up(mom: MomPriv) -> None:
    """The mother superior's epilogue and the reaper are left."""
    mom.python.unlink()
    assert (mom.run(mom.ours(EPILOGUE), EPILOGUE), mom.said) == (0, "")
