"""What judges say is understood, in whatever form; what cannot be understood is not guessed, and nothing is slow."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postil.evaluate.said import Side, understood


@pytest.mark.parametrize(("text", "side"), [
    ('{"reason": "x", "a": 3, "b": 8, "verdict": "B"}', "b"), ('{"verdict": "Answer A"}', "a"),
    ('```json\n{"a": 7, "b": 7, "verdict": "same"}\n```', "same"), ('{"a": 5, "b": 9}', "b"),
    ('{"A": 5, "B": 5}', "same"),
    ('Here: {"a": 1} and then {"verdict": "a", "a": 2, "b": 1}. Bye', "a"), ('{"结论": "甲", "理由": "准确"}', "a"),
    ("<think>B is better, so B</think>\n{\"verdict\": \"A\"}", "a"), ('{"verdict": "tie"}', "same"),
    ("Verdict: A", "a"), ("**Verdict:** B", "b"), ("The better answer is B.", "b"), ("I think [[B]] wins", "b"),
    ("[[C]]", "same"), ("A", "a"), ("b.", "b"), ("“A”", "a"), ("Answer B", "b"), ("Both", "same"), ("回答B更好。", "b"),
    ("结论：甲", "a"), ("裁决：回答 A", "a"), ("答案是 B", "b"), ("仔细看了看。\n平局", "same"),
    ("更好的是 A", "a"), ("Answer A is clearly better than answer B", "a"), ("winner = tie", "same"),
    ("Verdict: A\n... no.\nVerdict: B", "b"),
    # what is no verdict
    ("", None), ("I do not know", None), ("Verdict: A, B or same", None), ('{"verdict": "A or B"}', None),
    ('{"verdict": "\\"A\\" or \\"B\\" or \\"same\\""}', None), ('{"a": 5', None), ("{}", None), ("[1, 2]", None),
    ("Apples are better", None), ("结论：A 或 B", None), ('{"a": true, "b": false}', None),
    ('{"a": 99, "b": -3}', None),     ("Banana", None), ("An answer", None),
])  # fmt: skip
def test_a_verdict_is_understood_or_left(text: str, side: Side | None) -> None:
    assert understood(text).side == side


def test_marks_and_reasons_are_kept() -> None:
    told = understood('{"reason": "第二个编造了承诺", "a": "9", "b": 2.5, "verdict": "A"}')
    assert (told.mark_a, told.mark_b, told.reason) == (9.0, 2.5, "第二个编造了承诺")
    assert len(understood("Verdict: A because " + "x" * 5000).reason) == 500
    assert understood('{"verdict": "B", "a": 11, "b": null}').mark_a is None


@pytest.mark.parametrize("text", [
    "verdict" + "*" * 50_000, "a" + " " * 50_000, "verdict " * 7_000, "{" * 50_000, '"' * 50_000, "a is " * 10_000,
    "answer:" * 8_000, "[[" * 25_000, "结论" + "“" * 50_000, "better answer is " * 3_000,
])  # fmt: skip
def test_attack_20_nothing_makes_the_reading_slow(text: str) -> None:
    started = time.process_time()
    understood(text)
    assert time.process_time() - started < 0.5


@given(st.text(alphabet='{}[]"ab:是AB 甲verdict\n,', max_size=60))
def test_nothing_makes_the_reading_fail(text: str) -> None:
    assert understood(text).side in ("a", "b", "same", None)
