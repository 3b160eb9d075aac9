"""Encoders: whatever may be written down is found again exactly; the rest is refused by all alike."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
import ruamel.yaml
import yaml  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st
from render_kit import illegal, legal, parse_xml

from nornir_torque_vm.errors import RequestError
from nornir_torque_vm.render.encode import json_line, legible, word, xml

documents: st.SearchStrategy[Any] = st.recursive(
    legal | st.integers() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(legal, inner, max_size=4),
    max_leaves=12,
)


@given(text=legal)
def test_an_xml_parser_finds_the_text_again_as_attribute_and_as_content(text: str) -> None:
    """Line ends and tabs too, which a parser would otherwise turn into blanks in attributes."""
    element = parse_xml(f"<a b=\"{xml(text)}\" c='{xml(text)}'>{xml(text)}</a>")
    assert (element.get("b"), element.get("c"), element.text or "") == (text, text, text)


@given(value=documents)
def test_json_is_one_line_that_json_and_yaml_parsers_read_as_the_same_value(value: Any) -> None:
    """cloud-init reads with PyYAML (YAML 1.1), others with YAML 1.2, the micro guest as JSON."""
    line = json_line(value)
    assert "\n" not in line
    assert json.loads(line) == value
    assert yaml.safe_load(line) == value
    assert ruamel.yaml.YAML(typ="safe", pure=True).load(line) == value


@pytest.mark.parametrize("char", ["\x7f", "\x85", "\x9f", "\u2028", "\u2029", "\ufeff"])
def test_characters_yaml_takes_for_line_breaks_or_refuses_are_escaped(char: str) -> None:
    """They are ordinary characters to JSON."""
    assert json_line(char) == f'"\\u{ord(char):04x}"'


@pytest.mark.parametrize("char", ["~", "\xa0", "é", "\ufffd", "😀", "\U0010ffff"])
def test_other_characters_are_written_as_they_are(char: str) -> None:
    """YAML would read JSON's surrogate pairs as two characters."""
    assert json_line(char) == f'"{char}"'


@given(text=legal)
@settings(max_examples=40)
def test_a_shell_takes_any_text_for_one_word(text: str) -> None:
    """Whatever it holds: quotes, blanks, line ends, dollar signs."""
    done = subprocess.run(["sh", "-c", f"printf %s:%s {word(text)} end"], capture_output=True, check=True)
    assert done.stdout.decode() == f"{text}:end"


@given(before=legal, char=illegal, after=legal)
def test_a_character_xml_cannot_hold_is_refused_in_one_line(before: str, char: str, after: str) -> None:
    """XML 1.0 knows most control characters not even as references."""
    with pytest.raises(RequestError) as caught:
        legible(before + char + after)
    assert f"holds the character U+{ord(char):04X}, which cannot be written into XML" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "encode", [xml, word, json_line, legible], ids=lambda function: str(function.__name__)
)
def test_all_encoders_refuse_the_same(encode: Callable[[str], str]) -> None:
    """A value that passes one of them passes all: no guest is half described."""
    for char in ("\x00", "\x08", "\x0b", "\x1f", "\ufffe", "\ud83d"):
        with pytest.raises(RequestError, match="take it out"):
            encode(f"a{char}b")
    for char in ("\t", "\n", "\r", " ", "\x7f", "\ud7ff", "\ue000", "\ufffd", "\U00010000"):
        assert encode(f"a{char}b")


@pytest.mark.parametrize("value", [{"\x01": 1}, {"a": "\x01"}, ["b", ["\x01"]], ("b", "\x01")])
def test_json_looks_into_keys_lists_and_objects(value: Any) -> None:
    """JSON itself would write the character as an escape."""
    with pytest.raises(RequestError):
        json_line(value)
