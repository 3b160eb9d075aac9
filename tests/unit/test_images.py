"""Base images: a user's word becomes a file of the pool, or one sentence with cause and cure."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qcow2_bytes import image_bytes

from nornir_torque_vm.errors import Blame, ImageError
from nornir_torque_vm.images import open_image
from nornir_torque_vm.model import Distro, Image
from nornir_torque_vm.qcow2 import MAX_SIZE, overlay_bytes

GiB = 1 << 30
CONVERT = "make it self-contained: qemu-img convert -O qcow2 OLD NEW"


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """A pool with one good image."""
    directory = tmp_path / "pool"
    directory.mkdir()
    (directory / "debian.qcow2").write_bytes(image_bytes(10 * GiB))
    return directory


def refused(pool: Path, name: str) -> ImageError:
    """The refusal, which has to be one line of the user's class."""
    with pytest.raises(ImageError) as caught:
        open_image(str(pool), name)
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_good_image_is_known_by_name_path_size_and_family(pool: Path) -> None:
    """Everything the plan needs; a trailing slash of the pool does not double."""
    expected = Image("debian.qcow2", f"{pool}/debian.qcow2", "qcow2", 10 * GiB, Distro.DEBIAN)
    assert open_image(str(pool), "debian.qcow2") == expected
    assert open_image(f"{pool}/", "debian.qcow2") == expected


def test_opening_leaves_owner_mode_and_times_alone(pool: Path) -> None:
    """A read-only, root-owned pool works and stays as it is."""
    file = pool / "debian.qcow2"
    file.chmod(0o444)
    before = file.stat()
    open_image(str(pool), "debian.qcow2")
    after = file.stat()
    assert (after.st_uid, after.st_mode, after.st_mtime_ns) == (
        before.st_uid,
        before.st_mode,
        before.st_mtime_ns,
    )


def test_the_pool_itself_may_be_a_link(pool: Path, tmp_path: Path) -> None:
    """Where the images are is the administrator's choice; only what lies inside is suspect."""
    (tmp_path / "link").symlink_to(pool)
    assert open_image(str(tmp_path / "link"), "debian.qcow2").path == f"{tmp_path}/link/debian.qcow2"


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../pool/debian.qcow2", "a/b", "/etc/passwd", ".hidden", "-rf", "a b", "a\0b", "a\n",
     "x" * 201],
)  # fmt: skip
def test_only_plain_file_names_are_looked_up(pool: Path, name: str) -> None:
    """A slash, a leading dot or dash, blanks and control characters are refused before any look-up."""
    error = refused(pool, name)
    assert error.what.endswith("is not the name of a file in the image pool")
    assert error.hint == "give a file name of letters, digits and . _ + - without directories"
    assert error.blame is Blame.USER


@given(name=st.text(max_size=30))
@settings(max_examples=200)
def test_no_name_leads_out_of_the_pool(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    """In an empty pool every text is refused with one sentence, never with another exception."""
    empty = tmp_path_factory.getbasetemp() / "empty-pool"
    empty.mkdir(exist_ok=True)
    error = refused(empty, name)
    assert "is not the name of a file" in error.what or error.hint.startswith("there is no image at all")


def test_a_missing_image_is_answered_with_the_nearest(pool: Path) -> None:
    """The typing mistake shows at once; with nothing similar, what there is."""
    error = refused(pool, "debain.qcow2")
    assert str(error) == (
        f"image 'debain.qcow2' does not exist in the image pool {pool}; did you mean debian.qcow2?"
    )
    (pool / "alma.qcow2").touch()
    (pool / ".lock").touch()
    assert refused(pool, "zzz").hint == "known are alma.qcow2, debian.qcow2"


def test_an_empty_pool_is_the_sites_fault(tmp_path: Path) -> None:
    """It is what is left where a pool was mounted: the user's image was there yesterday."""
    error = refused(tmp_path, "debian.qcow2")
    assert error.hint == "there is no image at all: is it mounted?"
    assert error.blame is Blame.SITE


def test_a_large_pool_does_not_make_a_large_message(pool: Path) -> None:
    """The list of names is cut at 200 characters."""
    for number in range(100):
        (pool / f"image-{number}.qcow2").touch()
    assert len(refused(pool, "zzz").hint) == 200


def test_a_link_inside_the_pool_is_refused(pool: Path, tmp_path: Path) -> None:
    """It could point at any file of the node; even one to a sibling is not followed."""
    (pool / "link.qcow2").symlink_to("debian.qcow2")
    (pool / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("link.qcow2", "dangling"):
        assert str(refused(pool, name)) == (
            f"image '{name}' is a symbolic link, which is not followed; put the image itself into the pool"
        )


@pytest.mark.timeout(10)
@pytest.mark.parametrize("kind", ["directory", "fifo"])
def test_only_regular_files_are_images(pool: Path, kind: str) -> None:
    """A FIFO in the pool must not hold the prologue until somebody writes to it."""
    if kind == "fifo":
        os.mkfifo(pool / "odd")
    else:
        (pool / "odd").mkdir()
    assert str(refused(pool, "odd")) == (
        "image 'odd' is not a regular file; put the image itself into the pool"
    )


def test_a_pool_that_cannot_be_read_is_the_sites_fault(pool: Path, tmp_path: Path) -> None:
    """The user cannot mend it; the job is not thrown away for it."""
    for path, why in (
        (tmp_path / "none", "No such file or directory"),
        (pool / "debian.qcow2", "Not a directory"),
    ):
        error = refused(path, "debian.qcow2")
        assert str(error) == (
            f"the image pool {path} cannot be read: {why}; create it or correct image_pool in the settings"
        )
        assert error.blame is Blame.SITE


def test_an_image_that_cannot_be_opened_is_the_sites_fault(
    pool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as an I/O error of the file server."""

    def broken(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", broken)
    error = refused(pool, "debian.qcow2")
    assert str(error) == f"image 'debian.qcow2' cannot be read: Input/output error; look at it in {pool}"
    assert error.blame is Blame.SITE


def test_no_descriptor_stays_open(pool: Path) -> None:
    """Neither after success nor after a refusal."""
    (pool / "odd").mkdir()
    before = len(list(Path("/proc/self/fd").iterdir()))
    open_image(str(pool), "debian.qcow2")
    for name in ("odd", "missing", "a/b"):
        refused(pool, name)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize(
    ("content", "cause", "cure"),
    [
        (b"", "is not a qcow2 image (starts with nothing: the file is empty)",
         "convert it with: qemu-img convert -O qcow2 OLD NEW"),
        (b"#!/bin/sh\n", "is not a qcow2 image (starts with '#!/bin/s')",
         "convert it with: qemu-img convert -O qcow2 OLD NEW"),
        (image_bytes()[:80], "has a damaged qcow2 header: its header ends after 80 bytes",
         "copy the image again from its source"),
        (image_bytes()[:0x1FFFF], "is cut off after 131071 bytes", "copy the image again from its source"),
        (image_bytes(features=1), "was not closed properly", "repair it with: qemu-img check -r all FILE"),
        (image_bytes(features=3), "is marked as corrupt", "repair it with: qemu-img check -r all FILE"),
        (image_bytes(features=4), "keeps its data in another file ('?')", CONVERT),
        (image_bytes(features=4, data_file=b"/x"), "keeps its data in another file ('/x')", CONVERT),
        (image_bytes(features=64), "needs features unknown here (bits 0x40)", CONVERT),
        (image_bytes(crypt=2), "is encrypted", "images must be readable without a secret"),
        (image_bytes(0), "holds a disk of 0 bytes", "build it again"),
        (image_bytes(MAX_SIZE + 1024), "holds a disk of 17179869185K, more than 16T",
         "build it again, smaller"),
        (image_bytes(1 << 62), "holds a disk of 4194304T, more than 16T", "build it again, smaller"),
    ],
)  # fmt: skip
def test_each_fault_has_its_own_cause_and_cure(pool: Path, content: bytes, cause: str, cure: str) -> None:
    """What QEMU must not be given, told before it is started."""
    (pool / "bad.qcow2").write_bytes(content)
    error = refused(pool, "bad.qcow2")
    assert (error.what, error.hint) == (f"image 'bad.qcow2' {cause}", cure)
    assert error.blame is Blame.USER


def test_the_largest_disk_is_16_tebibytes(pool: Path) -> None:
    """The limit itself is fine; a kibibyte more is not (above)."""
    (pool / "large").write_bytes(image_bytes(MAX_SIZE))
    assert open_image(str(pool), "large").virtual_size == 16 * 2**40


@pytest.mark.parametrize(
    "backing",
    [
        "/etc/shadow",
        "../secret.qcow2",
        "sub/x.qcow2",
        "nbd://evil/x",
        'json:{"driver":"file"}',
        ".hidden",
        "a\0b",
    ],
)
def test_a_backing_file_outside_the_pool_is_refused(pool: Path, backing: str) -> None:
    """QEMU would open it with its own rights and show it to the guest."""
    (pool / "bad").write_bytes(image_bytes(backing=backing.encode()))
    error = refused(pool, "bad")
    assert error.what == f"image 'bad' builds on {backing!r}, which is outside the image pool"
    assert error.hint == CONVERT


def test_a_backing_file_beside_the_pool_with_the_same_start_is_outside(pool: Path) -> None:
    """``/pool-secret`` begins with ``/pool`` and is not in it."""
    (pool / "bad").write_bytes(image_bytes(backing=f"{pool}-secret".encode()))
    assert "which is outside the image pool" in refused(pool, "bad").what


@pytest.mark.parametrize("fmt", [b"", b"qcow2"])
@pytest.mark.parametrize("absolute", [False, True])
def test_images_of_the_pool_may_build_on_each_other(pool: Path, fmt: bytes, *, absolute: bool) -> None:
    """Named relative to the pool or with its path; the size is that of the upper one."""
    name = f"{pool}/debian.qcow2" if absolute else "debian.qcow2"
    (pool / "upper").write_bytes(image_bytes(20 * GiB, backing=name.encode(), fmt=fmt))
    image = open_image(str(pool), "upper")
    assert image.virtual_size == 20 * GiB
    assert (image.path, image.backing) == (f"{pool}/upper", (f"{pool}/debian.qcow2",))


def test_a_fault_further_down_is_told_with_the_way_to_it(pool: Path) -> None:
    """The user knows the upper name only."""
    (pool / "upper").write_bytes(image_bytes(backing=b"middle"))
    (pool / "middle").write_bytes(image_bytes(backing=b"lower"))
    assert refused(pool, "upper").what == (
        "image 'upper' builds on 'middle', which builds on 'lower', "
        f"which does not exist in the image pool {pool}"
    )
    (pool / "lower").write_bytes(image_bytes(features=2))
    assert refused(pool, "upper").what.endswith("builds on 'lower', which is marked as corrupt")
    (pool / "lower").write_bytes(b"raw data")
    assert refused(pool, "upper").what.endswith(
        "'lower', which is not a qcow2 image (starts with 'raw data')"
    )


def test_a_base_that_is_not_read_as_qcow2_is_refused(pool: Path) -> None:
    """Read as raw, a qcow2 file would show its own header to the guest."""
    (pool / "upper").write_bytes(image_bytes(backing=b"debian.qcow2", fmt=b"raw"))
    assert refused(pool, "upper").what == ("image 'upper' builds on 'debian.qcow2' as 'raw', not as qcow2")


def test_a_chain_must_end(pool: Path) -> None:
    """Two images on top of each other would keep the reader for ever."""
    (pool / "a").write_bytes(image_bytes(backing=b"b"))
    (pool / "b").write_bytes(image_bytes(backing=b"a"))
    error = refused(pool, "a")
    assert error.what == "image 'a' builds on 'b', which builds on 'a', so the chain never ends"
    assert error.hint == CONVERT
    (pool / "x").write_bytes(image_bytes(backing=b"y"))
    (pool / "y").write_bytes(image_bytes(backing=b"z"))
    (pool / "z").write_bytes(image_bytes(backing=b"y"))
    assert refused(pool, "x").what.endswith("which builds on 'y', so the chain never ends")


def test_a_chain_has_at_most_8_images(pool: Path) -> None:
    """Eight are read, nine are refused."""
    for number in range(8):
        (pool / f"i{number}").write_bytes(image_bytes(backing=f"i{number + 1}".encode()))
    (pool / "i8").write_bytes(image_bytes())
    assert open_image(str(pool), "i1").backing == tuple(f"{pool}/i{number}" for number in range(2, 9))
    assert refused(pool, "i0").what.endswith("builds on 'i8', the chain is longer than 8")


def test_an_overlay_of_our_own_is_a_good_image(pool: Path) -> None:
    """Reader and writer agree."""
    (pool / "overlay").write_bytes(overlay_bytes(f"{pool}/debian.qcow2", "qcow2", GiB))
    assert open_image(str(pool), "overlay").virtual_size == GiB


def catalogue(pool: Path, text: str) -> None:
    (pool / "catalogue.json").write_text(text, encoding="utf-8")


def test_a_raw_disk_is_one_only_by_the_catalogues_word(pool: Path) -> None:
    """What stands in it was perhaps written by a guest: no byte of it says what it is."""
    (pool / "disk.img").write_bytes(b"\0" * 1_000_000)
    assert "is not a qcow2 image" in refused(pool, "disk.img").what
    catalogue(pool, '{"disk.img": {"format": "raw"}}')
    expected = Image("disk.img", f"{pool}/disk.img", "raw", 1_000_448, Distro.DEBIAN)
    assert open_image(str(pool), "disk.img") == expected


def test_a_raw_disk_with_a_header_in_it_stays_raw(pool: Path) -> None:
    """Else a guest that had written one would see any file of the node with its next boot."""
    (pool / "disk.img").write_bytes(image_bytes(backing=b"/etc/shadow"))
    catalogue(pool, '{"disk.img": {"format": "raw"}}')
    image = open_image(str(pool), "disk.img")
    assert (image.format, image.virtual_size, image.backing) == ("raw", 0x20000, ())


def test_an_image_of_the_pool_builds_on_no_raw_disk(pool: Path) -> None:
    """All images of a chain have one format in the domain's description."""
    (pool / "disk.img").write_bytes(image_bytes())
    (pool / "upper").write_bytes(image_bytes(backing=b"disk.img"))
    catalogue(pool, '{"disk.img": {"format": "raw"}}')
    assert refused(pool, "upper").what == "image 'upper' builds on 'disk.img' as 'raw', not as qcow2"


@pytest.mark.parametrize(
    ("size", "cause"),
    [(0, "holds a disk of 0 bytes"), (MAX_SIZE + 1, "holds a disk of 17592186044928 bytes, more than 16T")],
)
def test_a_raw_disk_has_the_limits_of_every_disk(
    pool: Path, size: int, cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its size is the file's, in whole sectors."""
    monkeypatch.setattr("nornir_torque_vm.images._read_start", lambda *_: (b"", size))
    catalogue(pool, '{"disk.img": {"format": "raw"}}')
    assert cause in refused(pool, "disk.img").what
