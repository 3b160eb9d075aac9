"""Running build tools: bounded, killed with all they started, and failing in one line."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from nornir_torque_vm.errors import ImageBuildError
from nornir_torque_vm.guestimages.tool import TAIL_LINES, run, tail


def test_the_output_of_both_streams_comes_back() -> None:
    """In the order it was printed; each line is told as it comes."""
    lines: list[str] = []
    assert run(["sh", "-c", "echo one; echo two >&2"], timeout=10, progress=lines.append) == "one\ntwo\n"
    assert lines == ["one", "two"]


def test_a_failure_is_one_line_with_the_tools_last_words() -> None:
    """The first of many lines is rarely the reason, the last ones are."""
    script = "for n in 1 2 3 4 5 6 7 8 9; do echo line $n; done; exit 3"
    with pytest.raises(ImageBuildError) as caught:
        run(["sh", "-c", script], timeout=10)
    assert str(caught.value) == "sh failed with code 3: " + " / ".join(
        f"line {n}" for n in range(10 - TAIL_LINES, 10)
    )


def test_a_missing_tool_names_its_package() -> None:
    """So that the next thing to type is in the message."""
    with pytest.raises(ImageBuildError, match="mformat is not installed; apt-get install mtools"):
        run(["/nowhere/mformat"], timeout=1)


def test_a_tool_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    """A download that is stuck in a grandchild must not outlive the build."""
    pid_file, began = tmp_path / "pid", time.monotonic()
    with pytest.raises(ImageBuildError, match=r"sh was not done after 0\.3 s"):
        run(["sh", "-c", f"sleep 60 & echo $! > {pid_file}; wait"], timeout=0.3)
    child = int(pid_file.read_text())
    for _ in range(50):
        if not _alive(child):
            break
        time.sleep(0.02)
    assert not _alive(child)
    assert time.monotonic() - began < 30


def test_nobody_can_be_asked_anything() -> None:
    """A tool that wants an answer reads the end of file instead of waiting for ever."""
    assert run(["sh", "-c", "read answer || echo nobody there"], timeout=10) == "nobody there\n"


def test_the_language_of_messages_is_fixed() -> None:
    """What tools print is read by programs here; additions to the environment reach the tool."""
    assert run(["sh", "-c", "echo $LC_ALL $ADDED"], timeout=10, env={"ADDED": "yes"}) == "C.UTF-8 yes\n"


def test_silence_is_said() -> None:
    """An error line never ends in a colon."""
    assert tail([]) == tail(["  \n", "\n"]) == "it printed nothing"


def _alive(pid: int) -> bool:
    """Running, that is: neither gone nor a zombie nobody has collected yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_paths_and_words_may_be_mixed(tmp_path: Path) -> None:
    """Callers pass Path objects as they are."""
    assert run(["ls", tmp_path], timeout=10, cwd=Path(os.sep)) == ""
