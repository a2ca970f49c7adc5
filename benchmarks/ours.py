"""Postil's own training, through the learner that every run of it uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.bases import PLAN, RATE, read
from benchmarks.shapes import Shape, learned
from postil.model.adapt import attach
from postil.model.attention import allow_packs
from postil.plan.presets import preset
from postil.records import Plan
from postil.settings import Ranks
from postil.train.learner import Learner
from postil.train.objectives.causal_lm import CausalLM

if TYPE_CHECKING:
    from benchmarks.side import Pace


def plan(**values: Any) -> Plan:
    """The plan of every comparison: the articles' adapter, what is said here, and what the rule says for the rest."""
    return Plan(**{**PLAN.model_dump(), **values})


def tight() -> Mapping[str, Any]:
    """What the preset for little memory changes in how an update is computed; rows and adapter stay the same."""
    chosen = preset("tight_memory")
    assert chosen is not None
    return {name: chosen.plan[name] for name in ("micro_batch_tokens", "gradient_checkpointing")}


def learner_of(model: Any, chosen: Plan, *, shares: bool) -> Learner:
    """A fresh adapter on `model`. Without `shares` every row is read whole."""
    allow_packs(model)
    learner = Learner(CausalLM(attach(model, chosen, ""), chosen), chosen, Ranks())
    if not shares:
        learner.objective.shares = False
    return learner


def side(shape: Shape, pace: Pace, *, shares: bool = True, tight_memory: bool = False) -> None:
    """Postil's updates."""
    torch.use_deterministic_algorithms(True)  # as in every run on a CPU
    torch.utils.deterministic.fill_uninitialized_memory = False
    pace.before_weights()
    chosen = plan(**(tight() if tight_memory else {}))
    learner = learner_of(read(shape.base), chosen, shares=shares)

    def update(index: int) -> dict[str, float]:
        rows = shape.update(index)
        learner.update(index, [row.tokens for row in rows], RATE)
        return {"share": len(rows) / len(shape.rows), "learned": learned(rows)}

    pace.go(learner.model, update)
