"""Adapters that say something, for tiny bases, in PEFT's own directories; and what PEFT itself makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model

from postil.records import Message
from tests.models import opened


def adapter(base: Path, directory: Path, seed: int, **config: Any) -> Path:
    """An adapter with random weights, written by PEFT."""
    how = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "base_model_name_or_path": str(base), **config}
    model = get_peft_model(opened(base).model, LoraConfig(task_type="CAUSAL_LM", **how))
    random = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        if "lora_" in name:
            weight.data = torch.randn(weight.shape, generator=random) * 0.3
    model.save_pretrained(directory)
    return directory


def by_peft(base: Path, adapter: Path | None, messages: Sequence[Message], new: int) -> str:
    """The greedy answer of plain transformers and PEFT."""
    said = opened(base).tokenizer.decode(ids_by_peft(base, adapter, messages, new), skip_special_tokens=True)
    return str(said).rstrip("\N{REPLACEMENT CHARACTER}")


def ids_by_peft(base: Path, adapter: Path | None, messages: Sequence[Message], new: int) -> list[int]:
    """Its tokens, without the one that ends it."""
    loaded = opened(base)
    loaded.model.set_attn_implementation("sdpa")
    model = PeftModel.from_pretrained(loaded.model, str(adapter)) if adapter else loaded.model
    ids = torch.tensor([loaded.template.prompt(messages)])
    stops = list(loaded.template.stop_ids)
    out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, do_sample=False,
                         eos_token_id=stops, pad_token_id=0)[0, ids.shape[1] :].tolist()  # fmt: skip
    return [token for token in out if token not in stops]
