"""Low-rank adapters that begin elsewhere than at random: from the weights (PiSSA, OLoRA) or from the data (EVA).

PiSSA and OLoRA as published take their start out of the base's weights. Here the base may not be touched, so what is
taken out is kept as the frozen second half of a plain LoRA of twice the rank: W + s (B A - B0 A0), with A and B
starting at A0 and B0. Switched off it is the base, and whoever reads the directory reads a plain LoRA.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from peft.tuners.lora.layer import LoraLayer

from postil.model.methods.lora import low_rank
from postil.records import Plan

Factors = tuple[torch.Tensor, torch.Tensor]  # down [k, in], up [out, k]
POWER = 8  # rounds of the randomised decomposition
MORE = 8  # columns beyond those that are wanted, for its exactness
PASSES = 3  # over the rows, of EVA's
MOST_TOKENS = 4096  # of the first training rows, from which EVA starts


def with_frozen_half(model: torch.nn.Module, plan: Plan, base: str) -> Any:
    """A plain LoRA of rank 2r, of whose halves the second one never moves."""
    adapted = low_rank(model, plan, base, times=2)
    for _, layer in _layers(adapted):
        down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        down.register_hook(lambda gradient: _first_half(gradient, 0))
        up.register_hook(lambda gradient: _first_half(gradient, 1))
    return adapted


def _first_half(gradient: torch.Tensor, dimension: int) -> torch.Tensor:
    half = gradient.shape[dimension] // 2
    kept = gradient.clone()
    kept.narrow(dimension, half, half).zero_()
    return kept


def pissa(adapted: Any, plan: Plan, rows: Sequence[Sequence[int]]) -> None:
    """Start at the principal parts of each weight: arXiv 2404.02948."""
    _split(adapted, plan, _principal)


def olora(adapted: Any, plan: Plan, rows: Sequence[Sequence[int]]) -> None:
    """Start at the first orthonormal columns of each weight: arXiv 2406.01775."""
    _split(adapted, plan, _orthonormal)


def _split(adapted: Any, plan: Plan, factors: Callable[[torch.Tensor, int, float], Factors]) -> None:
    torch.manual_seed(plan.seed)
    with torch.no_grad():
        for _, layer in _layers(adapted):
            down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
            weight = layer.get_base_layer().weight.float()
            a, b = factors(weight, min(plan.r, *weight.shape), layer.scaling["default"])
            for start, sign in ((0, 1), (plan.r, -1)):
                down[start : start + len(a)] = a.to(down.device)
                up[:, start : start + len(a)] = sign * b.to(up.device)


def _principal(weight: torch.Tensor, rank: int, scale: float) -> Factors:
    columns = min(rank + MORE, *weight.shape)
    u, s, v = torch.svd_lowrank(weight, q=columns, niter=POWER)
    root = (s[:rank] / scale).sqrt()
    return root[:, None] * v[:, :rank].t(), u[:, :rank] * root


def _orthonormal(weight: torch.Tensor, rank: int, scale: float) -> Factors:
    q, r = torch.linalg.qr(weight)
    return r[:rank], q[:, :rank]


def eva(adapted: Any, plan: Plan, rows: Sequence[Sequence[int]]) -> None:
    """Let each A begin at the directions in which its layer's inputs vary most: arXiv 2410.07170, all of one rank.

    By subspace iteration over the rows, which needs no more memory than two such matrices a layer.
    """
    torch.manual_seed(plan.seed)
    layers = dict(_layers(adapted))
    found = {name: _random(layer.in_features, plan.r) for name, layer in layers.items()}
    few = _few(rows)
    for last in [False] * (PASSES - 1) + [True]:
        sums = _products(adapted, layers, found, few, inner=last)
        for name, one in sums.items():
            found[name] = found[name] @ _leading(one) if last else torch.linalg.qr(one)[0]
    with torch.no_grad():
        for name, layer in layers.items():
            down = layer.lora_A["default"].weight
            directions = found[name][:, : len(down)].t()
            down[: len(directions)] = directions.to(down.device)


def _random(width: int, rank: int) -> torch.Tensor:
    """Orthonormal columns [width, rank and some more]."""
    columns: torch.Tensor = torch.linalg.qr(torch.randn(width, min(width, rank + MORE)))[0]
    return columns


def _leading(inner: torch.Tensor) -> torch.Tensor:
    """The eigenvectors of [k, k], the largest first."""
    vectors: torch.Tensor = torch.linalg.eigh(inner)[1]
    return vectors.flip(1)


def _few(rows: Sequence[Sequence[int]]) -> list[Sequence[int]]:
    few: list[Sequence[int]] = []
    for row in rows:
        if few and sum(map(len, few)) + len(row) > MOST_TOKENS:
            break
        few.append(row)
    return few


def _products(
    adapted: Any, layers: dict[str, Any], found: dict[str, torch.Tensor], rows: Sequence[Sequence[int]], *, inner: bool
) -> dict[str, torch.Tensor]:
    """Of each layer, whose inputs are X and whose directions Q: XᵀX Q, or QᵀXᵀX Q (`inner`), over all rows."""
    sums: dict[str, torch.Tensor] = {}

    def hook(name: str) -> Callable[[Any, tuple[torch.Tensor, ...]], None]:
        def add(_: Any, given: tuple[torch.Tensor, ...]) -> None:
            x = given[0].reshape(-1, given[0].shape[-1]).float().cpu()
            seen = x @ found[name]
            product = (seen if inner else x).t() @ seen
            sums[name] = product if name not in sums else sums[name].add_(product)

        return add

    with ExitStack() as leave, torch.no_grad():
        for name, layer in layers.items():
            leave.callback(layer.register_forward_pre_hook(hook(name)).remove)
        leave.callback(adapted.train, adapted.training)
        adapted.eval()
        for row in rows:
            adapted(input_ids=torch.tensor([list(row)], device=adapted.device))
    return sums


def _layers(adapted: Any) -> Iterator[tuple[str, Any]]:
    return ((path, layer) for path, layer in adapted.named_modules() if isinstance(layer, LoraLayer))
