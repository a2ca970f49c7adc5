"""Tokens that are no words, trained and put before each text: prefix, prompt and P-tuning, all of them PEFT's.

They go through PEFT's own forward pass, which puts them there. A pack has no place for them: rows are padded instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from peft import PeftModel, PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig, get_peft_model

from postil.model.methods import for_peft
from postil.records import Plan

ENCODER_WIDTH = 128  # of P-tuning's small network, as in PEFT's examples
EMBEDDINGS = "prompt_embeddings"  # PEFT's name for what is saved


def prefix(model: torch.nn.Module, plan: Plan, base: str) -> Any:
    """Keys and values before those of each block: arXiv 2101.00190."""
    return _before(model, PrefixTuningConfig(**_told(model, plan, base)))


def prompt(model: torch.nn.Module, plan: Plan, base: str) -> Any:
    """Embeddings before those of the text: arXiv 2104.08691."""
    return _before(model, PromptTuningConfig(**_told(model, plan, base)))


def p_tuning(model: torch.nn.Module, plan: Plan, base: str) -> Any:
    """The same, which a small network makes: arXiv 2103.10385."""
    return _before(model, PromptEncoderConfig(**_told(model, plan, base), encoder_hidden_size=ENCODER_WIDTH))


def _told(model: Any, plan: Plan, base: str) -> dict[str, Any]:
    return {**for_peft(model, plan, base), "num_virtual_tokens": plan.num_virtual_tokens}


def _before(model: Any, config: Any) -> Any:
    return padded(get_peft_model(model, config))


def padded(adapted: Any) -> Any:
    """`adapted`, whose rows are from now on padded and never packed."""
    base = adapted.get_base_model()
    if base._can_set_attn_implementation():
        base.set_attn_implementation("sdpa")
    return adapted


def prepends(model: Any) -> bool:
    """Whether a model puts tokens of its own before each text."""
    return isinstance(model, PeftModel) and bool(model.active_peft_config.is_prompt_learning)


# ── where they begin ──


def words_as_prompt(adapted: Any, plan: Plan, rows: Sequence[Sequence[int]]) -> None:
    """Begin at the words with which the first row begins: real ones are a better start than random numbers, as both
    papers found."""
    ids = _first_words(adapted, plan, rows)
    with torch.no_grad():
        embedded = adapted.get_base_model().get_input_embeddings()(ids)[0]
        adapted.prompt_encoder["default"].embedding.weight.copy_(embedded)


def words_as_prefix(adapted: Any, plan: Plan, rows: Sequence[Sequence[int]]) -> None:
    """Begin at what the base remembers of these words; where it remembers in another way, the start stays random."""
    ids, weight = _first_words(adapted, plan, rows), adapted.prompt_encoder["default"].embedding.weight
    with torch.no_grad():
        past = adapted.get_base_model()(input_ids=ids, use_cache=True).past_key_values
        kept = [one[0].transpose(0, 1).flatten(1) for layer in past.layers for one in (layer.keys, layer.values)]
        if all(len(one) == plan.num_virtual_tokens for one in kept):
            found = torch.cat(kept, dim=1)
            if found.shape == weight.shape:
                weight.copy_(found)


def _first_words(adapted: Any, plan: Plan, rows: Sequence[Sequence[int]]) -> torch.Tensor:
    count, words = plan.num_virtual_tokens, list(rows[0])
    return torch.tensor([(words * -(-count // len(words)))[:count]], device=adapted.device)


# ── what is kept ──


def tensors(adapted: Any) -> dict[str, torch.Tensor]:
    """What PEFT saves, and what P-tuning needs besides to be trained on."""
    encoder, inference = adapted.prompt_encoder["default"], adapted.active_peft_config.inference_mode
    said = encoder.embedding.weight if inference else adapted.get_prompt_embedding_to_save("default")
    return {EMBEDDINGS: said, **(_network(encoder) if _has_network(encoder) else {})}


def put(adapted: Any, weights: Mapping[str, torch.Tensor]) -> None:
    """Take these values. Raises KeyError when some are missing."""
    encoder = adapted.prompt_encoder["default"]
    with torch.no_grad():
        if not _has_network(encoder):
            encoder.embedding.weight.copy_(weights[EMBEDDINGS])
            return
        for name, parameter in _network(encoder).items():
            parameter.copy_(weights[name])


def _has_network(encoder: Any) -> bool:
    return any(name.startswith("mlp_head") for name, _ in encoder.named_parameters())


def _network(encoder: Any) -> dict[str, torch.nn.Parameter]:
    return {f"prompt_encoder.default.{name}": parameter for name, parameter in encoder.named_parameters()}
