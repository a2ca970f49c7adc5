"""What is marked as different between two answers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from postil.web.compare import differences


@given(st.text(max_size=60), st.text(max_size=60))
def test_the_pieces_are_the_text(before: str, after: str) -> None:
    assert "".join(piece for _, piece in differences(before, after)) == after


def test_only_what_is_new_is_marked() -> None:
    assert differences("连衣裙", "碎花连衣裙") == [("ins", "碎花"), ("span", "连衣裙")]
    assert differences("same", "same") == [("span", "same")]
    assert differences("", "") == [("span", "")]


def test_two_different_texts_are_not_marked_letter_by_letter() -> None:
    assert differences("abcdefgh", "1234567890") == [("span", "1234567890")]
