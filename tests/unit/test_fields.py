"""Fields and tables: one lookup, one form of message, hints that name the nearest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_torque_vm.config.fields import SHOWN, Field, Table, nearest, show
from nornir_torque_vm.config.kinds import Int, Text
from nornir_torque_vm.errors import RequestError, SettingsError

TABLE = Table(
    "setting",
    SettingsError,
    (Field("color", Text("[a-z]+", "a word"), "color of the car", "red"), Field("doors", Int(2, 5), "doors")),
)


def test_a_table_keeps_its_order_and_finds_by_name() -> None:
    """Documentation follows the order in which the fields are defined."""
    assert [field.name for field in TABLE] == ["color", "doors"]
    assert TABLE["doors"] is TABLE.find("doors")
    assert (TABLE["color"].default, TABLE["doors"].default) == ("red", None)


def test_reading_gives_name_and_value() -> None:
    """The name that comes back is the field's own."""
    assert TABLE.read("doors", "4") == ("doors", 4)


def test_a_bad_value_is_one_sentence_of_the_tables_class() -> None:
    """What, where, and what it must be."""
    with pytest.raises(SettingsError) as caught:
        TABLE.read("doors", "7")
    assert str(caught.value) == "setting doors is '7' but must be a whole number from 2 to 5"


def test_an_unknown_name_gets_the_nearest() -> None:
    """The error is the table's class and the hint the likely name."""
    with pytest.raises(SettingsError) as caught:
        TABLE.read("colour", "red")
    assert str(caught.value) == "unknown setting 'colour'; did you mean color?"


def test_errors_have_the_class_of_the_table() -> None:
    """A table of keys blames the user, a table of settings the site."""
    table = Table("-vm key", RequestError, TABLE)
    with pytest.raises(RequestError, match=r"^unknown -vm key 'x'; known are color, doors$"):
        table.find("x")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("IMAGE_POOL", "did you mean image_pool?"),
        ("imagepool", "did you mean image_pool?"),
        ("x", "known are image_pool, timeout"),
        ("", "known are image_pool, timeout"),
        ("t" * 1_000_000, "known are image_pool, timeout"),
    ],
)
def test_the_hint_is_the_nearest_name_or_all_names(name: str, hint: str) -> None:
    """Case does not count; nothing similar lists what there is; a huge name costs nothing."""
    assert nearest(name, ["image_pool", "timeout"]) == hint


def test_the_hint_takes_any_iterable() -> None:
    """A generator is enough."""
    assert nearest("zzz", (name for name in ("a", "b"))) == "known are a, b"


def test_half_alike_is_near_enough() -> None:
    """Two of four letters right are still worth a hint, less are not."""
    assert nearest("abxx", ["abcd"]) == "did you mean abcd?"
    assert nearest("axxx", ["abcd"]) == "known are abcd"


def test_letters_in_another_order_are_nearest() -> None:
    """Fingers that were too quick; another name may have more letters in the right order."""
    assert nearest("rma", ["vrdma", "ram"]) == "did you mean ram?"
    assert nearest("RMA", ["vrdma"]) == "did you mean vrdma?"


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("a'b", '"a\'b"'),
        ("a\nb", r"'a\nb'"),
        ("\x1b[2J", r"'\x1b[2J'"),
        ("\u202eabc", r"'\u202eabc'"),
        (7, "7"),
        ("x" * 58, "'" + "x" * 58 + "'"),
        ("x" * 59, "'" + "x" * 58 + "…"),
    ],
)
def test_foreign_text_is_shown_quoted_and_short(raw: object, shown: str) -> None:
    """No control sequence, no second line, at most 60 characters."""
    assert show(raw) == shown


def test_numbers_that_python_does_not_print_are_described() -> None:
    """More than 4300 digits raise in repr; a message must still come out."""
    assert show(1 << 20_000) == "a very long int"


@given(st.text())
def test_shown_text_is_printable_and_short(text: str) -> None:
    """Whatever comes."""
    shown = show(text)
    assert len(shown) <= SHOWN
    assert shown.isprintable()


def test_names_count_in_any_case_and_aliases_stand_for_their_field() -> None:
    """Files of an earlier system are read as they are; the field's own name comes back."""
    table = Table(
        "setting", SettingsError, [Field("color", Text("[a-z]+", "a word"), "c", aliases=("paint",))]
    )
    for written in ("color", "COLOR", "paint", "Paint"):
        assert table.read(written, "red") == ("color", "red")
    assert [field.name for field in table] == ["color"]
    with pytest.raises(SettingsError, match="did you mean color"):
        table.find("colour")


def test_decoding_goes_through_the_kinds_own_form() -> None:
    """What a job carries is not always what a person writes."""

    class Doors(Int):
        def decode(self, text: str) -> int:
            return self.parse(text.removeprefix("d"))

    table = Table("key", RequestError, [Field("doors", Doors(2, 5), "doors")])
    assert table.decode("doors", "d4") == ("doors", 4)
    with pytest.raises(RequestError, match="key doors is 'd9' but must be a whole number"):
        table.decode("doors", "d9")
