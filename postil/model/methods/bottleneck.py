"""A narrow layer behind each block's feed-forward half: the first of all adapters.

arXiv 1902.00751, placed as in arXiv 2005.00247: once a block, after the feed-forward part, before it is added up.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

from postil.model.layers import feed_forwards
from postil.model.methods.beside import Beside, in_fresh_head, slots
from postil.records import Plan

SPREAD = 0.02  # of the first weights


class Narrow(torch.nn.Module):
    """x + up(gelu(down(x))), in float32; `up` begins at zero, so that nothing is changed before it has learned."""

    def __init__(self, width: int, narrow: int) -> None:
        super().__init__()
        self.down = torch.nn.Linear(width, narrow)
        self.up = torch.nn.Linear(narrow, width)
        torch.nn.init.normal_(self.down.weight, std=SPREAD)
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            torch.nn.init.zeros_(zero)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        added: torch.Tensor = self.up(F.gelu(self.down(x.to(self.down.weight.dtype))))
        return x + added.to(x.dtype)


def bottleneck(model: Any, plan: Plan, base: str) -> Beside:
    """Raises PlanError `method_not_for_model` where no feed-forward part is found."""
    width = model.config.get_text_config().hidden_size
    places = feed_forwards(model)
    added = {path: Narrow(width, plan.bottleneck).to(model.device) for path, _ in places}
    adapted = Beside(model, plan, base, slots(model, in_fresh_head(model, plan)), added)
    for path, module in places:
        module.register_forward_hook(_behind(adapted, added[path]))
    return adapted


def _behind(adapted: Beside, narrow: Narrow) -> Any:
    def hook(_: Any, given: Any, out: Any) -> Any:
        if not adapted.switched_on:
            return None
        return (narrow(out[0]), *out[1:]) if isinstance(out, tuple) else narrow(out)

    return hook
