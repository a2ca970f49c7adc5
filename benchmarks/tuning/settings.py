"""What is compared: the automatic plan, other programs' defaults as settings of our loop, and a grid around them.

A setting is what a person would type: names and values of `--set`. Gradients of the loop equal those of a plain one
(`bench.py gradients`), so that a setting stands for the program whose default it is; real TRL runs prove it on three
tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

Setting = Mapping[str, str]

# Nothing is held out, no choice is made on the way, nothing keeps it near the base, and the last state is the adapter.
PLAIN: Setting = {"learning_rate_probe": "false", "validation_rows": "0", "kl_weight": "0"}

# TRL 1.14.2 with `--use_peft`: SFTConfig (3 epochs, batch 8, linear, no warm-up) and the LoRA of its ModelConfig (r 16,
# alpha 32, dropout 0.05; no modules named, so that PEFT takes q and v), at 2e-4: ten times the rate of SFTConfig, as
# its documentation advises for LoRA.
TRL: Setting = {
    **PLAIN,
    "learning_rate": "2e-4",
    "n_epochs": "3",
    "batch_size": "8",
    "r": "16",
    "lora_alpha": "32",
    "lora_dropout": "0.05",
    "target_modules": "q_proj,v_proj",
    "warmup_ratio": "0",
    "lr_scheduler": "linear",
}

# LLaMA-Factory's example for LoRA (examples/train_lora): r 8, alpha 16, all linear, 1e-4, 3 epochs, cosine,
# warm-up 0.1, 1 row a device and 8 accumulated.
LLAMA_FACTORY: Setting = {
    **PLAIN,
    "learning_rate": "1e-4",
    "n_epochs": "3",
    "batch_size": "8",
    "r": "8",
    "lora_alpha": "16",
    "target_modules": "all-linear",
    "warmup_ratio": "0.1",
    "lr_scheduler": "cosine",
}

GRID: Mapping[str, Setting] = {
    f"rate {rate}, {epochs} epochs, r {rank}": {
        **PLAIN,
        "learning_rate": rate,
        "n_epochs": epochs,
        "r": rank,
        "lora_alpha": str(2 * int(rank)),
    }
    for rate, epochs, rank in product(("5e-4", "1e-3"), ("4", "8"), ("8", "32"))
}

# The automatic plan with one thing changed: what each rule is worth.
WITHOUT: Mapping[str, Setting] = {
    "automatic, not kept near the base": {"kl_weight": "0"},
    "automatic, rates tried": {"learning_rate_probe": "true"},
    "automatic, all rows learned": {"validation_rows": "0"},
}

SETTINGS: Mapping[str, Setting] = {"automatic": {}, "TRL": TRL, "LLaMA-Factory": LLAMA_FACTORY, **GRID, **WITHOUT}
