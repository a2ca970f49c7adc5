"""What stands on the body of a base for a task: which class of transformers, and the modules of a fresh head.

A base of plain language has no head for labels. It gets a fresh one, whose start depends on the plan's seed alone and
which is trained whole beside the adapter. Which labels it tells apart: `model/labelset.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)


@dataclass(frozen=True)
class Head:
    """auto: the class that reads the base; peft: the task's name in PEFT; fresh: a base has no such head yet."""

    auto: Any
    peft: str
    fresh: bool = False


WRITES = Head(AutoModelForCausalLM, "CAUSAL_LM")
HEADS: Mapping[str, Head] = {
    "causal_lm": WRITES,
    "pretraining": WRITES,
    "dpo": WRITES,
    "seq_2_seq_lm": Head(AutoModelForSeq2SeqLM, "SEQ_2_SEQ_LM"),
    "seq_cls": Head(AutoModelForSequenceClassification, "SEQ_CLS", fresh=True),
    "token_cls": Head(AutoModelForTokenClassification, "TOKEN_CLS", fresh=True),
}


def is_encoder(model_type: str) -> bool:
    """Whether models of this kind read a text in both directions, and so write none."""
    return model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES or model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES


def head_modules(model: Any) -> list[str]:
    """The names of what stands on the body of a model with labels, and a pooler inside the body: all trained whole.

    A base of plain language has neither; so every one of their numbers must be in the adapter.
    """
    body = model.base_model_prefix
    own = [name for name, part in model.named_children() if name != body and any(True for _ in part.parameters())]
    poolers = {
        name.rsplit(".", 1)[-1]
        for name, part in model.named_modules()
        if name.startswith(f"{body}.") and name.endswith(".pooler") and any(True for _ in part.parameters())
    }
    return [*own, *sorted(poolers)]


def linears_in_head(model: Any) -> list[str]:
    """The paths of the linear layers in `head_modules`: no adapter belongs on them."""
    heads = head_modules(model)
    return [
        path
        for path, layer in model.named_modules()
        if isinstance(layer, torch.nn.Linear) and set(path.split(".")) & set(heads)
    ]
