"""The forward pass of a model of Llama's kind with the operations that it needs, and no others.

A step that writes one token of each row is so little work that what stands around its matrix products weighs as much
as a third of them: transformers' modules, a product for each layer where one can do for all that read the same input.
Here is that pass over the model's own weights. It is for `Decoder`s alone, which try it against transformers' own
(`model/decode.py`, *gives_the_same*) before they use it, and it gives no gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from postil.model.cells import Pass
from postil.model.memory import give_back
from postil.model.panels import Laid, for_long, layout_of, side_by_side

KINDS = ("llama", "mistral", "qwen2", "qwen3")  # `model_type`s whose layers are these

Names = tuple[str, ...]
Add = Callable[[Names, torch.Tensor, torch.Tensor], None]  # to what layers of these paths give, all having read x


class _Joint:
    """Linear layers that read the same input, as one: x [L, in] -> [L, their widths side by side]."""

    def __init__(self, names: Names, linears: Sequence[torch.nn.Linear], laid: Laid | None, add: Add) -> None:
        self.names, self._add = names, add
        self.product = side_by_side(linears, laid)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        out = self.product(x)
        self._add(self.names, x, out)
        return out


class _Layer:
    """One block: attention, and the gated layers behind it; both add to the stream.

    scales: what a `Turn` multiplies each head by, queries by the scale of the scores.
    """

    def __init__(self, index: int, layer: Any, joint: Callable[..., _Joint]) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self._index, self._size = index, attention.head_dim
        self._heads, self._keys = (one.out_features // self._size for one in (attention.q_proj, attention.k_proj))
        ones = attention.q_proj.weight.new_ones((self._heads + self._keys, 1))
        self.scales = torch.cat((ones[: self._heads] * attention.scaling, ones[self._heads :]))
        self._before, self._between = _norm(layer.input_layernorm), _norm(layer.post_attention_layernorm)
        self._norms = (_norm(attention.q_norm), _norm(attention.k_norm)) if hasattr(attention, "q_norm") else None
        self._seen = joint(attention.q_proj, attention.k_proj, attention.v_proj)
        self._told = joint(attention.o_proj)
        self._gated, self._down, self._act = joint(mlp.gate_proj, mlp.up_proj), joint(mlp.down_proj), mlp.act_fn

    @property
    def joints(self) -> tuple[_Joint, ...]:
        return self._seen, self._told, self._gated, self._down

    def __call__(self, stream: torch.Tensor, turn: Turn, packed: Pass) -> None:
        """stream [L, hidden] is added to."""
        query, key, value = self._split(self._seen(self._before(stream)), turn)
        attended = packed.by_token(self._index, query, key, value)
        stream += self._told(attended.reshape(len(stream), -1))
        gate, up = self._gated(self._between(stream)).chunk(2, -1)
        stream += self._down(self._act(gate) * up)

    def _split(self, seen: torch.Tensor, turn: Turn) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries, keys and values [L, heads, d] of [L, all of them side by side]."""
        heads = seen.view(len(seen), -1, self._size)
        turned, value = heads[:, : -self._keys], heads[:, -self._keys :]
        if self._norms is not None:
            query, key = self._norms
            turned = torch.cat((query(turned[:, : self._heads]), key(turned[:, self._heads :])), 1)
        turned = turn(turned)
        return turned[:, : self._heads], turned[:, self._heads :], value


class Turn:
    """Rotary positions, for all layers of a pass.

    cosine, sine: [1, L, d]. scales: what each head is multiplied by, too [queries and keys, 1].
    """

    def __init__(self, cosine: torch.Tensor, sine: torch.Tensor, scales: torch.Tensor) -> None:
        self._half = sine.shape[-1] // 2
        sine = torch.cat((-sine[..., : self._half], sine[..., self._half :]), -1)
        self._cosine, self._sine = cosine[0, :, None] * scales, sine[0, :, None] * scales

    def __call__(self, heads: torch.Tensor) -> torch.Tensor:
        """[L, queries and keys, d]"""
        return torch.addcmul(heads * self._cosine, heads.roll(self._half, -1), self._sine)


class Lean:
    """The pass: what a `Decoder` calls instead of the model."""

    def __init__(self, model: Any, linears: Mapping[str, torch.nn.Linear], add: Add) -> None:
        names = {linear: name for name, linear in linears.items()}
        laid = layout_of(model, instead=True)

        def joint(*some: torch.nn.Linear) -> _Joint:
            return _Joint(tuple(names[one] for one in some), some, laid, add)

        inner = model.model
        self._embed, self._rotary, self._norm = inner.embed_tokens, inner.rotary_emb, _norm(inner.norm)
        self._layers = [_Layer(index, layer, joint) for index, layer in enumerate(inner.layers)]
        self._head = side_by_side([model.lm_head], laid)
        joints = [one for layer in self._layers for one in layer.joints]
        self.together = tuple(one.names for one in joints)
        for_long([*(one.product for one in joints), self._head])
        own_head = model.lm_head.weight is not inner.embed_tokens.weight
        self._laid_out = [*linears.values(), *([model.lm_head] if own_head else [])] if laid is not None else []

    def __call__(self, ids: torch.Tensor, positions: torch.Tensor, packed: Pass, keep: torch.Tensor) -> torch.Tensor:
        """Tokens `ids` at `positions` [L] -> what comes after those that `keep` names [kept, vocabulary]."""
        stream = self._embed(ids)
        cosine, sine = self._rotary(stream, positions[None])
        turn = Turn(cosine, sine, self._layers[0].scales)
        for layer in self._layers:
            layer(stream, turn, packed)
        return self._head(self._norm(stream[keep]))

    def let_go(self) -> None:
        """Give back the weights of layers that were laid out: from now on this pass alone can be computed."""
        for linear in self._laid_out:
            linear.weight = torch.nn.Parameter(linear.weight.new_empty(0), requires_grad=False)
        give_back()


def lean(model: Any, linears: Mapping[str, torch.nn.Linear], add: Add) -> Lean | None:
    """The pass of this model, whose linear layers without the head are `linears`, by path; None if it is of another
    kind, is not built as it should be (what wraps it may say the same of itself), or computes in other numbers.

    add: hears what layers have read and given [L, ...], and may add to that.
    """
    if model.config.model_type not in KINDS or model.dtype != torch.float32:
        return None
    if any(type(linear) is not torch.nn.Linear for linear in linears.values()):
        return None
    try:
        return Lean(model, linears, add)
    except (AttributeError, KeyError):
        return None


def _norm(norm: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """x / root(mean(x^2) + eps) * weight, by the length of x: fewer operations."""
    size = norm.weight.shape[-1]
    weight, least = norm.weight * size**0.5, norm.weight.new_tensor([(size * norm.variance_epsilon) ** 0.5])

    def normed(x: torch.Tensor) -> torch.Tensor:
        length = torch.hypot(torch.linalg.vector_norm(x, dim=-1, keepdim=True), least)
        return (x / length).mul_(weight)

    return normed
