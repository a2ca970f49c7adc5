"""The nouns: what they say, and what they look like to scripts."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from postil.locales import knows
from postil.records import (
    Choice,
    Dataset,
    Estimate,
    Evaluation,
    Event,
    Example,
    Issue,
    Left,
    Message,
    Plan,
    Proposal,
    Repair,
    Shape,
    Verdict,
)  # fmt: skip

TURNS = (Message("system", "s"), Message("user", "a"), Message("assistant", "b"), Message("user", "c"),
         Message("assistant", "d"), Message("user", "e"))  # fmt: skip


def dataset() -> Dataset:
    return Dataset(
        Path("a.csv"), "0" * 64, "csv", "UTF-8", 5, (Example(TURNS[1:3], (2,)),),
        dropped=(Left(3, "missing_answer"),), not_data=(Left(1, "header_row"), Left(4, "blank_row")),
        issues=(Issue("missing_answer", "error", 3, "B3"),), repaired=(Repair("trimmed", 2, " b", "b", "B2"),),
        columns={"question": "A", "answer": "B"},
    )  # fmt: skip


def test_an_example_asks_all_that_stands_before_its_last_answer() -> None:
    example = Example(TURNS, (2, 3))
    assert example.question == TURNS[:4] and example.answer == "d"


def test_an_example_as_openai_writes_it() -> None:
    call = {"tool_calls": [{"id": "1"}]}
    example = Example((Message("user", "a"), Message("assistant", "", 0.0, call)), (2,), tools=({"name": "t"},))
    assert example.as_json() == {
        "messages": [{"role": "user", "content": "a"},
                     {"role": "assistant", "content": "", "tool_calls": [{"id": "1"}], "weight": 0.0}],
        "tools": [{"name": "t"}],
    }  # fmt: skip


def test_every_row_is_used_or_dropped_or_no_data() -> None:
    assert dataset().used == 2
    told = json.loads(json.dumps(dataset().as_json()))
    assert told["rows"] == told["used"] + len(told["dropped"]) + told["not_data"]
    assert told["dropped"] == [{"row": 3, "code": "missing_answer", "message": Left(3, "missing_answer").message()}]


def test_records_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        dataset().rows = 7  # type: ignore[misc]
    with pytest.raises(ValidationError):
        Plan().r = 16  # type: ignore[misc]


def test_the_shape_counts_its_parameters() -> None:
    shape = Shape(layers=2, hidden=8, intermediate=16, heads=2, kv_heads=1, head_dim=4, vocab=10, context=64)
    a_block = 8 * 8 + 2 * 8 * 4 + 8 * 8 + 3 * 8 * 16
    assert shape.body_parameters == 2 * a_block
    assert shape.parameters == 2 * a_block + 80
    assert dataclasses.replace(shape, tied=False).parameters == 2 * a_block + 160


@pytest.mark.parametrize(
    "wrong",
    [{"r": 0}, {"learning_rate": float("nan")}, {"learning_rate": 0}, {"rank": 8}, {"n_epochs": 2.5},
     {"metric": "vibes"}, {"bias": "all"}, {"lora_dropout": 1}],
)  # fmt: skip
def test_a_plan_refuses_what_cannot_be(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Plan.model_validate(wrong)


def test_every_field_of_the_plan_has_a_label_and_a_help() -> None:
    assert not [name for name in Plan.model_fields if not knows(f"plan.{name}.label") or not knows(f"plan.{name}.help")]


def test_a_proposal_as_scripts_see_it() -> None:
    proposal = Proposal(Plan(), {"r": Choice(8, "alpha_twice_rank", "rule", {"r": 8})},
                        Estimate((1.0, 2.0), 10, 20, (0.1, 0.2)))  # fmt: skip
    told = json.loads(json.dumps(proposal.as_json()))
    assert {"plan", "reasons", "kind", "estimate"} <= set(told)
    assert {"value", "reason", "source"} <= set(told["reasons"]["r"]) and "8" in told["reasons"]["r"]["reason"]
    assert {"seconds", "memory_bytes", "disk_bytes", "cost"} <= set(told["estimate"])
    assert Plan.model_validate(told["plan"]) == Plan()


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


def test_an_evaluation_and_an_event_as_scripts_see_them() -> None:
    verdict = Verdict("better", "char_f1", 0.1, (0.05, 0.15), 40, 0.01)
    told = json.loads(
        json.dumps(Evaluation({"loss": 2.0}, {"loss": 1.0}, verdict, 0.01, ({"question": "q"},)).as_json())
    )
    assert {"outcome", "metric", "difference", "interval"} <= set(told["verdict"])
    assert (told["forgetting"], told["rows"]) == (0.01, [{"question": "q"}])
    assert Event("stage", {"percent": 5.0}).as_json() == {"type": "stage", "level": "info", "percent": 5.0}
