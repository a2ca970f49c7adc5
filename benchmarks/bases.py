"""Base models for the benchmarks: the embedded one, and random weights in the true shape of larger ones."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, Qwen2Config

from postil import flow
from postil.model.adapt import attach
from postil.model.load import DTYPES, Loaded, load_base
from postil.records import Plan

QWEN = {"num_hidden_layers": 24, "hidden_size": 896, "intermediate_size": 4864, "num_attention_heads": 14,
        "num_key_value_heads": 2, "vocab_size": 151_936, "tie_word_embeddings": True}  # fmt: skip
SHAPES: dict[str, dict[str, Any]] = {
    "qwen2.5-0.5b": QWEN,
    "qwen2.5-7b": {**QWEN, "num_hidden_layers": 28, "hidden_size": 3584, "intermediate_size": 18_944,
                   "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152_064,
                   "tie_word_embeddings": False},
    "tiny": {**QWEN, "num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4,
             "vocab_size": 512},
}  # fmt: skip

# The articles' adapter: the same on every side of every comparison.
TARGETS = "q_proj,k_proj,v_proj,o_proj"
RATE = 3e-4
ROWS_AN_UPDATE = 8
PLAN = Plan(
    r=8, lora_alpha=16, target_modules=TARGETS, batch_size=ROWS_AN_UPDATE, learning_rate=RATE, lr_scheduler="constant",
    max_length=1024,
)  # fmt: skip


@cache
def embedded() -> Path:
    """The directory of SmolLM2-135M-Instruct, fetched once."""
    path = flow.fetched(flow.find_base(flow.EMBEDDED)).path
    assert path is not None
    return path


def directory(base: str) -> Path:
    """Where a base lies that is not only a shape: "" is the embedded one."""
    return Path(base) if base else embedded()


def read(base: str, dtype: str = "float32", device: str = "cpu") -> Any:
    """The frozen model: of a directory, or random weights of a shape (the same in every process)."""
    if base not in SHAPES:
        return load_base(directory(base), dtype=dtype, device=device).model
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config(base), dtype=DTYPES[dtype])
    return model.requires_grad_(False).eval()


def opened(base: str) -> Loaded:
    """A base with its tokenizer and template."""
    return load_base(directory(base))


def config(base: str) -> Any:
    """The architecture of a base."""
    if base in SHAPES:
        return Qwen2Config(**SHAPES[base], max_position_embeddings=32_768, rope_theta=1e6, bos_token_id=0,
                           eos_token_id=1, pad_token_id=1)  # fmt: skip
    return AutoConfig.from_pretrained(str(directory(base)), local_files_only=True)


@dataclass(frozen=True)
class Sizes:
    """What decides the work: weights of the body's matmuls, of the head, of the adapter; layers; width of attention."""

    body: int
    head: int
    lora: int
    layers: int
    width: int


@cache
def sizes(base: str) -> Sizes:
    """Counted on a model without memory."""
    told = config(base)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(told)
        head = model.get_output_embeddings()
        body = sum(m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head)
        adapted = attach(model, PLAN, base)
    lora = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    width = told.num_attention_heads * (getattr(told, "head_dim", None) or told.hidden_size // told.num_attention_heads)
    return Sizes(body, head.weight.numel(), lora, told.num_hidden_layers, width)
