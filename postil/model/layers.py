"""Where in a model something can be tuned: its linear layers, its blocks, the heads that it was given for a task."""

from __future__ import annotations

from typing import Any

import torch

from postil.errors import PlanError
from postil.model.heads import linears_in_head

FEED_FORWARD = ("mlp", "feed_forward", "ffn", "DenseReluDense")  # what the second half of a block is called
WITHOUT_ONE = ("fc2", "output.dense")  # where a block has its layers itself: the one that ends that half


def linear_names(model: torch.nn.Module) -> dict[str, list[str]]:
    """The linear layers inside the blocks by their last name, in groups: all, mlp, attention. Heads are in none."""
    head = getattr(model, "get_output_embeddings", lambda: None)()
    without = set(linears_in_head(model)) if head is None else set()
    groups: dict[str, list[str]] = {"all-linear": [], "mlp-only": [], "attention-only": []}
    for path, layer in model.named_modules():
        if not isinstance(layer, torch.nn.Linear) or layer is head or path in without:
            continue
        name = path.rsplit(".", 1)[-1]
        lower = path.lower()
        within = "attention-only" if "attn" in lower or "attention" in lower else "mlp-only"
        for group in ("all-linear", within):
            if name not in groups[group]:
                groups[group].append(name)
    return groups


def targets(model: torch.nn.Module, wanted: str) -> list[str]:
    """The layer names that `Plan.target_modules` means for this model.

    Raises PlanError when a name is none of the model's.
    """
    groups = linear_names(model)
    if wanted in groups:
        return sorted(groups[wanted])
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    unknown = [name for name in names if name not in groups["all-linear"]]
    if unknown or not names:
        raise PlanError("unknown_target", names=", ".join(unknown), known=", ".join(sorted(groups["all-linear"])))
    return sorted(set(names))


def blocks(model: torch.nn.Module) -> tuple[str, Any]:
    """The path and the list of the model's blocks; of an encoder-decoder those of its decoder."""
    lists = [(path, one) for path, one in model.named_modules() if isinstance(one, torch.nn.ModuleList)]
    if not lists:
        raise PlanError("method_not_for_model", model=type(model).__name__)
    outer = min(path.count(".") for path, _ in lists)
    return max(((path, one) for path, one in lists[::-1] if path.count(".") == outer), key=lambda found: len(found[1]))


def compile_blocks(model: torch.nn.Module) -> None:
    """Let torch fuse what each block does beside its large products. On a GPU; it takes a minute at the first update.

    All blocks share one compiled program. The first is left out, whose input needs no gradient, and the last, which
    computes only what counts: each would need a program of its own.
    """
    for block in blocks(model)[1][1:-1]:
        block.forward = torch.compile(block.forward, dynamic=True)


def uncompile_blocks(model: torch.nn.Module) -> None:
    """Undo `compile_blocks`."""
    for block in blocks(model)[1][1:-1]:
        vars(block).pop("forward", None)


def feed_forwards(model: torch.nn.Module) -> list[tuple[str, torch.nn.Module]]:
    """Path and module of the second half of each block, the one that looks at each token alone."""
    named = list(model.named_modules())
    for names in (FEED_FORWARD, WITHOUT_ONE):
        found = [
            (path, one)
            for path, one in named
            if any(path.endswith(f".{name}") for name in names) and ".attention." not in path
        ]
        if found:
            return found
    raise PlanError("method_not_for_model", model=type(model).__name__)
