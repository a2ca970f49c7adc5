"""Frozen linear layers laid out for the processor, for whoever writes few rows at a time and does so for long.

A weight lies row by row, and a product with few rows spends much of its time on bringing it into the order in which a
processor reads it. oneDNN brings it into that order once; a step of 16 rows then takes two thirds of the time
(`benchmarks/RESULTS.md`, *serving*). torch has these operators for the programs that its own compiler writes.

Most open models are stored in 16 bits, and what few rows wait for is the reading of weights. FBGEMM multiplies float32
rows with float16 weights, and sums in float32: nothing is lost, half as much is read and half as much is kept.

None of them gives gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from threading import Thread

import torch
from torch.nn import functional as F

from postil.model.memory import lie_in_huge_pages, total_and_free

ROWS = 16  # for so many oneDNN's order is chosen; it serves any number
FEWEST = 4  # rows: with fewer oneDNN takes longer
BLOCK = 512  # columns of a weight that FBGEMM keeps together; the last block is as wide as the others
SHARE, SHARE_FOR_A_WHILE = 1 / 3, 2 / 3  # of the free memory, which the second copy may take at most

Product = Callable[[torch.Tensor], torch.Tensor]


class Panels:
    """Linear layers that read the same input, as one product: x [L, in] -> [L, their widths side by side]."""

    def __init__(self, linears: Sequence[torch.nn.Linear]) -> None:
        self._panels = torch.ops.mkldnn._reorder_linear_weight(_weight(linears), ROWS)
        self._bias = _bias(linears)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        count = x.shape[:-1].numel()
        if count >= FEWEST:
            return self._product(x)
        more = x.new_zeros(FEWEST, x.shape[-1])
        more[:count] = x.reshape(count, -1)
        return self._product(more)[:count].view(*x.shape[:-1], -1)

    def _product(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = torch.ops.mkldnn._linear_pointwise.default(x, self._panels, self._bias, "none", [], "")
        return out

    @property
    def where(self) -> range:
        """Its addresses."""
        first = torch.ops.mkldnn.data_ptr(self._panels)
        return range(first, first + torch.ops.mkldnn._nbytes(self._panels))

    @staticmethod
    def can_hold(weight: torch.Tensor) -> bool:
        return True

    @staticmethod
    def bytes_of(weight: torch.Tensor) -> int:
        return weight.nbytes


class Halves:
    """The same, of weights that 16 bits hold.

    float16 has 11 significant bits, as many as the numbers of its own and more than those of bfloat16, but not all of
    their powers of two. So weights are multiplied by one with which the largest is just small enough, and what is read
    is divided by it: that rounds nothing. What is too small even then is off by 2^-39 of the largest weight at most; a
    float32 sum of products is off by 2^-24 of its largest.
    """

    def __init__(self, linears: Sequence[torch.nn.Linear]) -> None:
        weight = _weight(linears)
        _, exponent = torch.frexp(weight.abs().max())  # the largest is at most 2 to this
        self._scale = 2.0 ** (int(exponent) - 15)
        self._packed = torch.ops.quantized.linear_prepack_fp16(weight / self._scale, _bias(linears))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = torch.ops.quantized.linear_dynamic_fp16(x * self._scale, self._packed)
        return out

    @staticmethod
    def can_hold(weight: torch.Tensor) -> bool:
        """Whether its numbers [float32] have no more than 11 significant bits."""
        return not bool((weight.view(torch.int32) & 0x1FFF).any())

    @staticmethod
    def bytes_of(weight: torch.Tensor) -> int:
        return 2 * len(weight) * -(-weight.shape[1] // BLOCK) * BLOCK


Laid = type[Panels] | type[Halves]


def lay_out(model: torch.nn.Module) -> int:
    """Lay out the linear layers of a model where `layout_of` it is something. Bytes taken; 0: it stays as it was."""
    laid = layout_of(model)
    if laid is None:
        return 0
    linears = _linears(model)
    for linear in linears:
        linear.forward = laid([linear])  # type: ignore[method-assign, assignment]
    for_long(linear.forward for linear in linears)
    return _bytes(laid, linears)


def for_long(products: Iterable[Product]) -> None:
    """The panels among these are to be read many times: let them lie in huge pages, with which a step of 16 rows takes
    a twelfth less (`benchmarks/RESULTS.md`, *serving*). That is done beside what goes on: 500 MB take a second or two.
    """
    where = [product.where for product in products if isinstance(product, Panels)]
    Thread(target=lie_in_huge_pages, args=(where,), name="huge-pages", daemon=True).start()


def layout_of(model: torch.nn.Module, *, instead: bool = False) -> Laid | None:
    """What its linear layers can be laid out as: if they are frozen and float32 on a CPU, this torch has the operators,
    and this machine has the memory for a second copy.

    instead: the first copy goes when the second is there.
    """
    linears = _linears(model)
    most = (SHARE_FOR_A_WHILE if instead else SHARE) * total_and_free()[1]
    kinds: tuple[Laid, ...] = (Halves, Panels)
    for kind in kinds:
        if not linears or _bytes(kind, linears) > most or not _works(kind):
            continue
        if all(kind.can_hold(one.weight) for one in linears):
            return kind
    return None


def side_by_side(linears: Sequence[torch.nn.Linear], laid: Laid | None) -> Product:
    """The product of layers that read the same input: x [L, in] -> [L, their widths side by side]."""
    if laid is not None:
        return laid(linears)
    if len(linears) == 1:
        return linears[0]
    return lambda x: torch.cat([linear(x) for linear in linears], -1)


def _linears(model: torch.nn.Module) -> list[torch.nn.Linear]:
    return [one for one in model.modules() if type(one) is torch.nn.Linear and _can_be(one.weight)]


def _can_be(weight: torch.Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype == torch.float32 and not weight.requires_grad


def _bytes(kind: Laid, linears: Sequence[torch.nn.Linear]) -> int:
    return sum(kind.bytes_of(linear.weight) for linear in linears)


def _weight(linears: Sequence[torch.nn.Linear]) -> torch.Tensor:
    weights = [linear.weight.detach() for linear in linears]
    return torch.cat(weights) if len(weights) > 1 else weights[0]


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


def _works(kind: Laid) -> bool:
    """Whether this torch has the operators, and they compute what they should."""
    if kind is Panels and not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    with torch.inference_mode():
        small = torch.nn.Linear(24, 40)
        small.weight.copy_(small.weight.half())
        x = torch.linspace(-1, 1, 48).view(2, 24)
        try:
            laid = kind([small])
            known = not isinstance(laid, Panels) or bool(laid.where)
            return known and torch.allclose(laid(x), F.linear(x, small.weight, small.bias), atol=1e-5)
        except (AttributeError, RuntimeError, TypeError):
            return False
