"""Scores that belong to one task."""

from __future__ import annotations

import math

from postil.evaluate.answers import evaluate
from postil.evaluate.tasks import of_task
from postil.records import Answer, Example, Message

ROWS = tuple(Example((Message("user", f"q{i}"), Message("assistant", "good")), (i,), rejected="bad") for i in range(24))


class Compared:
    """A pair that has learned to prefer the wanted answer in three of four rows."""

    def asks(self, example):
        return example

    def answers(self, questions, *, tuned, tell=lambda done: None, max_new_tokens=None):
        return [Answer("good" if tuned else "bad", 1, stopped=True) for _ in questions]

    def losses(self, examples, *, tuned):
        return [0.5 if tuned else 1.0 for _ in examples]

    def losses_of_texts(self, texts, *, tuned):
        return None

    def margins(self, examples, *, tuned):
        return [1.0 if tuned and example.rows[0] % 4 else -1.0 for example in examples]

    def rewards(self, examples):
        return [0.1 * (a - b) for a, b in zip(self.margins(examples, tuned=True), self.margins(examples, tuned=False),
                                              strict=True)]  # fmt: skip


def test_preferences_decide_by_the_likelier_answer_of_each_row():
    found = evaluate(Compared(), ROWS, "preferred", "dpo")
    assert found.base["preferred"] == 0.0 and found.tuned["preferred"] == 0.75
    assert found.base["reward_margin"] == 0.0 and math.isclose(found.tuned["reward_margin"], 0.15)
    assert found.verdict.outcome == "better" and found.verdict.n == 24 and found.forgetting is None
    assert found.rows[0]["rejected"] == "bad" and found.rows[1]["tuned_score"] == 1.0


def test_texts_have_a_perplexity():
    found = evaluate(Compared(), ROWS, "loss", "pretraining")
    assert math.isclose(found.base["perplexity"], math.e) and found.verdict.outcome == "better"
    assert "preferred" not in found.base and not of_task("pretraining").ends and of_task("dpo").ends
