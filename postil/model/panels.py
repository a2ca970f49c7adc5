"""Frozen linear layers laid out for the processor, for whoever writes few rows at a time and does so for long.

A weight lies row by row, and a product with few rows spends much of its time on bringing it into the order in which a
processor reads it. oneDNN brings it into that order once; a step of 16 rows then takes two thirds of the time
(`benchmarks/RESULTS.md`, *serving*). torch has these operators for the programs that its own compiler writes.
They give no gradients.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from postil.model.memory import total_and_free

ROWS = 16  # for so many the order is chosen; it serves any number
SHARE = 1 / 3  # of the free memory, which the second copy may take at most


def lay_in_panels(model: torch.nn.Module) -> int:
    """Lay out the float32 linear layers of a frozen model on a CPU. Bytes taken; 0: it stays as it was, since it is
    another kind of model, this torch lays out nothing, or the copy would be too large for this machine."""
    linears = [one for one in model.modules() if type(one) is torch.nn.Linear and _can_be(one.weight)]
    size = sum(one.weight.nbytes for one in linears)
    if not linears or size > SHARE * total_and_free()[1] or not _works():
        return 0
    for linear in linears:
        linear.forward = _product(linear)  # type: ignore[method-assign]
    return size


def _can_be(weight: torch.Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype == torch.float32 and not weight.requires_grad


def _product(linear: torch.nn.Linear) -> Any:
    panels, bias = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), ROWS), linear.bias

    def forward(x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, panels, bias, "none", [], "")
        return out

    return forward


def _works() -> bool:
    """Whether this torch has the operators, and they compute what they should."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    with torch.inference_mode():
        small = torch.nn.Linear(24, 40)
        x = torch.linspace(-1, 1, 48).view(2, 24)
        try:
            return torch.allclose(_product(small)(x), F.linear(x, small.weight, small.bias), atol=1e-5)
        except (AttributeError, RuntimeError, TypeError):
            return False
