"""Which task fits the examples: decided only where no other is possible, else suggested."""

from __future__ import annotations

import pytest

from postil.model.entities import Entity, write_entities
from postil.plan import suggestions, task_of
from postil.records import Example, Message


def made(*answers: str) -> list[Example]:
    return [Example((Message("user", f"question {i}"), Message("assistant", a)), (i,)) for i, a in enumerate(answers)]


MARKS = write_entities([Entity(0, 8, "x", "question")])


@pytest.mark.parametrize(
    ("answers", "task"),
    [(["a", "b"], "causal_lm"), ([MARKS, "[]"], "token_cls"), (["[]", "[]"], "causal_lm"), ([MARKS, "x"], "causal_lm"),
     ([], "causal_lm")],
)  # fmt: skip
def test_only_marks_decide(answers: list[str], task: str) -> None:
    assert task_of(made(*answers))[0] == task


@pytest.mark.parametrize(
    ("answers", "codes"),
    [
        (["好评", "差评"] * 10, ["could_be_seq_cls"]),
        (["好评", "差评"], []),  # too few to tell
        ([f"回答 {i}" for i in range(20)], []),
        (["好评"] * 20, []),
        (["这是一段很长很长很长很长很长很长很长的固定回复", "另外一段很长很长很长很长很长很长的固定回复"] * 10, []),
    ],
)
def test_a_closed_set_of_short_answers_is_advised_as_labels(answers: list[str], codes: list[str]) -> None:
    found = suggestions("causal_lm", made(*answers), tagged=False)
    assert [one.code for one in found] == codes
    assert all(
        one.severity == "advice" and one.values["task"] in one.fix(lang) for one in found for lang in ("zh", "en")
    )
    assert suggestions("seq_cls", made(*answers), tagged=False) == ()


def test_answers_that_mark_the_text_are_advised_as_tags() -> None:
    found = suggestions("causal_lm", made(*["x"] * 20), tagged=True)
    assert [one.code for one in found] == ["could_be_token_cls"] and "token_cls" in found[0].fix("zh")
