"""The training script of the articles, as it is written but for its reading of files.

Literal prompt text, every row padded to 256 tokens, all 256 positions through the head, loss on prompt and answer, LoRA
r=8 on q, k, v, o with dropout 0.05, two rows a pass, learning rate 3e-4 falling linearly, 8 epochs. (a) is in bfloat16
as written, (b) in float32. A dialogue becomes one sample for each of its turns, without what was said before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from peft import LoraConfig, get_peft_model

from benchmarks.bases import RATE, TARGETS
from benchmarks.flops import SCRIPT_LENGTH
from postil.records import Example

if TYPE_CHECKING:
    from benchmarks.shapes import Shape
    from benchmarks.side import Pace

ROWS_A_PASS = 2
EPOCHS = 8
ANSWERS = "### Response:\n"


def prompt_of(asked: str) -> str:
    return f"<s>### Instruction:\n{asked}\n{ANSWERS}"


def samples_of(example: Example) -> list[tuple[str, str]]:
    """(asked, answer) for each turn; the system prompt stands before the first question only if there is but one."""
    turns = [i for i, m in enumerate(example.messages) if m.role == "assistant"]
    if len(turns) == 1:
        return [("\n".join(m.content for m in example.question), example.answer)]
    return [(example.messages[i - 1].content, example.messages[i].content) for i in turns]


def ids_of(example: Example, tokenizer: Any) -> tuple[tuple[int, ...], ...]:
    """The tokens of each sample of `example`."""
    texts = [f"{prompt_of(asked)}{answer}\n</s>" for asked, answer in samples_of(example)]
    return tuple(tuple(tokenizer.encode(text, add_special_tokens=False)) for text in texts)


class Script:
    """The script's model and its update."""

    def __init__(self, model: Any, pad: int) -> None:
        config = LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16, lora_dropout=0.05, bias="none",
                            target_modules=TARGETS.split(","))  # fmt: skip
        torch.manual_seed(42)
        self.model = get_peft_model(model, config).train()
        self.optimizer = torch.optim.AdamW([p for p in self.model.parameters() if p.requires_grad], lr=RATE)
        self._pad = pad

    def update(self, rows: Sequence[Sequence[int]], rate: float = RATE) -> float:
        """One update of `rows` (token ids), two at a time. Returns its loss, a mean over all that is no padding."""
        passes = [self._padded(rows[at : at + ROWS_A_PASS]) for at in range(0, len(rows), ROWS_A_PASS)]
        count = sum(int((labels[:, 1:] != -100).sum()) for _, _, labels in passes)
        total = 0.0
        for ids, mask, labels in passes:
            loss = self.model(input_ids=ids, attention_mask=mask, labels=labels, num_items_in_batch=count).loss
            loss.backward()
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)  # the Trainer's default
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        return total

    def _padded(self, rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        ids = torch.full((len(rows), SCRIPT_LENGTH), self._pad)
        mask = torch.zeros_like(ids)
        for place, row in enumerate(rows):
            kept = row[:SCRIPT_LENGTH]
            ids[place, : len(kept)] = torch.tensor(kept)
            mask[place, : len(kept)] = 1
        return ids, mask, ids.masked_fill(ids == self._pad, -100)


def side(shape: Shape, pace: Pace, *, dtype: str) -> None:
    """The script's updates. In bfloat16, which few CPUs have, an update is one pass of two rows, so as to end today."""
    from benchmarks.bases import config, read

    pace.before_weights()
    told = config(shape.base)
    script = Script(read(shape.base, dtype), told.pad_token_id if told.pad_token_id is not None else 0)
    few = dtype == "bfloat16"

    def update(index: int) -> dict[str, float]:
        rows = [ids for row in shape.update(index) for ids in row.script]
        rows = rows[:ROWS_A_PASS] if few else rows
        script.update(rows)
        return {"share": len(rows) / shape.script_rows, "learned": sum(min(len(r), SCRIPT_LENGTH) - 1 for r in rows)}

    pace.go(script.model, update)
