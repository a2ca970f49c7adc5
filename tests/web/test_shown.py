"""Marks in a text, as people read them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from postil.web.shown import marked, pieces_of

TEXT = "<b>波力海苔</b> 30g"


def marks(*found: tuple[int, int, str]) -> str:
    return json.dumps([{"start": a, "end": b, "type": kind, "text": TEXT[a:b]} for a, b, kind in found])


@pytest.mark.parametrize("answer", ["海苔", "{}", "[1]", "", '[{"start": 1}]'])
def test_an_answer_without_marks_stays_as_it_is(answer: str) -> None:
    assert pieces_of(TEXT, answer) is None
    assert marked(TEXT, answer) == answer


def test_the_pieces_are_the_text() -> None:
    answer = marks((5, 7, "产品"), (3, 5, "品牌"), (12, 15, "规格"))
    found: Any = pieces_of(TEXT, answer)
    assert "".join(piece for piece, _ in found) == TEXT
    assert [(piece, kind) for piece, kind in found if kind] == [("波力", "品牌"), ("海苔", "产品"), ("30g", "规格")]
    assert pieces_of(TEXT, "[]") == [(TEXT, None)]


def test_marks_of_another_text_are_left_out() -> None:
    assert pieces_of("短", marks((3, 7, "产品"))) == [("短", None)]
    assert pieces_of(TEXT, marks((3, 7, "a"), (5, 7, "b"))) == [("<b>", None), ("波力海苔", "a"), ("</b> 30g", None)]
