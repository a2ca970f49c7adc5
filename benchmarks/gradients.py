"""The gradient of one update, shared and not, against a plain loop of one row at a time."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from benchmarks import results
from benchmarks.bases import embedded
from benchmarks.ours import plan
from postil.model.adapt import attach
from postil.model.load import load_base
from postil.model.template import Tokens
from postil.settings import Ranks
from postil.train.learner import Learner
from postil.train.objectives.causal_lm import CausalLM
from tests.models import CHAT, build, dialogue, titles

FAMILIES = ("llama3", "qwen2", "qwen3", "mistral", "gemma3", "phi", "phi3")
WEIGHTED = dialogue(
    ("user", "谢谢，什么时候到？"), ("assistant", "三天之内。", 0.5), ("user", "ok"), ("assistant", "Anything?", 0.0),
    ("user", "Where is my order?"), ("assistant", "It was sent yesterday."),
)  # fmt: skip
BOUND = 1e-5


def run(rounds: int, quick: bool, command: str) -> None:
    """Tiny models of seven architectures, and the real base."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for family in FAMILIES[:2] if quick else FAMILIES:
            rows.append((family, *errors(build(family, Path(folder) / family))))
    if not quick:
        rows.append(("SmolLM2-135M", *errors(embedded())))
    text = results.table(("architecture", *HEADER), rows)
    results.write("gradients", command, (
        "Relative error of the gradient of one update in float32: seven rows with one system prompt, a dialogue of "
        "three turns, one with weights 0.5, 0 and 1. The first two columns are against a loop of one row at a time "
        "in float32; the other three against that loop in float64 (norms stay in float32, as transformers computes "
        f"them): how far float32 itself is from the truth, by whichever way. Bound: {BOUND:g}.\n\n{text}"
    ))  # fmt: skip


HEADER = ("shared prefix", "each row whole", "shared / float64", "whole / float64", "the loop itself / float64")


def errors(path: Path) -> tuple[str, ...]:
    """Relative errors of both ways against the plain loop, and of all three against the loop in float64."""
    loop, exact = gradient(path, shares=None), gradient(path, shares=None, exact=True)
    ours = [gradient(path, shares=shares) for shares in (True, False)]
    found = [_error(one, loop) for one in ours] + [_error(one, exact) for one in (*ours, loop)]
    return tuple(f"{error:.1e}" for error in found)


def _error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found.double() - wanted.double()).norm() / wanted.double().norm())


def gradient(path: Path, *, shares: bool | None, exact: bool = False) -> torch.Tensor:
    """All gradients of the adapter after one update, by the learner or (None) by the plain loop; exact: in float64."""
    loaded = load_base(path)
    rows = [loaded.template.sequences(example) for example in (*titles(7), CHAT, WEIGHTED)]
    chosen = plan(max_grad_norm=1000.0, target_modules="all-linear")
    model = attach(loaded.model, chosen, "")
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # B is zero at first, and then A would have no gradient
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.02, generator=generator)
    if exact:
        model.double()
    if shares is None:
        one_by_one(model, [s for row in rows for s in row])
    else:
        learner = Learner(CausalLM(model, chosen), chosen, Ranks())
        if not shares:
            learner.objective.shares = False
        learner.update(0, rows, 1e-3)
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def one_by_one(model: Any, sequences: list[Tokens]) -> None:
    """The plain loop: every row alone, all of its logits, weighted cross-entropy over the weight of the update."""
    total = sum(sum(s.weights[1:]) for s in sequences)
    for s in sequences:
        logits = model(input_ids=torch.tensor([s.ids]), use_cache=False).logits[0, :-1]
        losses = F.cross_entropy(logits, torch.tensor(s.ids[1:]), reduction="none")
        ((losses * torch.tensor(s.weights[1:], dtype=losses.dtype)).sum() / total).backward()
