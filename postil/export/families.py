"""What llama.cpp calls the architectures that we write for it, and what it wants to know of each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf import MODEL_ARCH, GGUFWriter, RopeScalingType
from numpy.typing import NDArray
from transformers import AutoConfig

from postil.errors import ExportError

Array = NDArray[Any]


@dataclass(frozen=True)
class Family:
    """permuted: the rows of q and k lie in pairs; one_more: norms are stored less one."""

    arch: MODEL_ARCH
    permuted: bool = False
    one_more: bool = False


FAMILIES: Mapping[str, Family] = {
    "llama": Family(MODEL_ARCH.LLAMA, permuted=True),
    "mistral": Family(MODEL_ARCH.LLAMA, permuted=True),
    "qwen2": Family(MODEL_ARCH.QWEN2),
    "qwen3": Family(MODEL_ARCH.QWEN3),
    "gemma": Family(MODEL_ARCH.GEMMA, one_more=True),
    "gemma2": Family(MODEL_ARCH.GEMMA2, one_more=True),
    "gemma3_text": Family(MODEL_ARCH.GEMMA3, one_more=True),
}


@dataclass(frozen=True)
class Model:
    """One model of a family."""

    family: Family
    config: Any

    @property
    def heads(self) -> int:
        return int(self.config.num_attention_heads)

    @property
    def kv_heads(self) -> int:
        return int(self.config.num_key_value_heads or self.heads)

    @property
    def head_dim(self) -> int:
        own = getattr(self.config, "head_dim", None)  # a config of transformers: some families have none
        return int(own or self.config.hidden_size // self.heads)

    def turned(self, name: str, rows: Array) -> Array:
        """A weight, or the B side of an update of it, as llama.cpp wants its rows."""
        if self.family.permuted and name.endswith(("q_proj.weight", "q_proj.bias")):
            return _in_pairs(rows, self.heads)
        if self.family.permuted and name.endswith(("k_proj.weight", "k_proj.bias")):
            return _in_pairs(rows, self.kv_heads)
        if self.family.one_more and name.endswith("norm.weight"):
            return rows + 1
        return rows


def read_model(directory: Path) -> Model:
    """The model whose config lies in `directory`. Raises ExportError `gguf_family`, `gguf_rope`."""
    config = AutoConfig.from_pretrained(str(directory), local_files_only=True, trust_remote_code=False)
    family = FAMILIES.get(config.model_type)
    if family is None:
        raise ExportError("gguf_family", family=config.model_type, known=", ".join(FAMILIES))
    return Model(family, config)


def _in_pairs(rows: Array, heads: int) -> Array:
    """Rows [heads x 2 x half] → [heads x half x 2]: llama.cpp turns neighbours, transformers the two halves."""
    shape = (heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return np.ascontiguousarray(rows.reshape(shape).swapaxes(1, 2).reshape(rows.shape))


# ── what stands in the header ─────────────────────────────────────────────────────────────────────


def describe(writer: GGUFWriter, model: Model) -> None:
    """The sizes and constants of a model, as llama.cpp names them."""
    config = model.config
    context, window = int(config.max_position_embeddings), _window(config)
    if window and model.family.arch == MODEL_ARCH.LLAMA:
        context = min(context, window)  # llama.cpp looks back without a bound there: within it the two are the same
    writer.add_context_length(context)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(model.heads)
    writer.add_head_count_kv(model.kv_heads)
    writer.add_key_length(model.head_dim)
    writer.add_value_length(model.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_rope_dimension_count(model.head_dim)
    _describe_rope(writer, config)
    if model.family.arch in (MODEL_ARCH.GEMMA2, MODEL_ARCH.GEMMA3):
        if window:
            writer.add_sliding_window(window)
            writer.add_sliding_window_pattern([kind == "sliding_attention" for kind in config.layer_types])
        for add, name in ((writer.add_attn_logit_softcapping, "attn_logit_softcapping"),
                          (writer.add_final_logit_softcapping, "final_logit_softcapping")):  # fmt: skip
            if (cap := getattr(config, name, None)) is not None:
                add(float(cap))


def _window(config: Any) -> int:
    used = getattr(config, "use_sliding_window", True)  # Qwen names a window that it does not use
    return int(getattr(config, "sliding_window", None) or 0) if used else 0


def _describe_rope(writer: GGUFWriter, config: Any) -> None:
    rope = rope_of(config)
    writer.add_rope_freq_base(float(rope.get("rope_theta", 10_000.0)))
    local = (config.rope_parameters or {}).get("sliding_attention")
    if local:
        writer.add_rope_freq_base_swa(float(local.get("rope_theta", 10_000.0)))
    kind = rope.get("rope_type", "default")
    if kind == "linear":
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(float(rope["factor"]))
    elif kind == "yarn":
        writer.add_rope_scaling_type(RopeScalingType.YARN)
        writer.add_rope_scaling_factor(float(rope["factor"]))
        writer.add_rope_scaling_orig_ctx_len(int(rope["original_max_position_embeddings"]))
    elif kind not in ("default", "llama3"):
        raise ExportError("gguf_rope", kind=kind)


def rope_of(config: Any) -> Mapping[str, Any]:
    """How positions are told in the layers that see everything."""
    told: Mapping[str, Any] = config.rope_parameters or {}
    inner: Mapping[str, Any] = told.get("full_attention", told)
    return inner


def rope_factors(model: Model) -> Array | None:
    """What Llama 3 divides each frequency by; llama.cpp reads it as a tensor. None for the others."""
    rope = rope_of(model.config)
    if rope.get("rope_type") != "llama3":
        return None
    low, high, factor = float(rope["low_freq_factor"]), float(rope["high_freq_factor"]), float(rope["factor"])
    context, dim = float(rope["original_max_position_embeddings"]), model.head_dim
    found = []
    for i in range(0, dim, 2):
        length = 2 * math.pi * float(rope["rope_theta"]) ** (i / dim)
        if length < context / high:
            found.append(1.0)
        elif length > context / low:
            found.append(factor)
        else:
            smooth = (context / length - low) / (high - low)
            found.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(found, np.float32)
