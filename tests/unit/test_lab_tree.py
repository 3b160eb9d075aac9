"""Writing a host's files."""

from __future__ import annotations

from pathlib import Path

from nornir_torque_vm.config.textfile import write_text
from nornir_torque_vm.lab import tree


def test_a_file_has_its_mode_and_is_replaced_whole(tmp_path: Path) -> None:
    """A reader has the old text or the new one; a text that is right stays the same file."""
    path = tmp_path / "key"
    write_text(path, "one", 0o600)
    first = path.stat().st_ino
    write_text(path, "one", 0o640)
    assert (path.stat().st_ino, path.stat().st_mode & 0o777) == (first, 0o640)
    with path.open() as reader:
        write_text(path, "two", 0o600)
        assert reader.read() == "one"
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("two", 0o600)
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_writer_left_is_no_hindrance(tmp_path: Path) -> None:
    """The half-written file beside the real one is replaced, not followed."""
    (tmp_path / "target").write_text("precious")
    (tmp_path / ".key.new").symlink_to("target")
    write_text(tmp_path / "key", "new")
    assert (tmp_path / "target").read_text() == "precious"
    assert (tmp_path / "key").read_text() == "new"


def test_links_of_the_machines_etc_are_copied_and_the_rest_is_linked_to(tmp_path: Path) -> None:
    """A relative link such as os-release leads out of /etc and would break in another directory."""
    (tmp_path / "os-release").symlink_to("../usr/lib/os-release")
    (tmp_path / "profile").touch()
    (tmp_path / "ssl").mkdir()
    assert tree.etc_links(tmp_path) == {
        "/etc/os-release": "../usr/lib/os-release",
        "/etc/profile": "/run/lab/etc/profile",
        "/etc/ssl": "/run/lab/etc/ssl",
    }
