"""Files are shown while they grow."""

from __future__ import annotations

from pathlib import Path

from nornir_kit import eventually

from nornir_torque_vm.driver.spool import Follower


def test_what_is_appended_is_handed_over_once_and_in_order(tmp_path: Path) -> None:
    """From a thread while it goes on; the rest when it is over."""
    path, seen = tmp_path / "spool", bytearray()
    follower = Follower(lambda: path, seen.extend)
    follower.start()
    with path.open("wb", buffering=0) as file:
        file.write(b"one ")
        assert eventually(lambda: bytes(seen) == b"one ")
        file.write(b"two")
        follower.finish()
    assert bytes(seen) == b"one two"


def test_a_file_that_never_appears_is_no_error(tmp_path: Path) -> None:
    """A job that failed early wrote nothing; or nobody knows yet where it would be."""
    for find in (lambda: tmp_path / "missing", lambda: None):
        seen: list[bytes] = []
        follower = Follower(find, seen.append)
        follower.start()
        follower.finish()
        assert seen == []


def test_another_file_is_read_from_its_beginning(tmp_path: Path) -> None:
    """The next attempt of a job has a history of its own; what the last one still said is not lost."""
    first, second = tmp_path / "1", tmp_path / "2"
    first.write_bytes(b"a longer text ")
    current, seen = [first], bytearray()
    follower = Follower(lambda: current[-1], seen.extend)
    follower._drain()
    with first.open("ab") as file:
        file.write(b"with an end, ")
    second.write_bytes(b"then this")
    current.append(second)
    follower._drain()
    assert bytes(seen) == b"a longer text with an end, then this"


def test_a_reader_who_went_away_does_not_stop_the_job(tmp_path: Path) -> None:
    """``torque-vm run … | head``: nothing more is written, nothing else happens."""
    path, calls = tmp_path / "spool", []

    def closed_pipe(data: bytes) -> None:
        calls.append(data)
        raise BrokenPipeError

    path.write_bytes(b"one")
    follower = Follower(lambda: path, closed_pipe)
    follower.start()
    assert eventually(lambda: len(calls) == 1)
    path.write_bytes(b"one two")
    follower.finish()
    assert calls == [b"one"]
