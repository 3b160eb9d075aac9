"""Kinds that name a file: read as a path, carried with the digest of what was in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_torque_vm.config.filekinds import ImageRef, Pinning, UserFile, UserPath
from nornir_torque_vm.config.kinds import Kind
from nornir_torque_vm.keys import IMAGE_NAME
from nornir_torque_vm.model import FileRef

DIGEST = "0123456789abcdef" * 4
IMAGE = ImageRef(IMAGE_NAME)


def refusal(kind: Kind, raw: object, *, encoded: bool = False) -> str:
    with pytest.raises(ValueError, match=r"^must ") as caught:
        kind.decode(str(raw)) if encoded else kind.parse(raw)
    return str(caught.value)


def test_a_file_is_read_as_a_path_and_travels_with_its_digest() -> None:
    """The digest comes first: it has a fixed length, and a path may hold anything."""
    kind = UserFile()
    assert kind.parse(" pro.sh ") == FileRef("pro.sh")
    read = FileRef("/home/alice/pro.sh", DIGEST)
    assert kind.encode(read) == f"{DIGEST}/home/alice/pro.sh"
    assert kind.decode(kind.encode(read)) == read
    assert (kind.dump(read), kind.text(read)) == ("/home/alice/pro.sh", "/home/alice/pro.sh")


def test_a_file_that_was_not_read_cannot_travel() -> None:
    """Nodes could not tell what was meant."""
    with pytest.raises(ValueError, match=r"^must have been read before it is submitted$"):
        UserFile().encode(FileRef("/a"))


@pytest.mark.parametrize("text", ["", "/a", DIGEST, f"{DIGEST}a", f"{DIGEST}/../a", f"{DIGEST.upper()}/a",
                                  f"{DIGEST}/a\n", f"{DIGEST[1:]}/a"])  # fmt: skip
def test_damaged_file_values_are_refused(text: str) -> None:
    """A node reads nothing but a digest and an absolute path."""
    refusal(UserFile(), text, encoded=True)


@pytest.mark.parametrize("raw", ["", "a\0b", "a\nb", "x" * 1025, 7, None, True])
def test_what_is_no_path_is_refused(raw: object) -> None:
    """Control characters would reach messages and logs."""
    assert (
        refusal(UserFile("the path of an executable file"), raw) == "must be the path of an executable file"
    )
    assert refusal(UserPath(), raw) == "must be the path of a file"


def test_a_plain_path_is_absolute_once_it_is_in_the_job() -> None:
    """Relative paths mean something only where the job was submitted."""
    assert UserPath().parse("data.img") == "data.img"
    assert UserPath().decode("/home/alice/data.img") == "/home/alice/data.img"
    assert UserPath(empty=True).decode("") == ""
    refusal(UserPath(), "data.img", encoded=True)
    refusal(UserPath(), "", encoded=True)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("true", True), ("No", False), (True, True), ("on", True), ("map.txt", FileRef("map.txt")),
        ("./true", FileRef("./true")),
    ],
)  # fmt: skip
def test_pinning_is_a_boolean_or_a_file(raw: object, value: object) -> None:
    """In the earlier system a file was refused."""
    assert Pinning().parse(raw) == value


def test_pinning_refuses_the_inverted_numbers() -> None:
    """0 was on."""
    for raw in ("0", "1", " 1 "):
        assert "inverted" in refusal(Pinning(), raw)
    assert refusal(Pinning(), 5) == "must be true or false"


@pytest.mark.parametrize("value", [True, False, FileRef("/true", DIGEST), FileRef("/a b", DIGEST)])
def test_pinning_comes_back_from_the_job(value: bool | FileRef) -> None:
    """Both forms."""
    assert Pinning().decode(Pinning().encode(value)) == value


def test_pinning_is_shown_as_it_is_written() -> None:
    """For the table of what was asked."""
    assert [Pinning().text(value) for value in (True, False, FileRef("/a"))] == ["true", "false", "/a"]
    assert [Pinning().dump(value) for value in (True, FileRef("/a"))] == [True, "/a"]


def test_an_image_is_a_name_or_a_path() -> None:
    """The slash tells."""
    for raw in ("debian.qcow2", "./mine.qcow2", "/home/alice/mine.qcow2"):
        assert IMAGE.parse(raw) == raw
    assert IMAGE.decode("debian.qcow2") == IMAGE.encode("debian.qcow2") == "debian.qcow2"
    assert IMAGE.decode("/home/alice/mine.qcow2") == "/home/alice/mine.qcow2"
    for bad in (".hidden", "-rf", "a b", "", 7):
        assert refusal(IMAGE, bad).startswith("must be the name of a file in the image pool")
    refusal(IMAGE, "./mine.qcow2", encoded=True)
    refusal(IMAGE, "/home/../etc/shadow", encoded=True)


@given(path=st.text(max_size=40), digest=st.from_regex("[0-9a-f]{64}", fullmatch=True))
def test_any_path_that_is_read_comes_back(path: str, digest: str) -> None:
    """Made absolute, without what an absolute path may not hold."""
    try:
        value = FileRef(UserFile().parse(f"/home/{path}").path, digest)
        read = UserFile().decode(UserFile().encode(value))
    except ValueError:
        return
    assert isinstance(read, FileRef)
    assert read.digest == digest
    assert read.path.split("/") == [part for i, part in enumerate(value.path.split("/")) if part or not i]
