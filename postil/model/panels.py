"""Frozen linear layers laid out for the processor, for whoever writes few rows at a time and does so for long.

A weight lies row by row, and a product with few rows spends much of its time on bringing it into the order in which a
processor reads it. oneDNN brings it into that order once; a step of 16 rows then takes two thirds of the time
(`benchmarks/RESULTS.md`, *serving*). torch has these operators for the programs that its own compiler writes.
They give no gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from threading import Thread

import torch
from torch.nn import functional as F

from postil.model.memory import lie_in_huge_pages, total_and_free

ROWS = 16  # for so many the order is chosen; it serves any number
SHARE = 1 / 3  # of the free memory, which the second copy may take at most

Product = Callable[[torch.Tensor], torch.Tensor]


class Panels:
    """Linear layers that read the same input, as one product: x [L, in] -> [L, their widths side by side]."""

    def __init__(self, linears: Sequence[torch.nn.Linear]) -> None:
        weight = torch.cat([linear.weight.detach() for linear in linears]) if len(linears) > 1 else linears[0].weight
        self._panels = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), ROWS)
        self._bias = _bias(linears)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = torch.ops.mkldnn._linear_pointwise.default(x, self._panels, self._bias, "none", [], "")
        return out

    @property
    def where(self) -> range:
        """Its addresses."""
        first = torch.ops.mkldnn.data_ptr(self._panels)
        return range(first, first + torch.ops.mkldnn._nbytes(self._panels))


def lay_in_panels(model: torch.nn.Module) -> int:
    """Lay out the linear layers of a model that `can_lie_in_panels`. Bytes taken; 0: it stays as it was."""
    if not can_lie_in_panels(model):
        return 0
    linears = _linears(model)
    for linear in linears:
        linear.forward = Panels([linear])  # type: ignore[method-assign, assignment]
    for_long(linear.forward for linear in linears)
    return sum(linear.weight.nbytes for linear in linears)


def for_long(products: Iterable[Product]) -> None:
    """The panels among these are to be read many times: let them lie in huge pages, with which a step of 16 rows takes
    a twelfth less (`benchmarks/RESULTS.md`, *serving*). That is done beside what goes on: 500 MB take a second or two.
    """
    where = [product.where for product in products if isinstance(product, Panels)]
    Thread(target=lie_in_huge_pages, args=(where,), name="huge-pages", daemon=True).start()


def can_lie_in_panels(model: torch.nn.Module) -> bool:
    """Whether it has frozen float32 linear layers on a CPU, this torch can lay them out, and this machine has the
    memory for a second copy."""
    linears = _linears(model)
    size = sum(one.weight.nbytes for one in linears)
    return bool(linears) and size <= SHARE * total_and_free()[1] and _works()


def side_by_side(linears: Sequence[torch.nn.Linear], *, panels: bool) -> Product:
    """The product of layers that read the same input: x [L, in] -> [L, their widths side by side]."""
    if panels:
        return Panels(linears)
    if len(linears) == 1:
        return linears[0]
    return lambda x: torch.cat([linear(x) for linear in linears], -1)


def _linears(model: torch.nn.Module) -> list[torch.nn.Linear]:
    return [one for one in model.modules() if type(one) is torch.nn.Linear and _can_be(one.weight)]


def _can_be(weight: torch.Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype == torch.float32 and not weight.requires_grad


def _bias(linears: Sequence[torch.nn.Linear]) -> torch.Tensor | None:
    """Of all; those that have none are given zeros beside those that have one."""
    if all(linear.bias is None for linear in linears):
        return None
    if len(linears) == 1:
        return linears[0].bias
    return torch.cat([
        linear.weight.new_zeros(linear.out_features) if linear.bias is None else linear.bias.detach()
        for linear in linears
    ])  # fmt: skip


def _works() -> bool:
    """Whether this torch has the operators, and they compute what they should."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    with torch.inference_mode():
        small = torch.nn.Linear(24, 40)
        x = torch.linspace(-1, 1, 48).view(2, 24)
        try:
            panels = Panels([small])
            return bool(panels.where) and torch.allclose(panels(x), F.linear(x, small.weight, small.bias), atol=1e-5)
        except (AttributeError, RuntimeError, TypeError):
            return False
