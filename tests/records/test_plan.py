"""The one schema of a training run: what it refuses, and what scripts see of it."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from postil.locales import knows
from postil.records import Choice, Estimate, Plan, Proposal


@pytest.mark.parametrize(
    "wrong",
    [{"r": 0}, {"learning_rate": float("nan")}, {"learning_rate": 0}, {"rank": 8}, {"n_epochs": 2.5},
     {"metric": "vibes"}, {"bias": "all"}, {"lora_dropout": 1}],
)  # fmt: skip
def test_a_plan_refuses_what_cannot_be(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Plan.model_validate(wrong)


def test_a_plan_is_frozen() -> None:
    with pytest.raises(ValidationError):
        Plan().r = 16  # type: ignore[misc]


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
