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
    text = results.table(("architecture", "shared prefix", "each row whole"), rows)
    results.write("gradients", command, (
        "Relative error of the gradient of one update in float32 against a loop of one row at a time: seven rows with "
        f"one system prompt, a dialogue of three turns, one with weights 0.5, 0 and 1. Bound: {BOUND:g}.\n\n{text}"
    ))  # fmt: skip


def errors(path: Path) -> tuple[str, str]:
    """Relative errors of both ways, "whole" where rows of this model cannot share a beginning."""
    wanted = gradient(path, shares=None)  # by none of our code that lays out rows
    found = []
    for shares in (True, False):
        error = float((gradient(path, shares=shares) - wanted).norm() / wanted.norm())
        found.append(f"{error:.1e}{' **too large**' * (error > BOUND)}")
    return found[0], found[1]


def gradient(path: Path, *, shares: bool | None) -> torch.Tensor:
    """All gradients of the adapter after one update, by the learner or (None) by the plain loop."""
    loaded = load_base(path)
    rows = [loaded.template.sequences(example) for example in (*titles(7), CHAT, WEIGHTED)]
    chosen = plan(max_grad_norm=1000.0, target_modules="all-linear")
    model = attach(loaded.model, chosen, "")
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # B is zero at first, and then A would have no gradient
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.02, generator=generator)
    if shares is None:
        one_by_one(model, [s for row in rows for s in row])
    else:
        learner = Learner(model, chosen, Ranks())
        if not shares:
            learner.shares = False
        learner.update(0, rows, 1e-3)
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def one_by_one(model: Any, sequences: list[Tokens]) -> None:
    """The plain loop: every row alone, all of its logits, weighted cross-entropy over the weight of the update."""
    total = sum(sum(s.weights[1:]) for s in sequences)
    for s in sequences:
        logits = model(input_ids=torch.tensor([s.ids]), use_cache=False).logits[0, :-1]
        losses = F.cross_entropy(logits, torch.tensor(s.ids[1:]), reduction="none")
        ((losses * torch.tensor(s.weights[1:])).sum() / total).backward()
