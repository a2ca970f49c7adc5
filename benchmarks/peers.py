"""TRL's SFTTrainer with the settings that are best for it here.

The rows come as token ids with their labels, so that it learns the very same tokens. No activation checkpointing,
float32, dropout 0, and the loss that computes only the positions that bear some (`chunked_nll`).
"""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any

from peft import LoraConfig
from transformers import AutoTokenizer, TrainerCallback

from benchmarks.bases import PLAN, RATE, ROWS_AN_UPDATE, TARGETS, embedded, read
from benchmarks.shapes import Shape

if TYPE_CHECKING:
    from benchmarks.side import Pace

MANY = 1_000_000  # updates: more than any benchmark asks for
LAYOUTS: dict[str, dict[str, Any]] = {
    "padded": {"per_device_train_batch_size": ROWS_AN_UPDATE},
    "unpadded": {"per_device_train_batch_size": ROWS_AN_UPDATE, "padding_free": True, "max_length": None},
    "packed": {"per_device_train_batch_size": 1, "packing": True, "packing_strategy": "bfd"},
}


class Paced(TrainerCallback):
    """Lets the Trainer do one update each time it is asked for one."""

    def __init__(self, pace: Pace, trainer: Any, shape: Shape) -> None:
        self._pace, self._trainer, self._shape = pace, trainer, shape

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._pace.ready(self._trainer.model)
        control.should_training_stop = self._pace.wait() is None

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        learned = self._trainer.learned
        self._trainer.learned = 0
        self._pace.done(share=learned / self._shape.learned, learned=learned)
        control.should_training_stop = self._pace.wait() is None


def labelled(shape: Shape) -> list[dict[str, list[int]]]:
    """The rows as the Trainer takes them: -100 where nothing is learned."""
    return [
        {"input_ids": list(s.ids), "labels": [i if w else -100 for i, w in zip(s.ids, s.weights, strict=True)]}
        for row in shape.rows
        for s in row.tokens
    ]


def side(shape: Shape, pace: Pace, *, layout: str, pack_length: int = 512) -> None:
    """TRL's updates. Packs of `pack_length` tokens are accumulated to about as many tokens as eight rows have."""
    from datasets import Dataset, disable_progress_bars
    from trl import SFTConfig, SFTTrainer

    class Counting(SFTTrainer):  # type: ignore[misc]
        """Counts the tokens with loss."""

        learned = 0

        def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            self.learned += int((inputs["labels"] != -100).sum())
            return super().training_step(model, inputs, *args, **kwargs)

    disable_progress_bars()
    settings = dict(LAYOUTS[layout])
    if layout == "packed":
        tokens = ROWS_AN_UPDATE * shape.tokens / len(shape.rows)
        settings |= {"max_length": pack_length, "gradient_accumulation_steps": max(1, round(tokens / pack_length))}
    lora = LoraConfig(task_type="CAUSAL_LM", r=PLAN.r, lora_alpha=PLAN.lora_alpha, lora_dropout=0.0, bias="none",
                      target_modules=TARGETS.split(","))  # fmt: skip
    data = Dataset.from_list(labelled(shape))
    tokenizer = AutoTokenizer.from_pretrained(str(embedded()), local_files_only=True)  # for its padding only
    pace.before_weights()
    with tempfile.TemporaryDirectory() as folder:
        config = SFTConfig(
            output_dir=folder, learning_rate=RATE, lr_scheduler_type="constant", max_steps=MANY, bf16=False,
            use_cpu=True, gradient_checkpointing=False, save_strategy="no", report_to="none", disable_tqdm=True,
            logging_strategy="no", train_sampling_strategy="sequential", seed=PLAN.seed,
            loss_type="chunked_nll", **settings,
        )  # fmt: skip
        trainer = Counting(read(shape.base), config, train_dataset=data, processing_class=tokenizer, peft_config=lora)
        trainer.add_callback(Paced(pace, trainer, shape))
        trainer.train()
