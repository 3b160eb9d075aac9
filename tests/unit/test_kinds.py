"""Kinds of values: what each reads, what it refuses and with which words, and that it reads its own."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_torque_vm.config.kinds import (
    AbsPath,
    Bool,
    Choice,
    HostRegex,
    Hosts,
    Int,
    Kind,
    Seconds,
    Size,
    Text,
    Words,
)

COLORS = {"red": "red", "green": "green", "crimson": "red"}
KINDS: dict[str, Kind] = {
    "bool": Bool(),
    "int": Int(-5, 99),
    "seconds": Seconds(0.5, 3600),
    "size": Size(1 << 20),
    "text": Text(r"[a-z]+", "a word"),
    "path": AbsPath(),
    "choice": Choice(COLORS),
    "words": Words(COLORS),
    "hosts": HostRegex(),
}


def sentence(kind: Kind, raw: object) -> str:
    """The sentence with which ``kind`` refuses ``raw``."""
    with pytest.raises(ValueError, match=r"^must ") as caught:
        kind.parse(raw)
    return str(caught.value)


@pytest.mark.parametrize("word", ["true", "yes", "on", "enabled", "TRUE", " On ", True])
def test_words_for_true(word: object) -> None:
    """Any case, blanks around, and TOML's own boolean."""
    assert Bool().parse(word) is True


@pytest.mark.parametrize("word", ["false", "no", "off", "disabled", "Disabled", False])
def test_words_for_false(word: object) -> None:
    """Any case, and TOML's own boolean."""
    assert Bool().parse(word) is False


@pytest.mark.parametrize("word", ["0", "1", 0, 1, " 1 "])
def test_0_and_1_are_no_booleans(word: object) -> None:
    """They meant the opposite in the earlier system: guessing would invert somebody's job."""
    assert sentence(Bool(), word) == (
        "must be true or false; 0 and 1 are refused because their meaning was inverted "
        "in the earlier system (0 was on, 1 was off)"
    )


@pytest.mark.parametrize("word", ["", "y", "auto", "2", 2, None, ["true"], 1.5])
def test_other_words_are_no_booleans(word: object) -> None:
    """Nothing is true merely because it is there."""
    assert sentence(Bool(), word) == "must be true or false"


def test_booleans_are_written_as_words() -> None:
    """As TOML and people write them; dump keeps the boolean for TOML and JSON."""
    assert [Bool().text(True), Bool().text(False)] == ["true", "false"]
    assert Bool().dump(True) is True


@pytest.mark.parametrize(("raw", "value"), [("2", 2), (2, 2), ("8", 8), (8, 8), (" 3 ", 3), ("003", 3)])
def test_whole_numbers_within_limits(raw: object, value: int) -> None:
    """Both limits are inclusive; text and number read the same."""
    assert Int(2, 8).parse(raw) == value


@pytest.mark.parametrize(
    "raw", [1, 9, "1", "9", "", "x", "2.0", 2.0, "+2", "--2", "1e1", True, None, [2], "٣", "3\x00", "3" * 19]
)
def test_other_values_are_no_whole_numbers(raw: object) -> None:
    """Outside the limits, fractions, booleans and signs get the sentence with the limits."""
    assert sentence(Int(2, 8), raw) == "must be a whole number from 2 to 8"


def test_negative_numbers_where_the_limits_allow_them() -> None:
    """A minus sign is read."""
    assert Int(-5, 5).parse("-5") == -5


def test_numbers_of_18_digits_are_read() -> None:
    """The digits that are read are more than any limit needs."""
    assert Int(0, 10**18).parse("9" * 18) == 10**18 - 1


@pytest.mark.parametrize(
    ("raw", "value"), [("0.5", 0.5), (0.5, 0.5), ("60", 60.0), (60, 60.0), (" 2.25 ", 2.25)]
)
def test_seconds_within_limits(raw: object, value: float) -> None:
    """Both limits are inclusive; the value is always a float."""
    seconds = Seconds(0.5, 60).parse(raw)
    assert (seconds, type(seconds)) == (value, float)


@pytest.mark.parametrize(
    "raw",
    [0.49, 60.01, "60.01", "4m", "", "-1", "1e1", ".5", "1.", float("nan"), float("inf"), True, None, [1]],
)
def test_other_values_are_no_seconds(raw: object) -> None:
    """Units, exponents, booleans and what is not finite get the sentence with the limits."""
    assert sentence(Seconds(0.5, 60), raw) == "must be a number of seconds from 0.5 to 60"


def test_whole_seconds_are_written_without_a_point() -> None:
    """240 s read as 240, in files and on command lines."""
    assert (Seconds(0, 999).dump(240.0), Seconds(0, 999).text(240.0)) == (240, "240")
    assert Seconds(0, 999).text(0.5) == "0.5"


def test_sizes_are_bytes_and_have_a_lower_limit() -> None:
    """The limit is inclusive; the words name it."""
    kind = Size(16 << 20)
    assert kind.parse(" 16M ") == 16 << 20
    assert kind.words == "a size such as 512M or 2G, at least 16M"
    assert sentence(kind, "16383K") == "must be at least 16M"


@pytest.mark.parametrize("raw", [True, None, 2.0, ["2G"]])
def test_other_types_are_no_sizes(raw: object) -> None:
    """Only text is a size."""
    assert sentence(Size(1024), raw) == "must be a size such as 512M or 2G, at least 1K"


def test_a_bare_number_of_toml_is_no_size() -> None:
    """TOML's 2048 lacks the unit just as the text does."""
    assert sentence(Size(1024), 2048) == "must have a unit, K, M, G or T: 512M or 2G, for example"


def test_text_has_to_match_as_a_whole() -> None:
    """Blanks around do not count, anything else beyond the pattern does."""
    kind = Text(r"[a-z]+", "a word")
    assert kind.parse(" abc\t") == "abc"
    for raw in ("", "abc1", "1abc", "a b", "abc\n", "abc\nabc", "abc\x1f", 7, None):
        assert sentence(kind, raw) == "must be a word"


def test_text_may_be_empty_where_that_is_said() -> None:
    """Empty is a value of its own, and the words say so."""
    kind = Text(r"[a-z]+", "a word", empty=True)
    assert kind.parse("  ") == ""
    assert sentence(kind, "1") == "must be a word, or empty"


@pytest.mark.parametrize(
    ("raw", "path"), [("/a/b", "/a/b"), ("//a///b/", "/a/b"), ("/a/.b/..c", "/a/.b/..c"), (" /ä b ", "/ä b")]
)
def test_paths_are_made_plain(raw: str, path: str) -> None:
    """Doubled and trailing slashes go, names that merely contain dots stay."""
    assert AbsPath().parse(raw) == path


@pytest.mark.parametrize(
    "raw",
    ["", "/", "//", "a", "./a", "/a/../b", "/a/.", "/..", "/a\nb", "/a\0b", "/a\x7f", "/a\x1f", "~/a", 7],
)
def test_other_values_are_no_paths(raw: object) -> None:
    """Relative, upwards, the root itself and control characters are refused."""
    assert sentence(AbsPath(), raw) == "must be an absolute path without '..'"


def test_a_path_may_be_empty_where_that_is_said() -> None:
    """Empty stays empty; it does not become the root directory."""
    assert AbsPath(empty=True).parse("") == ""
    assert sentence(AbsPath(empty=True), "/") == "must be an absolute path without '..', or empty"


def test_choices_are_words_with_a_meaning() -> None:
    """Any case reads, synonyms mean the same, and the first word of a meaning is written."""
    kind = Choice(COLORS)
    assert [kind.parse(word) for word in ("red", " Green ", "CRIMSON")] == ["red", "green", "red"]
    assert kind.text("red") == "red"
    assert kind.choices == ("red", "green", "crimson")
    for raw in ("", "blue", 7, None, ["red"]):
        assert sentence(kind, raw) == "must be red, green or crimson"


def test_the_first_word_of_a_meaning_is_written_wherever_it_stands() -> None:
    """A meaning that is not a word itself is written as a word."""
    assert Choice({"a": "1", "b": "2", "c": "2"}).dump("2") == "b"


def test_one_choice_needs_no_or() -> None:
    """The sentence of a choice of one is the word."""
    assert sentence(Choice({"only": "only"}), "x") == "must be only"


@pytest.mark.parametrize(
    "raw", ["red,green", "red green", " red, green ", ["red", "green"], ("red", "green")]
)
def test_words_are_a_list_in_order(raw: object) -> None:
    """TOML's list and text with commas or blanks read the same."""
    assert Words(COLORS).parse(raw) == ("red", "green")
    assert Words(COLORS).parse(["green", "red"]) == ("green", "red")


@pytest.mark.parametrize("raw", ["", [], ["red", "red"], "red crimson", ["blue"], [7], 7, None, {"red": 1}])
def test_other_values_are_no_words(raw: object) -> None:
    """Empty, repeated (a synonym repeats too) and unknown words are refused in one sentence."""
    assert sentence(Words(COLORS), raw) == ("must be a list of different words, each red, green or crimson")


def test_words_are_written_without_a_comma() -> None:
    """A comma would end the value in -vm."""
    assert Words(COLORS).text(("red", "green")) == "red green"
    assert Words(COLORS).dump(("red", "green")) == ["red", "green"]


@pytest.mark.parametrize(
    ("pattern", "host", "matches"),
    [
        ("", "node1", False),
        ("", "", False),
        ("*", "node1", True),
        ("node1", "node1", True),
        ("node1", "node10", False),
        ("node1", "anode1", False),
        ("node[12]", "node2.cluster.example", True),
        (r"node2\.cluster\.example", "node2.cluster.example", True),
        ("cluster", "node2.cluster.example", False),
        ("NODE.*", "node1", True),
    ],
)
def test_hosts_match_as_whole_names(pattern: str, host: str, matches: bool) -> None:
    """Full or short name, whole, in any case; ``*`` is every host and empty none."""
    assert HostRegex().parse(f" {pattern} ").matches(host) is matches


@pytest.mark.parametrize("raw", ["[", "(", "**", "node[[:digit:]]", 7, None])
def test_a_bad_host_expression_shows_when_it_is_read(raw: object) -> None:
    """Not on the first job; the shell's classes, which Python reads differently, are bad too."""
    assert sentence(HostRegex(), raw).startswith(
        "must be '*' for all hosts, empty for none, or a regular expression for whole host names"
    )


def test_the_reason_of_a_bad_expression_is_told() -> None:
    """What the compiler says follows in parentheses."""
    assert sentence(HostRegex(), "[").endswith(" (unterminated character set at position 0)")


def test_hosts_are_written_as_their_pattern() -> None:
    """The pattern itself, in files and on command lines."""
    assert HostRegex().text(Hosts("n[1-3]")) == "n[1-3]"


values = (
    st.text(max_size=20)
    | st.integers()
    | st.floats()
    | st.booleans()
    | st.none()
    | st.lists(st.sampled_from(["red", "green", "crimson", "blue", 3]), max_size=3)
    | st.sampled_from(["12", "0.75", "3G", "/a/b/", "red", "green,red", "n.*", "yes"])
)


@pytest.mark.parametrize("name", KINDS)
@given(raw=values)
def test_a_kind_reads_a_value_or_says_what_it_must_be(name: str, raw: object) -> None:
    """Whatever comes: a value that survives being written and read again, or one line of text."""
    kind = KINDS[name]
    try:
        value = kind.parse(raw)
    except ValueError as error:
        said = str(error)
        assert re.match(r"must \S", said)
    else:
        assert kind.parse(kind.dump(value)) == value
        assert kind.parse(kind.text(value)) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("bool", "yes"),
        ("int", "12"),
        ("seconds", "0.75"),
        ("size", "3G"),
        ("text", "abc"),
        ("path", "/a/b"),
        ("choice", "green"),
        ("hosts", "["),
    ],
)
def test_only_blanks_around_a_value_are_forgiven(name: str, text: str) -> None:
    """Python's strip() would swallow control characters that somebody may have hidden there."""
    assert sentence(KINDS[name], f"{text}\x1f")
    assert sentence(KINDS[name], f"\n{text}")


def test_a_kind_without_a_reader_is_no_kind() -> None:
    """The base class says itself that it reads nothing."""
    with pytest.raises(NotImplementedError):
        Kind().parse("x")
