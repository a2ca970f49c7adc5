"""The low-rank update, fused: y = x Wᵀ + s (x Aᵀ) Bᵀ with one product added in place, and nothing else written out.

PEFT's own layer computes the update apart, scales it, adds it and casts to and fro: four passes over the output, which
on a CPU cost more than the update itself. Here the scale goes into the product, and the way back forms each gradient
with one product too. The layer is PEFT's in all else, so that its adapters stay PEFT's.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora.layer import Linear
from torch.nn import functional as F


class FusedLinear(Linear):  # type: ignore[misc]
    """PEFT's LoRA layer over a `torch.nn.Linear`, faster where one plain adapter is switched on."""

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        if not self._plain() or args or kwargs:
            whole: torch.Tensor = super().forward(x, *args, **kwargs)
            return whole
        (name,) = self.active_adapters
        fused: torch.Tensor = _LowRank.apply(  # type: ignore[no-untyped-call]
            x, self.base_layer.weight, self.base_layer.bias, self.lora_A[name].weight, self.lora_B[name].weight,
            self.scaling[name],
        )  # fmt: skip
        return fused

    def _plain(self) -> bool:
        """Whether there is exactly one adapter to add, without dropout or any variant."""
        if self.disable_adapters or self.merged or len(self.active_adapters) != 1:
            return False
        (name,) = self.active_adapters
        if name not in self.lora_A or name in self.lora_variant or self.lora_bias[name]:
            return False
        dropout = self.lora_dropout[name]
        return not (self.training and getattr(dropout, "p", 0.0) > 0)


class _LowRank(torch.autograd.Function):
    """x: [..., in]; weight: [out, in], frozen; a: [r, in]; b: [out, r] -> [..., out]."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, a: torch.Tensor, b: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:  # fmt: skip
        a, b = a.to(x.dtype), b.to(x.dtype)
        rows = x.reshape(-1, x.shape[-1])
        out = F.linear(rows, weight, bias)
        low = rows @ a.t()
        out.addmm_(low, b.t(), alpha=scale)
        ctx.save_for_backward(rows, low, weight, a, b)
        ctx.scale, ctx.shape = scale, x.shape
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, low, weight, a, b = ctx.saved_tensors
        grad = grads[0].reshape(-1, grads[0].shape[-1])
        to_low = (grad @ b).mul_(ctx.scale)
        to_x = None
        if ctx.needs_input_grad[0]:
            to_x = torch.mm(grad, weight).addmm_(to_low, a).view(ctx.shape)
        to_a = (to_low.t() @ rows).float() if ctx.needs_input_grad[3] else None
        to_b = (grad.t() @ low).mul_(ctx.scale).float() if ctx.needs_input_grad[4] else None
        return to_x, None, None, to_a, to_b, None
