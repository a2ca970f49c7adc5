"""What a verdict says in words, and what scripts see of an evaluation."""

from __future__ import annotations

import json

import pytest

from postil.records import LEANING, Evaluation, Verdict


def test_a_verdict_speaks_in_points_and_never_says_minus_zero() -> None:
    verdict = Verdict("no_difference", "char_f1", -0.0001, (-0.05, 0.05), 40)
    assert "-0.0" not in verdict.words("en") and "-5.0" in verdict.words("en") and "40" in verdict.words("zh")
    loss = Verdict("better", "loss", 0.25, (0.1, 0.4), 40)
    assert "0.250" in loss.words("en") and loss.words("en") != loss.words("zh")


@pytest.mark.parametrize("outcome", ["better", "no_difference", "worse", "too_few"])
@pytest.mark.parametrize("metric", ["exact_match", "char_f1", "rouge_l", "bleu", "loss"])
def test_every_verdict_has_words(outcome: str, metric: str) -> None:
    for lang in ("zh", "en"):
        assert "31" in Verdict(outcome, metric, 0.1, (0.05, 0.15), 31).words(lang)  # type: ignore[arg-type]


def test_an_evaluation_as_scripts_see_it() -> None:
    verdict = Verdict("better", "char_f1", 0.1, (0.05, 0.15), 40, 0.01)
    told = json.loads(
        json.dumps(Evaluation({"loss": 2.0}, {"loss": 1.0}, verdict, 0.01, ({"question": "q"},)).as_json())
    )
    assert {"outcome", "metric", "difference", "interval"} <= set(told["verdict"])
    assert (told["forgetting"], told["rows"]) == (0.01, [{"question": "q"}])


def test_ahead_by_too_few_questions_to_be_sure_is_no_draw() -> None:
    def words(difference: float) -> str:
        verdict = Verdict("no_difference", "exact_match", difference, (-0.1, 0.4), 31)
        others = {"majority": {"exact_match": 0.5}}
        told = Evaluation({}, {"exact_match": 0.5 + difference}, verdict, None, (), others, {"majority": verdict})
        (sentence,) = told.against_words("en")
        return sentence

    assert "is ahead" in words(LEANING) and "cannot be told" in words(LEANING - 0.01)
