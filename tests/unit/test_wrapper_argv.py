"""The words of a directive, by ``make_argv``'s rules, and how to write them."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from words_kit import EXAMPLES

from nornir_torque_vm.wrapper.argv import Unmatched, quote, split_words


@settings(max_examples=EXAMPLES)
@given(st.lists(st.binary(max_size=8).filter(lambda word: not set(word) & set(b"\n\0")), max_size=4))
@example([b"\\", b"'", b"", b"a b"])
def test_quoted_words_are_read_back(given_words: list[bytes]) -> None:
    """Whatever bytes they hold; a blank more at the end changes nothing."""
    line = b" ".join(quote(word) for word in given_words)
    assert not line.endswith(b"\\")
    for text in (line, line + b" "):
        found, open_backslash = split_words(text)
        assert ([word.value for word in found], open_backslash) == (given_words, False)


def test_words_that_need_no_quotes_get_none() -> None:
    """A comma, ``=``, ``#`` or ``$`` means nothing to qsub."""
    assert quote(b"other=vm1:a=%20,nodes=2:ppn=4#shared$") == b"other=vm1:a=%20,nodes=2:ppn=4#shared$"
    assert quote(b"a'b") == b"'a'\"'\"'b'"


def test_an_open_quote_is_named() -> None:
    """Which one it is."""
    with pytest.raises(Unmatched, match=r'^"$'):
        split_words(b"a 'b' \"c")
