"""What a client may order, and what must be true of it before a job is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["training", "evaluation", "answers", "judgement", "base", "export"]


@dataclass(frozen=True)
class Order:
    """One job as a client wants it.

    kind        training: `training_file` becomes a model; evaluation: `model` and its base answer the questions of
                `training_file`; answers: `model` fills the sheet `training_file`; judgement: a judge compares the
                answers in `training_file`, as `settings` says; base: the base model `model` is downloaded; export:
                `model` becomes files for others
    model       a base model of the catalogue, or (evaluation, answers, export: always) a fine-tuned model or checkpoint
    settings    plan fields by name, as `postil train --set` takes them; of an export: to, type, name
    reading     sheet, columns, system, instruction, mask: how the file is to be read, where detection is not enough;
                edits, without: what a person has put right in it
    request     what the doors show again: method, hyperparameters, integrations, x_postil
    """

    kind: Kind
    model: str
    training_file: str | None
    validation_file: str | None = None
    suffix: str | None = None
    seed: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    learning_rate_multiplier: float | None = None  # of the rate that the plan would choose
    preset: str | None = None
    reading: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    request: Mapping[str, Any] = field(default_factory=dict)
    priority: int = 0  # larger goes first
