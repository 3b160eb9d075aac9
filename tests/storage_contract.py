"""What every kind of storage does; each kind's tests inherit these and say how to make one."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from nornir_torque_vm.deadline import Deadline, current
from nornir_torque_vm.errors import DeadlineExceeded, StorageError
from nornir_torque_vm.model import Image
from nornir_torque_vm.qcow2 import parse_header
from nornir_torque_vm.storage import Storage

BIG = bytes(range(256)) * 4099
"""About 1 MB, more than a message holds, and no chunk of it like another."""


@dataclasses.dataclass
class Place:
    """A storage, its directory as seen from here, and a base image it can use."""

    storage: Storage
    files: Path
    image: Image

    def again(self) -> Storage:
        """Another object for the same directory: another task, another hook."""
        raise NotImplementedError


class StorageContract:
    """Inherited with a fixture ``place``."""

    def test_what_is_put_is_at_the_path_and_can_be_read(self, place: Place) -> None:
        """The path is the node's; nobody but root may read the file."""
        path = place.storage.put("tvm-1-seed.iso", b"hello")
        file = place.files / "tvm-1-seed.iso"
        assert path == place.storage.path("tvm-1-seed.iso")
        assert path.endswith("/tvm-1-seed.iso")
        assert file.read_bytes() == b"hello"
        assert file.stat().st_mode & 0o777 == 0o600
        assert place.storage.read("tvm-1-seed.iso") == b"hello"

    @pytest.mark.parametrize("data", [b"", b"\0", b"\0" * 5000, BIG], ids=["empty", "zero", "zeros", "large"])
    def test_any_bytes_arrive(self, place: Place, data: bytes) -> None:
        """However many."""
        place.storage.put("tvm-1", data)
        assert (place.files / "tvm-1").read_bytes() == data
        assert place.storage.read("tvm-1", 0, len(data) + 10) == data

    def test_a_second_put_replaces_the_first(self, place: Place) -> None:
        """A task may be repeated; a shorter text leaves no end of the longer one."""
        place.storage.put("tvm-1", b"a long text")
        place.again().put("tvm-1", b"short")
        assert place.storage.read("tvm-1") == b"short"

    def test_a_part_can_be_read(self, place: Place) -> None:
        """From the start or, with a negative offset, from the end; beyond the end there is nothing."""
        place.storage.put("tvm-1", b"0123456789")
        parts = {(2, 3): b"234", (8, 9): b"89", (10, 5): b"", (99, 5): b"", (0, 0): b"",
                 (-4, 99): b"6789", (-4, 2): b"67", (-99, 3): b"012"}  # fmt: skip
        assert {where: place.storage.read("tvm-1", *where) for where in parts} == parts

    def test_reading_is_limited_unless_told_otherwise(self, place: Place) -> None:
        """A guest can fill its console log."""
        place.storage.put("tvm-1", BIG)
        assert place.storage.read("tvm-1") == BIG[:65536]
        assert place.storage.read("tvm-1", -70_000, 70_000) == BIG[-70_000:]

    def test_an_overlay_is_an_empty_disk_on_top_of_the_image(self, place: Place) -> None:
        """The image's format is written down, so that QEMU never has to guess."""
        path = place.storage.overlay("tvm-1.qcow2", place.image)
        header = parse_header((place.files / "tvm-1.qcow2").read_bytes())
        assert path == place.storage.path("tvm-1.qcow2")
        assert header.backing_file == place.image.path
        assert header.backing_format == place.image.format == "qcow2"
        assert header.virtual_size == place.image.virtual_size
        assert (place.files / "tvm-1.qcow2").stat().st_mode & 0o777 == 0o600

    def test_an_overlay_on_a_raw_disk_says_that_it_is_raw(self, place: Place) -> None:
        """Even where something in the disk looks like a header: to whom it is raw it says nothing."""
        raw = dataclasses.replace(place.image, format="raw")
        place.storage.overlay("tvm-1.qcow2", raw)
        header = parse_header((place.files / "tvm-1.qcow2").read_bytes())
        assert (header.backing_file, header.backing_format) == (raw.path, "raw")
        assert header.virtual_size == raw.virtual_size

    def test_an_overlay_with_a_limit_is_a_file_of_that_size_mostly_a_hole(self, place: Place) -> None:
        """So the emulator can be told where it ends, and memory is taken only for what is written."""
        limit = 64 << 20
        place.storage.put("tvm-1.qcow2", b"an older one")
        assert place.storage.overlay("tvm-1.qcow2", place.image, limit) == place.storage.path("tvm-1.qcow2")
        status = (place.files / "tvm-1.qcow2").stat()
        assert (status.st_size, status.st_mode & 0o777) == (limit, 0o600)
        assert status.st_blocks * 512 < 1 << 20
        with (place.files / "tvm-1.qcow2").open("rb") as file:
            header = parse_header(file.read(65536))
        assert header.backing_file == place.image.path
        assert header.virtual_size == place.image.virtual_size
        assert place.storage.remove("tvm-1.qcow2") is True

    def test_what_others_could_have_written_is_not_held(self, place: Place) -> None:
        """Nor what is not there: such a file must not be the base of a guest's disk."""
        place.storage.put("tvm-1", b"x")
        assert place.storage.holds("tvm-1") is True
        assert place.again().holds("tvm-2") is False
        (place.files / "tvm-1").chmod(0o646)
        assert place.storage.holds("tvm-1") is False
        (place.files / "tvm-1").chmod(0o444)
        assert place.storage.holds("tvm-1") is True
        os.chown(place.files / "tvm-1", 1234, -1)
        assert place.again().holds("tvm-1") is False

    def test_the_capacity_is_that_of_the_file_system(self, place: Place) -> None:
        """Whatever is on it."""
        place.storage.names("")
        status = os.statvfs(place.files)
        assert place.storage.capacity() == status.f_blocks * status.f_frsize

    @pytest.mark.parametrize("limit", [0, 4 << 20])
    def test_a_disk_on_a_users_image_does_not_name_it(self, place: Place, limit: int) -> None:
        """Whoever looks into the directory as root would open what a user has put there."""
        own = dataclasses.replace(place.image, path="/home/alice/own.qcow2", own=True)
        place.storage.overlay("tvm-1.qcow2", own, limit)
        data = (place.files / "tvm-1.qcow2").read_bytes()
        assert b"own.qcow2" not in data
        assert len(data) >= limit
        header = parse_header(data)
        assert (header.backing_file, header.virtual_size) == ("", own.virtual_size)
        assert place.again().names("tvm-1") == ["tvm-1.qcow2"]

    def test_an_overlay_takes_the_place_of_an_older_one(self, place: Place) -> None:
        """A guest that is started again must not find what it wrote before."""
        place.storage.put("tvm-1.qcow2", b"what was written")
        place.again().overlay("tvm-1.qcow2", place.image)
        assert parse_header((place.files / "tvm-1.qcow2").read_bytes()).backing_file == place.image.path

    def test_removing_twice_is_no_error(self, place: Place) -> None:
        """The answer tells whether there was something."""
        place.storage.put("tvm-1", b"x")
        assert place.storage.remove("tvm-1") is True
        assert not (place.files / "tvm-1").exists()
        assert place.again().remove("tvm-1") is False

    def test_names_are_those_with_the_prefix_in_order(self, place: Place) -> None:
        """A job's volumes are found by its tag, without any list of ours."""
        for name in ("tvm-2", "tvm-10", "tvm-1", "other"):
            place.storage.put(name, b"")
        place.storage.overlay("tvm-1.qcow2", place.image)
        assert place.again().names("tvm-1") == ["tvm-1", "tvm-1.qcow2", "tvm-10"]
        assert place.storage.names("") == ["other", "tvm-1", "tvm-1.qcow2", "tvm-10", "tvm-2"]
        assert place.storage.names("no") == []

    def test_what_others_write_there_is_found(self, place: Place) -> None:
        """Console logs are virtlogd's; they grow while they are read."""
        place.storage.put("tvm-1", b"")  # it has looked at the directory before
        log = place.files / "tvm-1-console.log"
        log.write_bytes(b"booting\n")
        assert place.storage.read("tvm-1-console.log") == b"booting\n"
        with log.open("ab") as file:
            file.write(b"ready\n")
        assert place.storage.read("tvm-1-console.log", -6) == b"ready\n"
        assert place.again().names("tvm-1") == ["tvm-1", "tvm-1-console.log"]
        (place.files / "tvm-2-console.log").write_bytes(b"")
        assert place.storage.remove("tvm-2-console.log") is True
        assert not (place.files / "tvm-2-console.log").exists()

    def test_what_others_wrote_is_replaced(self, place: Place) -> None:
        """Nothing of it stays."""
        place.storage.names("")
        for name in ("tvm-1", "tvm-1.qcow2"):
            (place.files / name).write_bytes(b"somebody else's, and longer")
        place.storage.put("tvm-1", b"ours")
        place.storage.overlay("tvm-1.qcow2", place.image)
        assert (place.files / "tvm-1").read_bytes() == b"ours"
        assert (place.files / "tvm-1.qcow2").read_bytes()[:4] == b"QFI\xfb"

    def test_a_missing_volume_is_named(self, place: Place) -> None:
        """With its path."""
        with pytest.raises(StorageError) as caught:
            place.storage.read("tvm-9")
        assert f"there is no volume {place.storage.path('tvm-9')}" in str(caught.value)

    @pytest.mark.parametrize(
        "name", ["", ".", "..", ".hidden", "a/b", "../up", "-n", "a b", "a\n", "a\0b", "a" * 201, "ä"]
    )
    def test_only_plain_file_names_are_names(self, place: Place, name: str) -> None:
        """Nothing outside of the directory can be meant, by nobody."""
        actions: list[Callable[[], object]] = [
            lambda: place.storage.path(name),
            lambda: place.storage.put(name, b""),
            lambda: place.storage.overlay(name, place.image),
            lambda: place.storage.read(name),
            lambda: place.storage.remove(name),
        ]
        for action in actions:
            with pytest.raises(StorageError, match="is not the name of a volume"):
                action()
        assert place.storage.names("") == []

    @pytest.mark.parametrize("name", ["a", "A.b_c+d-e", "0" * 200])
    def test_all_our_names_are_names(self, place: Place, name: str) -> None:
        """Domain names with a suffix."""
        place.storage.put(name, b"x")
        assert place.storage.names("") == [name]
        assert place.storage.remove(name)

    def test_nothing_is_written_when_the_time_is_up(self, place: Place) -> None:
        """A thread nobody waits for any more must not make files after the clean-up."""
        place.storage.names("")
        token = current.set(Deadline.after(-1))
        try:
            with pytest.raises(DeadlineExceeded):
                place.storage.put("tvm-1", b"x")
            with pytest.raises(DeadlineExceeded):
                place.storage.overlay("tvm-1", place.image)
            assert place.again().remove("tvm-1") is False
        finally:
            current.reset(token)

    def test_many_at_once_do_not_disturb_each_other(self, place: Place) -> None:
        """All guests of a node are started at the same moment, also the first ones ever."""
        failures: list[BaseException] = []

        def guest(number: int) -> None:
            try:
                storage = place.again()
                for name in (f"tvm-{number}-a", f"tvm-{number}-b"):
                    storage.overlay(f"{name}.qcow2", place.image)
                    storage.put(f"{name}-seed.iso", BIG[:70_000])
                    assert storage.read(f"{name}-seed.iso", -5) == BIG[69_995:70_000]
                    assert len(storage.names(f"{name}")) == 2
                    assert storage.remove(f"{name}.qcow2")
                    assert not storage.remove(f"{name}-console.log")
            except BaseException as error:  # noqa: BLE001 - the test's own thread has to see it
                failures.append(error)

        threads = [threading.Thread(target=guest, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert len(place.storage.names("tvm-")) == 16
