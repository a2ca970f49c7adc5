"""Fine-tuning jobs as services return them and as one posts them."""

from __future__ import annotations

from typing import Any

BAILIAN: dict[str, Any] = {
    "model": "qwen3-14b", "training_file_ids": ["86a9fe7f", "03ead352"],
    "hyper_parameters": {"n_epochs": 3, "batch_size": 32, "max_length": 8192, "learning_rate": "1.6e-5",
                         "lr_scheduler_type": "linear", "split": 0.9},
    "training_type": "sft", "finetuned_output_suffix": "客服",
}  # fmt: skip
TOGETHER: dict[str, Any] = {
    "training_file": "file-629e58b4", "model": "Qwen/Qwen3-8B", "n_epochs": 4, "batch_size": "max",
    "learning_rate": 2e-4, "lr_scheduler": {"lr_scheduler_type": "cosine", "lr_scheduler_args": {"num_cycles": 0.5}},
    "training_type": {"type": "Lora", "lora_r": 16, "lora_alpha": 32, "lora_trainable_modules": "all-linear"},
    "training_method": {"method": "sft", "train_on_inputs": False}, "wandb_api_key": "hidden-1", "n_checkpoints": 2,
}  # fmt: skip
OPENAI: dict[str, Any] = {
    "object": "fine_tuning.job", "id": "ftjob-abc", "model": "gpt-4o-mini-2024-07-18", "created_at": 1721764800,
    "status": "succeeded", "fine_tuned_model": "ft:gpt-4o-mini:org::7", "training_file": "file-abc",
    "validation_file": "file-val", "seed": 683058546, "metadata": {"team": "billing"}, "trained_tokens": 5768,
    "hyperparameters": {"n_epochs": 3, "batch_size": "auto", "learning_rate_multiplier": 1.8}, "error": None,
    "method": {"type": "supervised", "supervised": {"hyperparameters": {
        "n_epochs": 3, "batch_size": "auto", "learning_rate_multiplier": 1.8}}},
}  # fmt: skip
