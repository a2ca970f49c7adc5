"""Attention over a pack: many rows in one sequence, and what they begin with in common stands in it once.

transformers lets a program bring an attention of its own (AttentionInterface). Ours does one thing more than its plain
one: when a forward pass is given something `packed`, that decides what each token sees. No mask is built.

For training a pack is cut into pieces (`model/pieces.py`); on a GPU FlexAttention is told which tokens see which.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any, Protocol

import torch
from torch.nn import functional as F
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from postil.model.memory import lacks_memory
from postil.model.pieces import ByFamily, Family, Piece, families

NAME = "postil"
BLOCK, NARROWEST = 128, 16  # of FlexAttention: tokens of a block, width of a head


class Unpackable(Exception):
    """This architecture attends in a way that a pack cannot give it. A signal within this room, no error of a user's:
    whoever packs catches it and computes without packs."""


class Packed(Protocol):
    """Decides what the tokens of one forward pass see."""

    @property
    def longest(self) -> int:
        """The largest distance between two tokens that see each other, and 1."""
        ...

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """query [1, heads, L, d], key and value [1, key heads, L, d] -> [1, L, heads, d]."""
        ...


@dataclass(frozen=True)
class Pieces:
    """How the rows of a pack share their beginnings: a tree, depth first."""

    pieces: tuple[Piece, ...]
    longest: int
    ends: torch.Tensor  # [L]: token i is seen by the tokens from i up to, not with, ends[i]
    one_row: bool = False  # then all see all before them, and there is no mask to look at

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
    ) -> torch.Tensor:
        if query.is_cuda:
            return (_causal if self.one_row else partial(_flex, self.blocks))(query, key, value, scale)
        attended: torch.Tensor = ByFamily.apply(self.families, scale, query, key, value)  # type: ignore[no-untyped-call]
        return attended

    @cached_property
    def families(self) -> tuple[Family, ...]:
        """For all layers: which pieces are computed together."""
        return families(self.pieces, self.ends.device)

    @cached_property
    def blocks(self) -> Any:
        """The BlockMask of FlexAttention, for all layers: which blocks of pairs it computes, and which need a look."""
        return block_mask(self.ends)


def allow_packs(model: Any) -> None:
    """Let `model` take packs, where its architecture goes through AttentionInterface; else it stays as it is.

    One that caps its scores (Gemma 2) gets transformers' plain attention: the fast one cannot do that.
    """
    if model.config.get_text_config().to_dict().get("attn_logit_softcapping") is not None:
        model.set_attn_implementation("eager")
    elif model._can_set_attn_implementation():
        model.set_attn_implementation(NAME)


def takes_packs(model: Any) -> bool:
    """Whether `allow_packs` could do its work on this model."""
    return bool(model.config.get_text_config()._attn_implementation == NAME)


def pack_arguments(positions: torch.Tensor, packed: Packed) -> dict[str, Any]:
    """What a model's forward is given besides the ids [1, L]."""
    no_mask = torch.ones((1, 1, 1, 1), dtype=torch.bool, device=positions.device)  # of four dimensions: taken as it is
    return {"position_ids": positions, "attention_mask": no_mask, "use_cache": False, "packed": packed}


@torch.compiler.disable  # type: ignore[untyped-decorator]  # what stands around it may be: `model/layers.py`
def _attention(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: torch.Tensor | None,
    scaling: float | None = None, packed: Packed | None = None, **how: Any,
) -> tuple[torch.Tensor, None]:  # fmt: skip
    if packed is None:
        if attention_mask is not None and attention_mask.shape == (1, 1, 1, 1) and query.shape[2] > 1:
            raise Unpackable("the layers are not given what is packed")
        plain: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **how
        )
        return plain
    window = how.get("sliding_window")
    if window is not None and window < packed.longest:
        raise Unpackable("a sliding window shorter than the rows")
    if any(how.get(name) is not None for name in ("softcap", "s_aux", "position_bias")):
        raise Unpackable("an attention with more than keys and values")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return packed.attend(module.layer_idx, query, key, value, scale), None


ALL_ATTENTION_FUNCTIONS.register(NAME, _attention)
ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, sdpa_mask)


def _causal(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
    """One row on a GPU: the flash kernel, which needs no mask."""
    grouped = query.shape[1] != key.shape[1]
    attended = F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale, enable_gqa=grouped)
    return attended.transpose(1, 2)


def _flex(blocks: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
    """Several rows on a GPU: blocks of pairs that nobody needs are left out by the kernel."""
    if min(query.shape[-1], value.shape[-1]) < NARROWEST:
        raise Unpackable(f"attention heads narrower than {NARROWEST}")
    how = {"scale": scale, "enable_gqa": query.shape[1] != key.shape[1]}
    try:
        # "TRITON": the kernel for a few queries, which it would choose by itself, does not take all of these
        attended = _compiled()(query, key, value, block_mask=blocks, kernel_options={"BACKEND": "TRITON"}, **how)
    except RuntimeError as error:  # no compiler here (Triton is not everywhere), or none for this card
        if lacks_memory(error):
            raise
        raise Unpackable(f"FlexAttention: {str(error).strip().splitlines()[0]}") from error
    return attended.transpose(1, 2)  # type: ignore[no-any-return]


def block_mask(ends: torch.Tensor) -> Any:
    """What FlexAttention is told: [L] -> a BlockMask over [L, L].

    It follows from the first and the last end of each block, so that no mask of L x L elements is ever made.
    """
    from torch.nn.attention.flex_attention import BlockMask

    def sees(batch: Any, head: Any, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        return (key <= query) & (query < ends[key])

    length = len(ends)
    by_block = F.pad(ends, (0, -length % BLOCK)).view(-1, BLOCK)
    count = len(by_block)
    queries = torch.arange(count, device=ends.device)[:, None]
    keys = queries.t()
    some = (keys <= queries) & (by_block.amax(1) > BLOCK * queries)
    all_of_it = (keys < queries) & (by_block.amin(1) >= BLOCK * (queries + 1))
    return BlockMask.from_kv_blocks(
        *_listed(some & ~all_of_it), *_listed(all_of_it), BLOCK_SIZE=BLOCK, mask_mod=sees, seq_lengths=(length, length)
    )


def _listed(which: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """[blocks, blocks] -> how many each row has [1, 1, blocks], and which, those first [1, 1, blocks, blocks]."""
    chosen = which.int()
    first = torch.argsort(chosen, dim=-1, descending=True, stable=True).int()
    return chosen.sum(-1, dtype=torch.int32)[None, None], first[None, None].contiguous()


@lru_cache(maxsize=1)
def _compiled() -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True)
