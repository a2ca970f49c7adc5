"""Postil's training against the training script of the articles, on the same rows and the same base, in one process.

    python benchmarks/against_script.py DIR            updates in turn, a ratio of medians
    python benchmarks/against_script.py DIR --full     trains as the script says and answers the test rows of DIR

The script, as facts: literal prompt text, every row padded to 256 tokens, all 256 positions through the head, loss on
prompt and answer, LoRA r=8 on q,k,v,o, two rows an update, learning rate 3e-4 falling linearly, 8 epochs. It is run in
float32, because bfloat16 as written is slower still on most CPUs. DIR is a finished run of Postil: its split is used.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

from postil.settings import quiet

quiet()

import torch  # noqa: E402
from peft import LoraConfig, get_peft_model  # noqa: E402

from postil import train  # noqa: E402
from postil.model.adapt import attach  # noqa: E402
from postil.model.labels import proven  # noqa: E402
from postil.model.load import load_base  # noqa: E402
from postil.records import Example, Plan  # noqa: E402
from postil.settings import Ranks  # noqa: E402
from postil.train.learner import Learner  # noqa: E402

LENGTH, ROWS_AN_UPDATE, EPOCHS, RATE = 256, 2, 8, 3e-4


def text_of(example: Example) -> str:
    asked = "\n".join(message.content for message in example.question)
    return f"<s>### Instruction:\n{asked}\n### Response:\n{example.answer}\n</s>"


class Script:
    """The script's model and its update."""

    def __init__(self, base: Path) -> None:
        loaded = load_base(base)
        self.tokenizer = loaded.tokenizer
        config = LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16, lora_dropout=0.05, bias="none",
                            target_modules=["q_proj", "k_proj", "v_proj", "o_proj"])  # fmt: skip
        self.model = get_peft_model(loaded.model, config).train()
        self.optimizer = torch.optim.AdamW([p for p in self.model.parameters() if p.requires_grad], lr=RATE)

    def update(self, rows: list[Example], rate: float) -> None:
        batch = self.tokenizer([text_of(row) for row in rows], add_special_tokens=False, truncation=True,
                               max_length=LENGTH, padding="max_length", return_tensors="pt")  # fmt: skip
        labels = batch["input_ids"].masked_fill(batch["input_ids"] == self.tokenizer.pad_token_id, -100)
        self.model(**batch, labels=labels).loss.backward()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()

    def exact(self, examples: list[Example]) -> float:
        """The share of test rows answered exactly, greedily, the reply cut as the script cuts it."""
        self.model.eval()
        right = 0
        for example in examples:
            prompt = text_of(example).split("### Response:\n")[0] + "### Response:\n"
            ids = self.tokenizer(prompt, add_special_tokens=False, return_tensors="pt")
            out = self.model.generate(**ids, max_new_tokens=200, do_sample=False, pad_token_id=0)
            reply = self.tokenizer.decode(out[0, ids["input_ids"].shape[1] :], skip_special_tokens=False)
            for mark in ("<s>", "</s>", "###"):
                reply = reply.split(mark)[0]
            right += reply.strip() == example.answer
        return right / len(examples)


def ratio(directory: Path, rounds: int) -> None:
    """Seconds a row, one after the other, so that a noisy machine is as noisy for both."""
    adapter = train.read_adapter(directory)
    rows = list(train.examples_of(directory, "training"))
    script = Script(adapter.base_path)
    plan = Plan(**{**adapter.plan.model_dump(), "dtype": "float32"})
    loaded = load_base(adapter.base_path)
    encoded = proven(rows, loaded.template, plan.max_length)
    learner = Learner(attach(loaded.model, plan, str(adapter.base_path)), plan, Ranks())
    theirs, ours = [], []
    for i in range(rounds + 1):
        start = time.process_time()
        script.update([rows[(2 * i + k) % len(rows)] for k in range(ROWS_AN_UPDATE)], RATE)
        theirs.append((time.process_time() - start) / ROWS_AN_UPDATE)
        picked = [encoded[(plan.batch_size * i + k) % len(rows)] for k in range(plan.batch_size)]
        start = time.process_time()
        learner.update(i, picked, plan.learning_rate)
        ours.append((time.process_time() - start) / plan.batch_size)
    script_row, own_row = statistics.median(theirs[1:]), statistics.median(ours[1:])
    n, epochs = len(rows), adapter.plan.n_epochs
    minutes = (script_row * n * EPOCHS / 60, own_row * n * epochs / 60)
    print(f"CPU seconds a row, median of {rounds}: script {script_row:.2f}, Postil {own_row:.2f}")
    print(f"ratio for a row: {script_row / own_row:.1f}")
    print(f"a run of {n} rows: script {minutes[0]:.0f} min ({EPOCHS} epochs), Postil {minutes[1]:.0f} min ({epochs})")
    print(f"ratio for a run: {minutes[0] / minutes[1]:.1f}")


def full(directory: Path) -> None:
    adapter = train.read_adapter(directory)
    rows = list(train.examples_of(directory, "training"))
    script, start = Script(adapter.base_path), time.monotonic()
    total = EPOCHS * len(rows) // ROWS_AN_UPDATE
    generator = torch.Generator().manual_seed(42)
    done = 0
    for _ in range(EPOCHS):
        order = torch.randperm(len(rows), generator=generator).tolist()
        for at in range(0, len(order) - 1, ROWS_AN_UPDATE):
            script.update([rows[i] for i in order[at : at + ROWS_AN_UPDATE]], RATE * (1 - done / total))
            done += 1
    print(f"script: {time.monotonic() - start:.0f} s, exact match "
          f"{script.exact(list(train.examples_of(directory, 'test'))):.0%}")  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--full", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    full(given.directory) if given.full else ratio(given.directory, given.rounds)
