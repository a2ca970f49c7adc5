"""Preferences, plain text and rewriting on the shipped samples: base and tuned on the metric of each task.

`python -m benchmarks.task_texts [dpo|pretraining|seq_2_seq_lm ...] [--rows N]` prints a JSON line for each. Preferences
and plain text are learned by the embedded model. No pretrained encoder-decoder is at hand offline, so that rewriting is
learned by a tiny T5 with random weights, all of which LoRA leaves frozen: what is shown is that it learns, not how well
a T5 that can write would do.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from postil import flow
from postil.dataset import load
from postil.records import Base, Dataset
from postil.samples import sample

QUIET = {"learning_rate_probe": "false", "threads": "1"}


def dpo(rows: int = 0) -> dict[str, Any]:
    """The share of held-out questions whose wanted answer is the likelier one."""
    settings = {**QUIET, "n_epochs": "2", "learning_rate": "1e-4", "max_new_tokens": "16"}
    return _trained("dpo", load(sample("preferences")), flow.find_base(flow.EMBEDDED), settings, rows, "preferred")


def pretraining(rows: int = 0) -> dict[str, Any]:
    """The loss on held-out texts, in nats per token."""
    settings = {**QUIET, "n_epochs": "3", "learning_rate": "1e-3", "max_new_tokens": "16"}
    return _trained("pretraining", load(sample("handbook")), flow.find_base(flow.EMBEDDED), settings, rows, "loss")


def seq_2_seq_lm(rows: int = 0) -> dict[str, Any]:
    """ROUGE-L of held-out notes written out, by a tiny random T5."""
    settings = {**QUIET, "n_epochs": "60", "learning_rate": "1e-2", "r": "32", "max_new_tokens": "40",
                "patience": "100", "evaluations_per_epoch": "1"}  # fmt: skip
    found = load(sample("orders"))
    with tempfile.TemporaryDirectory() as folder:
        base = flow.find_base(str(tiny_t5(Path(folder), [m.content for e in found.examples for m in e.messages])))
        return _trained("seq_2_seq_lm", found, base, settings, rows, "rouge_l")


ENTRIES: Mapping[str, Callable[[int], dict[str, Any]]] = {
    "dpo": dpo, "pretraining": pretraining, "seq_2_seq_lm": seq_2_seq_lm,
}  # fmt: skip


def tiny_t5(folder: Path, texts: Sequence[str]) -> Path:
    """A T5 of two and two layers, 64 wide, with random weights and a vocabulary of the characters of `texts`."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

    marks = ("<pad>", "</s>", "<unk>")
    vocabulary = {mark: i for i, mark in enumerate((*marks, *sorted(set("".join(texts)))))}
    raw = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    raw.normalizer = normalizers.NFC()
    raw.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    raw.decoder = decoders.Fuse()
    raw.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="</s>", pad_token="<pad>", unk_token="<unk>",
                                        clean_up_tokenization_spaces=False)  # fmt: skip
    torch.manual_seed(0)
    config = T5Config(vocab_size=len(vocabulary), d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4,
                      pad_token_id=0, eos_token_id=1, decoder_start_token_id=0)  # fmt: skip
    T5ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _trained(
    task: str, found: Dataset, base: Base, settings: Mapping[str, str], rows: int, metric: str
) -> dict[str, Any]:
    settings = {**settings, "task": task, **({"training_rows": str(rows)} if rows else {})}
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        prepared = flow.plan(found, base, settings=settings, measure=False)
        result = flow.train(prepared, Path(folder) / "out", lambda event: None)
        told = json.loads((Path(folder) / "out" / "evaluation.json").read_text("utf-8"))
    return {
        "task": task, "base": base.name, "rows": len(prepared.split.training), "tested": len(prepared.split.test),
        "metric": metric, "before": told["base"][metric], "after": told["tuned"][metric],
        "difference": told["verdict"]["difference"], "interval": told["verdict"]["interval"],
        "outcome": told["verdict"]["outcome"], "forgetting": told["forgetting"], "updates": result["updates"],
        "more": {name: (told["base"].get(name), told["tuned"].get(name)) for name in
                 ("reward_margin", "perplexity", "bleu", "exact_match") if name in told["tuned"]},
        "cpu_seconds": round(time.process_time() - started, 1),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", default=list(ENTRIES), metavar="TASK")
    parser.add_argument("--rows", type=int, default=0, help="training rows at most")
    wanted = parser.parse_args()
    for task in wanted.tasks:
        print(json.dumps(ENTRIES[task](wanted.rows), ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
